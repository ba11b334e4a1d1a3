"""A few rows to look at: small pictures or first words of the largest groups of duplicates."""

import base64
import functools
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur.data.decoding.images import decode
from secateur.errors import DataError
from secateur.scale.shards import Columns, Unit, opened

SHOWN = 4
"""Rows of a group that are shown, the one that stays first."""
_SIDE = 64
_WORDS = 80  # characters
_AT_ONCE = 32  # rows that are read at a time: pictures may be large


@dataclass(frozen=True)
class Example:
    """A row: its id, and a picture (a data URI) or the beginning of its text, where there is one."""

    id: str
    image: str | None = None
    text: str | None = None


def groups_to_look_at(
    groups: Sequence[dict[str, Any]], units: Sequence[Unit], columns: Columns
) -> list[dict[str, Any]]:
    """Of each group {size, ids, rows}: size, ids, and as `shown` what its first rows look like; no other row is read.

    Pictures come from a column of bytes or of {bytes, path}, as Hugging Face writes them, or from the files that `scale
    embed` was given; words from the first column of strings that is none of id, label, file or url. What cannot be read
    as a picture is not shown.
    """
    starts, files = [unit.start for unit in units], functools.cache(opened)
    out = []
    for group in groups:
        shown = []
        for id, row in zip(group["ids"][:SHOWN], group["rows"][:SHOWN], strict=True):
            unit = units[int(np.searchsorted(starts, row, side="right")) - 1]
            shown.append(_example(id, unit, row - unit.start + unit.skip, columns, files(unit.shard)))
        seen = any(one.image or one.text for one in shown)
        out.append({"size": group["size"], "ids": group["ids"], "shown": [vars(one) for one in shown] if seen else []})
    return out


def _example(id: str, unit: Unit, place: int, columns: Columns, file: Any) -> Example:
    """place: the row's, counted from the first of the unit's row groups; file: the unit's shard."""
    image, text = looks(file.schema_arrow, columns)
    names = [name for name in (image, text) if name is not None]
    if not names:
        return Example(id)
    for group in unit.groups:
        if place < (rows := file.metadata.row_group(group).num_rows):
            break
        place -= rows
    found = _row(file, group, place, names)
    picture = None if image is None else _picture(found[image], unit)
    said = found[text] if text is not None and picture is None else None
    return Example(id, picture, None if said is None else said[:_WORDS])


def _row(file: Any, group: int, place: int, names: list[str]) -> dict[str, Any]:
    """One row of a row group, of which as little as can be is held."""
    for batch in file.iter_batches(batch_size=_AT_ONCE, row_groups=[group], columns=names, use_threads=False):
        if place < len(batch):
            return dict(batch.slice(place, 1).to_pylist()[0])
        place -= len(batch)
    raise IndexError(place)


def looks(schema: Any, columns: Columns) -> tuple[str | None, str | None]:
    """The column of pictures and that of words, where there are some.

    >>> import pyarrow as pa
    >>> looks(pa.schema({"id": pa.string(), "caption": pa.string(), "jpg": pa.binary()}), Columns())
    ('jpg', 'caption')
    """
    from pyarrow import types

    image = text = None
    for field in schema:
        kind, name = field.type, field.name
        struct = types.is_struct(kind) and {"bytes", "path"} <= {part.name for part in kind}
        if image is None and (struct or types.is_binary(kind) or types.is_large_binary(kind)):
            image = name
        words = types.is_string(kind) or types.is_large_string(kind)
        if text is None and words and name not in (columns.id, "label", "file", "url"):
            text = name
    if image is None and "file" in schema.names and types.is_string(schema.field("file").type):
        image = "file"
    return image, text


def _picture(value: Any, unit: Unit) -> str | None:
    """A small one, as a data URI."""
    from PIL import Image

    if isinstance(value, dict):
        value = value["bytes"]
    if isinstance(value, str):
        value = _file(value, unit)
    if not value:
        return None
    try:
        pixels = decode(value)
    except DataError:
        return None
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _file(name: str, unit: Unit) -> bytes | None:
    """What lies in the folder that was embedded, where that is known and on this machine."""
    if (folder := unit.shard.local) is None or not (about := folder.parent / "_source.txt").exists():
        return None
    path = Path(about.read_text(encoding="utf-8")) / name
    return path.read_bytes() if path.is_file() else None
