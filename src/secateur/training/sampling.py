"""What each epoch visits, and in which batches."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from secateur.training.seeding import rng


class Plan(NamedTuple):
    """What one epoch visits: ids in order (kept,) int64 and what each one's loss is multiplied by (kept,)."""

    ids: np.ndarray
    weights: np.ndarray | None


@runtime_checkable
class Sampler(Protocol):
    """Chooses what each epoch visits and, if it listens, hears how each batch went."""

    @property
    def listens(self) -> bool: ...

    def plan(self, epoch: int) -> Plan: ...

    def report(self, ids: Tensor, loss: Tensor, *, correct: Tensor, confidence: Tensor) -> None: ...


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
