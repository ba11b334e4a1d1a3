"""Batches filtered by a small net: the hard half of each goes to the net that is trained."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from secateur.ranges import PART, SOME, check_fields
from secateur.training.checkpoint import momentum, set_momentum, under
from secateur.training.machine import autocast
from secateur.training.nets import Normalised
from secateur.training.objective import Aim, Answer, Material, Objective, Supervised
from secateur.training.optimizers import build, set_rates


@dataclass(frozen=True)
class Filtered(Aim):
    """A small net sees every view of a batch, and only the share `passing` with the highest loss is trained on.

    The small net, `by`, learns along: on the whole batch at one step in `every`. Take batches 1 / passing times as
    large, so that the net trained sees as many as before. From the CIFAR-10 speed runs (Jordan, 2024), whose small net
    has a quarter of the widths, passes half, and learns at one step in four.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"teacher"})
    by: str = "resnet9:0.5"
    passing: Annotated[float, PART] = 0.5
    every: Annotated[int, SOME] = 4

    def __post_init__(self) -> None:
        check_fields(self)

    def objective(self, given: Material) -> Objective:
        """The filter, with its small net started from the seed."""
        assert given.fresh is not None
        inner = Supervised(
            given.net, given.data, given.recipe, seed=given.seed, teacher=given.teacher, distill=given.distill,
            soft=given.soft,
        )  # fmt: skip
        return Filter(inner, given.fresh(self.by, given.seed), self)


class Filter(Objective):
    """Asks the small net first."""

    def __init__(self, inner: Supervised, small: Normalised, how: Filtered) -> None:
        self.inner, self.small, self.how = inner, small.train(), how
        self._optimizers: list[Optimizer] = build(small, inner.recipe)
        self._step, self._progress = 0, 0.0

    def begin(self, epoch: int) -> None:
        """As what is filtered for."""
        self.inner.begin(epoch)

    def at(self, progress: float) -> None:
        """The small net's rate goes along."""
        self.inner.at(progress)
        self._progress = progress

    def __call__(self, ids: Tensor, rows: Tensor) -> Answer:
        """The answer to the hardest of the batch."""
        views = self.inner.views(ids, rows)
        loss = self._heard(views, self.inner.data.labels[ids])
        count = max(1, round(self.how.passing * len(ids)))
        taken = loss.topk(count).indices.sort().values
        answer = self.inner.judge(ids[taken], views[taken])
        return answer._replace(taken=taken)

    def _heard(self, views: Tensor, labels: Tensor) -> Tensor:
        """The small net's loss of each (batch,); it learns from them where it is its turn."""
        learns = self._step % self.how.every == 0
        self._step += 1
        with torch.set_grad_enabled(learns):
            with autocast(views.device):
                logits = self.small(views).float()
            smoothing = self.inner.recipe.smoothing
            loss = F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        if learns:
            set_rates(self._optimizers, self.inner.recipe, self._progress)
            loss.mean().backward()  # type: ignore[no-untyped-call]
            for optimizer in self._optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def state_dict(self) -> dict[str, Tensor]:
        """The small net, its momentum, and whose turn it is."""
        net = {f"net.{name}": value for name, value in self.small.state_dict().items()}
        return net | momentum(self._optimizers) | {"step": torch.tensor(self._step)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state_dict` stood."""
        self.small.load_state_dict(under("net.", state))
        set_momentum(self._optimizers, state)
        self._step = int(state["step"])
