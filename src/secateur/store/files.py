"""Files that are whole or not there: written beside their place and renamed into it."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from secateur.errors import DataError, SecateurError, StoreError, WrongData, described
from secateur.untrusted import read_regular

_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, a file or a folder; what is written there replaces `path` at the end.

    A killed run leaves at most the temporary behind, and the next write takes its place.
    """
    beside = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(beside)
        yield beside
        if beside.is_dir():
            remove(path)
        else:
            beside.chmod(0o666 & ~_UMASK)  # some writers make private files
            _to_disk(beside)
        os.replace(beside, path)
    except Exception as error:  # of the file system, and of the libraries that write: safetensors, arrow, numpy
        with suppress(OSError):
            remove(beside)
        if isinstance(error, SecateurError) or (told := described(error, f"writing {path}")) is None:
            raise
        raise told from error


@contextmanager
def guarded(doing: str = "") -> Iterator[None]:
    """What the machine refuses meanwhile, as an error of our own that says what was under way; also a decorator."""
    try:
        yield
    except Exception as error:
        if isinstance(error, SecateurError) or (told := described(error, doing)) is None:
            raise
        raise told from error


def writing(path: Path) -> AbstractContextManager[None]:
    """What the machine refuses while something is written into `path`, as an error that names it."""
    return guarded(f"writing {path}")


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second command out of a folder that is there. Raises WrongData where one is at work in it."""
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise WrongData(f"out: another command is at work in {folder}; wait for it, or name another") from None
        yield


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as readable JSON."""
    with replacing(path) as beside:
        beside.write_bytes(_as_json(value, indent=2) + b"\n")


_LARGEST = 1 << 28
"""Bytes of the largest file of JSON that is read."""


def read_json(path: Path, schema: Any = Any) -> Any:
    """The value of a JSON file, which is as `schema` says, see `secateur.store.schemas`.

    Raises StoreError, naming the file and the key, for one that is missing, damaged or edited to something else.
    """
    from secateur.store.schemas import parsed

    return parsed(read_file(path, "a JSON file"), schema, path)


def read_file(path: Path, what: str) -> bytes:
    """The bytes of a file of at most 256 MiB; raises StoreError for none, a pipe, a device, what cannot be read."""
    try:
        return read_regular(path, limit=_LARGEST)
    except DataError as error:
        told = f"{path}: expected {what}, found none" if not os.path.lexists(path) else error
        raise StoreError(told) from None


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Add one JSON object as a line to a log."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as log:
            log.write(_as_json(value) + b"\n")


def _as_json(value: Any, indent: int | None = None) -> bytes:
    """JSON in UTF-8; of a name that is not valid Unicode, the odd bytes as escapes."""
    return json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
