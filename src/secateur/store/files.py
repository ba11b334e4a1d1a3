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
    """Whoever owns a folder: hears of every file that is about to be written or deleted below it, and may refuse."""

    root: Path

    def writing(self, path: Path) -> None:
        """Called before `path` is created or changed; raises WrongData where it is not ours."""

    def removing(self, path: Path) -> None:
        """Called before `path` is deleted; raises WrongData where it is not ours."""

    def written(self, path: Path, beside: Path) -> None:
        """Called when `beside` is whole, before it becomes `path`."""


_guards: list[Guard] = []


@contextmanager
def guarded(guard: Guard) -> Iterator[None]:
    """Ask this guard about everything below its root, for the time of the block."""
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.remove(guard)


def guards_of(path: Path) -> list[Guard]:
    """The guards of the folders that a path lies below, outermost first."""
    where = Path(os.path.abspath(path))
    return [guard for guard in _guards if Path(os.path.abspath(guard.root)) in where.parents]


def may_write(path: Path) -> None:
    """Say that `path` is about to be written in place. Raises WrongData where a guard says that it is not ours."""
    for guard in guards_of(path):
        guard.writing(path)


@contextmanager
def foreseen(doing: str = "") -> Iterator[None]:
    """What the machine refuses meanwhile, as an error of our own that says what was under way; also a decorator."""
    try:
        yield
    except Exception as error:
        if isinstance(error, SecateurError) or (told := described(error, doing)) is None:
            raise
        raise told from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write into `path` in place: it must be ours, and what the machine refuses is an error that names it."""
    may_write(path)
    with foreseen(f"writing {path}"):
        yield


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, a file or a folder; what is written there replaces `path` at the end.

    A killed run leaves at most the temporary behind, and the next write into the same folder deletes it. Raises
    WrongData where a guard of the folder says that `path` is not ours.
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
    """Keep a second command out of a folder that is there; yields whether the lock file is new.

    The lock is an empty file `.lock`. Raises WrongData where another command is at work in the folder, and where
    something else is called `.lock`: that is never opened for writing, followed or cut short.
    """
    path = folder / ".lock"
    while True:
        check_lock(folder)
        new = not os.path.lexists(path)
        descriptor = _open_lock(path, folder)
        try:
            _lock(descriptor, folder)
            there, mine = _identity(path), os.fstat(descriptor)
            if there != (mine.st_dev, mine.st_ino):  # deleted by its owner before we had it
                continue
            check_lock(folder)
            yield new
            return
        finally:
            os.close(descriptor)


def check_lock(folder: Path) -> None:
    """Raise WrongData where `.lock` in a folder is not a lock of ours: an empty regular file."""
    try:
        about = os.lstat(folder / ".lock")
    except OSError:
        return
    if not stat.S_ISREG(about.st_mode) or about.st_size:
        raise WrongData(f"out: {folder / '.lock'} is not a lock of secateur; move it away, or name another --out")


def _open_lock(path: Path, folder: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise WrongData(f"out: {path} is a link; move it away, or name another --out") from None
        raise StoreError(f"out: cannot write to {folder} ({error.strerror}); name another --out") from None


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise WrongData(f"out: another command is at work in {folder}; wait for it, or name another") from None
    except OSError as error:
        raise StoreError(f"out: {folder} cannot be locked ({error.strerror}); name another --out") from None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        about = os.lstat(path)
    except OSError:
        return None
    return about.st_dev, about.st_ino


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there. Raises WrongData where a guard of the folder says it is not ours."""
    if os.path.lexists(path):
        for guard in guards_of(path):
            guard.removing(path)
        delete(path)


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
    """Add one JSON object as a line to a log, which must be a regular file."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, flags, 0o666), "ab") as log:
            log.write(_as_json(value) + b"\n")


def _as_json(value: Any, indent: int | None = None) -> bytes:
    """JSON in UTF-8; all ASCII where a file name in it is no valid text."""
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
