"""Which column of a table holds the input, which the label, and the labels as class numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur.data.rows import ImageRows, Rows, VectorRows
from secateur.errors import DataError

NO_LABELS = "none"
"""Asked for in place of a label column: read the inputs alone."""
WITHOUT = f"or read the data without labels: --label {NO_LABELS}"
"""How messages name that way out."""

_LABEL_NAMES = ("label", "labels", "target", "class", "y", "fine_label")


@dataclass(frozen=True)
class Columns:
    """The two columns of a Hugging Face table that matter; the others are carried along into `kept/`.

    label: None for data without labels.
    """

    table: Any  # datasets.Dataset
    input: str
    label: str | None

    @classmethod
    def of(cls, table: Any, input: str | None, label: str | None) -> "Columns":
        """Name the columns, guessing where there is no doubt."""
        input = guess_input(table, input)
        return cls(table, input, guess_label(table, label, input))

    def __len__(self) -> int:
        return len(self.table)

    def labels(self) -> tuple[list[Any], Any] | None:
        """The label column and its feature."""
        if self.label is None:
            return None
        return list(self.table.select_columns([self.label])[:][self.label]), self.table.features[self.label]

    def rows(self, size: int | None) -> Rows:
        """A reader of the input column."""
        from datasets import Image

        column = self.table.select_columns([self.input])
        if not is_image(self.table.features[self.input]):
            return VectorRows(column, self.input)
        return ImageRows(column.cast_column(self.input, Image(decode=False)), self.input, size)


def guess_input(table: Any, asked: str | None) -> str:
    """The input column: the one asked for, or the only image column, or the only column of number lists."""
    if asked is not None:
        return _existing(table, asked, "input")
    for is_input in (is_image, _is_vector):
        found = [name for name in table.column_names if is_input(table.features[name])]
        if len(found) == 1:
            return str(found[0])
        if found:
            raise DataError(f"input: the columns {', '.join(found)} could all be it; name one with --input")
    raise DataError(f"input: no column of images or number lists among {', '.join(table.column_names)}; name it")


def guess_label(table: Any, asked: str | None, input_column: str) -> str | None:
    """The label column: the one asked for, or the only column of class labels, or one with a usual name.

    None, for no labels, where there is no column beside the input, or where `none` is asked for.
    """
    from datasets import ClassLabel

    if asked == NO_LABELS:
        if NO_LABELS in table.column_names:
            raise DataError(f"label: {NO_LABELS!r} means no labels, but a column is called so too; rename the column")
        return None
    if asked is not None:
        return _existing(table, asked, "label")
    others = [name for name in table.column_names if name != input_column]
    for found in (
        [name for name in others if isinstance(table.features[name], ClassLabel)],
        [name for name in others if name in _LABEL_NAMES],
        others,
    ):
        if len(found) == 1:
            return str(found[0])
        if found:
            raise DataError(f"label: the columns {', '.join(found)} could all be it; name one with --label, {WITHOUT}")
    return None


def _existing(table: Any, name: str, argument: str) -> str:
    if name not in table.column_names:
        raise DataError(f"{argument}: expected one of the columns {', '.join(table.column_names)}, got {name!r}")
    return name


def is_image(feature: Any) -> bool:
    """An Image column, or a struct of bytes and path."""
    from datasets import Image

    return isinstance(feature, Image) or (isinstance(feature, dict) and {"bytes", "path"} <= set(feature))


def _is_vector(feature: Any) -> bool:
    from datasets import LargeList, List, Value

    if not isinstance(feature, (List, LargeList)):
        return False
    return isinstance(feature.feature, Value) and feature.feature.dtype.startswith(("float", "int", "uint"))


def class_names(values: list[Any], feature: Any = None, *, split: str = "train") -> list[str | None]:
    """Each label as the name of its class; None where it is missing: null, nan, or a ClassLabel's -1.

    feature: the column's feature, whose names a ClassLabel gives. Raises DataError for regression targets.

    >>> class_names([1, 2.0, None, float("nan"), -1])
    ['1', '2', None, None, '-1']
    """
    names = getattr(feature, "names", None)
    out: list[str | None] = []
    for i, value in enumerate(values):
        if isinstance(value, (float, np.floating)) and value == value and not float(value).is_integer():
            raise DataError(
                f"label: expected classes, got the number {value} at {split} row {i}: targets of regression; name "
                f"another column with --label, {WITHOUT}"
            )
        if value is None or value != value:
            out.append(None)
        elif names is not None:
            out.append(None if value == -1 else names[value])
        else:
            out.append(str(int(value)) if isinstance(value, (bool, float, int, np.number, np.bool_)) else str(value))
    return out


def class_order(names: list[str | None], feature: Any = None) -> tuple[str, ...]:
    """The classes in the order they are numbered: a ClassLabel's own, else sorted, as numbers where all are.

    >>> class_order(["10", "9", None, "10"])
    ('9', '10')
    """
    if getattr(feature, "names", None) is not None:
        return tuple(feature.names)
    present = {n for n in names if n is not None}
    numeric = all(n.removeprefix("-").isdecimal() for n in present)
    return tuple(sorted(present, key=int if numeric else str))


def class_numbers(names: list[str | None], classes: tuple[str, ...], *, split: str = "train") -> np.ndarray:
    """Labels (examples,) as numbers below the number of classes, -1 where missing.

    >>> class_numbers(["dog", "cat", None], ("cat", "dog"))
    array([ 1,  0, -1])
    """
    number = {name: i for i, name in enumerate(classes)}
    if strange := sorted({n for n in names if n is not None} - set(classes)):
        raise DataError(f"label: the {split} split has the classes {', '.join(strange[:5])}, which train does not have")
    return np.array([-1 if n is None else number[n] for n in names], dtype=np.int64)
