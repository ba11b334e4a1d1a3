"""Embedding shards: parquet with a column of ids and one of vectors of one width, and perhaps scores."""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from secateur.errors import DataError, reason, refused
from secateur.scale.storage import Place

_SHORT = 1e-15
_BATCH = 8192
"""Rows that are decoded at a time."""
_READERS = 16
"""Shards that are looked at together."""


@dataclass(frozen=True)
class Columns:
    """What is read of a shard."""

    id: str = "id"
    embedding: str = "embedding"
    scores: tuple[str, ...] = ()


@dataclass(frozen=True)
class Unit:
    """Rows of one shard that a task reads: of these row groups, the first `skip` rows left out, the next `rows`."""

    shard: Place
    groups: tuple[int, ...]
    skip: int
    rows: int
    start: int  # the number of its first row, counted over all shards


@dataclass(frozen=True)
class Survey:
    """All shards: what they hold, and how they are dealt out."""

    shards: tuple[Place, ...]
    rows: int
    dims: int
    kind: str  # of the ids: int64 or string
    units: tuple[Unit, ...]
    empty: tuple[Place, ...]
    fingerprint: str


@dataclass(frozen=True)
class Block:
    """Rows of a unit, in its order: ids (rows,), embeddings (rows, dims) as stored, scores by name (rows,)."""

    ids: np.ndarray
    embeddings: np.ndarray
    scores: dict[str, np.ndarray] = field(default_factory=dict)


def survey(shards: Sequence[Place], columns: Columns, *, unit_rows: int) -> Survey:
    """Read the footers of all shards, check that they agree, and deal their rows out in units of about `unit_rows`.

    Raises DataError where a shard is no whole parquet file, lacks a column, or has other types or another width.
    """
    digest, units, empty, rows = hashlib.sha256(), [], [], 0
    first: _Looks | None = None
    with ThreadPoolExecutor(_READERS) as pool:  # footers of distant files are waited for together
        looks = list(pool.map(lambda shard: _look(shard, columns), shards))
    for look in looks:
        digest.update(f"{look.shard.name} {sum(look.groups)} {look.footer}".encode())
        if not sum(look.groups):
            empty.append(look.shard)
            continue
        first = _agree(first, look)
        units += list(_deal(look, rows, unit_rows))
        rows += sum(look.groups)
    if first is None:
        raise DataError(f"shards: none of the {len(shards)} has a row")
    if not first.width:
        raise DataError(f"shards: none of the {len(shards)} has an embedding, all are null; embed them again")
    return Survey(tuple(shards), rows, first.width, first.ids, tuple(units), tuple(empty), digest.hexdigest()[:32])


@dataclass(frozen=True)
class _Looks:
    """What a survey wants to know of a shard."""

    shard: Place
    groups: tuple[int, ...]  # rows of each row group
    footer: str
    ids: str = ""
    numbers: str = ""  # type of those in the embeddings
    width: int = 0  # 0 where there is no embedding


def _look(shard: Place, columns: Columns) -> _Looks:
    file = opened(shard)
    groups = tuple(file.metadata.row_group(g).num_rows for g in range(file.metadata.num_row_groups))
    if not sum(groups):  # its types may be those of no values
        return _Looks(shard, groups, footer(file))
    kinds = _kinds(shard, file.schema_arrow, columns)
    return _Looks(shard, groups, footer(file), *kinds, _width(shard, file, columns))


def opened(shard: Place) -> Any:
    """A parquet file, of which nothing is read ahead."""
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(shard.open(), pre_buffer=False, buffer_size=1 << 20)
    except Exception as error:
        raise refused(error, f"shards: reading {shard.url}") or DataError(
            f"shards: {shard.url} is no whole parquet file ({reason(error)}); write it again, or leave it out"
        ) from None


def footer(file: Any) -> str:
    """What tells two files of the same length apart without reading them: where their columns lie, and their bounds."""
    about = file.metadata
    chunks = [about.row_group(g).column(c) for g in range(about.num_row_groups) for c in range(about.num_columns)]
    bounds = [(c.statistics.min, c.statistics.max) if c.statistics and c.statistics.has_min_max else () for c in chunks]
    return str([(c.data_page_offset, c.total_compressed_size, b) for c, b in zip(chunks, bounds, strict=True)])


def _kinds(shard: Place, schema: Any, columns: Columns) -> tuple[str, str]:
    """The type of the ids and of the numbers in the embeddings."""
    from pyarrow import types

    for name in (columns.id, columns.embedding, *columns.scores):
        if name not in schema.names:
            raise DataError(
                f"shards: {shard.url} has no column {name!r}, only {', '.join(schema.names)}; name the columns with "
                f"--id and --embedding, and the one to filter by with --score"
            )
    ids, lists = schema.field(columns.id).type, schema.field(columns.embedding).type
    if not (types.is_integer(ids) or types.is_string(ids) or types.is_large_string(ids)):
        raise DataError(f"shards: column {columns.id!r} of {shard.url} holds {ids}; expected whole numbers or strings")
    is_list = types.is_list(lists) or types.is_large_list(lists) or types.is_fixed_size_list(lists)
    if not is_list or not types.is_floating(lists.value_type):
        raise DataError(f"shards: column {columns.embedding!r} of {shard.url} holds {lists}; expected lists of floats")
    for name in columns.scores:
        kind = schema.field(name).type
        if not (types.is_floating(kind) or types.is_integer(kind)):
            raise DataError(f"shards: column {name!r} of {shard.url} holds {kind}; expected numbers to filter by")
    return "int64" if types.is_integer(ids) else "string", str(lists.value_type)


def _width(shard: Place, file: Any, columns: Columns) -> int:
    """The width of the first embedding that has one; 0 where none has."""
    import pyarrow.compute as pc

    for batch in batches(shard, file, None, [columns.embedding], size=64):
        widths = pc.list_value_length(batch.column(0).drop_null()).to_numpy(zero_copy_only=False)
        if (widths > 0).any():
            return int(widths[widths > 0][0])
    return 0


def _agree(first: _Looks | None, found: _Looks) -> _Looks:
    """The shard that the next ones must agree with: the first, or the first that has an embedding."""
    if first is None:
        return found
    pairs = {"ids": (first.ids, found.ids), "embeddings": (first.numbers, found.numbers)}
    if first.width and found.width:
        pairs["dimensions"] = (str(first.width), str(found.width))
    for what, (one, other) in pairs.items():
        if one != other:
            raise DataError(
                f"shards: {found.shard.url} has {what} of {other}, but {first.shard.url} of {one}; all shards must "
                f"agree: write one of them again, or give them apart"
            )
    return first if first.width else found


def _deal(look: _Looks, start: int, unit_rows: int) -> Iterator[Unit]:
    """Whole row groups together up to `unit_rows`; a row group of more is dealt out in parts."""
    sizes, group = look.groups, 0
    while group < len(sizes):
        taken, rows = [group], sizes[group]
        while group + len(taken) < len(sizes) and rows + sizes[group + len(taken)] <= unit_rows:
            taken.append(group + len(taken))
            rows += sizes[taken[-1]]
        for skip in range(0, rows, unit_rows):
            part = min(unit_rows, rows - skip)
            yield Unit(look.shard, tuple(taken), skip, part, start + skip)
        start += rows
        group += len(taken)


def batches(shard: Place, file: Any, groups: Sequence[int] | None, names: list[str], size: int) -> Iterator[Any]:
    """Some columns of some row groups, `size` rows at a time. Raises DataError where the file is damaged."""
    try:
        yield from file.iter_batches(batch_size=size, row_groups=groups, columns=names, use_threads=False)
    except Exception as error:
        raise refused(error, f"shards: reading {shard.url}") or DataError(
            f"shards: {shard.url} is damaged ({reason(error)}); write it again, or leave it out"
        ) from None


def blocks(unit: Unit, columns: Columns, *, dims: int, wanted: Sequence[str] | None = None) -> Iterator[Block]:
    """The rows of a unit, some thousands at a time. wanted: of the columns, these alone."""
    names = list(wanted) if wanted is not None else [columns.id, columns.embedding, *columns.scores]
    file, at = opened(unit.shard), 0
    for batch in batches(unit.shard, file, list(unit.groups), names, _BATCH):
        low, high = max(0, unit.skip - at), min(len(batch), unit.skip + unit.rows - at)
        at += len(batch)
        if low >= high:
            if at >= unit.skip + unit.rows:
                return
            continue
        part = batch.slice(low, high - low)
        row = at - len(batch) + low
        yield Block(
            _ids(part, columns, unit, row) if columns.id in names else np.empty(0, dtype=np.int64),
            _vectors(part, columns, unit, dims, row) if columns.embedding in names else np.empty((0, dims)),
            {n: _numbers(part.column(n)) for n in columns.scores if n in names},
        )


def _ids(batch: Any, columns: Columns, unit: Unit, row: int) -> np.ndarray:
    """Whole numbers as int64, strings as their bytes."""
    from pyarrow import types

    column = batch.column(columns.id)
    if column.null_count:
        bad = row + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        raise DataError(f"shards: row {bad} of {unit.shard.url} has no id; give each row one")
    if types.is_integer(column.type):
        found = column.to_numpy(zero_copy_only=False)
        if len(found) and found.max() > np.iinfo(np.int64).max:
            raise DataError(
                f"shards: {unit.shard.url}: id {found.max()} is above {np.iinfo(np.int64).max}; write ids as strings"
            )
        return found.astype(np.int64)
    return np.array([text.encode() for text in column.to_pylist()], dtype=np.bytes_)


def _vectors(batch: Any, columns: Columns, unit: Unit, dims: int, row: int) -> np.ndarray:
    """(rows, dims); a row that is null is all nan."""
    import pyarrow.compute as pc

    column = batch.column(columns.embedding)
    lengths = pc.fill_null(pc.list_value_length(column), -1).to_numpy(zero_copy_only=False)
    if (odd := np.flatnonzero((lengths != dims) & (lengths >= 0))).size:
        raise DataError(
            f"shards: row {row + odd[0]} of {unit.shard.url} has an embedding of {lengths[odd[0]]} numbers, but the "
            f"first shard's have {dims}; all must have one width"
        )
    values = column.drop_null().flatten()
    flat = values.to_numpy(zero_copy_only=values.null_count == 0).reshape(-1, dims)
    if len(flat) == len(column):
        return flat
    out = np.full((len(column), dims), np.nan, dtype=flat.dtype)
    out[lengths >= 0] = flat
    return out


def _numbers(column: Any) -> np.ndarray:
    """Floats as they are, whole numbers as float64 (rows,); nan where null."""
    from pyarrow import types

    floats = column if types.is_floating(column.type) else column.cast("float64", safe=False)
    return floats.to_numpy(zero_copy_only=False)


def unit_vectors(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows brought to length 1, float32, and whether each could be: not of zeros, nan or inf; those are zeros.

    >>> unit_vectors(np.array([[3., 4.], [0., 0.]]))
    (array([[0.6, 0.8],
           [0. , 0. ]], dtype=float32), array([ True, False]))
    """
    with np.errstate(over="ignore"):
        values = rows.astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", values, values)).astype(float)
    odd = np.flatnonzero(~((lengths > _SHORT) & (lengths < 1 / _SHORT)))
    if len(odd):  # float32 does not hold their squares
        lengths[odd] = np.sqrt(np.square(values[odd].astype(float)).sum(axis=1))
    good = np.isfinite(lengths) & (lengths > 0)
    if not good.all():
        values[~good], lengths[~good] = 0, 1
    values /= lengths.astype(np.float32)[:, None]
    return values, good


def told(one: Any) -> str:
    """An id as people write it."""
    return one.decode() if isinstance(one, bytes) else str(one)
