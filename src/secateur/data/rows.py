"""Readers of raw rows, one a form of input: picklable, so that worker processes can read too."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from secateur.data.images import decode, encoded_bytes
from secateur.errors import DataError


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
    """Encoded images in a column of a Hugging Face data set."""

    table: Any  # datasets.Dataset of that column alone, undecoded
    column: str
    size: int | None = None

    def __len__(self) -> int:
        return len(self.table)

    def raw(self, ids: Sequence[int]) -> list[Any]:
        return list(self.table[_index(ids)][self.column])

    def digestible(self, raw: Any) -> bytes:
        return encoded_bytes(raw)

    def value(self, raw: Any) -> np.ndarray:
        return decode(encoded_bytes(raw), size=self.size)

    def file(self, i: int) -> str | None:
        """The name of the file that image i lies in, where it lies in one."""
        path = self.path(i)
        return None if path is None else path.name

    def path(self, i: int) -> Path | None:
        """The file that image i lies in, where it lies in one."""
        cell = self.raw([i])[0]
        return None if cell is None or not cell["path"] else Path(cell["path"])


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
        if raw is None:
            raise DataError("no vector")
        vector = np.asarray(raw, dtype=np.float32)
        if vector.ndim != 1 or not np.isfinite(vector).all():
            raise DataError("vector holds nan, inf or nested lists")
        return vector


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
        if raw.ndim == 1 and not np.isfinite(raw).all():
            raise DataError("vector holds nan or inf")
        return np.asarray(raw)


@dataclass(frozen=True)
class DatasetRows:
    """Items of a map-style torch Dataset: (input, label) pairs, dicts with an input key, or, without key, inputs."""

    dataset: Any
    key: int | str | None

    def __len__(self) -> int:
        return len(self.dataset)

    def raw(self, ids: Sequence[int]) -> list[Any]:
        items = (self.dataset[int(i)] for i in ids)
        return [as_array(item if self.key is None else item[self.key]) for item in items]

    def digestible(self, raw: Any) -> bytes:
        return np.ascontiguousarray(raw).tobytes()

    def value(self, raw: Any) -> np.ndarray:
        return np.asarray(raw)


def as_array(item: Any) -> np.ndarray:
    """An image or vector of a torch Dataset or an array of them, as uint8 (..., height, width, channels) or float32.

    Takes PIL images, arrays and tensors. Channels may come first or last; float images must be 8-bit values over 255,
    as torchvision's ToTensor makes them, and are brought back to uint8 exactly.
    """
    array = np.asarray(item)
    if array.dtype == np.float64 or array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.ndim == 1:
        return array.astype(np.float32)
    if array.ndim == 2 and array.dtype == np.uint8:
        return array[:, :, None]
    if array.ndim != 3:
        raise DataError(f"expected an image or a vector, got an array of shape {array.shape} and type {array.dtype}")
    return _channels_last(_to_uint8(array))


def _to_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    scaled = array.astype(np.float32) * 255
    pixels = scaled.round()
    if array.dtype.kind != "f" or pixels.min() < 0 or pixels.max() > 255 or np.abs(scaled - pixels).max() > 0.01:
        raise DataError(
            f"images must be uint8, or 8-bit values over 255 as ToTensor makes them; got {array.dtype} from "
            f"{array.min():.4g} to {array.max():.4g}: leave normalisation and augmentation to the recipe"
        )
    return pixels.astype(np.uint8)


def _channels_last(image: np.ndarray) -> np.ndarray:
    first, last = image.shape[0] in (1, 3), image.shape[-1] in (1, 3)
    if last:
        return image
    if first:
        return np.ascontiguousarray(np.moveaxis(image, 0, -1))
    raise DataError(f"an image needs 1 or 3 channels, first or last; got shape {image.shape}")


def _index(ids: Sequence[int]) -> Any:
    """Consecutive ids as a slice, which an Arrow table reads without gathering."""
    first, last = int(ids[0]), int(ids[-1])
    consecutive = last - first + 1 == len(ids) and all(b - a == 1 for a, b in pairwise(ids))
    return slice(first, last + 1) if consecutive else [int(i) for i in ids]
