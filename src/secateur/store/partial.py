"""Temporary names next to the files they become: unique to us, so leftovers of killed runs can be deleted safely.

A name is `.MACHINE-PID-RANDOMCHECK.partial`. The check is a hash of the rest, so the name itself proves that it is
ours.
"""

import functools
import hashlib
import os
import platform
import re
import secrets
import shutil
import time
from pathlib import Path

_SHAPE = re.compile(r"\.(([0-9a-f]{8})-(\d{1,10})-[0-9a-f]{8})([0-9a-f]{8})\.partial")
_OLD = 24 * 3600
"""Seconds after which no other machine is assumed to be still writing a file."""
_open: set[str] = set()
"""Names that this process is writing now."""
_swept: set[str] = set()
"""Folders that this process has cleaned already."""


def new_partial(folder: Path) -> Path:
    """An unused name in `folder`; the first call for a folder also deletes what killed runs left in it."""
    if str(folder) not in _swept:
        _swept.add(str(folder))
        sweep(folder)
    told = f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    name = f".{told}{_check(told)}.partial"
    _open.add(name)
    return folder / name


def done(partial: Path) -> None:
    """Finish writing under this name, and delete what is left of it."""
    _open.discard(partial.name)
    delete(partial)


def is_partial(name: str) -> bool:
    """Is it a name that `new_partial` made?

    >>> is_partial(new_partial(Path("/nowhere")).name), is_partial(".thesis.tex.partial")
    (True, False)
    """
    found = _SHAPE.fullmatch(name)
    return found is not None and _check(found.group(1)) == found.group(4)


def sweep(folder: Path, *, alone: bool = False) -> None:
    """Delete the partial files of killed processes directly in a folder.

    alone: the caller holds the lock of the folder, so no process on another machine is writing there; otherwise files
    of other machines are deleted only after a day.
    """
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.endswith(".partial")]
    except OSError:
        return
    for name in names:
        if is_partial(name) and name not in _open and not _in_use(folder / name, alone=alone):
            delete(folder / name)


def delete(path: Path) -> None:
    """Delete a file or a folder, if it exists; a link is deleted, not its target."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _check(told: str) -> str:
    return hashlib.blake2b(told.encode(), digest_size=4, key=b"secateur partial").hexdigest()


@functools.cache
def _machine() -> str:
    """Identifies the machine, or the container if it has its own process ids."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return hashlib.blake2b(f"{platform.node()} {space}".encode(), digest_size=4).hexdigest()


def _in_use(path: Path, *, alone: bool) -> bool:
    """Could another process still be writing it?"""
    found = _SHAPE.fullmatch(path.name)
    assert found is not None
    if found.group(2) != _machine():
        try:
            return not alone and time.time() - path.lstat().st_mtime < _OLD
        except OSError:
            return True
    pid = int(found.group(3))
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
