"""Which column of a table holds the input, which the label, and the labels as class numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secateur.data.decoding.labels import NO_LABELS, WITHOUT
from secateur.data.decoding.rows import ImageRows, Rows, VectorRows
from secateur.errors import DataError

LABEL_NAMES = ("label", "labels", "target", "class", "y", "fine_label")
"""Usual names of label columns."""
_NO_LABEL_NAMES = frozenset(
    "caption captions text texts title description prompt file file_name filename path file_path filepath url uri id "  # noqa: SIM905
    "ids idx index uid uuid key image_id md5 sha256 hash width height size date time timestamp split".split()
)
"""Names of columns that are never used as labels unless the user asks for them."""
_PANDAS_INDEX = "__index_level_"
_WAY = "choose one with --label"


@dataclass(frozen=True)
class Columns:
    """The two columns of a Hugging Face table that matter; the others are carried along into `kept/`.

    label: None for data without labels. homes: the folders that images may lie in of which a cell holds the path alone;
    None where the user made the table, so that any path is theirs. told: where the labels come from, in words.
    beside: what a metadata file says of the rows, a list a column, which goes into `kept/` and is never guessed from.
    """

    table: Any  # datasets.Dataset
    input: str
    label: str | None
    homes: tuple[Path, ...] | None = field(default=None, repr=False)
    told: str | None = None
    beside: Mapping[str, list[Any]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        table: Any,
        input: str | None,
        label: str | None,
        *,
        homes: tuple[Path, ...] | None = None,
        told: str | None = None,
        beside: Mapping[str, list[Any]] | None = None,
    ) -> "Columns":
        """Name the columns; unnamed ones are chosen if unambiguous. Resets the table's format: rows are read as stored.

        Raises DataError for a table with a transform, which would be lost.
        """
        if table.format["type"] == "custom":
            raise DataError(
                "data: the table has a transform (with_transform), which would be ignored; apply it with "
                "map() and pass the result"
            )
        table = table.with_format(None)
        input = guess_input(table, input, label)
        label = guess_label(table, label, input)
        told = told or (None if label is None else f"label column {label!r}")
        return cls(table, input, label, homes, told, beside or {})

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
        return ImageRows(column.cast_column(self.input, Image(decode=False)), self.input, size, self.homes)


def guess_input(table: Any, asked: str | None, label: str | None = None) -> str:
    """The input column: the one named, or the only image column, or the only column of number lists.

    label: the label column asked for, which is not the input; nor is one of number lists that is called as labels are.
    """
    if asked is not None:
        _existing(table, asked, "input")
        if not (is_image(table.features[asked]) or _is_vector(table.features[asked])):
            raise DataError(
                f"input: expected a column of images or of lists of numbers, but {asked} holds {_kind(table, asked)}; "
                f"choose another, or cast it from Python with cast_column"
            )
        return asked
    for is_input in (is_image, _is_vector):
        found = [name for name in table.column_names if is_input(table.features[name])]
        if len(found) > 1:
            found = [name for name in found if name != label and name not in LABEL_NAMES] or found
        if len(found) == 1:
            return str(found[0])
        if found:
            raise DataError(f"input: the columns {', '.join(found)} could all be it; name one with --input")
    there = ", ".join(f"{name} ({_kind(table, name)})" for name in table.column_names)
    raise DataError(f"input: no column of images or number lists among {there}; cast one from Python with cast_column")


def guess_label(table: Any, asked: str | None, input_column: str) -> str | None:
    """The label column: the one asked for, or the only column of class labels, or one with a usual name.

    Else the only column there is beside the input, unless its name or its type is that of no label. None, for no
    labels, where there is no column beside the input, or where `none` is asked for. An index of pandas is no column.
    """
    from datasets import ClassLabel

    if asked == NO_LABELS:
        if NO_LABELS in table.column_names:
            raise DataError(f"label: {NO_LABELS!r} means no labels, but a column is called so too; rename the column")
        return None
    if asked is not None:
        return _scalar(table, _existing(table, asked, "label"))
    others = [n for n in table.column_names if n != input_column and not n.startswith(_PANDAS_INDEX)]
    declared = [name for name in others if isinstance(table.features[name], ClassLabel)]
    usual = [name for name in others if name in LABEL_NAMES]
    if len(declared) == 1 and usual and declared[0] not in usual:
        declared = [*declared, *usual]  # with attr, declared, and label, either could be meant
    for found in (declared, usual, others):
        if len(found) > 1:
            raise DataError(f"label: the columns {', '.join(found)} could all hold the labels; {_WAY}, {WITHOUT}")
        if found and found is others and found[0].lower() in _NO_LABEL_NAMES:
            raise DataError(
                f"label: the only column besides the input is {found[0]}; name it with --label if it holds the labels, "
                f"{WITHOUT}"
            )
        if found:
            return _scalar(table, str(found[0]))
    return None


def _existing(table: Any, name: str, argument: str) -> str:
    if name not in table.column_names:
        raise DataError(f"{argument}: expected one of the columns {', '.join(table.column_names)}, got {name!r}")
    return name


def _scalar(table: Any, name: str) -> str:
    """The name of the column, if it can hold labels."""
    from datasets import ClassLabel, Value

    if not isinstance(table.features[name], (ClassLabel, Value)):
        raise DataError(
            f"label: expected a column of text or whole numbers, but {name} holds {_kind(table, name)}; for one-hot "
            f"labels, pass the class number (their argmax); choose another column with --label, {WITHOUT}"
        )
    return name


def _kind(table: Any, name: str) -> str:
    feature = table.features[name]
    return str(getattr(feature, "dtype", None) or feature) if not isinstance(feature, (dict, list)) else str(feature)


def is_image(feature: Any) -> bool:
    """An Image column, or a struct of bytes and path."""
    from datasets import Image

    return isinstance(feature, Image) or (isinstance(feature, dict) and {"bytes", "path"} <= set(feature))


def _is_vector(feature: Any) -> bool:
    from datasets import LargeList, List, Value

    if not isinstance(feature, (List, LargeList)):
        return False
    return isinstance(feature.feature, Value) and feature.feature.dtype.startswith(("float", "int", "uint", "bool"))
