"""Where tasks run: worker processes here, or Ray. A task gives the same wherever it runs."""

import os
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from itertools import islice
from typing import Any

from secateur.errors import SecateurError

Work = Callable[[Any], Any]
TRIES = 3
"""How often a task that takes its worker down is tried in all."""
_IDLE = 60
"""Seconds after which an idle worker exits."""
_PR_SET_PDEATHSIG = 1
_THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)


class Engine(ABC):
    """Runs tasks in any order; what it gives is (place of the task, what came of it), as they are done."""

    @abstractmethod
    def map(self, work: Work, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """Each task once, as it is done; what a task raises is raised here."""


def one_thread(work: Work, task: Any) -> Any:
    """Do a task with a single thread in every numerical library, so that its sums are those of any other worker."""
    import faiss
    from threadpoolctl import threadpool_limits

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        with threadpool_limits(1):
            return work(task)
    finally:
        faiss.omp_set_num_threads(before)


@dataclass(frozen=True)
class Local(Engine):
    """Processes on this machine, as many as it has cores; one is this process itself."""

    workers: int | None = None

    def __post_init__(self) -> None:
        if self.workers is not None and self.workers < 1:
            raise SecateurError(f"workers: expected 1 or more, got {self.workers}")

    def map(self, work: Work, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """A worker that dies, killed or out of memory, is replaced, and its task tried again."""
        workers = min(self.workers or len(os.sched_getaffinity(0)), max(1, len(tasks)))
        if workers == 1:
            for place, task in enumerate(tasks):
                yield place, one_thread(work, task)
            return
        left, tries = set(range(len(tasks))), 0
        while left:
            try:
                for place, result in _spread(work, {i: tasks[i] for i in sorted(left)}, workers):
                    left.discard(place)
                    yield place, result
            except _died() as error:
                tries += 1
                if tries == TRIES:
                    raise SecateurError(
                        f"workers: one died {tries} times ({type(error).__name__}), most likely for want of memory; "
                        f"run the same command again with fewer --workers or smaller --unit-rows"
                    ) from None


def _spread(work: Work, tasks: dict[int, Any], workers: int) -> Iterator[tuple[int, Any]]:
    """Yield results as they finish; only a few tasks are queued ahead, so no worker waits and a failure stops the rest.

    All stages of a run share the pool, and idle workers exit by themselves. Nothing uses shared memory.
    """
    from joblib.externals.loky import get_reusable_executor

    pool = get_reusable_executor(
        workers, timeout=_IDLE, initializer=end_with, initargs=(os.getpid(),), env=dict.fromkeys(_THREADS, "1")
    )
    todo, under_way = iter(tasks.items()), set[Any]()
    try:
        while True:
            for place, task in islice(todo, 2 * workers - len(under_way)):
                under_way.add(pool.submit(_numbered, place, work, task))
            if not under_way:
                return
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for one in done:
                yield one.result()
    finally:
        for one in under_way:
            one.cancel()


def end_with(driver: int) -> None:
    """Kill this worker as soon as the process that started it is gone, for whatever reason.

    On Linux the kernel does that, even during a task; elsewhere, and as a safeguard, a thread checks once a second.
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def look() -> None:
        while os.getppid() == driver:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=look, daemon=True, name="secateur-driver").start()


def _numbered(place: int, work: Work, task: Any) -> tuple[int, Any]:
    return place, one_thread(work, task)


def _died() -> type[Exception]:
    from joblib.externals.loky.process_executor import BrokenProcessPool

    return BrokenProcessPool
