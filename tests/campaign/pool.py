"""Two workers, each with one case at a time; one that hangs or dies is replaced."""

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tests.campaign.cases import Case, Plan
from tests.campaign.verdict import Verdict, fail
from tests.campaign.worker import work

Tell = Callable[[Case, Verdict, float], None]
READY = 300.0
"""Seconds that a worker may take to begin."""
RENEWED = 80
"""Cases after which a worker is replaced: it holds threads of all that it did, and forks beside them."""


class Worker:
    """A process and what it is doing."""

    def __init__(self, ground: Path, folder: Path, plan: Plan) -> None:
        context = multiprocessing.get_context("forkserver")
        folder.mkdir(parents=True, exist_ok=True)
        self.pipe, theirs = context.Pipe()
        self.process: Any = context.Process(target=work, args=(theirs, str(ground), str(folder), plan))
        self.process.start()
        theirs.close()
        self.ready = False
        self.number: int | None = None
        self.done = 0
        self.since = time.monotonic()

    def give(self, number: int | None) -> None:
        """The next case, or None to stop."""
        self.number, self.since = number, time.monotonic()
        self.pipe.send(number)

    def end(self) -> None:
        """Kill it, and what it started."""
        for kill in (lambda: os.killpg(self.process.pid, signal.SIGKILL), self.process.kill):
            try:
                kill()
            except (ProcessLookupError, PermissionError):
                continue
        self.process.join()
        self.pipe.close()


def judged(
    cases: Sequence[Case], chosen: Sequence[int], ground: Path, plan: Plan, *, workers: int, patience: float, tell: Tell
) -> None:
    """Settle the chosen cases, in any order, and tell of each as it is done."""
    left, again = list(reversed(chosen)), set[int]()
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tests.campaign.warm"])
    with tempfile.TemporaryDirectory(prefix="campaign-") as folder:
        at = Path(folder)
        crew = [Worker(ground, at / str(k), plan) for k in range(min(workers, len(left)))]
        try:
            while any(w.number is not None or not w.ready for w in crew) or left:
                _turn(crew, cases, left, again, patience, tell)
                for k, worker in enumerate(crew):
                    if worker.pipe.closed:
                        crew[k] = Worker(ground, at / str(k), plan)
        finally:
            for worker in crew:
                worker.end()


def _turn(
    crew: list[Worker], cases: Sequence[Case], left: list[int], again: set[int], patience: float, tell: Tell
) -> None:
    """Take what is there, give what is next, and end what takes too long."""

    def lost(worker: Worker, verdict: Verdict) -> None:
        """A case that took its worker down is tried once more, alone in a fresh one, before it counts."""
        number = worker.number
        if number is not None and number not in again:
            again.add(number)
            left.append(number)
        elif number is not None:
            tell(cases[number], verdict, time.monotonic() - worker.since)
        worker.number = None
        worker.end()

    for pipe in wait([w.pipe for w in crew], timeout=0.5):
        worker = next(w for w in crew if w.pipe is pipe)
        if not _heard(worker, cases, tell):
            worker.process.join(5)
            lost(worker, fail("died", f"the process ended with {worker.process.exitcode}"))
        elif worker.ready and worker.number is None and worker.done >= RENEWED:
            worker.end()
        elif left and worker.ready and worker.number is None:
            worker.give(left.pop())
    for worker in (w for w in crew if not w.pipe.closed):
        spent = time.monotonic() - worker.since
        if worker.number is not None and spent > patience:
            lost(worker, fail("hang", f"not done after {patience:.0f} s, twice"))
        elif not worker.ready and spent > READY:
            raise TimeoutError("a worker did not start")


def _heard(worker: Worker, cases: Sequence[Case], tell: Tell) -> bool:
    """What a worker says; False where it has gone."""
    pipe: Connection = worker.pipe
    try:
        found = pipe.recv()
    except (EOFError, ConnectionResetError):
        if not worker.ready:
            raise RuntimeError("a worker ended before it began") from None
        return False
    if found == "ready":
        worker.ready = True
    elif worker.number is not None:
        kind, told, seconds = found
        tell(cases[worker.number], Verdict(kind, told), seconds)
        worker.number = None
        worker.done += 1
    return True
