"""Files that are whole or not there: written beside their place and renamed into it."""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from secateur.errors import StoreError, WrongData, reason

_UMASK = os.umask(0)
os.umask(_UMASK)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, a file or a folder; what is written there replaces `path` at the end.

    A killed run leaves at most the temporary behind, and the next write takes its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.partial")
    remove(beside)
    try:
        yield beside
        if beside.is_dir():
            remove(path)
        else:
            beside.chmod(0o666 & ~_UMASK)  # some writers make private files
            _to_disk(beside)
        os.replace(beside, path)
    except OSError as error:
        raise StoreError(
            f"{path}: could not be written ({error.strerror or reason(error)}); free some space, then run again"
        ) from error


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
        beside.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or damaged one is an error that names it."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise StoreError(f"{path}: expected a JSON file, found none") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path}: damaged ({error}); delete it and run again") from None


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Add one JSON object as a line to a log."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as log:
        log.write(json.dumps(value, ensure_ascii=False) + "\n")


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
