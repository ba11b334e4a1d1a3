"""The gate of an OUT folder: every write and delete in it goes through here."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from secateur.errors import WrongData
from secateur.store.digests import is_noted, noted
from secateur.store.files import guarded, guards_of, locked, write_json
from secateur.store.owned import (
    LOCK,
    NAMES,
    RUN,
    TABLES,
    check_plain,
    check_table,
    foreign_names,
    is_recorded,
    not_ours,
    owned_names,
    run_in,
    sweep_all,
)


class Gate:
    """Guards one folder during a run: lists names before they are written, and refuses names that are not ours.

    Only the holder of the folder's lock may use it.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wrote = False
        self._waiting: dict[str, Any] | None = None
        self._owns: set[str] | None = None

    @property
    def run(self) -> dict[str, Any]:
        """The contents of run.json, or what the first write will save; empty in a folder without one of ours."""
        return dict(self._waiting) if self._waiting is not None else run_in(self.root)

    def wait(self, run: Mapping[str, Any] | None) -> None:
        """Write this run.json together with the first other write, not before; None: keep the one on disk."""
        self._waiting, self._owns, self.wrote = None if run is None else dict(run), None, False

    def save(self, run: Mapping[str, Any]) -> None:
        """Write run.json; the first time, delete partial files of killed runs before."""
        if not self.wrote:
            sweep_all(self.root, self._owned)
        self.wrote = True
        write_json(self.root / RUN, dict(run))
        self._waiting = None

    def owns(self, name: str) -> bool:
        """Is a top-level name ours?"""
        return name in self._owned

    @property
    def _owned(self) -> set[str]:
        if self._owns is None:
            self._owns = owned_names(self.root, self.run)
        return self._owns

    def writing(self, path: Path) -> None:
        """List the top-level name of `path`. Raises WrongData if something else uses it, or a link is on the path."""
        inside = self._inside(path)
        if inside == (RUN,):
            return
        self._check_links(inside)
        if not self._owned:
            self._beside_recording(path, inside[0])
        elif not self.owns(inside[0]):
            self._list(inside[0])
        elif self._waiting is not None:
            self.save(self._waiting)

    def _list(self, name: str) -> None:
        if name not in NAMES or os.path.lexists(self.root / name):
            raise WrongData(not_ours(self.root, name))
        self._owns = self._owned | {name}
        self.save(self.run | {"owns": [n for n in NAMES if n in self._owned]})

    def _beside_recording(self, path: Path, name: str) -> None:
        if name not in TABLES or not is_recorded(self.root):
            raise WrongData(not_ours(self.root, name))
        check_table(path)
        self.wrote = True

    def removing(self, path: Path) -> None:
        """Raise WrongData if `path` is not under a name of ours."""
        inside = self._inside(path)
        if not self.owns(inside[0]):
            raise WrongData(not_ours(self.root, inside[0]))
        self._check_links(inside[:-1])
        if self._waiting is not None:
            self.save(self._waiting)

    def written(self, path: Path, beside: Path) -> None:
        """Save the digest of the file that is about to become `path`, so that a later read detects damage."""
        inside = self._inside(path)
        if self._owned and is_noted(inside):
            run = self.run
            self.save(run | {"digests": noted(run, self.root, inside, beside)})

    def _inside(self, path: Path) -> tuple[str, ...]:
        return Path(os.path.relpath(os.path.abspath(path), os.path.abspath(self.root))).parts

    def _check_links(self, inside: tuple[str, ...]) -> None:
        at = self.root
        for part in inside:
            at = at / part
            if at.is_symlink():
                raise WrongData(f"out: {at} is a link, and a run would write there; remove it, or choose another --out")


@contextmanager
def writing_into(folder: Path, name: str) -> Iterator[None]:
    """Write one name into an OUT folder from outside a job, such as the report; lock the folder and list it if needed.

    Raises WrongData if something else uses the name, or if it is not listed yet and another command is running.
    """
    if any(os.path.abspath(guard.root) == os.path.abspath(folder) for guard in guards_of(folder / name)):
        yield
        return
    if not (run := run_in(folder)):
        raise WrongData(f"out: {folder} is not the folder of a secateur run; expected run.json in it")
    owns = owned_names(folder, run)
    if name in foreign_names(folder, owns):
        raise WrongData(not_ours(folder, name))
    check_plain(folder, owns & {name})
    if name in owns:
        yield
        return
    with locked(folder) as new, guarded(Gate(folder)):
        try:
            yield
        finally:
            if new:
                (folder / LOCK).unlink(missing_ok=True)
