"""What a saved net says of itself, and how far it is believed: no text from a file ever decides which code runs."""

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import safe_open
from torch import Tensor

from secateur.errors import SecateurError, StoreError, reason
from secateur.training.nets.built import Normalised
from secateur.training.nets.zoo import MOST_CLASSES, MOST_VALUES, NETS, Shape, asked, outline


class Saved(NamedTuple):
    """What a file says of the net in it: its spec, the shape of a row, how many classes."""

    spec: str
    shape: Shape
    classes: int


class _About(BaseModel):
    """The metadata of a saved net, as JSON."""

    model_config = ConfigDict(strict=True, extra="forbid")
    net: Annotated[str, Field(min_length=1, max_length=1000)]
    shape: Annotated[list[Annotated[int, Field(ge=1, le=MOST_VALUES)]], Field(min_length=1, max_length=4)]
    classes: Annotated[int, Field(ge=1, le=MOST_CLASSES)]


def load_about(path: Path) -> Saved:
    """What a saved net says of itself. Its spec is for people: `trusted_spec` tells whether it may be built.

    Raises StoreError for a file that is not there, cut off, of something else, or of impossible sizes.
    """
    if not path.is_file():
        raise StoreError(f"{path}: expected a net saved by secateur, found none")
    try:
        with safe_open(path, framework="pt") as file:
            about = _About.model_validate_json(file.metadata()["secateur"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "metadata"
        raise StoreError(f"{path}: not a whole net saved by secateur ({where}: {first['msg']})") from None
    except Exception as error:
        raise StoreError(f"{path}: not a whole net saved by secateur ({reason(error)})") from None
    if math.prod(about.shape) > MOST_VALUES:
        raise StoreError(f"{path}: expected rows of at most {MOST_VALUES:,} values, got shape {tuple(about.shape)}")
    return Saved(about.net, tuple(about.shape), about.classes)


def trusted_spec(path: Path, spec: str, named: Collection[str | None], *, option: str) -> str:
    """The spec to build the net of a file by: a net that comes with secateur, or one that the user named as well.

    This is the one place where text from a file may become a net. A name of NETS is safe, since its options are checked
    and it runs nothing but our own code. Anything else is code or weights from elsewhere, so it is taken from `named`,
    what the user typed, where exactly this spec is among it; the file's text is never used. option: how to name it.

    Raises StoreError for a net of ours with impossible options, SecateurError for a net that nobody named.
    """
    name, _, rest = spec.partition(":")
    if name in NETS:
        try:
            asked(name, rest)
        except SecateurError as error:
            raise StoreError(f"{path}: names an impossible net ({error}); the file is damaged") from None
        return spec
    for own in named:
        if own == spec:
            return own
    raise SecateurError(
        f"{path}: says that its net is {spec!r}, which is not built in, and a file never decides which "
        f"code runs; if that is your own net, name it yourself with {option}"
    )


def check_tensors(path: Path, tensors: Mapping[str, Tensor], about: Saved) -> None:
    """Raise StoreError unless the file holds the tensors of its net and a mean and spread of its rows.

    Nets that come with secateur are outlined without memory, so that a few bytes of text allocate nothing.
    """
    for name in ("mean", "spread"):
        value = tensors.get(name)
        if value is None or value.shape != about.shape[:1] or value.dtype != torch.float32:
            raise StoreError(
                f"{path}: expected {name} as {about.shape[0]} float32, {_told(value)}; the file is damaged"
            )
        if not bool(torch.isfinite(value).all()) or (name == "spread" and not bool((value > 0).all())):
            raise StoreError(f"{path}: {name} holds numbers that are impossible; the file is damaged")
    if about.spec.partition(":")[0] not in NETS:
        return
    try:
        expected = Normalised(outline(*about), tensors["mean"], tensors["spread"]).state_dict()
    except SecateurError as error:
        raise StoreError(f"{path}: names an impossible net ({error}); the file is damaged") from None
    compare(path, tensors, expected)


def compare(path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Raise StoreError unless the tensors of a file have the names, shapes and kinds that a net expects."""
    if odd := sorted(tensors.keys() ^ expected.keys()):
        which = "lacks" if odd[0] in expected else "holds an unknown"
        raise StoreError(f"{path}: {which} {odd[0]}, so it is not the network it claims to be; the file is damaged")
    for name, like in expected.items():
        found = tensors[name]
        if found.shape != like.shape or found.dtype != like.dtype:
            raise StoreError(
                f"{path}: expected {name} as {_kind(like)}, {_told(found)}, so it is not the network it claims to be"
            )


def _kind(value: Tensor) -> str:
    return f"{'x'.join(map(str, value.shape)) or 'one'} {str(value.dtype).removeprefix('torch.')}"


def _told(value: Tensor | None) -> str:
    return "found none" if value is None else f"got {_kind(value)}"
