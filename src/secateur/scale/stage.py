"""A stage: tasks that each write files and then a marker, so that a stopped run repeats at most what was under way."""

import contextlib
import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.scale.engines import Engine
from secateur.scale.storage import Place, together
from secateur.store.schemas.scale import said

Summary = dict[str, Any]
"""What a task says of what it did; small, since it goes through the process that gives out tasks."""


@dataclass(frozen=True)
class Job:
    """One task of a stage, on its way to a worker."""

    name: str
    folder: Place
    task: Any
    work: Callable[[Any, Place], Summary]


@dataclass(frozen=True)
class Stage:
    """A step of a run: its name, its options, and the stage before it; a hash of the three names its folder.

    A stage with new options runs again, in another folder, and so do all stages after it; the old results
    are kept, in case they are needed again.
    """

    name: str
    asked: Mapping[str, Any]
    root: Place
    after: "Stage | None" = None

    @property
    def digest(self) -> str:
        """12 hex digits of everything that this stage depends on."""
        before = "" if self.after is None else self.after.digest
        text = json.dumps([self.name, dict(self.asked), before], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def folder(self) -> Place:
        """Where its files are."""
        return self.root / "stages" / f"{self.name}-{self.digest}"

    def run(
        self,
        engine: Engine,
        work: Callable[[Any, Place], Summary],
        tasks: Mapping[str, Any],
        advance: Callable[[int, int], None] = lambda done, total: None,
    ) -> list[Summary]:
        """Do what is not done; the summaries of all tasks, in their order. work(task, folder) writes into folder."""
        folder = self.folder
        markers = folder / "done"
        there = {name.removesuffix(".json") for name in markers.names() if name.endswith(".json")}
        there &= tasks.keys()
        summaries = together(self._said, [markers / f"{name}.json" for name in sorted(there)])
        done = dict(zip(sorted(there), summaries, strict=True))
        jobs = [Job(name, folder, task, work) for name, task in tasks.items() if name not in done]
        advance(len(done), len(tasks))
        for place, summary in engine.map(perform, jobs) if jobs else ():
            done[jobs[place].name] = summary
            advance(len(done), len(tasks))
        return [done[name] for name in tasks]

    def _said(self, marker: Place) -> Summary:
        return said(marker.read_json(dict[str, Any]), self.name, marker.url)


def perform(job: Job) -> Summary:
    """Do one task on a worker: its files first, then its marker, which also says what the task took."""
    started, busy = time.perf_counter(), time.process_time()
    summary = job.work(job.task, job.folder)
    taken = {"seconds": time.perf_counter() - started, "busy": time.process_time() - busy}
    summary |= {name: round(value, 3) for name, value in taken.items()}
    summary["peak"] = most_held()
    mark(job.folder / "done" / f"{job.name}.json", summary)
    return summary


def most_held() -> int:
    """Bytes that this process has held at most, up to now; where there is no /proc, or what started it, if more."""
    with contextlib.suppress(OSError, StopIteration):  # of itself alone: what getrusage says starts with its parent's
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def mark(place: Place, summary: Summary) -> None:
    """Say that a task is done."""
    place.write_json(summary)


def numbered(tasks: Sequence[Any]) -> dict[str, Any]:
    """Tasks by their number, as names that sort.

    >>> numbered(["a", "b"])
    {'000000': 'a', '000001': 'b'}
    """
    return {f"{place:06d}": task for place, task in enumerate(tasks)}
