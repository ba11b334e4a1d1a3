"""Data sets that exist only in Python: arrays, map-style torch Datasets, tables of `datasets`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur.data.columns import Columns
from secateur.data.decoding.labels import NO_LABELS, class_name
from secateur.data.decoding.pixels import as_array, plain_array
from secateur.data.decoding.rows import ArrayRows, DatasetRows, Rows, input_of
from secateur.data.found import Found, Labelled
from secateur.data.layouts.split_column import by_split_column
from secateur.data.layouts.splits import ALL
from secateur.errors import DataError

_INPUT_KEYS = ("image", "img", "pixel_values", "x", "input", "features")
_LABEL_KEYS = ("label", "labels", "y", "target")
_LOOKED_AT = 256
"""The number of items whose labels are compared with `targets`."""


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
        """Its `targets`, as torchvision's have, if its items agree with them; otherwise every item is read once."""
        if self.label is None:
            return None
        targets: Any = getattr(self.dataset, "targets", None)
        listed = hasattr(targets, "__len__") and hasattr(targets, "__getitem__") and getattr(targets, "ndim", 1) == 1
        if listed and not isinstance(targets, (dict, str)) and len(targets) == len(self):
            self._compare(list(targets))
            return list(targets), None
        return [input_of(self.dataset, i, self.label) for i in range(len(self))], None

    def _compare(self, targets: list[Any]) -> None:
        for i in sorted({int(i) for i in np.linspace(0, len(self) - 1, _LOOKED_AT)}):
            said, given = _name(targets[i]), _name(input_of(self.dataset, i, self.label))
            if said != given:
                raise DataError(
                    f"label: item {i} of the Dataset has the label {given}, but its `targets` say {said}; make them "
                    f"agree, or delete `targets`"
                )

    def rows(self, size: int | None) -> Rows:
        _refuse_size(size)
        rows = DatasetRows(self.dataset, self.input)
        once, again = rows.raw([0])[0], rows.raw([0])[0]
        if not isinstance(once, DataError) and not np.array_equal(once, again):
            raise DataError(
                "data: the Dataset gives another input each time a row is read; "
                "pass it without random augmentation, the recipe augments"
            )
        return rows


def _name(label: Any) -> str | None:
    """The class of a label, or the error, which is reported later with its row."""
    try:
        return class_name(label)
    except DataError as error:
        return str(error)


def from_python(data: Any, test: Any, *, input: str | None, label: str | None, split: str | None = None) -> Found:
    """Wrap a data set, or a dict of splits; `test` is a data set of the same kind, split the one to prune.

    Raises DataError for what is none of the forms known.
    """
    import datasets

    name = f"{type(data).__name__} from Python"
    if isinstance(data, datasets.DatasetDict):
        if test is not None:
            raise DataError(
                f"test: the data have the splits {', '.join(data)}; name one of them, or pass the train split and test"
            )
        return Found(name, "arrays", {n: Columns.of(t, input, label) for n, t in data.items()})
    wrapped = _wrap(data, input, label)
    splits: dict[str, Labelled] = {ALL if split == ALL else "train": wrapped}
    if test is None and split != ALL and isinstance(wrapped, Columns):
        splits = by_split_column(splits)
    if test is not None:
        splits = {**splits, "test": _wrap(test, input, label)}
    return Found(name, "arrays", splits)


def _wrap(data: Any, input: str | None, label: str | None) -> Labelled:
    import datasets

    if isinstance(data, datasets.Dataset):
        return Columns.of(data, input, label)
    if way := _known_but_not_read(data):
        raise DataError(f"data: a {type(data).__name__} is not supported; {way}")
    if isinstance(data, (tuple, list)) and len(data) == 2 and hasattr(data[0], "__array__"):
        return _arrays(data[0], None if label == NO_LABELS else data[1])
    if hasattr(data, "__array__") and hasattr(data, "dtype"):
        return _arrays(data, None)
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, (str, bytes, list, tuple)):
        return _torch_dataset(data, input, label)
    raise DataError(
        f"data: expected a path, a hub name, a datasets.Dataset, a map-style torch Dataset, arrays (inputs, labels) or "
        f"an array of inputs alone, got {type(data).__name__}"
    )


def _known_but_not_read(data: Any) -> str | None:
    """What to pass instead of data without indexed rows; types are recognised by name, so that nothing is imported."""
    names = {kind.__name__ for kind in type(data).__mro__}
    if names & {"IterableDataset", "IterableDatasetDict", "IterDataPipe"}:
        return "its rows have no index: pass a map-style Dataset, or a data set of `datasets` without streaming"
    if "DataFrame" in names:
        return "pass datasets.Dataset.from_pandas(frame), or its columns as arrays (inputs, labels)"
    if type(data).__module__.startswith("pyarrow"):
        return "pass datasets.Dataset(table)"
    if isinstance(data, dict):
        return "pass one split, with test= for the other, or a datasets.DatasetDict"
    if "DataLoader" in names:
        return "pass its Dataset: Secateur makes the batches"
    return None


def _arrays(inputs: Any, targets: Any) -> Arrays:
    inputs = plain_array(inputs)
    labels = None if targets is None else _targets(targets, len(inputs) if inputs.ndim else 0)
    if inputs.ndim == 2:
        if inputs.dtype.kind not in "fiub":
            raise DataError(f"data: expected vectors of numbers, got inputs of type {inputs.dtype}")
        with np.errstate(over="ignore", invalid="ignore"):  # too large numbers become inf, which is found row by row
            return Arrays(inputs.astype(np.float32), labels)
    if inputs.ndim == 3:
        inputs = inputs[..., None]
    if inputs.ndim != 4:
        raise DataError(f"data: expected images or vectors, got inputs of shape {inputs.shape}")
    if not len(inputs) or (inputs.dtype == np.uint8 and inputs.shape[-1] in (1, 3)):
        return Arrays(inputs, labels)
    return Arrays(np.stack([_row(image, i) for i, image in enumerate(inputs)]), labels)


def _row(image: np.ndarray, i: int) -> np.ndarray:
    try:
        return as_array(image)
    except DataError as error:
        raise DataError(f"data: row {i}: {error}") from None


def _targets(targets: Any, inputs: int) -> list[Any]:
    if isinstance(targets, (list, tuple)):
        found = list(targets)  # not through an array, which would turn nan beside text into text
    else:
        array = plain_array(targets)
        if array.ndim != 1:
            hint = "; for one-hot labels, pass their argmax" if array.ndim == 2 and array.shape[1] > 1 else ""
            raise DataError(f"data: expected one label per example, got labels of shape {array.shape}{hint}")
        found = array.tolist()
    if inputs != len(found):
        raise DataError(f"data: {inputs} inputs, but {len(found)} labels")
    return found


def _torch_dataset(data: Any, input: str | None, label: str | None) -> TorchDataset:
    if not len(data):
        raise DataError("train: the split is empty")
    item, unlabelled = input_of(data, 0, None), label == NO_LABELS
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
