"""List a folder: the files that may be data, and what is ignored, and why."""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secateur.errors import DataError, StoreError, reason_of
from secateur.store.files import read_json
from secateur.store.owned import is_run_folder
from secateur.store.schemas.runs import LikeRun

HIDDEN = "hidden and system files"
OURS = "OUT folders of runs"
SAVED = "data sets saved by `datasets`"
NOWHERE = "broken links"
TWICE = "links to folders that were already read"
ODD = "pipes, sockets and devices"

_SYSTEM = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "lost+found", "$recycle.bin", "@eadir", "system volume information"}
)


@dataclass(frozen=True)
class Listing:
    """Paths relative to a folder, with `/` between their parts, sorted.

    files: regular files that may be data. folders: all that were read. ignored: the rest, by reason.
    """

    files: tuple[str, ...]
    folders: tuple[str, ...] = ()
    ignored: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def listed(root: Path) -> Listing:
    """List a folder recursively.

    Ignored are hidden files, names that begin with two underscores, files left by the operating system, folders that
    hold a run of ours or a data set saved by `datasets`, and anything that is neither a file nor a folder. Links are
    followed, to each folder once. Raises DataError for folders that cannot be read, and for names that are not UTF-8.
    """
    walk = _Walk(root)
    walk.enter(root, "")
    while walk.links:  # after the real folders, so that a link never hides one
        path, name = walk.links.pop(0)
        walk.enter(path, name)
    ignored = {why: tuple(sorted(names)) for why, names in walk.ignored.items()}
    return Listing(tuple(sorted(walk.files)), tuple(sorted(walk.folders)), ignored)


def our_run(folder: Path) -> dict[str, Any] | None:
    """The contents of our run.json in a folder; None if there is none."""
    try:
        return dict(read_json(folder / "run.json", LikeRun))
    except StoreError:  # missing, or not ours
        return None


def is_saved(folder: Path) -> bool:
    """Did `datasets` save a data set there?"""
    return (folder / "dataset_dict.json").is_file() or (
        (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file()
    )


class _Walk:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: list[str] = []
        self.folders: list[str] = []
        self.links: list[tuple[Path, str]] = []
        self.ignored: dict[str, list[str]] = {}
        self.entered: set[tuple[int, int]] = set()

    def enter(self, folder: Path, name: str) -> None:
        """List one folder and those in it, without recursion, since folders may be nested deeply."""
        waiting = [(folder, name)]
        while waiting:
            path, prefix = waiting.pop()
            if why := self._unfit(path, prefix):
                self.ignored.setdefault(why, []).append(f"{prefix}/")
                continue
            self.folders += [prefix] if prefix else []
            for entry in _entries(path):
                below = f"{prefix}/{entry.name}" if prefix else entry.name
                waiting += [(Path(entry.path), below)] if self._is_folder(entry, below) else []

    def _unfit(self, path: Path, prefix: str) -> str | None:
        try:
            about = path.stat()
        except OSError as error:
            raise _unreadable(path, error) from None
        if (about.st_dev, about.st_ino) in self.entered:
            return TWICE
        self.entered.add((about.st_dev, about.st_ino))
        if not prefix:
            return None
        return OURS if is_run_folder(path) else SAVED if is_saved(path) else None

    def _is_folder(self, entry: os.DirEntry[str], name: str) -> bool:
        """Should this folder be listed now? Everything else is recorded here."""
        if entry.name.startswith((".", "__")) or entry.name.lower() in _SYSTEM:
            self.ignored.setdefault(HIDDEN, []).append(name)
            return False
        try:
            name.encode()
            if entry.is_file(follow_symlinks=False):  # needs no extra stat
                self.files.append(name)
                return False
            mode = entry.stat().st_mode
        except UnicodeEncodeError:
            raise DataError(f"data: the name of {entry.path} is not UTF-8; rename it") from None
        except OSError as error:
            if not entry.is_symlink():
                raise _unreadable(Path(entry.path), error) from None
            self.ignored.setdefault(NOWHERE, []).append(name)
            return False
        if stat.S_ISDIR(mode) and entry.is_symlink():
            self.links.append((Path(entry.path), name))
        elif stat.S_ISREG(mode):
            self.files.append(name)
        elif not stat.S_ISDIR(mode):
            self.ignored.setdefault(ODD, []).append(name)
        return stat.S_ISDIR(mode) and not entry.is_symlink()


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from None


def _unreadable(path: Path, error: OSError) -> DataError:
    return DataError(f"data: {path} cannot be read ({reason_of(error)}); fix that, or move it out of the data")
