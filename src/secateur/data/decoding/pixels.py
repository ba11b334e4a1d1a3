"""Convert one image or vector from Python to the form that all rows have, whatever the input."""

from typing import Any

import numpy as np
from PIL import Image

from secateur.data.decoding.images import pixels_of
from secateur.errors import DataError, reason


def as_array(item: Any) -> np.ndarray:
    """An image as uint8 (height, width, channels), or a vector as float32 (dims,).

    Takes PIL images, arrays and tensors. An image has one or three channels, first or last (last, where both could be
    meant), or no axis for them. Its values are whole numbers from 0 to 255, of any type but those of 16 bits; bools; or
    floats that are 8-bit values over 255, as torchvision's ToTensor makes them, which are brought back exactly. Raises
    DataError, without the row, for anything else.
    """
    if isinstance(item, Image.Image):
        return pixels_of(item)
    array = plain_array(item)
    if array.ndim == 1:
        return vector(array)
    if array.ndim not in (2, 3):
        raise DataError(f"expected an image or a vector, got an array of shape {array.shape} and type {array.dtype}")
    pixels = _to_uint8(array)
    return pixels[:, :, None] if pixels.ndim == 2 else _channels_last(pixels)


def vector(raw: Any) -> np.ndarray:
    """A vector as float32 (dims,); bools are 0 and 1.

    >>> vector([1, 2.5])
    array([1. , 2.5], dtype=float32)

    Raises DataError, without the row, for text, nested lists, empty lists, and numbers that are not finite.
    """
    if raw is None:
        raise DataError("no vector")
    array = plain_array(raw)
    if array.dtype.kind == "O" and array.ndim == 1 and all(v is None or isinstance(v, (int, float)) for v in array):
        array = array.astype(np.float64)  # a null is nan
    if array.ndim != 1 or array.dtype.kind not in "fiub":
        raise DataError(f"vector holds {_kind(array)}; expected a list of numbers")
    if not len(array):
        raise DataError("vector is empty")
    with np.errstate(over="ignore", invalid="ignore"):  # too large numbers become inf, which is refused below
        found = array.astype(np.float32)
    if not np.isfinite(found).all():
        raise DataError("vector holds nan or inf, or a number beyond float32")
    return found


def plain_array(item: Any) -> np.ndarray:
    """An array, a tensor of any device and type, or a list, as a numpy array."""
    try:
        if hasattr(item, "detach"):
            item = item.detach().cpu()
            item = item.float() if str(item.dtype) == "torch.bfloat16" else item.resolve_conj().resolve_neg()
        return np.asarray(item)
    except (TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise DataError(f"expected an image or a vector, got a {type(item).__name__} ({reason(error)})") from None


def _kind(array: np.ndarray) -> str:
    if array.ndim != 1:
        return "nested lists" if array.ndim else "a single value"
    return {"U": "text", "S": "bytes", "O": "nested lists or values that are not numbers"}.get(
        array.dtype.kind, str(array.dtype)
    )


def _to_uint8(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind == "b":
        return array.astype(np.uint8) * np.uint8(255)
    if array.dtype in (np.uint16, np.int16):
        raise DataError(
            f"image has more than 8 bits per channel (type {array.dtype}); convert the images to 8 bits, or pass float "
            f"vectors from Python"
        )
    if array.dtype.kind in "iu" and array.size and array.min() >= 0 and array.max() <= 255:
        return array.astype(np.uint8)
    if array.dtype.kind == "f" and array.size:
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = array.astype(np.float32) * 255
            pixels = scaled.round()
            off = np.abs(scaled - pixels).max()
        if pixels.min() >= 0 and pixels.max() <= 255 and off <= 0.01:  # false for nan
            return pixels.astype(np.uint8)
    seen = f" from {array.min():.4g} to {array.max():.4g}" if array.size and array.dtype.kind in "iuf" else ""
    raise DataError(
        f"images must be uint8, or 8-bit values divided by 255 as ToTensor returns; got {array.dtype} of shape "
        f"{array.shape}{seen}: leave normalisation and augmentation to the recipe"
    )


def _channels_last(image: np.ndarray) -> np.ndarray:
    first, last = image.shape[0] in (1, 3), image.shape[-1] in (1, 3)
    if last:
        return image
    if first:
        return np.ascontiguousarray(np.moveaxis(image, 0, -1))
    raise DataError(f"an image needs 1 or 3 channels, first or last; got shape {image.shape}")
