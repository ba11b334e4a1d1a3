"""Rules that skip examples learnt already, for an epoch."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np

from secateur.dynamic.plans import Heard, Plan, Progress, Rule
from secateur.dynamic.values import check_word
from secateur.errors import SecateurError
from secateur.ranges import NONE_OR_SOME, SHARE, Range, check_fields


@dataclass(frozen=True)
class InfoBatch(Rule):
    """Skip a random share of the examples with a loss below the mean, and weigh up those of them that stay.

    Qin et al., ICLR 2024 (arXiv:2303.04947). drop: that share. stop: from this part of the run on everything is visited
    with weight 1, at least in the last epoch; the authors' code keeps its weights where stop * epochs is no whole
    number. draw: `apart`, each on its own as in the paper, or `exact`, floor(drop * low ones) of them as in the code,
    the others weighing exactly what is left out. An example not seen yet is visited; the mean is of those seen.

    >>> heard = Heard.of(4, loss=np.array([0., 0., 0., 4.]))
    >>> plan = InfoBatch(drop=0.4, draw="exact").plan(heard, Progress(1), np.random.default_rng(0))
    >>> sorted(plan.ids.tolist())[-1], plan.weights.sum().round(6)  # 3 always, and two of three low ones at 1.5
    (3, np.float64(4.0))
    """

    drop: Annotated[float, Range(0, 0.999)] = 0.5
    stop: Annotated[float, SHARE] = 0.875
    draw: Literal["apart", "exact"] = "apart"
    unbiased: ClassVar[bool] = True
    anneals: ClassVar[bool] = True
    by_length: ClassVar[bool] = True
    source: ClassVar[str] = "arXiv:2303.04947"

    def __post_init__(self) -> None:
        check_fields(self)
        check_word("draw", self.draw, ("apart", "exact"))

    def plan(self, heard: Heard, progress: Progress, rng: np.random.Generator) -> Plan:
        weights = np.ones(len(heard))
        kept = np.ones(len(heard), dtype=bool)
        if progress.done < self.stop and not progress.last and not np.isnan(heard.loss).all():
            low = np.flatnonzero(heard.loss < np.nanmean(heard.loss))  # nan is not below
            stays = rng.random(len(low)) >= self.drop
            if self.draw == "exact":
                stays = rng.permutation(len(low)) >= int(self.drop * len(low))
            kept[low] = stays
            share = 1 - self.drop if self.draw == "apart" else stays.mean() if len(low) else 1.0
            weights[low] = 1 / share
        ids = rng.permutation(np.flatnonzero(kept))
        return Plan(ids, weights[ids])


@dataclass(frozen=True)
class Kakurenbo(Rule):
    """Hide the lowest losses that are answered right and with confidence; the learning rate makes up for them.

    Nguyen et al., NeurIPS 2023 (arXiv:2310.10102). Of the fraction `hide` with the lowest loss, times a factor that
    falls along the run (from `switch`[k] on it is `factors`[k + 1]; the run for ImageNet had 30, 60 and 80 of 90
    epochs), those answered wrong or with a confidence below `confidence` move back to be trained on. Hidden ones are
    looked at after the epoch, in eval mode; the authors' code does so in training mode, and takes the softmax for its
    confidence over the batch instead of the classes. rate: after `warmup` epochs the learning rate is divided by 1 less
    the most that may be hidden (`cap`, as in the code), or what is hidden (`realised`), or not at all (`none`).

    >>> heard = Heard(np.array([.1, .2, .3, 4.]), np.array([1, 1, 0, 0], bool), np.array([.9, .6, .9, .5]), np.ones(4))
    >>> sorted(Kakurenbo(hide=0.75).plan(heard, Progress(1, 90), np.random.default_rng(0)).ids.tolist())
    [1, 2, 3]
    """

    hide: Annotated[float, Range(0, 0.999)] = 0.3
    confidence: Annotated[float, SHARE] = 0.7
    warmup: Annotated[int, NONE_OR_SOME] = 5
    rate: Literal["cap", "realised", "none"] = "cap"
    factors: tuple[float, ...] = (1.0, 0.8, 0.6, 0.4)
    switch: tuple[float, ...] = (1 / 3, 2 / 3, 8 / 9)
    needs: ClassVar[tuple[str, ...]] = ("loss", "correct", "confidence")
    by_length: ClassVar[bool] = True
    source: ClassVar[str] = "arXiv:2310.10102"

    def __post_init__(self) -> None:
        check_fields(self)
        check_word("rate", self.rate, ("cap", "realised", "none"))
        if len(self.factors) != len(self.switch) + 1:
            raise SecateurError(f"factors: expected one more than switch has, got {self.factors} and {self.switch}")

    def due(self, heard: Heard, progress: Progress) -> np.ndarray:
        return np.flatnonzero(~heard.visited)

    def plan(self, heard: Heard, progress: Progress, rng: np.random.Generator) -> Plan:
        most = self.hide * self.factors[sum(progress.done >= s for s in self.switch)]
        low = np.argsort(heard.loss, kind="stable")[: int(most * len(heard))]  # nan sorts last
        sure = heard.correct[low] & (heard.confidence[low] >= self.confidence)  # nan is not
        kept = np.ones(len(heard), dtype=bool)
        kept[low[sure]] = False
        away = {"cap": most, "realised": 1 - kept.mean(), "none": 0.0}[self.rate]
        rate = 1 / (1 - away) if progress.epoch >= self.warmup else 1.0
        return Plan(rng.permutation(np.flatnonzero(kept)), None, float(rate))
