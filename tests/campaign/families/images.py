"""Image files that are broken, cut off, huge by their header, or of kinds that are rare."""

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from tests.campaign.cases import Argv, Case, Expect, Ground, Plan, numbered
from tests.campaign.ground import picture, pictures


def encoded(image: Image.Image, kind: str = "PNG", **how: object) -> bytes:
    """An image as the bytes of a file."""
    held = io.BytesIO()
    image.save(held, kind, **how)
    return held.getvalue()


def chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    """A chunk of a PNG."""
    mark = zlib.crc32(kind + body) if crc is None else crc
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", mark)


def with_chunk(kind: bytes, body: bytes, crc: int | None = None) -> bytes:
    """A PNG with a chunk behind its header."""
    whole = encoded(picture(1))
    return whole[:33] + chunk(kind, body, crc) + whole[33:]


def header(width: int, height: int) -> bytes:
    """A PNG that says it is that large."""
    ihdr = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 100)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", ihdr) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def exif(body: bytes) -> bytes:
    """A JPEG with that EXIF."""
    return encoded(picture(1), "JPEG", exif=b"Exif\0\0" + body)


def _frames() -> bytes:
    return encoded(picture(1), "GIF", save_all=True, append_images=[picture(2), picture(3)])


def _mode(mode: str, kind: str) -> bytes:
    return encoded(picture(1).convert(mode), kind)


def _deep() -> bytes:
    return encoded(Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000))


Bytes = Callable[[], bytes]
BROKEN: dict[str, tuple[str, Bytes]] = {
    "empty.png": ("refused", lambda: b""),
    "cut.png": ("refused", lambda: encoded(picture(1, 32))[:120]),
    "cut.jpg": ("refused", lambda: encoded(picture(1, 32), "JPEG")[:300]),
    "text.png": ("refused", lambda: b"this is no image"),
    "zeros.png": ("refused", lambda: bytes(2000)),
    "huge.png": ("refused", lambda: header(2**31 - 1, 2**31 - 1)),
    "bomb.png": ("refused", lambda: header(60000, 60000)),
    "flat.png": ("refused", lambda: header(0, 0)),
    "crc.png": ("refused", lambda: with_chunk(b"IDAT", b"xx", crc=1)),
    "magic.gif": ("refused", lambda: b"GIF89a"),
    "svg.png": ("refused", lambda: b"<svg onload='evil()'/>"),
    "pickle.png": ("refused", lambda: b"\x80\x04cos\nsystem\n(S'touch PWNED'\ntR."),
    "cut.webp": ("refused", lambda: encoded(picture(1, 32), "WEBP")[:60]),
    "cut.tiff": ("refused", lambda: encoded(picture(1, 32), "TIFF")[:90]),
    "cut.bmp": ("refused", lambda: encoded(picture(1, 32), "BMP")[:60]),
}
ODD: dict[str, tuple[str, Bytes]] = {
    "exif1.png": ("either", lambda: with_chunk(b"eXIf", b"\xff" * 40)),
    "exif2.png": ("either", lambda: with_chunk(b"eXIf", b"")),
    "exif3.png": ("either", lambda: with_chunk(b"eXIf", b"MM\0*\0\0\0\x08\xff\xff")),
    "exif4.png": ("either", lambda: with_chunk(b"eXIf", b"II*\0\xff\xff\xff\xff")),
    "exif5.png": (
        "either",
        lambda: with_chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\xff\xff\xff\xff\0\0\0\0"),
    ),
    "exif1.jpg": ("either", lambda: exif(b"\xff" * 30)),
    "exif2.jpg": ("either", lambda: exif(b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x63\0\0\0\0\0\0")),
    "exif3.jpg": ("either", lambda: exif(b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\xff\xff\0\0\0\0")),
    "text1.png": ("either", lambda: with_chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 3_000_000))),
    "text2.png": ("either", lambda: with_chunk(b"iTXt", b"\xff\xff")),
    "icc.png": ("either", lambda: with_chunk(b"iCCP", b"a\0\0" + b"\xff" * 20)),
    "trns.png": ("either", lambda: with_chunk(b"tRNS", b"\xff")),
    "deep.png": ("either", _deep),
    "cmyk.jpg": ("either", lambda: _mode("CMYK", "JPEG")),
    "palette.png": ("ok", lambda: _mode("P", "PNG")),
    "bilevel.png": ("ok", lambda: _mode("1", "PNG")),
    "alpha.png": ("ok", lambda: _mode("RGBA", "PNG")),
    "grey-alpha.png": ("ok", lambda: _mode("LA", "PNG")),
    "float.tiff": ("either", lambda: encoded(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF")),
    "moving.gif": ("either", _frames),
    "moving.webp": ("either", lambda: encoded(picture(1), "WEBP", save_all=True, append_images=[picture(2)])),
    "png-in.jpg": ("ok", lambda: encoded(picture(1))),
    "jpeg-in.png": ("ok", lambda: encoded(picture(1), "JPEG")),
    "wide.png": ("either", lambda: encoded(Image.new("RGB", (5000, 1)))),
    "other-size.png": ("refused", lambda: encoded(picture(1, 9))),
    "UPPER.PNG": ("ok", lambda: encoded(picture(1))),
    "behind.png": ("either", lambda: encoded(picture(1)) + b"<script>evil()</script>" * 10),
}


def _make(name: str, content: Bytes, more: Argv, where: str) -> Callable[[Path, Ground], list[Argv]]:
    def make(folder: Path, ground: Ground) -> list[Argv]:
        pictures(folder / "pics" / "train")
        pictures(folder / "pics" / "test", each=3, start=100)
        (folder / "pics" / where / f"x-{name}").write_bytes(content())
        few = ["--net", "mlp:0.1", "--threads", "1", "--json", "--out", "out"]
        job = ["train", "--epochs", "1"] if "test" in where else ["record", "--epochs", "1"]
        return [[job[0], "pics", *job[1:], *few, *more]]

    return make


def cases(plan: Plan) -> list[Case]:
    """Each in train and in test, stopped at and skipped; then random damage to good files."""
    return numbered(_cases(plan))


def _cases(plan: Plan) -> Iterator[Case]:
    for name, (expect, content) in (BROKEN | ODD).items():
        stop: Expect = expect  # type: ignore[assignment]
        yield Case(f"{name} in train", _make(name, content, [], "train/cat"), stop)
        yield Case(f"{name} in test", _make(name, content, [], "test/dog"), stop)
        skip: Expect = "ok" if name in BROKEN or stop == "ok" else "either"
        skipped = _make(name, content, ["--on-bad", "skip"], "train/cat")
        yield Case(f"{name} skipped", skipped, skip)
        yield Case(f"{name} resized", _make(name, content, ["--size", "8", "--on-bad", "skip"], "train/fox"), skip)
    rng = plan.rng("images")
    for k in range(60):
        kind = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF")[k % 6]
        whole = bytearray(encoded(picture(k, 16), kind))
        for at in rng.integers(0, len(whole), 1 + k % 5):
            whole[at] = int(rng.integers(256))
        held = bytes(whole[: int(rng.integers(1, len(whole) + 1))] if k % 3 == 0 else whole)
        more = ["--on-bad", "skip"] if k % 2 else []
        yield Case(
            f"{kind} with damage {k}", _make(f"damaged.{kind.lower()}", lambda held=held: held, more, "train/cat")
        )
