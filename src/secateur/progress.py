"""Telling a person how far a long step is: a bar with the time left on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from secateur.errors import printable

_EVERY = 15.0
"""Seconds between plain lines."""


class Progress:
    """Reports to standard error; results go to standard output.

    quiet: say nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet

    def say(self, line: str) -> None:
        """One line of news."""
        if not self.quiet:
            sys.stderr.write(printable(line) + "\n")
            sys.stderr.flush()

    @contextmanager
    def stage(self, what: str) -> Iterator[Callable[[int, int], None]]:
        """A step under way: call the value with (done, total), as often as you like."""
        if self.quiet:
            yield lambda done, total: None
        elif sys.stderr.isatty():
            with _bar(what) as update:
                yield update
        else:
            yield _Lines(what, self.say)


class _Lines:
    """A line at the start, every fifteen seconds, and at the end."""

    def __init__(self, what: str, say: Callable[[str], None]) -> None:
        self.what, self.say = what, say
        self.started: float | None = None
        self.first = self.spoken = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if self.started is None:
            self.started, self.first, self.spoken = now, done, now
        if done < total and now - self.spoken < _EVERY:
            return
        self.spoken = now
        passed, gone = now - self.started, done - self.first
        left = f", {_clock(passed / gone * (total - done))} left" if gone and done < total else ""
        self.say(f"{self.what}: {done} of {total}, {_clock(passed)}{left}")


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    columns: tuple[Any, ...] = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        task = bars.add_task(printable(what), total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _clock(seconds: float) -> str:
    """
    >>> _clock(75), _clock(3700)
    ('1:15', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
