"""Tasks on a Ray cluster. The one file that imports ray."""

import logging
import os
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from secateur.errors import SecateurError, reason
from secateur.extras import optional
from secateur.scale.engines import TRIES, Engine, Work, one_thread

_STORE = 100 << 20
"""Bytes of a local cluster's object store: tasks hold places and what they say is small, so that little goes there."""

_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


class Ray(Engine):
    """Runs tasks on the cluster that RAY_ADDRESS names, or that this process is connected to, else on this machine.

    All nodes must reach the shards and OUT by the same path or URL, and have secateur. workers: how many tasks run at
    once, by default as many as there are CPUs. What is started here is shut down when the engine is let go.
    """

    def __init__(self, workers: int | None = None) -> None:
        if workers is not None and workers < 1:
            raise SecateurError(f"workers: expected 1 or more, got {workers}")
        self.workers = workers
        self._ray = _package()
        self._close: Callable[[], Any] = lambda: None

    def map(self, work: Work, tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        """A worker or node that dies is replaced, and its task tried again."""
        self._connect()
        ray = self._ray
        remote = ray.remote(num_cpus=1, max_retries=TRIES - 1, scheduling_strategy="SPREAD")(one_thread)
        todo = iter(enumerate(tasks))
        under_way: dict[Any, int] = {}
        try:
            while True:
                for place, task in islice(todo, max(0, self._most() - len(under_way))):
                    under_way[remote.remote(work, task)] = place
                if not under_way:
                    return
                (done, *_), _ = ray.wait(list(under_way), num_returns=1)
                place = under_way.pop(done)
                yield place, _result(ray, done)
        finally:
            for waiting in under_way:
                ray.cancel(waiting)

    def close(self) -> None:
        """Shut down what was started here, or leave the cluster that was joined."""
        self._close()

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        address = os.environ.get("RAY_ADDRESS")
        try:
            self._join() if address else self._start()
        except Exception as error:  # Ray raises what it likes, RuntimeError and bare Exception too
            self._ray.shutdown()
            what = f"joined at {address}" if address else "started"
            raise SecateurError(
                f"engine: Ray could not be {what} ({reason(error)}); it gives up after some seconds where a "
                f"machine is too busy: run again when it is not, or with --engine local"
            ) from error
        self._close = weakref.finalize(self, self._ray.shutdown)

    def _join(self) -> None:
        self._ray.init(**_QUIET)

    def _start(self) -> None:
        cpus = self.workers or len(os.sched_getaffinity(0))
        with _unwatched():
            self._ray.init("local", num_cpus=cpus, include_dashboard=False, object_store_memory=_STORE, **_QUIET)

    def _most(self) -> int:
        """Tasks given out at a time; two a CPU, so that none waits for its next, and so that a cluster may grow."""
        return self.workers or 2 * max(1, int(self._ray.cluster_resources().get("CPU", 1)))


def _package() -> Any:
    optional("ray", "engine")
    import ray

    return ray


def _result(ray: Any, done: Any) -> Any:
    """What a task gave; what it raised is raised as it was there."""
    try:
        return ray.get(done)
    except ray.exceptions.RayTaskError as error:
        found = error.cause
        if isinstance(found, SecateurError):
            raise found from None
        if isinstance(found, Exception) and not isinstance(found, ray.exceptions.RayError):
            raise found from error
        raise _lost(found or error) from error
    except ray.exceptions.RayError as error:
        raise _lost(error) from None


def _lost(error: Exception) -> SecateurError:
    told = f"{type(error).__name__}: {reason(error)}"
    return SecateurError(
        f"engine: Ray could not do a task ({told}), tried {TRIES} times where its worker died; if that was for want of "
        f"memory, run the same command again with fewer --workers or smaller --unit-rows; if a package is missing, "
        f"install secateur on every node"
    )


@contextmanager
def _unwatched() -> Iterator[None]:
    """A cluster that is started inside says nothing to its makers, and leaves the accelerators' variables alone."""
    wanted = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
