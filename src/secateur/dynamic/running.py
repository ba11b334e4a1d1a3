"""Rules that keep the highest of a running score."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np

from secateur.dynamic.plans import Choosing, Heard, Memory, Progress
from secateur.dynamic.values import highest
from secateur.ranges import AMOUNT, KEEP, SHARE, SOME, check_fields
from secateur.registry import resolve_keep


@dataclass(frozen=True)
class EpsGreedy(Choosing):
    """The highest running losses, and a few of the rest at random.

    Raju et al. (arXiv:2111.12621). Every `every` epochs all examples are looked at; a running mean with weight `ema` of
    the newest starts at 1. Of the examples kept, the part `epsilon` is drawn from the others. Without a look, what
    training reported last counts. Defaults are recalled, not checked against the paper.

    >>> heard = Heard.of(4, loss=np.array([0., 3., 1., 2.]))
    >>> rule = EpsGreedy(keep=2, epsilon=0.0)
    >>> memory = rule.learn(heard, Progress(0), np.random.default_rng(0))
    >>> np.flatnonzero(memory["chosen"]), memory["mean"].round(6)  # 0.2 * 1 + 0.8 * loss
    (array([1, 3]), array([0.2, 2.6, 1. , 1.8]))
    """

    keep: Annotated[int | float, KEEP] = 0.5
    epsilon: Annotated[float, SHARE] = 0.1
    every: Annotated[int, SOME] = 10
    ema: Annotated[float, SHARE] = 0.8
    source: ClassVar[str] = "arXiv:2111.12621"

    def __post_init__(self) -> None:
        check_fields(self)

    def due(self, heard: Heard, progress: Progress) -> np.ndarray:
        return np.arange(0 if progress.epoch % self.every else len(heard))

    def learn(self, heard: Heard, progress: Progress, rng: np.random.Generator) -> Memory:
        if progress.epoch % self.every and "chosen" in heard.memory:
            return heard.memory
        mean = heard.memory.get("mean", np.ones(len(heard)))
        newest = np.where(np.isnan(heard.loss), mean, heard.loss)
        noted = {"mean": (1 - self.ema) * mean + self.ema * newest} | self._spread(heard, newest - mean)
        return noted | {"chosen": self._choose(noted, resolve_keep(self.keep, len(heard)), rng)}

    def _spread(self, heard: Heard, step: np.ndarray) -> dict[str, np.ndarray]:
        return {}

    def _choose(self, noted: Memory, count: int, rng: np.random.Generator) -> np.ndarray:
        chosen = np.zeros(len(noted["mean"]), dtype=bool)
        explored = int(self.epsilon * count)
        chosen[highest(noted["mean"], count - explored, rng)] = True
        chosen[rng.permutation(np.flatnonzero(~chosen))[:explored]] = True
        return chosen


@dataclass(frozen=True)
class Ucb(EpsGreedy):
    """The highest running losses with a bonus for those that vary: mean + c * running variance.

    Raju et al. (arXiv:2111.12621). The variance starts at 0 and takes the square of the newest loss less the old mean.

    >>> rule, heard = Ucb(keep=1, ema=0.5), Heard.of(2, loss=np.array([1., 3.]))
    >>> rule.learn(heard, Progress(0), np.random.default_rng(0))["variance"]
    array([0., 2.])
    """

    epsilon: Annotated[float, SHARE] = 0.0
    c: Annotated[float, AMOUNT] = 1.0
    source: ClassVar[str] = "arXiv:2111.12621"

    def _spread(self, heard: Heard, step: np.ndarray) -> dict[str, np.ndarray]:
        before = heard.memory.get("variance", np.zeros(len(step)))
        return {"variance": (1 - self.ema) * before + self.ema * step**2}

    def _choose(self, noted: Memory, count: int, rng: np.random.Generator) -> np.ndarray:
        return super()._choose({"mean": noted["mean"] + self.c * noted["variance"]}, count, rng)
