"""Assigns rows to splits by a column of the table, or of the metadata beside images."""

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
"""Usual names of split columns, in lower case."""
_MOST = 16
"""A column with more distinct values than this is not a split column."""


def by_split_column(splits: dict[str, Labelled]) -> dict[str, Labelled]:
    """Divide a single split by its column `split`, if all of its values are words for splits.

    So held-out rows never enter train. If no column mentions held-out rows, nothing changes. Raises DataError if one
    seems to, but in a form that is not understood.
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
    """The split of each row, or None if no column says that some rows are held out."""
    for name in dict.fromkeys((*columns.table.column_names, *columns.beside)):
        if name in (columns.input, columns.label) or not (different := _different(columns, name)):
            continue
        words = [whole(value) if isinstance(value, str) else None for value in different]
        if name == COLUMN and None not in words and set(words) & set(HELD_OUT):
            return [str(whole(value)) for value in _values(columns, name)]
        if _speaks_of_splits(name, different):
            values = ", ".join(sorted(repr(value) for value in different)[:3])
            raise DataError(
                f"split: the column {name!r} ({values}) may say which rows are held out, but is not a "
                f"column {COLUMN!r} of train and test; convert it, remove these rows, or pass --split {ALL}"
            )
    return None


def _speaks_of_splits(name: str, different: Sequence[Any]) -> bool:
    """Whether a column with these values seems to say that some rows are held out."""
    given = [value for value in different if value is not None]
    if all(isinstance(value, (bool, int)) and value in (0, 1) for value in given):
        word = whole(name.lower().removeprefix("is_").removeprefix("in_"))
        return word is not None and any(bool(value) == (word in HELD_OUT) for value in given)
    texts = [value for value in given if isinstance(value, str)]
    if name.lower() in _CALLED:
        return any(word in HELD_OUT for value in texts for word in within(value))
    words = {whole(value) for value in texts}  # in other columns, a word inside a longer text proves nothing
    return None not in words and "train" in words and bool(words & set(HELD_OUT))


def _different(columns: Columns, name: str) -> list[Any]:
    """The distinct values of a column of text, integers or booleans; empty for other columns and if there are many."""
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
    """A value, with the class name instead of a ClassLabel's number."""
    names = getattr(feature, "names", None)
    return value if names is None or value is None else names[value] if 0 <= value < len(names) else None


def _plain(value: Any) -> Any:
    value = value.decode(errors="replace") if isinstance(value, bytes) else value
    return value.strip() if isinstance(value, str) else value


def _rows(columns: Columns, at: np.ndarray) -> Columns:
    beside: Mapping[str, list[Any]] = {name: [values[i] for i in at] for name, values in columns.beside.items()}
    return replace(columns, table=columns.table.select(at), beside=beside)
