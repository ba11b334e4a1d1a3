"""Files by path or URL, through fsspec: written whole or not at all, read in part."""

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import starmap
from pathlib import Path
from typing import Any

import numpy as np

from secateur.errors import DataError, SecateurError, StoreError, reason, refused
from secateur.store.files import replacing
from secateur.store.schemas import parsed

_AHEAD = 4 << 20
"""Bytes of a remote file that are read ahead; the clients' own 50 MB would be read for every column of a shard."""
_HEAD = 4096
"""Bytes in which the header of an array is looked for; a short array is there with it."""


@dataclass(frozen=True)
class Place:
    """A file or folder; `/` goes down. On a local disk a path, elsewhere a URL such as s3://bucket/folder."""

    url: str

    def __truediv__(self, name: str) -> "Place":
        return Place(f"{self.url.rstrip('/')}/{name}")

    def __reduce__(self) -> tuple[Any, ...]:
        path = self.local
        return Place, (self.url if path is None else str(path),)  # a worker may be in another folder

    @property
    def name(self) -> str:
        """The last part."""
        return self.url.rstrip("/").rpartition("/")[2]

    @cached_property
    def _found(self) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        try:
            return url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise StoreError(f"{self.url}: cannot be reached ({reason(error)})") from None

    @property
    def local(self) -> Path | None:
        """The path, where it is on this machine."""
        files, path = self._found
        return Path(path) if "file" in _protocols(files) else None

    def _now(self) -> tuple[Any, str]:
        """The file system and the path in it, nothing remembered of what was there before: others write too."""
        files, path = self._found
        files.invalidate_cache()
        return files, path

    def exists(self) -> bool:
        """Is there such a file or folder?"""
        files, path = self._now()
        with _trying(self.url, "cannot be reached"):
            return bool(files.exists(path))

    def names(self) -> list[str]:
        """The names in a folder, sorted; none where there is no folder."""
        files, path = self._now()
        with _trying(self.url, "cannot be listed"):
            try:
                return sorted(found.rstrip("/").rpartition("/")[2] for found in files.ls(path, detail=False))
            except FileNotFoundError:
                return []

    def remove(self) -> None:
        """Delete a file, or a folder and what is in it, if it is there."""
        files, path = self._now()
        with _trying(self.url, "cannot be removed"):
            if files.exists(path):
                files.rm(path, recursive=True)

    def open(self) -> Any:
        """To read from, anywhere in it."""
        self._check_regular()
        files, path = self._now()
        with _trying(self.url, "cannot be read"):
            return files.open(path, "rb", block_size=_AHEAD)

    @contextmanager
    def writing(self) -> Iterator[Any]:
        """A file to write into, which is there once it is whole: renamed into its place, or put in one go."""
        files, path = self._found
        if self.local is not None:
            with replacing(Path(path)) as beside, beside.open("wb") as file:
                yield file
            return
        buffer = io.BytesIO()
        yield buffer
        with _trying(self.url, "could not be written"):
            files.pipe_file(path, buffer.getvalue())

    def read_json(self, schema: Any = Any) -> Any:
        """The value of a JSON file, validated against `schema`."""
        return parsed(self._span(0, None), schema, self.url)

    def digest(self) -> str:
        """The digest of the whole file, as `digest_of` returns."""
        found = hashlib.blake2b(digest_size=16)
        with self.open() as file, _trying(self.url, "cannot be read"):
            while chunk := file.read(_AHEAD):
                found.update(chunk)
        return found.hexdigest()

    def write_json(self, value: Any) -> None:
        """A value as JSON."""
        with self.writing() as file:
            file.write((json.dumps(value, indent=1, allow_nan=False) + "\n").encode())

    def write_array(self, array: np.ndarray) -> None:
        """An array as a .npy file."""
        with self.writing() as file:
            np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)

    def read_array(self) -> np.ndarray:
        """The whole of a .npy file."""
        return self.read_rows(0, None)

    def read_rows(self, start: int, stop: int | None) -> np.ndarray:
        """The rows [start, stop) of a .npy file, and nothing else of it."""
        head = self._span(0, _HEAD)
        shape, kind, at = _header(head, self.url)
        stop = shape[0] if stop is None else min(stop, shape[0])
        count, width = max(0, stop - start), kind.itemsize * int(np.prod(shape[1:], dtype=int))
        low, high = at + start * width, at + (start + count) * width
        data = head[low:high] if high <= len(head) or low == high else self._span(low, high)
        if len(data) != count * width:
            raise StoreError(f"{self.url}: cut off; delete it and run again")
        return np.frombuffer(data, dtype=kind).reshape(count, *shape[1:])

    def _check_regular(self) -> None:
        """Raise StoreError for a local pipe or device, which could block or be endless."""
        if (path := self.local) is not None and path.exists() and not path.is_file() and not path.is_dir():
            raise StoreError(f"{self.url}: expected a regular file; move it away, or choose another folder")

    def _span(self, start: int, end: int | None) -> bytes:
        """Some bytes of the file in one go, fewer where it ends before."""
        self._check_regular()
        files, path = self._found
        with _trying(self.url, "cannot be read"):
            return files.cat_file(path, start=start, end=end)


def digest_of(data: bytes | memoryview) -> str:
    """A digest of a file's contents, as 32 hex digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@dataclass(frozen=True)
class Folders(Sequence[Place]):
    """Folders side by side, named by their number; what a task carries instead of a list of thousands."""

    root: Place
    many: int

    def __len__(self) -> int:
        return self.many

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < self.many:
            raise IndexError(number)
        return self.root / f"{number:06d}"


_READERS = 16


def together(read: Callable[..., Any], places: Sequence[Place], *others: Sequence[Any]) -> Iterator[Any]:
    """read(place, ...) of each in their order; of distant ones many at a time, since it is waiting that takes long."""
    asked = list(zip(places, *others, strict=True))
    if not asked or asked[0][0].local is not None:
        yield from starmap(read, asked)
        return
    with ThreadPoolExecutor(_READERS) as pool:
        for start in range(0, len(asked), 64 * _READERS):
            yield from pool.map(lambda one: read(*one), asked[start : start + 64 * _READERS])


@contextmanager
def _trying(url: str, what: str) -> Iterator[None]:
    """Whatever the client of a store raises, as an error that names the file."""
    try:
        yield
    except SecateurError:
        raise
    except Exception as error:
        raise refused(error, f"{url}: {what}") or StoreError(f"{url}: {what} ({reason(error)})") from error


def _header(head: bytes, url: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape and type of an array, and where its rows begin."""
    file = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(file)
        if kind.hasobject or any(size < 0 for size in shape) or not shape:
            raise ValueError(f"{kind} of shape {shape}")
    except Exception as error:  # numpy evaluates the header as Python, so any error is possible
        raise StoreError(f"{url}: damaged ({reason(error)}); delete it and run again") from None
    return shape, kind, file.tell()


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _embedded(folder: Place) -> list[str]:
    """The shards that `scale embed` left below a folder of a store, without the protocol."""
    from secateur.scale.embedded import shards_in

    files, path = shards_in(folder)._now()
    return sorted(name for name in files.ls(path, detail=False) if name.endswith(".parquet"))


def expand(patterns: str | Sequence[str]) -> list[Place]:
    """The files of paths, URLs, globs and folders (their .parquet files), in the order of their names.

    Raises DataError where one of them names no file.
    """
    found: list[Place] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        place = Place(str(pattern))
        files, path = place._now()
        if any(sign in path for sign in "*?["):
            names = sorted(files.glob(path))
        elif files.isdir(path):
            names = sorted(name for name in files.ls(path, detail=False) if name.endswith(".parquet"))
            if not names and place.local is None:
                names = _embedded(place)
        else:
            names = [path] if files.exists(path) else []
        if not names:
            found_no = "has no .parquet file in it" if files.isdir(path) else "matches no file"
            raise DataError(
                f"shards: {pattern} {found_no}; expected parquet files, a folder of them, or a glob in quotes; images "
                f"are made shards of by `secateur scale embed`"
            )
        found += [Place(name if place.local is not None else files.unstrip_protocol(name)) for name in names]
    return found
