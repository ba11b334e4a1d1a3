"""Embeddings made before: a vector an example, from a .npy or a parquet file, checked and read in parts."""

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from secateur.errors import DataError, reason, refused

_UNDERSTOOD = (
    "expected FILE.npy of floats of shape (examples, dims), or FILE.parquet with a column `embedding` of lists of "
    "floats (FILE.parquet:COLUMN names another) and, where the rows are not in the order of the data, a column `id`"
)
_BATCH = 4096
"""Rows of a parquet file at a time."""
_BLOCK = 1 << 23
"""Numbers that are checked at a time."""


@dataclass(frozen=True)
class Embeddings:
    """A vector for every example, in the order of the data; on disk until it is asked for.

    digest: of the numbers as float32 in the order of the data, whatever the file they came from.
    """

    digest: str
    _values: np.ndarray = field(repr=False)  # (examples, dims), memory-mapped

    def __len__(self) -> int:
        return len(self._values)

    @property
    def dims(self) -> int:
        """The length of each vector."""
        return int(self._values.shape[1])

    def rows(self, part: slice | np.ndarray) -> np.ndarray:
        """The vectors of a slice of the examples, or of some ids, as float32 (rows, dims)."""
        return np.array(_float32(self._values[part]))


def read_embeddings(spec: str | Path, *, examples: int, ids: np.ndarray | None = None) -> Embeddings:
    """Open a file of embeddings and read it through once, a part at a time.

    spec: `FILE.npy` with an array (examples, dims), or `FILE.parquet`, with lists of floats in a column `embedding`, or
    in the one that `FILE.parquet:COLUMN` names. Rows are in the order of the data, unless the parquet file says in a
    column `id` which example each is of; parquet is copied in that order to a temporary file (where TMPDIR says), which
    goes with the result. float16 and float64 are read as float32. ids: the examples that must have an embedding, all by
    default; of the others (rows that cannot be read) it may be nan, or missing where there is a column `id`.

    Raises DataError, naming the first example, unless each has one embedding, all of one width and finite.
    """
    path, column = _parts(str(spec))
    if not path.is_file():
        raise DataError(f"embeddings: no file {path}; {_UNDERSTOOD}")
    must = np.ones(examples, dtype=bool) if ids is None else np.isin(np.arange(examples), ids)
    if path.suffix == ".npy":
        values = _npy(path, examples)
    elif path.suffix == ".parquet":
        values = _parquet(path, column or "embedding", must)
    else:
        raise DataError(f"embeddings: {path} is no file of embeddings; {_UNDERSTOOD}")
    return Embeddings(_checked(values, must, path), values)


def _parts(spec: str) -> tuple[Path, str | None]:
    """The file and, after a colon, the column."""
    named = re.fullmatch(r"(.+\.parquet):([^/]+)", spec)
    if named is None or Path(spec).is_file():
        return Path(spec).expanduser(), None
    return Path(named[1]).expanduser(), named[2]


def _npy(path: Path, examples: int) -> np.ndarray:
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(values, np.ndarray):
            raise ValueError("several arrays in one file")
    except Exception as error:
        told = DataError(f"embeddings: {path} is not a complete .npy file of numbers ({reason(error)})")
        raise refused(error, f"embeddings: reading {path}") or told from None
    if values.ndim != 2 or values.dtype.kind != "f" or values.shape[1] == 0:
        raise DataError(f"embeddings: {path} holds {values.dtype} of shape {values.shape}; {_UNDERSTOOD}")
    _check_count(path, len(values), examples)
    return values


def _check_count(path: Path, rows: int, examples: int) -> None:
    if rows != examples:
        raise DataError(
            f"embeddings: {path} has {rows} rows, but the data have {examples} examples (unreadable ones count too); "
            f"give one row an example in the order of the data, or a parquet file with a column `id`"
        )


def _parquet(path: Path, column: str, must: np.ndarray) -> np.ndarray:
    """The embeddings in the order of the data, in a temporary file that goes when they go."""
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        _check_column(path, file.schema_arrow, column)
        places = _places(path, file, must)
        return _copy(path, file, column, places, len(must))
    except DataError:
        raise
    except Exception as error:
        told = DataError(f"embeddings: {path} could not be read as parquet, or copied ({reason(error)})")
        raise refused(error, f"embeddings: reading {path}") or told from None


def _check_column(path: Path, schema: Any, column: str) -> None:
    """Does the column hold lists of floats?"""
    from pyarrow import types

    if column not in schema.names:
        raise DataError(
            f"embeddings: {path} has the columns {', '.join(schema.names)}, but no {column!r}; name the one of "
            f"embeddings, as {path}:COLUMN"
        )
    kind = schema.field(column).type
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    if not lists or not types.is_floating(kind.value_type):
        raise DataError(f"embeddings: column {column!r} of {path} holds {kind}; {_UNDERSTOOD}")


def _places(path: Path, file: Any, must: np.ndarray) -> np.ndarray:
    """The example of each row: from the column `id`, or in order."""
    from pyarrow import types

    if "id" not in file.schema_arrow.names:
        _check_count(path, file.metadata.num_rows, len(must))
        return np.arange(len(must))
    column = file.read(columns=["id"])["id"]
    if not types.is_integer(column.type) or column.null_count:
        held = f"{column.type}, {column.null_count} of them null" if column.null_count else column.type
        raise DataError(f"embeddings: column id of {path} must number the examples from 0, but holds {held}")
    ids = column.to_numpy()
    out = "; number the examples from 0, or leave the column out where the rows are in the order of the data"
    if (strange := np.flatnonzero((ids < 0) | (ids >= len(must)))).size:
        row = strange[0]
        raise DataError(f"embeddings: {path} has id {ids[row]} at row {row}, but ids go to {len(must) - 1}{out}")
    ids = ids.astype(np.int64)
    times = np.bincount(ids, minlength=len(must))
    if (twice := np.flatnonzero(times > 1)).size:
        raise DataError(f"embeddings: {path} has {times[twice[0]]} rows of id {twice[0]}, expected one{out}")
    if (missing := np.flatnonzero((times == 0) & must)).size:
        more = f", nor have {len(missing) - 1} others" if len(missing) > 1 else ""
        raise DataError(
            f"embeddings: {path} has {len(ids)} rows for {len(must)} examples: example {missing[0]} has none{more}{out}"
        )
    return ids


def _copy(path: Path, file: Any, column: str, places: np.ndarray, examples: int) -> np.ndarray:
    half = str(file.schema_arrow.field(column).type.value_type) == "halffloat"
    values, start = None, 0
    for batch in file.iter_batches(batch_size=_BATCH, columns=[column]):
        rows = _matrix(batch.column(0), None if values is None else values.shape[1], f"{path} row", start)
        if values is None:
            values = _on_disk((examples, rows.shape[1]), np.dtype(np.float16 if half else np.float32))
            if len(places) < examples:
                values[:] = np.nan
        values[places[start : start + len(rows)]] = _float32(rows)
        start += len(rows)
    if values is None:
        raise DataError(f"embeddings: {path} has no rows")
    return values


def _on_disk(shape: tuple[int, int], kind: np.dtype) -> np.ndarray:
    """A new array in a temporary file, with room made for it: on a full disk, writing to the map would kill us."""
    with tempfile.TemporaryFile() as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, shape[0] * shape[1] * kind.itemsize)
        return np.memmap(file, dtype=kind, mode="w+", shape=shape)


def _matrix(column: Any, dims: int | None, where: str, start: int) -> np.ndarray:
    """One batch of lists as (rows, dims)."""
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    dims = int(lengths[0]) if dims is None else dims
    if (odd := np.flatnonzero(lengths != max(dims, 1))).size:
        raise DataError(
            f"embeddings: {where} {start + odd[0]} holds {lengths[odd[0]]} numbers"
            + (f", but the rows before hold {dims}; all must have one width" if dims else ": no embedding")
        )
    return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), dims)


def _checked(values: np.ndarray, must: np.ndarray, path: Path) -> str:
    """The digest of the values; an error where one that counts is not finite."""
    digest = hashlib.blake2b(f"{values.shape} ".encode(), digest_size=16)
    step = max(1, _BLOCK // values.shape[1])
    for start in range(0, len(values), step):
        part = _float32(values[start : start + step])
        bad = ~np.isfinite(part).all(axis=1) & must[start : start + step]
        if bad.any():
            raise DataError(
                f"embeddings: example {start + int(bad.argmax())} in {path} holds nan, inf or a number beyond float32; "
                f"embed it again, or leave the example out of the data"
            )
        digest.update(part.tobytes())
    return digest.hexdigest()


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what is too large becomes inf, and is found
        return np.ascontiguousarray(values, dtype=np.float32)
