"""Data that hold several splits, told apart by a column: of a table, or of the metadata beside images."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from secateur.data.columns import Columns
from secateur.data.found import Labelled
from secateur.data.layouts.splits import ALL, HELD_OUT, whole, within
from secateur.errors import DataError

COLUMN = "split"
_CALLED = frozenset("split splits subset set partition usage".split())  # noqa: SIM905
"""What columns of splits are called, in small letters."""
_MOST = 16
"""A column with more different values than this does not hold splits."""


def by_split_column(splits: dict[str, Labelled]) -> dict[str, Labelled]:
    """A single split as those that its column `split` names, where all of its values are words for splits.

    Held-out rows are told by it, so they never enter train. Where there is no column that speaks of held-out rows,
    nothing changes. Raises DataError where one does, but in another way.
    """
    only = next(iter(splits.values()))
    if len(splits) != 1 or not isinstance(only, Columns):
        return splits
    words = _words(only)
    if words is None:
        return splits
    named = np.array(words)
    return {name: _rows(only, np.flatnonzero(named == name)) for name in sorted(set(words))}


def _words(columns: Columns) -> list[str] | None:
    """The split of each row; None where nothing says that some are held out."""
    for name in dict.fromkeys((*columns.table.column_names, *columns.beside)):
        if name in (columns.input, columns.label) or not (different := _different(columns, name)):
            continue
        words = [whole(value) if isinstance(value, str) else None for value in different]
        if name == COLUMN and None not in words and set(words) & set(HELD_OUT):
            return [str(whole(value)) for value in _values(columns, name)]
        if _speaks_of_splits(name, different):
            values = ", ".join(sorted(repr(value) for value in different)[:3])
            raise DataError(
                f"split: the column {name!r} ({values}) may say which rows are held out, but not as train and test in "
                f"a column {COLUMN!r}; write it so, leave these rows out, or pass --split {ALL} to prune all rows"
            )
    return None


def _speaks_of_splits(name: str, different: Sequence[Any]) -> bool:
    """Does a column with these values say that some rows are held out?"""
    given = [value for value in different if value is not None]
    if all(isinstance(value, (bool, int)) and value in (0, 1) for value in given):
        word = whole(name.lower().removeprefix("is_").removeprefix("in_"))
        return word is not None and any(bool(value) == (word in HELD_OUT) for value in given)
    texts = [value for value in given if isinstance(value, str)]
    if name.lower() in _CALLED:
        return any(word in HELD_OUT for value in texts for word in within(value))
    words = {whole(value) for value in texts}  # elsewhere, such a word inside a longer text says nothing
    return None not in words and "train" in words and bool(words & set(HELD_OUT))


def _different(columns: Columns, name: str) -> list[Any]:
    """The different values of a column of text or of yes and no; none of other columns, and where there are many."""
    from datasets import ClassLabel, Value

    if name in columns.beside:
        return _few(columns.beside[name])
    feature = columns.table.features[name]
    kinds = ("string", "large_string", "binary", "large_binary", "bool", "int", "uint")
    if not isinstance(feature, (ClassLabel, Value)) or not str(feature.dtype).startswith(kinds):
        return []
    found: set[Any] = set()
    table = columns.table.select_columns([name])
    for start in range(0, len(table), _BLOCK):
        found |= set(table[start : start + _BLOCK][name])
        if len(found) > _MOST:
            return []
    return _few([_text(value, feature) for value in found])


_BLOCK = 1 << 16


def _few(values: Sequence[Any]) -> list[Any]:
    different = {_plain(value) for value in values if value is None or isinstance(value, (str, bytes, bool, int))}
    return list(different) if len(different) <= _MOST else []


def _values(columns: Columns, name: str) -> list[Any]:
    if name in columns.beside:
        return [_plain(value) for value in columns.beside[name]]
    feature = columns.table.features[name]
    return [_plain(_text(value, feature)) for value in columns.table.select_columns([name])[:][name]]


def _text(value: Any, feature: Any) -> Any:
    """A value, with its name in place of a ClassLabel's number."""
    names = getattr(feature, "names", None)
    return value if names is None or value is None else names[value] if 0 <= value < len(names) else None


def _plain(value: Any) -> Any:
    value = value.decode(errors="replace") if isinstance(value, bytes) else value
    return value.strip() if isinstance(value, str) else value


def _rows(columns: Columns, at: np.ndarray) -> Columns:
    beside: Mapping[str, list[Any]] = {name: [values[i] for i in at] for name, values in columns.beside.items()}
    return replace(columns, table=columns.table.select(at), beside=beside)
