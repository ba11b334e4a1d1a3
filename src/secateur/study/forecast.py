"""Forecast how many steps and seconds fine-tuning takes to reach a loss, without training."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.dynamic.plans import Plan
from secateur.errors import SecateurError
from secateur.registry import unknown
from secateur.study.pace import seconds_a_step
from secateur.study.run import Run
from secateur.study.session import Session
from secateur.training.forecast import reach, simulate, smoothed
from secateur.training.nets import Normalised, adopt, model_in, spec_in
from secateur.training.nets.head import head_of
from secateur.training.probes.tangent import Tangent, last_layer, settled, whole_net
from secateur.training.sampling import Shuffled, even_batches
from secateur.training.seeding import generator, rng

Kernel = Literal["jacobian", "last-layer"]
ROWS = 250
"""Rows used for gradients and batch-norm statistics. Forecasts from 500 or 1,000 of the digits
cost up to two and three times as much and were no more accurate (benchmarks/log.md)."""
MOST = 1 << 30
"""Bytes of last-layer features held at once."""
POINTS = 50
"""Points of the reported curve."""


@dataclass(frozen=True)
class Goal:
    """What to forecast: from which net, to which mean training loss in nats, with which linear model."""

    start: Path
    reach: float
    kernel: Kernel
    new_head: bool

    @classmethod
    def make(
        cls, start: str | Path | None, reach: float | None, kernel: str, *, new_head: bool, subset: object
    ) -> "Goal | None":
        """The requested forecast, or None."""
        if start is None and reach is None:
            if subset is not None or new_head:
                raise SecateurError(
                    f"{'new_head' if subset is None else 'subset'}: only the forecast uses it, and none was requested"
                    "; also pass start and reach"
                )
            return None
        if start is None or reach is None:
            missing, there = ("start", "reach") if start is None else ("reach", "start")
            what = "a trained net" if start is None else "a target loss"
            raise SecateurError(f"{missing}: a forecast needs {what} with {there}, got none; pass both or neither")
        if not 0 < reach < float("inf"):
            raise SecateurError(f"reach: expected a mean training loss above 0, in nats, got {reach}; 0.3, for example")
        for known in get_args(Kernel):
            if kernel == known:
                return cls(Path(start), reach, known, new_head)
        raise unknown("kernel", kernel, list(get_args(Kernel)))


@dataclass(frozen=True)
class Forecast:
    """The forecast of fine-tuning: cross-entropy with the labels, averaged over about twenty batches.

    steps: to the target, None if the run does not reach it; seconds: for these at the speed measured here. start:
    the loss before the first step; lowest: of the `horizon` steps of the run. curve: (step, loss), thinned. rows: those
    used by the linear model.
    """

    target: float
    kernel: str
    steps: int | None
    seconds: float | None
    start: float
    lowest: float
    horizon: int
    rows: int
    curve: tuple[tuple[int, float], ...]

    @property
    def told(self) -> str:
        """In a sentence."""
        if self.start <= self.target:
            return f"0 steps: the loss at the start, {self.start:.3g}, is not above {self.target:g}"
        if self.steps is None:
            return (
                f"does not reach {self.target:g} in {self.horizon} steps, the lowest forecast loss is "
                f"{self.lowest:.3g}; allow more --epochs, or try another learning rate, such as --recipe sgd:lr=1"
            )
        return f"{self.steps} of {self.horizon} steps from a loss of {self.start:.3g} to {self.target:g}"


def forecast(work: Session, goal: Goal, run: Run) -> Forecast:
    """The forecast of `run` from another net: all weights trained by its recipe, on its subset, over its steps.

    Raises SecateurError for a recipe that does not train by SGD.
    """
    ids = work.source.train.usable if run.subset is None else run.subset.ids
    path = model_in(Path(goal.start))
    net = work.build_net(spec_in(path, named=(run.net,)), seed=run.seed, whiten=run.recipe.whiten)
    net = adopt(net, path, new_head=goal.new_head).eval()
    losses, start, rows = foreseen(work, net, run, goal.kernel)
    curve = smoothed(losses)
    steps = 0 if start <= goal.reach else reach(losses, goal.reach)
    seconds = 0.0 if steps == 0 else None if steps is None else steps * seconds_a_step(work, net, run.recipe, ids)
    at = sorted(set(np.linspace(0, len(curve) - 1, POINTS).round().astype(int).tolist()))
    return Forecast(
        target=goal.reach,
        kernel=goal.kernel,
        steps=steps,
        seconds=seconds,
        start=start,
        lowest=min(start, float(curve.min())),
        horizon=run.steps,
        rows=rows,
        curve=tuple((k, float(curve[k])) for k in at),
    )


def foreseen(work: Session, net: Normalised, run: Run, kernel: Kernel) -> tuple[Tensor, float, int]:
    """Losses of the linear model (steps,), the loss before them, and the rows it uses.

    Each row is seen in one view of the recipe, the same in every epoch. A model of all rows uses the same
    batches as the run; `last-layer` then equals the run with only the last layer trained, without decay. Runs
    that train all weights are far faster: on digits all reached losses that it called unreachable. `jacobian` was
    20 to 43 % off in the median for the higher of two losses, and right only in order for the lower
    (benchmarks/forecast.md). Both linearise at the start of the run, and learn no features.
    """
    if run.recipe.optimizer != "sgd":
        raise SecateurError(
            f"recipe: a forecast assumes SGD, and {run.recipe.name} trains with {run.recipe.optimizer}; pass sgd, "
            "with a learning rate such as sgd:lr=0.3"
        )
    ids, weights = work.source.train.usable, None
    if run.subset is not None:
        ids, weights = run.subset.ids, run.subset.weights
    most = ROWS if kernel == "jacobian" else MOST // (4 * head_of(net).in_features)
    at = np.sort(rng(run.seed, "forecast").permutation(len(ids))[:most])
    labels = work.train.labels[torch.from_numpy(ids[at]).to(work.device)]
    model = _model(work, net, run, ids[at], kernel)
    losses = simulate(
        *model,
        labels,
        batches=itertools.islice(_batches(run, len(at), work.device), run.steps),
        rates=[run.recipe.lr * run.recipe.lr_factor(step / run.steps) for step in range(run.steps)],
        momentum=run.recipe.momentum,
        smoothing=run.recipe.smoothing,
        weights=None if weights is None else torch.from_numpy(weights[at]).to(model.outputs),
    )
    return losses.cpu(), float(F.cross_entropy(model.outputs, labels)), len(at)


def _model(work: Session, net: Normalised, run: Run, ids: np.ndarray, kernel: Kernel) -> Tangent:
    """The linear model of the rows of `ids`."""
    views, found = generator(run.seed, "views", 0), []
    shuffled = Plan(rng(run.seed, "order", 0).permutation(ids)[:ROWS])
    few = work.train.batches([part for part, _ in even_batches(shuffled, run.recipe.batch)])
    begun = settled(net, (run.recipe.views(rows, views) for rows in few))
    plan = [part for part, _ in even_batches(Plan(ids), run.recipe.batch)]
    with work.progress.stage(f"forecast, {kernel}") as advance:
        for rows in work.train.batches(plan):
            seen = run.recipe.views(rows, views)
            if kernel == "last-layer":
                found.append(last_layer(begun, seen))
            else:  # the same signs for every part, so that products between parts are products too
                found.append(whole_net(begun, seen, generator=generator(run.seed, "forecast")))
            advance(sum(len(model.outputs) for model in found), len(ids))
    return Tangent(torch.cat([model.features for model in found]), torch.cat([model.outputs for model in found]))


def _batches(run: Run, rows: int, device: torch.device) -> Iterator[Tensor]:
    """Places in the model's rows, epoch after epoch, as the loop would visit them."""
    order = Shuffled(np.arange(rows), run.seed)
    for epoch in itertools.count():
        for part, _ in even_batches(order.plan(epoch), run.recipe.batch):
            yield part.to(device)
