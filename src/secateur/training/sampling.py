"""What each epoch visits, and in which batches."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.tensors import Tensors
from secateur.dynamic.plans import Plan
from secateur.training.machine import autocast
from secateur.training.recipes import Recipe
from secateur.training.seeding import rng


@runtime_checkable
class Sampler(Protocol):
    """Chooses what each epoch visits and, if it listens, hears how each batch went.

    due: the ids to look at, without training on them, before the next epoch is planned.
    """

    @property
    def listens(self) -> bool: ...

    @property
    def due(self) -> np.ndarray: ...

    def plan(self, epoch: int) -> Plan: ...

    def report(self, ids: Tensor, loss: Tensor, *, correct: Tensor, confidence: Tensor) -> None: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None: ...


@dataclass(frozen=True)
class Shuffled:
    """The same ids every epoch, in an order of their own."""

    ids: np.ndarray
    seed: int
    weights: np.ndarray | None = None
    listens: bool = False

    def plan(self, epoch: int) -> Plan:
        order = rng(self.seed, "order", epoch).permutation(len(self.ids))
        return Plan(self.ids[order], None if self.weights is None else self.weights[order])

    def report(self, ids: Tensor, loss: Tensor, *, correct: Tensor, confidence: Tensor) -> None:
        """Nothing to learn from it."""

    @property
    def due(self) -> np.ndarray:
        """Nothing."""
        return self.ids[:0]

    def state_dict(self) -> dict[str, Tensor]:
        """Nothing: an epoch's order is the seed's."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Nothing to go on from."""


def even_batches(plan: Plan, size: int) -> list[tuple[Tensor, Tensor | None]]:
    """Cut an epoch into the fewest batches of at most `size`, alike to within one example, so that none is tiny.

    >>> [len(ids) for ids, _ in even_batches(Plan(np.arange(10), None), 4)]
    [4, 3, 3]
    """
    parts = -(-len(plan.ids) // size)
    ids = torch.from_numpy(plan.ids).tensor_split(parts)
    if plan.weights is None:
        return [(part, None) for part in ids]
    return list(zip(ids, torch.from_numpy(plan.weights).tensor_split(parts), strict=True))


def tell(sampler: Sampler, ids: Tensor, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
    """Report one batch to a sampler that listens."""
    confidence, answers = logits.detach().softmax(dim=1).max(dim=1)
    sampler.report(ids, loss.detach(), correct=answers == labels, confidence=confidence)


@torch.no_grad()
def look(net: nn.Module, data: Tensors, sampler: Sampler, recipe: Recipe) -> None:
    """Report what the net says of the ids that are due: in eval mode, of the rows as they are."""
    if not len(due := sampler.due):
        return
    net.eval()
    parts = [ids for ids, _ in even_batches(Plan(due), recipe.batch)]
    for part, rows in zip(parts, data.batches(parts), strict=True):
        ids = part.to(data.device)
        labels = data.labels[ids]
        with autocast(data.device):
            logits = net(rows).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=recipe.smoothing, reduction="none")
        tell(sampler, ids, loss, logits, labels)


class Length(NamedTuple):
    """How long a run is: so many steps, or so many epochs, however long a sampler makes them.

    horizon: the steps that the schedule is laid out over, where it is not `steps`.
    """

    steps: int | None
    epochs: int | None = None
    horizon: int | None = None

    def over(self, epoch: int, step: int) -> bool:
        """Is there nothing left to do?"""
        return epoch >= self.epochs if self.epochs is not None else step >= (self.steps or 0)

    def left(self, step: int) -> int | None:
        """How many batches there is time for, None for any number."""
        return None if self.steps is None else self.steps - step

    def progress(self, epoch: int, step: int, of_epoch: float) -> float:
        """The part of the schedule that is done, in [0, 1); of_epoch: the part of this epoch."""
        if self.epochs is not None:
            return (epoch + of_epoch) / self.epochs
        return step / (self.horizon or self.steps or 1)

    def total(self, epoch: int, step: int, left: int, batches: int) -> int:
        """How many steps it will be; with epochs, if the rest are as long as this one."""
        if self.epochs is None:
            return self.steps or 0
        return step + left + (self.epochs - epoch - 1) * batches
