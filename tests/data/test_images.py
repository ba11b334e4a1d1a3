"""An image is decoded, or its row is named with the reason: nothing hangs, explodes, or ends in a traceback."""

import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from secateur.data.decoding import images
from secateur.data.decoding.images import decode, encoded_bytes
from secateur.data.source import open_data
from secateur.errors import DataError
from tests.data.made import image_table, pixels, png


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunk(kind, body):
    """A whole PNG with one more chunk behind its header."""
    encoded = png(pixels(0))
    return encoded[:33] + chunk(kind, body) + encoded[33:]


def header(width, height, depth=8, colour=2):
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))


def tiff_16():
    """A TIFF of one RGB pixel of 16 bits a channel."""
    tags = [(256, 3, 1, 1), (257, 3, 1, 1), (258, 3, 3, 110), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 116),
            (277, 3, 1, 3), (278, 3, 1, 1)]  # fmt: skip
    body = b"II*\0" + struct.pack("<IH", 8, len(tags)) + b"".join(struct.pack("<HHII", *t) for t in tags) + b"\0" * 4
    return body + struct.pack("<3H", 16, 16, 16) + struct.pack("<3H", 1, 2, 3)


HOSTILE = {
    "a broken eXIf chunk": (with_chunk(b"eXIf", b"MM\0*\0\0"), "broken or truncated"),
    "10^9 pixels": (header(40_000, 25_000) + chunk(b"IDAT", b"") + chunk(b"IEND", b""), "too large"),
    "more pixels than Pillow itself takes": (header(10**5, 10**5) + chunk(b"IEND", b""), "too large"),
    "a quarter of a gigabyte": (header(10_000, 10_000) + chunk(b"IDAT", zlib.compress(bytes(100))), "10000x10000"),
    "no pixels": (header(0, 8) + chunk(b"IDAT", b"") + chunk(b"IEND", b""), "image "),
    "text that explodes": (with_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000))), "broken or truncated"),
    "EPS, which another program would run": (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\nshowpage\n", "not an image",
    ),
    "a header alone": (png(pixels(0))[:20], "image is"),
    "text": (b"not an image", "not an image"),
    "nothing": (b"", "not an image"),
    "TIFF of 16 bits": (tiff_16(), "more than 8 bits"),
    "GIF cut off": (b"GIF89a\x08\x00\x08\x00", "image is"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_image_is_a_bad_row_and_skipping_works(case):
    encoded, message = case
    table = image_table(encoded=[*[png(pixels(i)) for i in range(9)], encoded], n=10)
    with pytest.raises(DataError, match=f"row 9: image .*{message}|row 9: .*{message}"):
        open_data(table)
    assert list(open_data(table, on_bad="skip").train.bad) == [9]


def test_a_limit_that_the_user_took_from_pillow_holds_here(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(DataError, match="image is too large: 40000x25000, more than"):
        decode(header(40_000, 25_000) + chunk(b"IDAT", b""))


def test_warnings_of_pillow_are_no_news():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(with_chunk(b"iCCP", b"x\0\0" + zlib.compress(b"garbage"))).shape == (8, 8, 3)


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LA", "1", "P", "RGBA"])
def test_other_modes_become_grey_or_colour(mode):
    image, buffer = Image.fromarray(pixels(0)).convert(mode), io.BytesIO()
    image.save(buffer, format="TIFF" if mode in ("CMYK", "YCbCr") else "PNG") if mode != "HSV" else None
    found = images.pixels_of(image)
    assert found.shape == (8, 8, 1 if mode in ("1",) else 3)
    if mode != "HSV":
        np.testing.assert_array_equal(decode(buffer.getvalue()), found)


def test_the_first_of_several_frames_is_taken():
    frames, buffer = [Image.fromarray(pixels(i)) for i in range(3)], io.BytesIO()
    frames[0].save(buffer, format="PNG", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(buffer.getvalue()), pixels(0))


def test_a_file_is_read_up_to_a_limit_and_never_from_a_device(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "MOST_BYTES", 100)
    (tmp_path / "big.png").write_bytes(bytes(101))
    os.mkfifo(tmp_path / "pipe")
    for name, message in (("big.png", "at most 100 bytes"), ("pipe", "a pipe"), ("gone", "No such file")):
        with pytest.raises(DataError, match=message):
            encoded_bytes({"bytes": None, "path": str(tmp_path / name)})
    with pytest.raises(DataError, match="found a device"):
        encoded_bytes({"bytes": None, "path": "/dev/zero"})


def test_a_broken_file_is_named_by_its_row_and_its_name(tmp_path):
    for name in ("cat", "dog"):
        for i in range(3):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / f"{i}.png").write_bytes(png(pixels(i)))
    (tmp_path / "dog" / "1.png").write_bytes(b"not an image")
    with pytest.raises(DataError, match=r"row 4 \(dog/1.png\): image is not an image"):
        open_data(str(tmp_path))
