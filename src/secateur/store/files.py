"""Files that are whole or not there: written beside their place and renamed into it."""

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from secateur.errors import DataError, SecateurError, StoreError, WrongData, described
from secateur.store.partial import delete, done, new_partial
from secateur.untrusted import read_regular

_UMASK = os.umask(0)
os.umask(_UMASK)


@runtime_checkable
class Guard(Protocol):
    """The owner of a folder: it is called before every write and delete below the folder, and may refuse."""

    root: Path

    def writing(self, path: Path) -> None:
        """Called before `path` is created or changed; raises WrongData if it is not ours."""

    def removing(self, path: Path) -> None:
        """Called before `path` is deleted; raises WrongData if it is not ours."""

    def written(self, path: Path, beside: Path) -> None:
        """Called when `beside` is complete, before it is renamed to `path`."""


_guards: list[Guard] = []


@contextmanager
def guarded(guard: Guard) -> Iterator[None]:
    """Ask this guard about every write below its root for the duration of the block."""
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.remove(guard)


def guards_of(path: Path) -> list[Guard]:
    """The guards of the folders that contain a path, outermost first."""
    where = Path(os.path.abspath(path))
    return [guard for guard in _guards if Path(os.path.abspath(guard.root)) in where.parents]


def may_write(path: Path) -> None:
    """Announce a write to `path` in place. Raises WrongData if a guard says that it is not ours."""
    for guard in guards_of(path):
        guard.writing(path)


@contextmanager
def foreseen(doing: str = "") -> Iterator[None]:
    """Turn system errors in the block into a SecateurError that names the operation; also a decorator."""
    try:
        yield
    except Exception as error:
        if isinstance(error, SecateurError) or (told := described(error, doing)) is None:
            raise
        raise told from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write to `path` in place: it must be ours, and system errors name it."""
    may_write(path)
    with foreseen(f"writing {path}"):
        yield


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, a file or a folder; what is written there replaces `path` at the end.

    A killed run leaves at most the temporary file behind, and the next write into the same folder deletes it. Raises
    WrongData if a guard of the folder says that `path` is not ours.
    """
    may_write(path)
    beside: Path | None = None
    try:
        with foreseen(f"writing {path}"):  # of the file system, and of the libraries that write
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = new_partial(path.parent)
            yield beside
            _into_place(beside, path)
    finally:
        if beside is not None:
            with suppress(OSError):
                done(beside)


def _into_place(beside: Path, path: Path) -> None:
    if beside.is_dir():
        for guard in guards_of(path):
            guard.removing(path)
        delete(path)
    else:
        beside.chmod(0o666 & ~_UMASK)  # some writers make private files
        _to_disk(beside)
        for guard in guards_of(path):
            guard.written(path, beside)
    os.replace(beside, path)


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Keep a second command out of an existing folder; yields whether the lock file is new.

    The lock is an empty file `.lock`. Raises WrongData if another command is running in the folder, or if `.lock` is
    anything else: then it is never opened for writing, followed or truncated.
    """
    path = folder / ".lock"
    while True:
        check_lock(folder)
        new = not os.path.lexists(path)
        descriptor = _open_lock(path, folder)
        try:
            _lock(descriptor, folder)
            there, mine = _identity(path), os.fstat(descriptor)
            if there != (mine.st_dev, mine.st_ino):  # its owner deleted it before we locked it
                continue
            check_lock(folder)
            yield new
            return
        finally:
            os.close(descriptor)


def check_lock(folder: Path) -> None:
    """Raise WrongData if `.lock` in a folder is not a lock of ours, an empty regular file."""
    try:
        about = os.lstat(folder / ".lock")
    except OSError:
        return
    if not stat.S_ISREG(about.st_mode) or about.st_size:
        raise WrongData(
            f"out: {folder / '.lock'} is not a lock file of secateur; move it away, or choose another --out"
        )


def _open_lock(path: Path, folder: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise WrongData(f"out: {path} is a link; move it away, or choose another --out") from None
        raise StoreError(f"out: cannot write to {folder} ({error.strerror}); choose another --out") from None


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WrongData(f"out: another command is running in {folder}; wait for it, or choose another folder") from None
    except OSError as error:
        raise StoreError(f"out: {folder} cannot be locked ({error.strerror}); choose another --out") from None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        about = os.lstat(path)
    except OSError:
        return None
    return about.st_dev, about.st_ino


def remove(path: Path) -> None:
    """Delete a file or a folder, if it exists. Raises WrongData if a guard of the folder says it is not ours."""
    if os.path.lexists(path):
        for guard in guards_of(path):
            guard.removing(path)
        delete(path)


def write_json(path: Path, value: Any) -> None:
    """Write a value as readable JSON."""
    with replacing(path) as beside:
        beside.write_bytes(_as_json(value, indent=2) + b"\n")


_LARGEST = 1 << 28
"""The largest JSON file that is read, in bytes."""


def read_json(path: Path, schema: Any = Any) -> Any:
    """The value of a JSON file, validated against `schema`, see `secateur.store.schemas`.

    Raises StoreError, naming the file and the key, if the file is missing or does not match the schema.
    """
    from secateur.store.schemas import parsed

    return parsed(read_file(path, "a JSON file"), schema, path)


def read_file(path: Path, what: str) -> bytes:
    """The bytes of a file of at most 256 MiB; raises StoreError if it is missing, unreadable, a pipe or a device."""
    try:
        return read_regular(path, limit=_LARGEST)
    except DataError as error:
        told = f"{path}: expected {what}, found none" if not os.path.lexists(path) else error
        raise StoreError(told) from None


def append_line(path: Path, value: dict[str, Any]) -> None:
    """Append one JSON object as a line to a log, which must be a regular file."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, flags, 0o666), "ab") as log:
            log.write(_as_json(value) + b"\n")


def _as_json(value: Any, indent: int | None = None) -> bytes:
    """JSON in UTF-8; in ASCII if it contains a file name that is not valid Unicode."""
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent, allow_nan=False).encode()


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
