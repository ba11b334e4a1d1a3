"""Decode one image: which formats are accepted, converted and refused."""

import io
import os
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from secateur.errors import DataError, reason
from secateur.untrusted import read_regular

MOST_BYTES = 512 << 20
"""Largest encoded image; a larger file is refused unread."""
MOST_PIXELS = 89_478_485
"""Most pixels of one image, a quarter of a gigabyte in RGB; a larger one is refused before decoding. Pillow's limit."""
_FORMATS = (
    "PNG JPEG WEBP GIF BMP DIB PPM TIFF AVIF JPEG2000 ICO ICNS CUR PCX DCX DDS SGI PSD QOI SUN BLP FTEX GBR FLI IM "  # noqa: SIM905
    "MSP PIXAR XBM XPM PCD TGA".split()
)
"""Formats that are decoded: not those for which Pillow starts another program (EPS: Ghostscript) or has no decoder."""
_ORIENTATION = 0x0112
_BITS = 258
_PNG = b"\x89PNG\r\n\x1a\n"
Cell = dict[str, bytes | str | None]


def encoded_bytes(cell: Cell | None, homes: Sequence[Path] | None = None) -> bytes:
    """The bytes of one `{bytes, path}` cell; reads the file if the cell holds only a path, see `image_file`."""
    if cell is None or (cell["bytes"] is None and not cell["path"]):
        raise DataError("no image")
    if cell["bytes"] is not None:
        if not isinstance(cell["bytes"], bytes):
            raise DataError(f"image holds {type(cell['bytes']).__name__}, not bytes")
        return cell["bytes"]
    try:
        return read_regular(image_file(cell, homes), limit=MOST_BYTES)
    except DataError as error:
        raise DataError(f"image file {error}") from None


def image_file(cell: Cell, homes: Sequence[Path] | None) -> Path:
    """The file that a cell names. A relative name is resolved against the first of `homes`.

    homes: the folders that must contain it, with links resolved, since names in a file may point anywhere; None if the
    user made the cells in Python. Raises DataError for a file outside them.
    """
    path = Path(str(cell["path"]))
    if homes is None:
        return path
    try:
        real = Path(os.path.realpath(homes[0] / path if homes else path))
        if any(real.is_relative_to(os.path.realpath(home)) for home in homes):
            return real
    except (OSError, ValueError):  # it contains a NUL, or is a loop of links
        pass
    where = f"{homes[0]}" if homes else "the data"
    raise DataError(
        f"{path}: lies outside {where}, and paths read from a file must stay inside it; move the images there, or "
        f"open the table in Python and pass it"
    )


def decode(encoded: bytes, *, size: int | None = None) -> np.ndarray:
    """Pixels (height, width, channels) uint8; 1 channel for grey images, 3 for all others.

    Palettes become RGB, transparency is composited on white, EXIF orientation is applied; of several frames the first
    is used. size: resize the shorter side to it and crop the centre square. Raises DataError, without the row, for
    images that are broken, empty, too large, or have more than 8 bits per channel.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters raises an error below
            image: Image.Image = Image.open(io.BytesIO(encoded), formats=_formats())
            _refuse_deep(image, encoded)
            _refuse_size(image)
            image.load()
            return _pixels(image, size)
    except (DataError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise DataError("image is not an image") from None
    except Image.DecompressionBombError as error:
        raise DataError(f"image is too large ({reason(error)})") from None
    except Exception as error:  # Pillow and its plugins raise all kinds of errors on broken input
        raise DataError(f"image is broken or truncated ({reason(error)})") from None


def pixels_of(image: Image.Image) -> np.ndarray:
    """Pixels of an image that Pillow has opened, by the rules of `decode`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _refuse_deep(image, b"")
            _refuse_size(image)
            return _pixels(image, None)
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(f"image is broken or truncated ({reason(error)})") from None


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _pixels(image: Image.Image, size: int | None) -> np.ndarray:
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = ImageOps.exif_transpose(image)
    image = _flatten(image)
    if size is not None and image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def encode(pixels: np.ndarray) -> bytes:
    """Pixels (height, width, 1 or 3) uint8 as a lossless PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def _refuse_deep(image: Image.Image, encoded: bytes) -> None:
    """Pillow silently truncates 16-bit RGB to 8 bits, in PNG and TIFF, so check the header."""
    deep = encoded.startswith(_PNG) and encoded[24] == 16
    if image.format == "TIFF":
        bits = getattr(image, "tag_v2", {}).get(_BITS, 8)
        deep = max(bits if isinstance(bits, tuple) else (bits,)) > 8
    if deep or image.mode.startswith(("I", "F")):
        raise DataError(
            f"image has more than 8 bits per channel (mode {image.mode}); "
            f"convert the images to 8 bits, or pass float vectors from Python"
        )


def _refuse_size(image: Image.Image) -> None:
    width, height = image.size
    if not width or not height:
        raise DataError("image has no pixels")
    if width * height > MOST_PIXELS:
        raise DataError(f"image is too large: {width}x{height}, more than {MOST_PIXELS:,} pixels; make it smaller")


def _flatten(image: Image.Image) -> Image.Image:
    """Grey or RGB, without palette or transparency."""
    transparent = "A" in image.getbands() or "transparency" in image.info
    if transparent:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
        grey = False
    else:
        grey = image.mode in ("1", "L")
    wanted = "L" if grey else "RGB"
    return image if image.mode == wanted else image.convert(wanted)
