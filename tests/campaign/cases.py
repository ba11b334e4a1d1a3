"""A case of the fuzz campaign: a folder, the commands that are run in it, and what they may do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis.strategies import SearchStrategy

Expect = Literal["ok", "refused", "either"]
Argv = list[str]


@dataclass(frozen=True)
class Outcome:
    """What one command did."""

    argv: Argv
    code: int | None  # None where an exception came out of it
    stdout: str = ""
    stderr: str = ""
    crash: str = ""  # the type, place and first line of that exception


Make = Callable[[Path, "Ground"], list[Argv]]
Check = Callable[[Path, list[Outcome]], str | None]


@dataclass(frozen=True)
class Case:
    """make: fills the folder and gives the commands, of which the last is judged.

    expect: of the last one. check: where that succeeded, what is wrong with what it did, or None. outs: names in the
    folder that the commands may write to; all else, and every file called `stranger*`, must stay as it is.
    """

    name: str
    make: Make
    expect: Expect = "either"
    check: Check | None = None
    outs: tuple[str, ...] = ("out", "secateur-out", "secateur-scale", "secateur-shards")


@dataclass(frozen=True)
class Ground:
    """What cases start from, made once: data, and finished OUT folders."""

    path: Path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def at(self, name: str) -> str:
        """A path as an argument."""
        return str(self.path / name)

    def copy(self, name: str, folder: Path, to: str = "out") -> Path:
        """A copy of an OUT folder, as `to`."""
        import shutil

        shutil.copytree(self.path / name, folder / to, symlinks=True)
        return folder / to


@dataclass(frozen=True)
class Plan:
    """How much of a family is wanted, and by which seed."""

    seed: int
    share: float

    def rng(self, family: str) -> np.random.Generator:
        """The family's own stream."""
        return np.random.default_rng([self.seed, *family.encode()])

    def some(self, family: str, cases: list[Case]) -> list[Case]:
        """The share of the cases, spread over all of them, always the same ones."""
        order = self.rng(family + " share").permutation(len(cases))[: max(1, round(self.share * len(cases)))]
        return [cases[k] for k in sorted(order)]


Family = Callable[[Plan], list[Case]]


@dataclass
class Held:
    """A list that hypothesis fills."""

    values: list[Any] = field(default_factory=list)


def drawn(strategy: SearchStrategy[Any], count: int, seed: int) -> list[Any]:
    """`count` values of a strategy, the same for the same seed."""
    held = Held()

    @seeded(seed)
    @settings(
        max_examples=3 * count, database=None, phases=[Phase.generate], deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(strategy)
    def draw(value: Any) -> None:
        held.values.append(value)

    draw()
    seen: dict[str, Any] = {repr(v): v for v in held.values}
    return list(seen.values())[:count]


def numbered(cases: Iterator[Case]) -> list[Case]:
    """Cases with names that are there once."""
    seen: dict[str, int] = {}
    found = []
    for case in cases:
        seen[case.name] = seen.get(case.name, 0) + 1
        again = "" if seen[case.name] == 1 else f" ({seen[case.name]})"
        found.append(case if not again else Case(case.name + again, case.make, case.expect, case.check, case.outs))
    return found
