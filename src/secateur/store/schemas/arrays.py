"""Schemas of the zarr.json of a recording, of its arrays, and of probe results."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from secateur.store.schemas.base import LOOSE, Count, Name, Natural, Seconds, Text

Epochs = Annotated[int, Field(ge=0, le=10**6)]
Classes = Annotated[int, Field(ge=1, le=10**7)]


@with_config(LOOSE)
class Recording(TypedDict):
    """The attributes of a recording."""

    format: int
    examples: Natural
    classes: Classes | None
    fields: list[Name]
    fingerprint: Text | None
    provenance: dict[str, Any]
    epochs: Epochs
    complete: bool


@with_config(LOOSE)
class Probe(TypedDict):
    """The attributes of a probe. done: the number of rows filled, over all runs."""

    asked: dict[str, Any]
    fields: list[Name]
    done: Count
    runs: Annotated[int, Field(ge=1, le=10**5)]
    examples: Natural
    seconds: NotRequired[Seconds]


@with_config(LOOSE)
class Group(TypedDict):
    """zarr.json of a group of format 3."""

    zarr_format: Literal[3]
    node_type: Literal["group"]
    attributes: dict[str, Any]


@with_config(LOOSE)
class _Chunks(TypedDict):
    chunk_shape: list[Natural]


@with_config(LOOSE)
class _Grid(TypedDict):
    name: Literal["regular"]
    configuration: _Chunks


@with_config(LOOSE)
class _Codec(TypedDict):
    name: Literal["bytes", "zstd", "crc32c"]
    configuration: NotRequired[dict[str, Any]]


@with_config(LOOSE)
class _Slash(TypedDict):
    separator: Literal["/"]


@with_config(LOOSE)
class _Keys(TypedDict):
    name: Literal["default"]
    configuration: _Slash


@with_config(LOOSE)
class Array(TypedDict):
    """zarr.json of an array as this program writes them: whole numbers and float32, with a checksum."""

    zarr_format: Literal[3]
    node_type: Literal["array"]
    shape: Annotated[list[Count], Field(min_length=1, max_length=3)]
    data_type: Literal["float32", "uint8", "int64"]
    chunk_grid: _Grid
    chunk_key_encoding: _Keys
    codecs: Annotated[list[_Codec], Field(min_length=1, max_length=3)]
