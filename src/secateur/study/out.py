"""The OUT folder: what was asked (run.json), what happened (log.jsonl), and that nobody else's work is touched."""

import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import secateur
from secateur.errors import SecateurError, StoreError, WrongData, reason
from secateur.store.files import append_line, check_lock, guarded, locked, may_write
from secateur.store.gate import Gate
from secateur.store.owned import (
    LOCK,
    RUN,
    check_plain,
    foreign_names,
    is_foreign_run,
    is_recorded,
    not_ours,
    owned_names,
    run_in,
    strangers,
)
from secateur.store.schemas import checked
from secateur.store.schemas.runs import Claim, RunFile
from secateur.study.aside import effective, recover, set_aside

_OF_ONE = {"record": "slim", "slim": "record"}
"""The stages that write model.safetensors, each with the one whose net it would replace."""


@dataclass(frozen=True)
class Out:
    """One OUT folder.

    It is ours if its run.json says so, and of what lies in it only what run.json lists. Whatever is refused is refused
    before anything is written: the folder stays byte for byte as it was.
    """

    path: Path
    _gate: Gate = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Raise SecateurError for a name that parquet and others could not write to."""
        try:
            odd = b"\0" in str(self.path).encode()
        except UnicodeEncodeError:
            odd = True
        if odd:
            raise SecateurError(f"out: expected a name that is valid Unicode, got {self.path!s}; choose another --out")
        object.__setattr__(self, "_gate", Gate(self.path))

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def run(self) -> dict[str, Any]:
        """What run.json says; empty for a folder that is new, or not of a job of ours. `known` looks at all of it."""
        run = self._gate.run
        return dict(checked(run, Claim, self / RUN)) if run else {}

    @property
    def known(self) -> dict[str, Any]:
        """What run.json says, all of it as a run writes it. Raises StoreError where it was damaged or edited."""
        return dict(checked(self._gate.run, RunFile, self / RUN))

    @property
    def stages(self) -> dict[str, Any]:
        """What run.json says of each stage that has begun."""
        return dict(self.run.get("stages", {}))

    @property
    def kept(self) -> str | None:
        """The digest of the subset whose rows stand in kept/, if any do."""
        noted = self.stages.get("kept", {}).get("asked", {})
        return noted.get("subset") if (self / "kept").exists() else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Work in the folder of a run, or beside the recording of somebody's own loop; nobody else may meanwhile.

        Raises StoreError where it is neither, WrongData where something that is not ours is in the way.
        """
        self._check_ours()
        with self._held():
            self._check_ours()
            recover(self.path, run_in(self.path))
            self._gate.wait(None)
            with guarded(self._gate):
                yield

    @contextmanager
    def claimed(self, data: Mapping[str, Any], *, force: bool) -> Iterator[None]:
        """`claim`, and keep a second command out, for the time of a job.

        A job that was refused before it wrote anything leaves everything as it was; a folder that was made for it goes.
        """
        self._check(data, force=force)
        with self._held():
            try:
                self.claim(data, force=force)
                with guarded(self._gate):
                    yield
            finally:
                recover(self.path, run_in(self.path))

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Make the folder if need be, and hold its lock; take both away where nothing was written."""
        made = [folder for folder in (self.path, *self.path.parents) if not os.path.exists(folder)]
        may_write(self.path)  # it may lie in the folder of a job that is at work
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise StoreError(f"out: {self.path} cannot be made ({reason(error)}); choose another --out") from None
        try:
            with locked(self.path) as new:
                try:
                    yield
                finally:
                    if new and not self._gate.wrote:
                        (self / LOCK).unlink(missing_ok=True)
                    self._gate.wait(None)
        finally:
            with suppress(OSError):  # something lies in one by now
                for folder in made:
                    folder.rmdir()

    def claim(self, data: Mapping[str, Any], *, force: bool) -> None:
        """Make the folder this data's own, with the first write into it. Needs the lock.

        Raises WrongData where it is other data's, or something else's, or where something that is not ours stands where
        a job would write. `force`: what a former run wrote here, and nothing else, is set aside; it is deleted when the
        job ends, and comes back where that was refused before it wrote anything.
        """
        self._gate.wait(None)
        self._check(data, force=force)
        recover(self.path, self.run)
        before, new = self.run, {"versions": versions(), "commit": _commit(), "data": dict(data)}
        if before and not force:
            self._gate.wait(before | new | {"owns": sorted(owned_names(self.path, before))})
        elif before:
            token = set_aside(self.path, before)
            self._gate.wait({**new, "stages": {}, "owns": ["run.json"], "discard": token})
        else:
            self._gate.wait({**new, "stages": {}, "owns": ["run.json"]})

    def _check(self, data: Mapping[str, Any], *, force: bool) -> dict[str, Any]:
        """The run that is there, empty if none is; raises WrongData as `claim` does. Reads only."""
        self._check_folder()
        if not os.path.exists(self.path):
            return {}
        run = effective(self.path, run_in(self.path))
        if not run and is_foreign_run(self.path):
            raise WrongData(f"out: {self.path} holds the run of another command, such as scale; choose another --out")
        owns = owned_names(self.path, run)
        foreign = foreign_names(self.path, owns)
        if not run and not force and (others := strangers(self.path)):
            raise WrongData(f"out: {self.path} contains other files ({others[0]}); choose another --out" + (
                "" if foreign else ", or use --force to write beside it"
            ))  # fmt: skip
        if foreign:
            raise WrongData(not_ours(self.path, foreign[0]))
        check_lock(self.path)
        check_plain(self.path, owns)
        if run and not force and run["data"]["fingerprint"] != data["fingerprint"]:
            raise WrongData(
                f"out: {self.path} was made from other data ({run['data']['name']}, fingerprint "
                f"{run['data']['fingerprint']}, not {data['fingerprint']}); choose another --out, or --force"
            )
        return run

    def _check_folder(self) -> None:
        """Raise WrongData or StoreError where the path cannot be a folder to write into."""
        there = next((p for p in (self.path, *self.path.absolute().parents) if os.path.lexists(p)), Path("/"))
        if not there.is_dir():
            raise WrongData(f"out: expected a folder, but {there} is none; choose another --out")
        if not os.access(there, os.R_OK | os.W_OK | os.X_OK):
            raise StoreError(f"out: no permission to write into {there}; change it, or choose another --out")

    def _check_ours(self) -> None:
        """Raise StoreError where neither a run nor a recording is in the folder, WrongData where something is wrong."""
        run = effective(self.path, run_in(self.path)) if os.path.isdir(self.path) else {}
        if not run and not is_recorded(self.path):
            raise StoreError(f"{self.path}: expected a recording, found none; record first, or choose another --out")
        self._check_folder()
        owns = owned_names(self.path, run)
        if run and (foreign := foreign_names(self.path, owns)):
            raise WrongData(not_ours(self.path, foreign[0]))
        check_lock(self.path)
        check_plain(self.path, owns)

    def begin(self, stage: str, asked: Mapping[str, Any]) -> bool:
        """Note what a stage is asked to do; True if exactly that was done before. Raises WrongData if it differs."""
        stages = self.run["stages"]
        if (other := _OF_ONE.get(stage)) in stages:
            raise WrongData(
                f"out: {self.path} holds the net of a {other}, which {stage} would replace; choose another --out, or "
                "--force to start over"
            )
        before = stages.get(stage)
        if before is not None and before["asked"] != asked:
            changed = [k for k in {**asked, **before["asked"]} if asked.get(k) != before["asked"].get(k)]
            told = "; ".join(f"{k} was {before['asked'].get(k)!r}, now {asked.get(k)!r}" for k in sorted(changed))
            raise WrongData(
                f"out: {self.path} holds another {stage} ({told}); choose another --out, or --force to start over"
            )
        if before is None:
            self._write_stage(stage, {"asked": dict(asked), "done": False})
        return bool(before and before["done"])

    def end(self, stage: str, **outcome: Any) -> None:
        """Note that a stage is done, and what came of it (seconds, examples)."""
        self._write_stage(stage, self.run["stages"][stage] | outcome | {"done": True})

    def note(self, stage: str, asked: Mapping[str, Any], **outcome: Any) -> None:
        """Note a stage that may be done again, differently, at any time."""
        self._write_stage(stage, {"asked": dict(asked), "done": True, **outcome})

    def forget(self, stage: str) -> None:
        """Take back what was noted of a stage that no longer belongs to what stands in the folder."""
        run = self.run
        if run.get("stages", {}).pop(stage, None) is not None:
            self._gate.save(run)

    def log(self, event: str, **what: Any) -> None:
        """Add a line to log.jsonl."""
        append_line(self / "log.jsonl", {"event": event, **what})

    def _write_stage(self, stage: str, value: dict[str, Any]) -> None:
        run = self.run
        run["stages"][stage] = value
        self._gate.save(run)


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    names = ("torch", "numpy", "datasets", "zarr", "pillow")
    return {"secateur": secateur.__version__, "python": platform.python_version()} | {n: version(n) for n in names}


def _commit() -> str | None:
    """The commit of the project the command is run in, if it is one."""
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
