"""Rows of instruction data: ids, embeddings, and what else is known of how good each is."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from secateur.errors import DataError, SecateurError
from secateur.scale.ids import tell
from secateur.scale.shards import Columns, Survey, Unit, batches, blocks, opened, survey, told, unit_vectors
from secateur.scale.storage import Place

_BATCH = 1024
"""Rows that a function of the user's is given at a time."""


@dataclass(frozen=True)
class Indicator:
    """A number a row: a column, the length of a text, or what a function gives; times a factor."""

    asked: str
    source: str
    factor: float

    @classmethod
    def parse(cls, text: str) -> "Indicator":
        """`clip`, `reward*10`, `length:caption` or `package.module:function*0.5`.

        >>> Indicator.parse("reward*10").factor, Indicator.parse("length:caption").source
        (10.0, 'length:caption')
        """
        source, times, factor = text.strip().partition("*")
        try:
            found = cls(text, source.strip(), float(factor) if times else 1.0)
        except ValueError:
            found = cls(text, "", np.nan)
        if not found.source or not np.isfinite(found.factor) or found.factor == 0:
            raise SecateurError(
                f"indicators: expected a column, length:COLUMN or package.module:function, and perhaps a factor, as "
                f"reward*10; got {text!r}"
            )
        return found

    @property
    def column(self) -> str | None:
        """The column that is read; None for a function, which sees them all."""
        name, colon, rest = self.source.partition(":")
        return self.source if not colon else rest if name == "length" else None

    @property
    def is_length(self) -> bool:
        """Is it the length of a text?"""
        return self.source.startswith("length:")


def length(texts: Sequence[str]) -> Float[np.ndarray, " rows"]:
    """Ten times the characters of each text over those of the longest.

    >>> length(["abcd", "ab"])
    array([10.,  5.])
    """
    counts = np.array([len(text) for text in texts], dtype=float)
    return 10 * counts / max(counts.max(), 1)


@dataclass(frozen=True)
class Examples:
    """All rows in the order of the shards: ids, image and text (rows, dims), text or None, indicators (rows, k)."""

    ids: np.ndarray
    image: np.ndarray
    text: np.ndarray | None
    indicators: np.ndarray

    @property
    def embeddings(self) -> list[np.ndarray]:
        """One or two."""
        return [self.image] if self.text is None else [self.image, self.text]


def read(
    places: Sequence[Place], columns: Columns, text: str | None, indicators: Sequence[Indicator]
) -> tuple[Survey, Examples]:
    """Read everything into memory, as float32. text: the column of the second embedding.

    Raises DataError for shards that do not fit together, ids that are there twice, embeddings of zeros, nan or null,
    and indicators without a finite number, naming the ids.
    """
    found = _survey(places, columns)
    _have(found, indicators)
    ids = np.concatenate([b.ids for u in found.units for b in blocks(u, columns, dims=0, wanted=[columns.id])])
    _once(found, columns, ids)
    image = _vectors(found, columns, ids)
    beside = None
    if text is not None:
        other = Columns(columns.id, text)
        beside = _vectors(_survey(places, other), other, ids)
    values = [one.factor * _values(found, one, ids) for one in indicators]
    return found, Examples(ids, image, beside, np.stack(values, axis=1) if values else np.empty((len(ids), 0)))


def _survey(places: Sequence[Place], columns: Columns) -> Survey:
    return survey(places, columns, unit_rows=1 << 62)  # a unit is a shard


def _have(found: Survey, indicators: Sequence[Indicator]) -> None:
    """Every shard has the columns of the indicators."""
    for unit in found.units:
        names = opened(unit.shard).schema_arrow.names
        for one in indicators:
            if one.column is not None and one.column not in names:
                raise DataError(
                    f"indicators: {unit.shard.url} has no column {one.column!r}, only {', '.join(names)}; name what is "
                    f"there, or package.module:function to have it computed"
                )


def _once(found: Survey, columns: Columns, ids: np.ndarray) -> None:
    """No id is there twice."""
    order = np.argsort(ids, kind="stable")
    if (twice := np.flatnonzero(ids[order][1:] == ids[order][:-1])).size:
        tell(found.units, columns, [(int(order[twice[0]]), int(order[twice[0] + 1]))])


def _vectors(found: Survey, columns: Columns, ids: np.ndarray) -> np.ndarray:
    """Embeddings as stored, none of which is of zeros, nan or null."""
    wanted = [columns.embedding]
    parts = [b.embeddings for u in found.units for b in blocks(u, columns, dims=found.dims, wanted=wanted)]
    rows = np.concatenate(parts).astype(np.float32)
    if (bad := np.flatnonzero(~unit_vectors(rows)[1])).size:
        raise DataError(
            f"shards: the {columns.embedding} of {_named(ids, bad)} is zeros, nan or null; embed them again, or leave "
            f"them out"
        )
    return rows


def _values(found: Survey, one: Indicator, ids: np.ndarray) -> Float[np.ndarray, " rows"]:
    """The indicator of all rows, before its factor."""
    if one.is_length:
        texts = [text for unit in found.units for text in _texts(unit, one)]
        if (bad := np.array([k for k, text in enumerate(texts) if text is None], dtype=int)).size:
            raise DataError(f"indicators: {one.asked} is null for {_named(ids, bad)}; give them a text")
        return length([str(text) for text in texts])
    measure = _column(one.source) if one.column is not None else _function(one)
    names = None if one.column is None else [one.column]
    values = np.concatenate([measure(table) for unit in found.units for table in _tables(unit, names)])
    if (bad := np.flatnonzero(~np.isfinite(values))).size:
        raise DataError(
            f"indicators: {one.asked} has no finite number for {_named(ids, bad)}; fill them in, or leave these "
            f"rows out"
        )
    return values


def _tables(unit: Unit, names: list[str] | None) -> Any:
    """The rows of a shard as Arrow tables."""
    import pyarrow as pa

    file = opened(unit.shard)
    wanted = file.schema_arrow.names if names is None else names
    return (pa.Table.from_batches([b]) for b in batches(unit.shard, file, list(unit.groups), wanted, _BATCH))


def _texts(unit: Unit, one: Indicator) -> list[str | None]:
    from pyarrow import types

    found: list[str | None] = []
    for table in _tables(unit, [str(one.column)]):
        kind = table.column(0).type
        if not (types.is_string(kind) or types.is_large_string(kind)):
            raise DataError(f"indicators: column {one.column!r} of {unit.shard.url} holds {kind}; expected texts")
        found += table.column(0).to_pylist()
    return found


def _column(name: str) -> Callable[[Any], np.ndarray]:
    """Reads numbers, nan where they are null."""
    from pyarrow import types

    def numbers(table: Any) -> np.ndarray:
        kind = table.column(0).type
        if not (types.is_floating(kind) or types.is_integer(kind)):
            raise DataError(f"indicators: column {name!r} holds {kind}; expected numbers, or a text as length:{name}")
        return table.column(0).cast("float64", safe=False).to_numpy().astype(float)

    return numbers


def _function(one: Indicator) -> Callable[[Any], np.ndarray]:
    """Asks a function of the user's, which takes an Arrow table of all columns, for a number a row."""
    module, _, name = one.source.partition(":")
    try:
        measure = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SecateurError(f"indicators: {one.source} cannot be imported ({error})") from None

    def numbers(table: Any) -> np.ndarray:
        values = np.asarray(measure(table))
        if values.shape != (len(table),) or values.dtype.kind not in "fiub":
            raise SecateurError(
                f"indicators: {one.source} must give a number a row, ({len(table)},), got {values.dtype} of shape "
                f"{values.shape}"
            )
        return values.astype(float)

    return numbers


def _named(ids: np.ndarray, rows: np.ndarray) -> str:
    """Some ids, for a message."""
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"id {', '.join(told(one) for one in ids[rows[:5]])}{more}"
