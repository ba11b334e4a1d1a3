"""What the user holds fixed in every selection: floors, and files of ids that stay or go."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from secateur.errors import SecateurError
from secateur.select.limits import Limits


def read_limits(min_per_class: int | None, must_keep: Any, exclude: Any, examples: int) -> Limits:
    """Limits from counts and ids, or files of ids: text or CSV with an id first on each line, .npy, or .parquet."""
    must, out = _read_ids(must_keep, "must_keep", examples), _read_ids(exclude, "exclude", examples)
    return Limits(min_per_class, must, out)


def _read_ids(given: Any, argument: str, examples: int) -> tuple[int, ...]:
    if given is None:
        return ()
    values = _ids_in_file(Path(given), argument) if isinstance(given, (str, Path)) else np.asarray(given)
    if values.size == 0:
        return ()
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise SecateurError(f"{argument}: expected whole numbers, got {values.dtype} of shape {values.shape}")
    if values.min() < 0 or values.max() >= examples:
        wrong = values[(values < 0) | (values >= examples)][0]
        raise SecateurError(f"{argument}: expected ids from 0 to {examples - 1}, got {wrong}")
    return tuple(sorted({int(v) for v in values}))


def _ids_in_file(path: Path, argument: str) -> np.ndarray:
    if not path.is_file():
        raise SecateurError(f"{argument}: no file {path}")
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return pq.read_table(path, columns=["id"])["id"].to_numpy()
    lines: Sequence[str] = [line.split(",")[0].strip() for line in path.read_text().splitlines()]
    if lines and not lines[0].isdecimal():
        lines = lines[1:]  # a header
    if odd := [line for line in lines if line and not line.isdecimal()]:
        raise SecateurError(f"{argument}: expected one id a line in {path}, got {odd[0]!r}")
    return np.array([int(line) for line in lines if line], dtype=np.int64)
