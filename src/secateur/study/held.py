"""The user's constraints on every selection: class floors, and files of ids to keep or leave out."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from secateur.errors import SecateurError, reason, refused
from secateur.select.limits import Limits
from secateur.untrusted import read_regular

_UNDERSTOOD = (
    "expected whole numbers, one per example: a text or CSV file with an id first on each line, .npy of one axis, or "
    ".parquet with a column `id`"
)
_LARGEST = 1 << 30
"""The largest text file of ids, in bytes."""


def read_limits(min_per_class: int | None, must_keep: Any, exclude: Any, examples: int) -> Limits:
    """Limits from counts and ids, or files of ids: text or CSV with an id first on each line, .npy, or .parquet.

    A repeated id counts once. Raises SecateurError, naming the file, for anything that is not a list of ids of
    the data: fractions, masks, several axes, a file without ids, a truncated file.
    """
    must, out = _read_ids(must_keep, "must_keep", examples), _read_ids(exclude, "exclude", examples)
    return Limits(min_per_class, must, out)


def _read_ids(given: Any, argument: str, examples: int) -> tuple[int, ...]:
    if given is None:
        return ()
    where = argument
    if isinstance(given, (str, Path)):
        where = f"{argument}: {given}"
        values = _ids_in_file(Path(given), argument, examples)
        if not values.size and values.ndim == 1:
            raise SecateurError(f"{where} contains no ids; give a file that does, or leave the option out")
    else:
        values = _array(given, argument)
    if values.size == 0 and values.ndim == 1:
        return ()
    if values.dtype.kind == "b":
        raise SecateurError(f"{where}: expected ids, got a mask; np.flatnonzero(mask) converts it to ids")
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise SecateurError(f"{where}: expected whole numbers, got {values.dtype} of shape {values.shape}")
    if values.min() < 0 or values.max() >= examples:
        wrong = values[(values < 0) | (values >= examples)][0]
        raise SecateurError(f"{where}: expected ids from 0 to {examples - 1}, got {wrong}")
    return tuple(np.unique(values).tolist())


def _array(given: Any, argument: str) -> np.ndarray:
    try:
        return np.asarray(given)
    except (ValueError, TypeError) as error:
        raise SecateurError(f"{argument}: expected ids, one axis of whole numbers ({reason(error)})") from None


def _ids_in_file(path: Path, argument: str, examples: int) -> np.ndarray:
    if not path.exists():
        raise SecateurError(f"{argument}: no file {path}")
    try:
        if path.suffix in (".npy", ".parquet") and path.is_file():
            return _numpy(path) if path.suffix == ".npy" else _parquet(path, examples)
        return _text(path, read_regular(path, limit=_LARGEST))
    except SecateurError as error:
        raise SecateurError(f"{argument}: {error}") from None
    except Exception as error:
        told = SecateurError(f"{argument}: {path} could not be read as ids ({reason(error)}); {_UNDERSTOOD}")
        raise refused(error, f"{argument}: reading {path}") or told from None


def _numpy(path: Path) -> np.ndarray:
    found = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped, so that a false size in the header fails
    if not isinstance(found, np.ndarray):
        raise ValueError("it contains several arrays")
    return found


def _parquet(path: Path, examples: int) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        if "id" not in file.schema_arrow.names:
            raise ValueError(f"its columns are {', '.join(file.schema_arrow.names)}")
        kind = file.schema_arrow.field("id").type
        if not pa.types.is_integer(kind):
            raise ValueError(f"column id holds {kind}")
        if file.metadata.num_rows > 10 * examples:
            raise ValueError(f"it has {file.metadata.num_rows} rows, but the data have {examples} examples")
        column = file.read(columns=["id"])["id"]
    if column.null_count:
        raise ValueError(f"{column.null_count} ids are null")
    return column.to_numpy()


def _text(path: Path, content: bytes) -> np.ndarray:
    """The first number on each line; the first line may name the column."""
    lines = [line.split(",")[0].strip() for line in content.decode("utf-8-sig").splitlines()]
    if lines and re.fullmatch(r"[A-Za-z_][\w .-]*", lines[0]):
        lines = lines[1:]  # a header
    if odd := [line for line in lines if line and not (line.isdecimal() and len(line) <= 18)]:
        raise SecateurError(f"expected one id per line in {path}, got {odd[0][:40]!r}")
    return np.array([int(line) for line in lines if line], dtype=np.int64)
