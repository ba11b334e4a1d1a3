"""The OUT folder: what was asked (run.json), what happened (log.jsonl), and that nobody else's work is overwritten."""

import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import secateur
from secateur.errors import SecateurError, WrongData
from secateur.store.files import append_line, locked, read_json, remove, write_json
from secateur.store.schemas import checked
from secateur.store.schemas.runs import Claim, RunFile

OURS = (
    "run.json", "log.jsonl", "recording.zarr", "probes.zarr", "scores.parquet", "subset.parquet", "subsets",
    "kept", "query.json", "proxy.json", "slim.json", "model.safetensors", "state", "soft", "cells", "compare.json",
    "report.html", "bill.json", "mined", "mined.parquet", "condensed", "joint", "recordings",
    "synthetic", "synthetic.safetensors", "sets", "contact.png", "condense.json",
)  # fmt: skip
"""Everything a command may write into OUT."""
REPLACED, MOVING = ".replaced", ".replaced~"
"""Where `--force` keeps what it replaces until the new run ends; the second while it is moved there."""
_OF_ONE = {"record": "slim", "slim": "record"}
"""The stages that write model.safetensors, each with the one whose net it would replace."""


@dataclass(frozen=True)
class Out:
    """One OUT folder."""

    path: Path

    def __post_init__(self) -> None:
        """Raise SecateurError for a name that parquet and others could not write to."""
        try:
            odd = b"\0" in str(self.path).encode()
        except UnicodeEncodeError:
            odd = True
        if odd:
            raise SecateurError(f"out: expected a name that is valid Unicode, got {self.path!s}; name another --out")

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def run(self) -> dict[str, Any]:
        """What run.json says of who was here; empty for a folder that is new. `known` has looked at all of it."""
        path = self / "run.json"
        if not path.exists():
            return {}
        run = dict(read_json(path, dict[str, Any]))
        ours = "data" in run or "stages" in run  # else that of another command, such as scale
        return dict(checked(run, Claim, path)) if ours else run

    @property
    def known(self) -> dict[str, Any]:
        """What run.json says, all of it as a run writes it. Raises StoreError where it was damaged or edited."""
        return dict(read_json(self / "run.json", RunFile))

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
        """Keep a second command out while one is at work; a folder made for one that writes nothing goes with it."""
        made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self.path.mkdir(parents=True, exist_ok=True)
        with locked(self.path):
            try:
                yield
            finally:
                self._unmake(made)

    def _unmake(self, made: Sequence[Path]) -> None:
        """Take away the folders that were made, innermost first, where nothing but the lock was put into them."""
        if made and self.path.exists() and [p.name for p in self.path.iterdir()] == [".lock"]:
            remove(self / ".lock")
            with suppress(OSError):  # something of somebody else's lies in one by now
                for folder in made:
                    folder.rmdir()

    @contextmanager
    def claimed(self, data: Mapping[str, Any], *, force: bool) -> Iterator[None]:
        """`claim` for the time of a job: one that was refused before it wrote anything gives a new claim back."""
        new = self.claim(data, force=force)
        try:
            yield
        finally:
            if new and self._bare:
                remove(self / "run.json")
                self._bring_back(REPLACED)
            remove(self / REPLACED)

    @property
    def _bare(self) -> bool:
        """Has nothing been written here since it was claimed?"""
        return not any((self / name).exists() for name in OURS if name != "run.json") and not self.stages

    def _set_aside(self) -> None:
        """Take what a former run wrote out of the way of a new one."""
        aside = self / MOVING
        aside.mkdir()
        for name in OURS:
            if (self / name).exists():
                (self / name).rename(aside / name)
        aside.rename(self / REPLACED)

    def _bring_back(self, name: str) -> None:
        """Undo it, whole or half done."""
        for path in (self / name).iterdir() if (self / name).exists() else ():
            path.rename(self / path.name)
        remove(self / name)

    def _recover(self) -> None:
        """What a run that was killed had set aside comes back, unless that run had begun to write."""
        self._bring_back(MOVING)
        if (self / REPLACED).exists() and self._bare:
            remove(self / "run.json")
            self._bring_back(REPLACED)
        remove(self / REPLACED)

    def claim(self, data: Mapping[str, Any], *, force: bool) -> bool:
        """Make the folder this data's own; True if it was nobody's. Other data's, or of something else, is left alone.

        Raises WrongData unless `force`, which sets aside what a former run wrote here, and nothing else; it is deleted
        when the job ends, and comes back where that was refused before it wrote anything.
        """
        self._recover()
        strangers = sorted(p.name for p in self.path.iterdir() if p.name != ".lock") if self.path.exists() else []
        run = self.run
        if run and "data" not in run:
            raise WrongData(f"out: {self.path} holds the run of another command, such as scale; name another --out")
        if force and (run or strangers):
            self._set_aside()
            run = {}
        elif strangers and not run:
            raise WrongData(
                f"out: {self.path} holds something else ({strangers[0]}); name another --out, or use --force"
            )
        elif run and run["data"]["fingerprint"] != data["fingerprint"]:
            raise WrongData(
                f"out: {self.path} was made from other data ({run['data']['name']}, fingerprint "
                f"{run['data']['fingerprint']}, not {data['fingerprint']}); name another --out, or --force"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        stages = run.get("stages", {})
        write_json(
            self / "run.json", {"versions": versions(), "commit": _commit(), "data": dict(data), "stages": stages}
        )
        return not run

    def begin(self, stage: str, asked: Mapping[str, Any]) -> bool:
        """Note what a stage is asked to do; True if exactly that was done before. Raises WrongData if it differs."""
        stages = self.run["stages"]
        if (other := _OF_ONE.get(stage)) in stages:
            raise WrongData(
                f"out: {self.path} holds the net of a {other}, which {stage} would replace; name another --out, or "
                "--force to start over"
            )
        before = stages.get(stage)
        if before is not None and before["asked"] != asked:
            changed = [k for k in {**asked, **before["asked"]} if asked.get(k) != before["asked"].get(k)]
            told = "; ".join(f"{k} was {before['asked'].get(k)!r}, now {asked.get(k)!r}" for k in sorted(changed))
            raise WrongData(
                f"out: {self.path} holds another {stage} ({told}); name another --out, or --force to start over"
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
            write_json(self / "run.json", run)

    def log(self, event: str, **what: Any) -> None:
        """Add a line to log.jsonl."""
        append_line(self / "log.jsonl", {"event": event, **what})

    def _write_stage(self, stage: str, value: dict[str, Any]) -> None:
        run = self.run
        run["stages"][stage] = value
        write_json(self / "run.json", run)


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
