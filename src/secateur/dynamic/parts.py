"""Rules that train on a random part, or a part that changes now and then."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from secateur.dynamic.plans import Choosing, Heard, Memory, Plan, Progress, Rule
from secateur.dynamic.values import highest
from secateur.ranges import KEEP, SHARE, SOME, Range, check_fields
from secateur.registry import resolve_keep


@dataclass(frozen=True)
class Redraw(Choosing):
    """A fresh random part every so many epochs ("random dynamic"): the rival that every other rule has to beat.

    keep: a fraction or a count. Losses are not weighted, as in Raju et al. (arXiv:2111.12621).

    >>> Redraw(keep=2).plan(heard := Heard.of(5), Progress(0), np.random.default_rng(0)).ids.shape
    (2,)
    """

    keep: Annotated[int | float, KEEP] = 0.5
    every: Annotated[int, SOME] = 1
    needs: ClassVar[tuple[str, ...]] = ()
    source: ClassVar[str] = "arXiv:2111.12621"

    def __post_init__(self) -> None:
        check_fields(self)

    def learn(self, heard: Heard, progress: Progress, rng: np.random.Generator) -> Memory:
        if progress.epoch % self.every and "chosen" in heard.memory:
            return heard.memory
        chosen = np.zeros(len(heard), dtype=bool)
        chosen[rng.permutation(len(heard))[: resolve_keep(self.keep, len(heard))]] = True
        return {"chosen": chosen}


@dataclass(frozen=True)
class Esps(Rule):
    """A fresh random part every epoch from a pool of the highest scores.

    How ESPS trains (IEEE Access 2026), with any score of the user's: the pool is N (keep + 0.1 (1.8 - keep)) of N. At
    keep 0.1 the pool is 27 % of the data: compare with other methods at that.

    >>> heard = Heard.of(10, score=np.arange(10.))
    >>> Esps(keep=0.1).plan(heard, Progress(0), np.random.default_rng(0)).ids.min() >= 7  # of 7, 8 and 9
    np.True_
    """

    keep: Annotated[float, Range(1e-9, 1)] = 0.5
    needs: ClassVar[tuple[str, ...]] = ("score",)
    source: ClassVar[str] = "ESPS, IEEE Access 2026"

    def __post_init__(self) -> None:
        check_fields(self)

    def plan(self, heard: Heard, progress: Progress, rng: np.random.Generator) -> Plan:
        assert heard.score is not None
        size = min(1.0, self.keep + 0.1 * (1.8 - self.keep))
        pool = np.argsort(-heard.score, kind="stable")[: resolve_keep(size, len(heard))]
        return Plan(rng.permutation(pool)[: resolve_keep(float(self.keep), len(heard))])


@dataclass(frozen=True)
class Swap(Choosing):
    """A random part stays out; now and then those never forgotten change places with some of it.

    The example level of Kong et al., AAAI 2023 (arXiv:2211.10801). At the parts `at` of the run the `exchange` (of all
    examples) that were forgotten least often since the last exchange leave, and as many of those outside, drawn at
    random, come in. Forgotten: answered right in one epoch and wrong in the next; never right counts as often as there
    were epochs. Then the counts start anew.

    >>> rule = Swap(keep=0.5)
    >>> rule.learn(Heard.of(4), Progress(0, 10), np.random.default_rng(0))["chosen"].sum()
    np.int64(2)
    """

    keep: Annotated[float, Range(1e-9, 1)] = 0.8
    exchange: Annotated[float, SHARE] = 0.05
    at: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5)
    needs: ClassVar[tuple[str, ...]] = ("loss", "correct")
    by_length: ClassVar[bool] = True
    source: ClassVar[str] = "arXiv:2211.10801"

    def __post_init__(self) -> None:
        check_fields(self)

    def learn(self, heard: Heard, progress: Progress, rng: np.random.Generator) -> Memory:
        if "chosen" not in heard.memory:
            inside = np.zeros(len(heard), dtype=bool)
            inside[rng.permutation(len(heard))[: resolve_keep(float(self.keep), len(heard))]] = True
            return _counted_from_now(inside)
        old, now = heard.memory, heard.correct & heard.visited
        noted = {
            "chosen": old["chosen"],
            "forgotten": old["forgotten"] + (old["right"] & ~now & heard.visited),
            "right": np.where(heard.visited, now, old["right"]),
            "ever": old["ever"] | now,
            "age": old["age"] + 1,
        }
        if progress.epoch not in [round(a * (progress.epochs or 0)) for a in self.at]:
            return noted
        count = np.where(noted["ever"], noted["forgotten"], noted["age"])
        return _counted_from_now(self._exchanged(noted["chosen"], count, rng))

    def _exchanged(self, inside: np.ndarray, count: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        stay, out = np.flatnonzero(inside), np.flatnonzero(~inside)
        number = min(resolve_keep(float(self.exchange), len(inside)) if self.exchange else 0, len(out), len(stay))
        leave = stay[highest(-count[stay], number, rng)]
        changed = inside.copy()
        changed[leave] = False
        changed[rng.permutation(out)[:number]] = True
        return changed


def _counted_from_now(inside: np.ndarray) -> Memory:
    none = np.zeros(len(inside), dtype=bool)
    return {"chosen": inside, "forgotten": np.zeros(len(inside), int), "right": none, "ever": none, "age": np.array(0)}
