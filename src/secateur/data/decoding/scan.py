"""One pass over a split before anything is trained: its shape, its broken rows, its fingerprint, and its pixels."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from secateur.data.decoding.rows import Rows
from secateur.errors import DataError

_BLOCK = 1024


@dataclass(frozen=True)
class Scan:
    """What the pass found."""

    shape: tuple[int, ...]  # (height, width, channels) or (dims,)
    values: np.ndarray | None  # all rows, zeros where unreadable; None where they must be streamed
    bad: dict[int, str]
    digest: str


def scan(
    rows: Rows,
    *,
    name: str,
    memory: int,
    decode_all: bool,
    shape: tuple[int, ...] | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Scan:
    """Read every row once, in order.

    memory: bytes that the decoded rows may take; above, they are not kept. decode_all: decode also the rows that are
    not kept, to find the broken ones. shape: what the rows must have; by default what the first one has. Raises
    DataError where shapes differ.
    """
    first = _first_value(rows, name)
    try:
        return _scan(rows, shape or first.shape, first.dtype, name, memory, decode_all, progress)
    except _ColourFound as found:
        if shape is not None:
            raise Misfit(f"{found}: a colour image, but the images of the train split are grey") from None
        return _scan(rows, (*first.shape[:2], 3), first.dtype, name, memory, decode_all, progress)


def _scan(
    rows: Rows,
    shape: tuple[int, ...],
    dtype: np.dtype,
    name: str,
    memory: int,
    decode_all: bool,
    progress: Callable[[int], None],
) -> Scan:
    keep = len(rows) * int(np.prod(shape)) * dtype.itemsize <= memory
    values = np.zeros((len(rows), *shape), dtype) if keep else None
    digest, bad = hashlib.blake2b(digest_size=16), dict[int, str]()
    for start in range(0, len(rows), _BLOCK):
        ids = range(start, min(start + _BLOCK, len(rows)))
        for i, raw in zip(ids, rows.raw(ids), strict=True):
            try:
                encoded = rows.digestible(raw)
                digest.update(len(encoded).to_bytes(8, "little") + encoded)
                if keep or decode_all:
                    value = fitted(rows.value(raw), shape, f"{name} row {i}")
                    if values is not None:
                        values[i] = value
            except (Misfit, _ColourFound):
                raise
            except DataError as error:
                digest.update(b"bad")
                bad[i] = str(error)
        progress(ids[-1] + 1)
    return Scan(shape, values, bad, digest.hexdigest())


class Misfit(DataError):
    """A readable row of another shape than the others, which no option skips."""


class _ColourFound(Exception):
    """An RGB image among grey ones."""


def fitted(value: np.ndarray, shape: tuple[int, ...], where: str) -> np.ndarray:
    """One row in the shape of its split: grey among colour images is repeated over the channels."""
    if value.shape == shape:
        return value
    if len(shape) == 3 == value.ndim and value.shape[:2] == shape[:2]:
        if shape[2] == 1:
            raise _ColourFound(where)
        return np.repeat(value, shape[2], axis=2)
    if len(shape) == 3 == value.ndim:
        raise Misfit(
            f"{where}: image of {value.shape[1]}x{value.shape[0]} pixels, but others have {shape[1]}x{shape[0]}; "
            f"pass a size (--size {min(shape[:2])}) to bring all to one"
        )
    raise Misfit(f"{where}: expected a value of shape {shape}, as in the rows before, got {value.shape}")


def _first_value(rows: Rows, name: str) -> np.ndarray:
    first: DataError | None = None
    for i in range(len(rows)):
        try:
            return rows.value(rows.raw([i])[0])
        except DataError as error:
            first = first or error
    raise DataError(f"{name}: none of the {len(rows)} rows can be read; row 0: {first}")
