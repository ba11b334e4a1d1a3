"""How well a net does on a split: per-class counts of right answers, in one pass; and how fast it answers."""

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from secateur.data.tensors import Tensors
from secateur.errors import SecateurError
from secateur.training.adversarial import Adversary, perturbed
from secateur.training.machine import autocast
from secateur.training.seeding import generator


@dataclass(frozen=True)
class Accuracy:
    """Right answers and examples of each class, both (classes,).

    confidence, hit: highest probability of each example, and was it answered right, where that was asked for.
    """

    right: np.ndarray
    total: np.ndarray
    confidence: np.ndarray | None = None
    hit: np.ndarray | None = None

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

    @property
    def ece(self) -> float:
        """Expected calibration error: how far confidence is from accuracy, over 15 bins of equal width (Guo et al.).

        >>> Accuracy(np.array([1]), np.array([2]), np.array([0.9, 0.6]), np.array([True, False])).ece
        0.35
        """
        confidence, hit = self._answers()
        bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
        gaps = np.bincount(bins, confidence - hit, minlength=BINS)
        return float(np.abs(gaps).sum() / len(hit))

    def selective(self, coverage: float = 0.8) -> float:
        """Accuracy on the part of the examples that the net is surest of.

        >>> Accuracy(np.array([1]), np.array([2]), np.array([0.9, 0.6]), np.array([True, False])).selective(0.5)
        1.0
        """
        confidence, hit = self._answers()
        surest = np.argsort(-confidence, kind="stable")[: max(1, round(coverage * len(hit)))]
        return float(hit[surest].mean())

    def _answers(self) -> tuple[np.ndarray, np.ndarray]:
        if self.confidence is None or self.hit is None:
            raise SecateurError("confidence: not measured here; see secateur.training.evaluate.accuracy")
        return self.confidence, self.hit


BINS = 15


@torch.inference_mode()
def accuracy(net: nn.Module, data: Tensors, ids: np.ndarray | None = None, *, batch: int = 1000) -> Accuracy:
    """Accuracy of `net` in eval mode on rows `ids` of a split, with its confidence; by default on all usable ones."""
    confidence: list[Tensor] = []
    hits: list[Tensor] = []

    def right(rows: Tensor, labels: Tensor) -> Tensor:
        with autocast(rows.device):
            sure, answers = net(rows).float().softmax(dim=1).max(dim=1)
        confidence.append(sure)
        hits.append(answers == labels)
        return hits[-1]

    counted = _counted(net, data, ids, batch, right)
    return dataclasses.replace(
        counted, confidence=torch.cat(confidence).double().cpu().numpy(), hit=torch.cat(hits).cpu().numpy()
    )


def robust_accuracy(
    net: nn.Module,
    data: Tensors,
    ids: np.ndarray | None = None,
    *,
    adversary: Adversary,
    seed: int,
    steps: int = 10,
    batch: int = 250,
) -> Accuracy:
    """Accuracy under attack: what is answered right both as it is and after `steps` steps from one random start.

    Norm and eps are the adversary's, eps whole for every example; its steps are 2.5 eps / steps long, so that results
    of runs with other steps compare. One start of so few steps finds fewer errors than stronger attacks would: an upper
    bound of what is robust.
    """
    attack = dataclasses.replace(adversary, steps=steps, step_size=None)
    noise = generator(seed, "robust accuracy")

    def withstands(rows: Tensor, labels: Tensor) -> Tensor:
        right = _answers(net, rows) == labels
        whole = torch.full((len(rows),), attack.eps, device=rows.device)
        return right & (_answers(net, perturbed(net, rows, labels, whole, attack, generator=noise)) == labels)

    return _counted(net, data, ids, batch, withstands)


def _answers(net: nn.Module, rows: Tensor) -> Tensor:
    with torch.inference_mode(), autocast(rows.device):
        return net(rows).argmax(dim=1)


def _counted(
    net: nn.Module, data: Tensors, ids: np.ndarray | None, batch: int, right_of: Callable[[Tensor, Tensor], Tensor]
) -> Accuracy:
    """Count, a batch at a time, for which rows right_of(rows, labels) (batch,) holds."""
    ids = data.usable if ids is None else ids
    net.eval()
    plan = [torch.from_numpy(ids[k : k + batch]) for k in range(0, len(ids), batch)]
    right = torch.zeros(data.classes, dtype=torch.int64, device=data.device)
    total = torch.zeros_like(right)
    for at, rows in zip(plan, data.batches(plan), strict=True):
        labels = data.labels[at.to(data.device)]
        right += torch.bincount(labels[right_of(rows, labels)], minlength=data.classes)
        total += torch.bincount(labels, minlength=data.classes)
    return Accuracy(right.cpu().numpy(), total.cpu().numpy())


@torch.inference_mode()
def seconds_per_1000(nets: Sequence[nn.Module], rows: Tensor, *, rounds: int = 5) -> list[float]:
    """The seconds that each net takes for 1,000 rows: the least of some rounds, in which they take turns."""
    best = [math.inf] * len(nets)
    for _ in range(rounds):
        for k, net in enumerate(nets):
            started = time.perf_counter()
            with autocast(rows.device):
                net.eval()(rows).cpu()  # the answer is there: the device has done its work
            best[k] = min(best[k], time.perf_counter() - started)
    return [1000 * seconds / len(rows) for seconds in best]
