"""Write kept images as files: in class folders, or at their own paths with a metadata file; never outside the target.

Names come from the data, so every name is checked before use. A class becomes a folder only if it was one before.
"""

import csv
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from secateur.data.columns import Columns
from secateur.data.source import Source
from secateur.errors import DataError
from secateur.untrusted import folder_name

_LONGEST = 255
"""The longest file name, in bytes."""


class _Origin(NamedTuple):
    """The path of an image, or its bytes if it is inside an archive."""

    path: Path
    content: bytes | None


def write_images(columns: Columns, source: Source, ids: list[int], folder: Path) -> str:
    """Copy the image files of some rows into an empty folder; returns the label options for `load_dataset`.

    If a metadata file has more columns than the class, images keep their paths, with a metadata file of those columns.
    """
    from datasets import Image

    cells = columns.table.select_columns([columns.input]).cast_column(columns.input, Image(decode=False))
    origins = [_Origin(Path(c["path"]), c["bytes"]) for c in cells.select(ids)[:][columns.input]]
    by_folder = _by_folder(columns, source, ids, origins)
    more = {
        name: [values[i] for i in ids]
        for name, values in columns.beside.items()
        if not (by_folder and name == columns.label)
    }
    by_class = source.labelled and (by_folder or columns.label not in more)
    if by_class and not more:
        names = [folder_name(source.classes[k], "label") for k in source.train.labels[ids]]
        places = list(_by_class(ids, origins, names))
    else:
        home = os.path.commonpath([Path(cell["path"]).parent for cell in cells[:][columns.input]])
        places = [origin.path.relative_to(home) for origin in origins]
        if more:
            _write_metadata(more, places, source.root or Path(home), folder)
    for origin, place in zip(origins, places, strict=True):
        _copy(origin, folder, place)
    return f"drop_labels={not by_class}"


def _by_folder(columns: Columns, source: Source, ids: list[int], origins: Sequence[_Origin]) -> bool:
    """Are the labels the names of the images' folders?"""
    from datasets import ClassLabel

    if not source.labelled or not isinstance(columns.table.features[columns.label], ClassLabel):
        return False
    labels = source.train.labels[ids]
    return all(source.classes[k] == o.path.parent.name for k, o in zip(labels, origins, strict=True))


def _by_class(ids: list[int], origins: Sequence[_Origin], names: Sequence[str]) -> Iterator[Path]:
    """A path in its class folder for each image; a name that two images of a class share is prefixed by the id."""
    taken: set[Path] = set()
    for i, origin, name in zip(ids, origins, names, strict=True):
        place, times = Path(name) / origin.path.name, 0
        while place in taken:
            place, times = Path(name) / _numbered(f"{i}-" + "again-" * times, origin.path.name), times + 1
        taken.add(place)
        yield place


def _numbered(number: str, name: str) -> str:
    """A file name with a prefix; if it gets too long, the prefix, a hash and the suffix."""
    if len(os.fsencode(number + name)) <= _LONGEST:
        return number + name
    return number + hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest() + Path(name).suffix[:20]


def _write_metadata(rows: dict[str, list[Any]], places: Sequence[Path], root: Path, folder: Path) -> None:
    """Write the other columns to a metadata file of the same format as the original."""
    table = {"file_name": [place.as_posix() for place in places], **rows}
    if any(root.rglob("metadata.jsonl")):
        with (folder / "metadata.jsonl").open("w", encoding="utf-8") as file:
            for row in zip(*table.values(), strict=True):
                file.write(json.dumps(dict(zip(table, row, strict=True)), default=str) + "\n")
        return
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))


def _copy(origin: _Origin, folder: Path, place: Path) -> None:
    """Copy an image file, following links; never a pipe or a device, which could block or be endless."""
    target = folder / place
    if not Path(os.path.abspath(target)).is_relative_to(os.path.abspath(folder)):
        raise DataError(f"kept: {place} would lie outside the folder; rename it")
    target.parent.mkdir(parents=True, exist_ok=True)
    if origin.content is not None:
        target.write_bytes(origin.content)
        return
    try:
        descriptor = os.open(origin.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise DataError(f"kept: {origin.path} cannot be read ({getattr(error, 'strerror', error)})") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise DataError(f"kept: {origin.path} is no longer a regular file; restore the image")
        with target.open("xb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
        about = os.fstat(descriptor)
    os.utime(target, ns=(about.st_atime_ns, about.st_mtime_ns))
