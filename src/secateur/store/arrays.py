"""How a field lies in a zarr group: its type, what stands for a missing value, compressed and with a checksum."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from secateur.errors import StoreError, refused
from secateur.fields import FIELDS
from secateur.store.files import read_json
from secateur.store.schemas import arrays, checked

MISSING = {"float32": np.nan, "uint8": 255, "int64": -1}
_TOLD = {"float32": "NaN", "uint8": 255, "int64": -1}
"""The same in zarr.json."""
_CODECS = ["bytes", "zstd", "crc32c"]


def new_array(group: zarr.Group, field: str, shape: tuple[int, ...], chunks: tuple[int, ...]) -> "zarr.Array[Any]":
    """An array for a field, every value missing; chunks are cut to the shape."""
    dtype = "uint8" if FIELDS[field].dtype == "bool" else FIELDS[field].dtype
    return group.create_array(
        field,
        shape=shape,
        chunks=tuple(min(c, max(s, 1)) for c, s in zip(chunks, shape, strict=True)),
        dtype=dtype,
        fill_value=MISSING[dtype],
        compressors=(ZstdCodec(level=1), Crc32cCodec()),
        dimension_names=FIELDS[field].axes,
    )


def attributes_of(group: Path, schema: Any) -> Any:
    """The attributes of a group, validated. Raises StoreError if they are missing, damaged or edited."""
    about = read_json(group / "zarr.json", arrays.Group)
    return checked(about["attributes"], schema, group / "zarr.json")


def has_array(group: Path, field: str) -> bool:
    """Is there an array for the field, complete or not?"""
    return (group / field / "zarr.json").exists()


def open_array(group: Path, field: str, sizes: Mapping[str, int | None]) -> "zarr.Array[Any]":
    """The array of a field, for reading; reads and allocates nothing yet.

    sizes: of its axes, as far as they are known. Raises StoreError if the file does not match these sizes, the field,
    or the format this program writes, so that no size is trusted unless the disk confirms it.
    """
    where = group / field / "zarr.json"
    about = read_json(where, arrays.Array)
    if (fault := _fault(about, field, sizes)) is not None:
        raise StoreError(f"{where}: damaged or edited ({fault}); record again in another --out, or restore the file")
    if (fault := _missing(group / field, about)) is not None:
        raise StoreError(f"{group / field}: {fault}; restore the folder, or record again in another --out")
    try:
        return zarr.open_array(group / field, mode="r", zarr_format=3)
    except Exception as error:
        told = StoreError(f"{where}: damaged ({error}); restore it, or record again in another --out")
        raise refused(error, f"reading {where}") or told from None


def _fault(about: Any, field: str, sizes: Mapping[str, int | None]) -> str | None:
    axes, kind, shape = FIELDS[field].axes, about["data_type"], about["shape"]
    chunks = about["chunk_grid"]["configuration"]["chunk_shape"]
    expected = "uint8" if FIELDS[field].dtype == "bool" else FIELDS[field].dtype
    if kind != expected or about.get("fill_value") != _TOLD[kind]:
        return f"expected {expected}, {_TOLD[expected]} where missing, got {kind}, {about.get('fill_value')!r}"
    if len(shape) != len(axes) or len(chunks) != len(axes):
        return f"expected the axes {', '.join(axes)}, got the shape {shape} in chunks of {chunks}"
    for axis, size in zip(axes, shape, strict=True):
        if sizes.get(axis) not in (None, size):
            return f"expected {sizes[axis]} {axis}, got {size}"
    if any(chunk > max(size, 1) for chunk, size in zip(chunks, shape, strict=True)):
        return f"expected chunks no larger than the shape {shape}, got {chunks}"
    names = [codec["name"] for codec in about["codecs"]]
    return None if names == _CODECS else f"expected the codecs {', '.join(_CODECS)}, got {', '.join(names)}"


def _missing(folder: Path, about: Any) -> str | None:
    """A fault if far fewer chunks exist than the shape needs; a chunk in which every value is missing may be absent.

    Fields by epoch have no chunks for epochs in which nothing is defined, and are not checked.
    """
    chunks = about["chunk_grid"]["configuration"]["chunk_shape"]
    needed = math.prod(math.ceil(size / chunk) for size, chunk in zip(about["shape"], chunks, strict=True))
    if FIELDS[folder.name].axes[0] == "epochs" or needed <= _FEW:
        return None
    there = sum(path.is_file() for path in (folder / "c").rglob("*"))
    return None if needed <= 2 * there + _FEW else f"expected {needed:,} chunks, found {there:,}"


_FEW = 16
"""Arrays of at most this many chunks are not checked."""
