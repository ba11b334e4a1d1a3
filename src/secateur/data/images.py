"""One encoded image to pixels: what is accepted, what is converted, what is refused."""

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from secateur.errors import DataError, reason

_ORIENTATION = 0x0112
_PNG = b"\x89PNG\r\n\x1a\n"


def encoded_bytes(cell: dict[str, bytes | str | None] | None) -> bytes:
    """The bytes of one `{bytes, path}` cell; reads the file where the cell holds only a path."""
    if cell is None or (cell["bytes"] is None and not cell["path"]):
        raise DataError("no image")
    if cell["bytes"] is not None:
        assert isinstance(cell["bytes"], bytes)
        return cell["bytes"]
    try:
        return Path(str(cell["path"])).read_bytes()
    except OSError as error:
        raise DataError(f"image file cannot be read ({error.strerror or reason(error)})") from None


def decode(encoded: bytes, *, size: int | None = None) -> np.ndarray:
    """Pixels (height, width, channels) uint8; 1 channel for grey images, 3 for all others.

    Palettes become RGB, transparency is laid on white, EXIF orientation is applied. size: resize the shorter side to
    it and cut out the middle square. Raises DataError, without the row, for images that are broken, empty or of more
    than 8 bits a channel.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(encoded))
        _refuse_deep(image, encoded)
        image.load()
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        what = "not an image" if isinstance(error, UnidentifiedImageError) else f"broken or cut off ({error})"
        raise DataError(f"image is {what}") from None
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
    """Pillow cuts 16-bit RGB PNGs to 8 bits without a word, hence the look at the header."""
    deep_png = encoded.startswith(_PNG) and encoded[24] == 16
    if deep_png or image.mode.startswith(("I", "F")):
        raise DataError(
            f"image has more than 8 bits a channel (mode {image.mode}); "
            f"convert the images to 8 bits, or pass float vectors from Python"
        )


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
