"""Example weights learned while training: those up that help on validation data, those down that do not."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import torch
import torch.autograd.forward_ad as forward
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Beta, kl_divergence
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from secateur.dynamic.plans import Plan
from secateur.errors import SecateurError
from secateur.ranges import AMOUNT, POSITIVE, SOME, Range, check_fields
from secateur.training.objective import Aim, Answer, Material, Objective, Supervised
from secateur.training.sampling import even_batches
from secateur.training.seeding import lent, rng

Losses = Callable[[dict[str, Tensor]], Tensor]
START = math.log(math.e - 1)
"""Where softplus is 1: every weight starts as Beta(1, 1), the prior."""


@dataclass(frozen=True)
class BetaWeighted(Aim):
    """Each example's loss counts by a weight from Beta(a, b), whose a and b learn from the validation part.

    At one step in `every`: weights are drawn, the net is thought one step of plain descent of length `ahead` further,
    and (a, b) go against the gradient of the loss there on a batch of the validation part, which the net never trains
    on. That gradient is scaled to root mean square 1 in the batch, so that `rate`, the length of their step, and `kl`,
    what is added of the divergence from the prior Beta(1, 1), mean the same for any net and data. The net's own step
    takes the mean weights, 1 on average in the batch. below: examples whose mean weight is under it at the end of an
    epoch are trained on no more, once the share `after` of the run is done; 0 keeps all.

    The plan is that of BetaDataWeighter (Ericsson, Gouk & Hospedales, arXiv:2006.12360), from memory: no code
    was found, and scale, average and rule of pruning are ours. Theirs weighs the images of self-supervised
    pre-training for a labelled task; here the data and the goal have the same labels. A turn costs, beside a step: a
    backward pass and one in forward mode over the batch, a forward and a backward pass over as many validation rows; in
    all 4 to 5 steps more on one thread, where batch norm in forward mode is slow (resnet9:0.5, resnet18:0.25).
    """

    needs: ClassVar[frozenset[str]] = frozenset({"validation"})
    ahead: Annotated[float, POSITIVE] = 0.1
    rate: Annotated[float, POSITIVE] = 1.0
    kl: Annotated[float, AMOUNT] = 0.01
    every: Annotated[int, SOME] = 1
    below: Annotated[float, Range(0, 0.5, below=True)] = 0.0
    after: Annotated[float, Range(0, 1, below=True)] = 0.5

    def __post_init__(self) -> None:
        check_fields(self)

    def objective(self, given: Material) -> Objective:
        """The weights, all at their prior."""
        if given.validation is None or not len(given.validation):
            raise SecateurError(
                "validation: objective beta learns weights from examples that are not trained on, got none; hold some "
                "of each class out"
            )
        return Weighing(Supervised(given.net, given.data, given.recipe, seed=given.seed), self, given.validation)


class Weighing(Objective):
    """Cross-entropy times a learned weight.

    raw: (examples, 2), of which a and b are the softplus; dropped: (examples,), who is left out for good.
    """

    def __init__(self, inner: Supervised, how: BetaWeighted, validation: np.ndarray) -> None:
        self.inner, self.how, self.validation = inner, how, validation
        data = inner.data
        self.raw = torch.full((len(data), 2), START, device=data.device)
        self.dropped = torch.zeros(len(data), dtype=torch.bool, device=data.device)
        self._progress = 0.0
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """An epoch has draws of its own, and begins a pass over the validation part."""
        self.inner.begin(epoch)
        self._epoch, self._step, self._goals = epoch, 0, self._passes(epoch)

    def at(self, progress: float) -> None:
        """When to begin with leaving examples out."""
        self.inner.at(progress)
        self._progress = progress

    def narrowed(self, plan: Plan) -> Plan:
        """Without the examples whose weight is too low, now or before."""
        if self._progress >= self.how.after:
            self.dropped |= mean_weight(self.raw) < self.how.below
        stays = ~self.dropped.cpu().numpy()[plan.ids]
        if not stays.any():
            raise SecateurError(
                f"below: expected some examples to have a mean weight of {self.how.below} or more, got none at "
                f"{self._progress:.0%} of the run; take a lower one, or a lower rate"
            )
        return plan._replace(ids=plan.ids[stays], weights=None if plan.weights is None else plan.weights[stays])

    def __call__(self, ids: Tensor, rows: Tensor) -> Answer:
        """The answer to the batch, its losses times their mean weights over the mean of these."""
        views = self.inner.views(ids, rows)
        answer = self.inner.judge(ids, views)
        if self._step % self.how.every == 0:
            self._learn(ids, views, answer.loss)
        self._step += 1
        weights = mean_weight(self.raw[ids])
        return answer._replace(loss=answer.loss * weights / weights.mean())

    def _learn(self, ids: Tensor, views: Tensor, loss: Tensor) -> None:
        """Move a and b of the batch; draws and slopes of the Beta on the CPU, whose stream can be lent."""
        raw = self.raw[ids].cpu().requires_grad_()
        a, b = F.softplus(raw).unbind(1)
        drawn = Beta(a, b)
        with lent(self.inner.seed, "beta weights", self._epoch, self._step):
            weights = drawn.rsample()  # with implicit reparameterised gradients
        goal_ids, goal_rows = next(self._goals)
        own, goal = self._losses(ids, views), self._losses(goal_ids, goal_rows)
        drawn_weights = weights.detach().to(loss)
        slope = slopes(self.inner.net, loss, drawn_weights, own, lambda at: goal(at).mean(), ahead=self.how.ahead).cpu()
        size = slope.square().mean().sqrt().clamp_min(torch.finfo(slope.dtype).tiny)
        aim = (slope / size * weights).sum() + self.how.kl * from_prior(drawn).sum()
        (gradient,) = torch.autograd.grad(aim, raw)
        self.raw.index_add_(0, ids, gradient.to(self.raw), alpha=-self.how.rate)

    def _losses(self, ids: Tensor, rows: Tensor) -> Losses:
        """The cross-entropy of each row, as a function of the net's parameters and buffers.

        In float32: in bfloat16 some slopes were off by a quarter and more (resnet9:0.5, whitened), and forward mode
        fails behind frozen layers.
        """
        labels, smoothing = self.inner.data.labels[ids], self.inner.recipe.smoothing

        def losses(values: dict[str, Tensor]) -> Tensor:
            logits = functional_call(self.inner.net, values, (rows,))
            return F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")

        return losses

    def _passes(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Batches (ids, raw rows) of the validation part, without end."""
        data = self.inner.data
        for number in itertools.count():
            order = rng(self.inner.seed, "goal", epoch, number).permutation(self.validation)
            parts = [ids for ids, _ in even_batches(Plan(order), self.inner.recipe.batch)]
            for ids, rows in zip(parts, data.batches(parts), strict=True):
                yield ids.to(data.device), rows

    def learned(self) -> dict[str, Tensor]:
        """Of every example a, b and mean weight, whether it was dropped, and whether it was for validation.

        Those for validation are not trained on: they have the prior Beta(1, 1), as have examples never visited.
        """
        a, b = F.softplus(self.raw).unbind(1)
        held = torch.zeros_like(self.dropped)
        held[torch.from_numpy(self.validation).to(held.device)] = True
        return {"a": a, "b": b, "mean": mean_weight(self.raw), "dropped": self.dropped, "validation": held}

    def state_dict(self) -> dict[str, Tensor]:
        """The weights, who is left out, and how much of the run was done."""
        done = torch.tensor(self._progress, dtype=torch.float64)
        return {"raw": self.raw, "dropped": self.dropped, "progress": done}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state_dict` stood."""
        self.raw.copy_(state["raw"])
        self.dropped.copy_(state["dropped"])
        self._progress = float(state["progress"])


def mean_weight(raw: Tensor) -> Tensor:
    """a / (a + b) of numbers (examples, 2) whose softplus is (a, b).

    >>> mean_weight(torch.tensor([[0., 0.], [START, START]]))
    tensor([0.5000, 0.5000])
    """
    a, b = F.softplus(raw).unbind(1)
    return a / (a + b)


def from_prior(weight: Beta) -> Tensor:
    """Divergence of each Beta from the prior Beta(1, 1), in nats.

    >>> from_prior(Beta(torch.tensor(2.0), torch.tensor(1.0))) + 0.5  # of the density 2 w it is ln 2 - 1 / 2
    tensor(0.6931)
    """
    one = torch.ones_like(weight.mean)
    return kl_divergence(weight, Beta(one, one))


def slopes(net: nn.Module, loss: Tensor, weights: Tensor, own: Losses, goal: Losses, *, ahead: float) -> Tensor:
    """How the goal, one step ahead, changes with each weight: d goal(theta+) / d weights (batch,).

    theta+ = theta - ahead * d mean(weights * loss) / d theta. loss: (batch,), with its graph, which stays; own: the
    same as a function of theta and buffers by name; goal: such a function with one number. theta: the parameters that
    require grad; neither they nor the net's buffers change.

    theta+ is linear in the weights, so the slope is -ahead / batch times d goal / d theta+ along each example's
    gradient: how each loss changes as theta moves along d goal / d theta+. One pass in forward mode tells it exactly;
    the second-order pass that gives the same took twice as long (resnet18:0.25, one thread).
    """
    named = {name: p for name, p in net.named_parameters() if p.requires_grad}
    found = torch.autograd.grad((weights * loss).mean(), list(named.values()), retain_graph=True, allow_unused=True)
    step = {name: g for name, g in zip(named, found, strict=True) if g is not None}
    moved = {name: (named[name].detach() - ahead * g).requires_grad_() for name, g in step.items()}
    towards = torch.autograd.grad(goal({**moved, **_buffers(net)}), list(moved.values()))
    with torch.no_grad(), forward.dual_level(), sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward mode
        moving = {
            name: forward.make_dual(named[name].detach(), along)  # type: ignore[no-untyped-call]
            for name, along in zip(step, towards, strict=True)
        }
        change = forward.unpack_dual(own({**moving, **_buffers(net)})).tangent  # type: ignore[no-untyped-call]
    assert change is not None
    return change * (-ahead / len(loss))


def _buffers(net: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in net.named_buffers()}
