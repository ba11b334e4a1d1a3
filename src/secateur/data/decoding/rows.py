"""Readers of raw rows, one a form of input: picklable, so that worker processes can read too."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from secateur.data.decoding.images import decode, encoded_bytes, image_file
from secateur.data.decoding.pixels import as_array, vector
from secateur.errors import DataError, reason


@runtime_checkable
class Rows(Protocol):
    """Reads rows of one split by number."""

    def __len__(self) -> int: ...

    def raw(self, ids: Sequence[int]) -> list[Any]:
        """The rows as they are stored; what the fingerprint reads."""

    def digestible(self, raw: Any) -> bytes:
        """One raw row as bytes."""

    def value(self, raw: Any) -> np.ndarray:
        """One raw row as pixels (height, width, channels) uint8 or a vector (dims,) float32."""


@dataclass(frozen=True)
class ImageRows:
    """Encoded images in a column of a Hugging Face data set.

    homes: the folders that a cell may name a file in; None for any.
    """

    table: Any  # datasets.Dataset of that column alone, undecoded
    column: str
    size: int | None = None
    homes: tuple[Path, ...] | None = None

    def __len__(self) -> int:
        return len(self.table)

    def raw(self, ids: Sequence[int]) -> list[Any]:
        return list(self.table[_index(ids)][self.column])

    def digestible(self, raw: Any) -> bytes:
        return encoded_bytes(raw, self.homes)

    def value(self, raw: Any) -> np.ndarray:
        return decode(encoded_bytes(raw, self.homes), size=self.size)

    def file(self, i: int) -> str | None:
        """The name of the file that image i lies in, where it lies in one."""
        path = self.path(i)
        return None if path is None else path.name

    def path(self, i: int) -> Path | None:
        """The file that image i lies in, where it lies in one."""
        cell = self.raw([i])[0]
        if cell is None or not cell["path"]:
            return None
        return Path(cell["path"]) if cell["bytes"] is not None else image_file(cell, self.homes)


@dataclass(frozen=True)
class VectorRows:
    """Lists of numbers in a column of a Hugging Face data set."""

    table: Any
    column: str

    def __len__(self) -> int:
        return len(self.table)

    def raw(self, ids: Sequence[int]) -> list[Any]:
        return list(self.table[_index(ids)][self.column])

    def digestible(self, raw: Any) -> bytes:
        return b"" if raw is None else np.asarray(raw, dtype=np.float64).tobytes()

    def value(self, raw: Any) -> np.ndarray:
        return vector(raw)


@dataclass(frozen=True)
class ArrayRows:
    """Rows of an array in memory: images (examples, height, width, channels) uint8 or vectors (examples, dims)."""

    array: np.ndarray

    def __len__(self) -> int:
        return len(self.array)

    def raw(self, ids: Sequence[int]) -> list[Any]:
        return list(self.array[np.asarray(ids)])

    def digestible(self, raw: Any) -> bytes:
        return np.ascontiguousarray(raw).tobytes()

    def value(self, raw: Any) -> np.ndarray:
        return vector(raw) if raw.ndim == 1 else np.asarray(raw)


@dataclass(frozen=True)
class DatasetRows:
    """Items of a map-style torch Dataset: (input, label) pairs, dicts with an input key, or, without key, inputs."""

    dataset: Any
    key: int | str | None

    def __len__(self) -> int:
        return len(self.dataset)

    def raw(self, ids: Sequence[int]) -> list[Any]:
        return [self._read(int(i)) for i in ids]

    def digestible(self, raw: Any) -> bytes:
        return np.ascontiguousarray(self.value(raw)).tobytes()

    def value(self, raw: Any) -> np.ndarray:
        if isinstance(raw, DataError):
            raise raw
        return np.asarray(raw)

    def _read(self, i: int) -> Any:
        """The input of item i, or the error it raised, so that one bad item does not hide the others."""
        try:
            return as_array(input_of(self.dataset, i, self.key))
        except DataError as error:
            return error


def input_of(dataset: Any, i: int, key: int | str | None) -> Any:
    """Item i of a Dataset, or its part under a key; DataError, with the row, if the Dataset does not return it."""
    try:
        item = dataset[i]
        return item if key is None else item[key]
    except (DataError, MemoryError, OSError):
        raise
    except Exception as error:
        raise DataError(f"item {i} of the Dataset cannot be read ({type(error).__name__}: {reason(error)})") from None


def _index(ids: Sequence[int]) -> Any:
    """Consecutive ids as a slice, which an Arrow table reads without gathering."""
    first, last = int(ids[0]), int(ids[-1])
    consecutive = last - first + 1 == len(ids) and all(b - a == 1 for a, b in pairwise(ids))
    return slice(first, last + 1) if consecutive else [int(i) for i in ids]
