"""How well a net does on a split: per-class counts of right answers, in one pass."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from secateur.data.tensors import Tensors
from secateur.training.machine import autocast


@dataclass(frozen=True)
class Accuracy:
    """Right answers and examples of each class, both (classes,)."""

    right: np.ndarray
    total: np.ndarray

    @property
    def overall(self) -> float:
        """Share of all examples answered right.

        >>> Accuracy(np.array([1, 2]), np.array([2, 2])).overall
        0.75
        """
        return float(self.right.sum() / self.total.sum())

    @property
    def per_class(self) -> np.ndarray:
        """Recall of each class (classes,); nan for a class without examples."""
        return np.divide(self.right, self.total, out=np.full(len(self.total), np.nan), where=self.total > 0)

    @property
    def worst(self) -> float:
        """The lowest recall of any class."""
        return float(np.nanmin(self.per_class))


@torch.inference_mode()
def accuracy(net: nn.Module, data: Tensors, ids: np.ndarray | None = None, *, batch: int = 1000) -> Accuracy:
    """Accuracy of `net` in eval mode on rows `ids` of a split; by default on all that are usable."""
    ids = data.usable if ids is None else ids
    net.eval()
    plan = [torch.from_numpy(ids[k : k + batch]) for k in range(0, len(ids), batch)]
    right = torch.zeros(data.classes, dtype=torch.int64, device=data.device)
    total = torch.zeros_like(right)
    for at, rows in zip(plan, data.batches(plan), strict=True):
        labels = data.labels[at.to(data.device)]
        with autocast(data.device):
            answers = net(rows).argmax(dim=1)
        total += torch.bincount(labels, minlength=data.classes)
        right += torch.bincount(labels[answers == labels], minlength=data.classes)
    return Accuracy(right.cpu().numpy(), total.cpu().numpy())
