"""Data sets that exist only in Python: arrays, map-style torch Datasets, tables of `datasets`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur.data.columns import NO_LABELS, Columns
from secateur.data.found import Found, Labelled
from secateur.data.rows import ArrayRows, DatasetRows, Rows, as_array
from secateur.errors import DataError

_INPUT_KEYS = ("image", "img", "pixel_values", "x", "input", "features")
_LABEL_KEYS = ("label", "labels", "y", "target")


@dataclass(frozen=True)
class Arrays:
    """Inputs and labels, or inputs alone, as arrays."""

    inputs: np.ndarray
    targets: Sequence[Any] | None

    def __len__(self) -> int:
        return len(self.inputs)

    def labels(self) -> tuple[list[Any], Any] | None:
        return None if self.targets is None else (list(self.targets), None)

    def rows(self, size: int | None) -> Rows:
        _refuse_size(size)
        return ArrayRows(self.inputs)


@dataclass(frozen=True)
class TorchDataset:
    """A map-style torch Dataset of (input, label) pairs or of dicts; without labels, of bare inputs too.

    input: None where an item is the input. label: None where there are no labels.
    """

    dataset: Any
    input: int | str | None
    label: int | str | None

    def __len__(self) -> int:
        return len(self.dataset)

    def labels(self) -> tuple[list[Any], Any] | None:
        """Its `targets` where it has them, as torchvision's do; else every item is read once."""
        if self.label is None:
            return None
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
        return _arrays(data[0], None if label == NO_LABELS else data[1])
    if hasattr(data, "__array__") and hasattr(data, "dtype"):
        return _arrays(data, None)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, (str, bytes, list)):
        if not len(data):
            raise DataError("data: the Dataset is empty")
        return _torch_dataset(data, input, label)
    raise DataError(
        f"data: expected a path, a hub name, a datasets.Dataset, a map-style torch Dataset, arrays (inputs, labels) or "
        f"an array of inputs alone, got {type(data).__name__}"
    )


def _arrays(inputs: Any, targets: Any) -> Arrays:
    inputs = np.asarray(inputs)
    labels = None if targets is None else _targets(np.asarray(targets), len(inputs))
    if inputs.ndim == 2:
        return Arrays(inputs.astype(np.float32), labels)
    if inputs.ndim == 3:
        inputs = inputs[..., None]
    if inputs.ndim != 4:
        raise DataError(f"data: expected images or vectors, got inputs of shape {inputs.shape}")
    if inputs.dtype == np.uint8 and inputs.shape[-1] in (1, 3):
        return Arrays(inputs, labels)
    return Arrays(np.stack([as_array(image) for image in inputs]), labels)


def _targets(targets: np.ndarray, inputs: int) -> list[Any]:
    if targets.ndim != 1:
        raise DataError(f"data: expected one label an example, got labels of shape {targets.shape}")
    if inputs != len(targets):
        raise DataError(f"data: {inputs} inputs, but {len(targets)} labels")
    return targets.tolist()


def _torch_dataset(data: Any, input: str | None, label: str | None) -> TorchDataset:
    item, unlabelled = data[0], label == NO_LABELS
    if isinstance(item, dict):
        return _torch_dicts(data, item, input, label)
    if isinstance(item, (tuple, list)) and (len(item) == 1 or unlabelled):
        return TorchDataset(data, 0, None)
    if isinstance(item, (tuple, list)) and len(item) == 2:
        return TorchDataset(data, 0, 1)
    if hasattr(item, "__array__") or hasattr(item, "__array_interface__"):
        return TorchDataset(data, None, None)
    raise DataError(f"data: items must be (input, label) pairs, dicts or bare inputs, got {type(item).__name__}")


def _torch_dicts(data: Any, item: dict[Any, Any], input: str | None, label: str | None) -> TorchDataset:
    """An item with a single key has no label."""
    only = next(iter(item)) if len(item) == 1 else None
    x = input or next((k for k in _INPUT_KEYS if k in item), only)
    y = None if label == NO_LABELS else label or next((k for k in _LABEL_KEYS if k in item), None)
    if x not in item or (y is not None and y not in item) or (y is None and only is None and label != NO_LABELS):
        raise DataError(
            f"data: items have the keys {', '.join(map(str, item))}; name the input and the label, or label="
            f"{NO_LABELS!r} for the input alone"
        )
    return TorchDataset(data, x, y)


def _refuse_size(size: int | None) -> None:
    if size is not None:
        raise DataError("size: works on encoded images; bring arrays and torch Datasets to one size yourself")
