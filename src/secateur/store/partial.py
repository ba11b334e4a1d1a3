"""Temporary names beside the files they become: nobody else's file has one, and what a killed run left is cleaned up.

A name is `.MACHINE-PID-RANDOMCHECK.partial`. The check is a hash of the rest, so a name proves by itself that it is
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
"""Seconds after which nobody on another machine is still writing a file."""
_open: set[str] = set()
"""Names that this process is writing at the moment."""
_swept: set[str] = set()
"""Folders that this process has cleaned already."""


def new_partial(folder: Path) -> Path:
    """A name in `folder` that no file has; the first call for a folder also deletes what killed runs left in it."""
    if str(folder) not in _swept:
        _swept.add(str(folder))
        sweep(folder)
    told = f"{_machine()}-{os.getpid()}-{secrets.token_hex(4)}"
    name = f".{told}{_check(told)}.partial"
    _open.add(name)
    return folder / name


def done(partial: Path) -> None:
    """Nothing is written under this name any more; delete what is left of it."""
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

    alone: the caller holds the lock of the folder, so that no process of another machine is at work in it; else theirs
    are deleted when they are a day old.
    """
    try:
        names = [entry.name for entry in os.scandir(folder) if entry.name.endswith(".partial")]
    except OSError:
        return
    for name in names:
        if is_partial(name) and name not in _open and not _in_use(folder / name, alone=alone):
            delete(folder / name)


def delete(path: Path) -> None:
    """Delete a file or a folder, if it is there; a link is deleted, not what it points to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _check(told: str) -> str:
    return hashlib.blake2b(told.encode(), digest_size=4, key=b"secateur partial").hexdigest()


@functools.cache
def _machine() -> str:
    """Tells machines, and containers with processes of their own, apart."""
    try:
        space = os.readlink("/proc/self/ns/pid")
    except OSError:
        space = ""
    return hashlib.blake2b(f"{platform.node()} {space}".encode(), digest_size=4).hexdigest()


def _in_use(path: Path, *, alone: bool) -> bool:
    """May another process still be writing it?"""
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
