"""Data sets that exist only in Python: arrays, map-style torch Datasets, tables of `datasets`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur.data.columns import Columns
from secateur.data.found import Found, Labelled
from secateur.data.rows import ArrayRows, DatasetRows, Rows, as_array
from secateur.errors import DataError

_INPUT_KEYS = ("image", "img", "pixel_values", "x", "input", "features")
_LABEL_KEYS = ("label", "labels", "y", "target")


@dataclass(frozen=True)
class Arrays:
    """Inputs and labels as arrays."""

    inputs: np.ndarray
    targets: Sequence[Any]

    def __len__(self) -> int:
        return len(self.inputs)

    def labels(self) -> tuple[list[Any], Any]:
        return list(self.targets), None

    def rows(self, size: int | None) -> Rows:
        _refuse_size(size)
        return ArrayRows(self.inputs)


@dataclass(frozen=True)
class TorchDataset:
    """A map-style torch Dataset of (input, label) pairs or of dicts."""

    dataset: Any
    input: int | str
    label: int | str

    def __len__(self) -> int:
        return len(self.dataset)

    def labels(self) -> tuple[list[Any], Any]:
        """Its `targets` where it has them, as torchvision's do; else every item is read once."""
        targets = getattr(self.dataset, "targets", None)
        if targets is not None and len(targets) == len(self):
            return [np.asarray(t).item() for t in targets], None
        return [np.asarray(self.dataset[i][self.label]).item() for i in range(len(self))], None

    def rows(self, size: int | None) -> Rows:
        _refuse_size(size)
        rows = DatasetRows(self.dataset, self.input)
        if not np.array_equal(rows.raw([0])[0], rows.raw([0])[0]):
            raise DataError(
                "data: the Dataset gives another input each time a row is read; "
                "pass it without random augmentation, the recipe augments"
            )
        return rows


def from_python(data: Any, test: Any, *, input: str | None, label: str | None) -> Found:
    """Wrap a data set, or a dict of splits; `test` is a data set of the same kind.

    Raises DataError for what is none of the forms known.
    """
    import datasets

    name = f"{type(data).__name__} from Python"
    if isinstance(data, datasets.DatasetDict):
        return Found(name, "arrays", {n: Columns.of(t, input, label) for n, t in data.items()})
    splits = {"train": _wrap(data, input, label)}
    if test is not None:
        splits["test"] = _wrap(test, input, label)
    return Found(name, "arrays", splits)


def _wrap(data: Any, input: str | None, label: str | None) -> Labelled:
    import datasets

    if isinstance(data, datasets.Dataset):
        return Columns.of(data, input, label)
    if isinstance(data, (tuple, list)) and len(data) == 2 and hasattr(data[0], "__array__"):
        return _arrays(data[0], data[1])
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, (str, bytes, list)):
        if not len(data):
            raise DataError("data: the Dataset is empty")
        return _torch_dataset(data, input, label)
    raise DataError(
        f"data: expected a path, a hub name, a datasets.Dataset, a map-style torch Dataset or (inputs, labels) arrays, "
        f"got {type(data).__name__}"
    )


def _arrays(inputs: Any, targets: Any) -> Arrays:
    inputs, targets = np.asarray(inputs), np.asarray(targets)
    if len(inputs) != len(targets):
        raise DataError(f"data: {len(inputs)} inputs, but {len(targets)} labels")
    if targets.ndim != 1:
        raise DataError(f"data: expected one label an example, got labels of shape {targets.shape}")
    if inputs.ndim == 2:
        return Arrays(inputs.astype(np.float32), targets.tolist())
    if inputs.ndim == 3:
        inputs = inputs[..., None]
    if inputs.ndim != 4:
        raise DataError(f"data: expected images or vectors, got inputs of shape {inputs.shape}")
    if inputs.dtype == np.uint8 and inputs.shape[-1] in (1, 3):
        return Arrays(inputs, targets.tolist())
    return Arrays(np.stack([as_array(image) for image in inputs]), targets.tolist())


def _torch_dataset(data: Any, input: str | None, label: str | None) -> TorchDataset:
    item = data[0]
    if isinstance(item, dict):
        found = [
            asked or next((k for k in keys if k in item), None)
            for asked, keys in ((input, _INPUT_KEYS), (label, _LABEL_KEYS))
        ]
        if None in found or not set(found) <= set(item):
            raise DataError(f"data: items have the keys {', '.join(map(str, item))}; name the input and the label")
        return TorchDataset(data, str(found[0]), str(found[1]))
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return TorchDataset(data, 0, 1)
    raise DataError(f"data: items must be (input, label) pairs or dicts, got {type(item).__name__}")


def _refuse_size(size: int | None) -> None:
    if size is not None:
        raise DataError("size: works on encoded images; bring arrays and torch Datasets to one size yourself")
