"""How a field lies in a zarr group: its type, what stands for a missing value, compressed and with a checksum."""

from typing import Any

import numpy as np
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

from secateur.fields import FIELDS

MISSING = {"float32": np.nan, "uint8": 255, "int64": -1}


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
