"""A selector that learns, of a few subsets with a measured quality, what a good example is (InstructionGPT-4)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.training.seeding import lent

ATTENTION, LABELS = ("inside", "across"), ("standard", "given")
Subsets = Float[np.ndarray, "subsets members dims"]
Labels = Float[np.ndarray, " subsets"]


@dataclass(frozen=True)
class Learning:
    """How the selector learns: full batches, Adam, mean squared error, as in the paper.

    attention: `inside` a subset, between its members; `across` is what the official code does for want of an argument:
    between the members of one place of all subsets, and between all rows when they are scored. labels: `standard`,
    brought to mean 0 and spread 1 over the subsets trained on, scores being brought back to their unit; `given`, as in
    the paper. In 20 steps of 0.01 a weight moves by 0.2 at most. So a quality of 30 is reached by way of the largest
    features alone, and all training goes into the mean: what is large then scores high, be it good or bad
    (benchmarks/instructions.md).
    """

    attention: str = "inside"
    labels: str = "standard"
    epochs: int = 20
    lr: float = 0.01

    def __post_init__(self) -> None:
        for name, allowed in (("attention", ATTENTION), ("labels", LABELS)):
            if getattr(self, name) not in allowed:
                raise SecateurError(f"{name}: expected {' or '.join(allowed)}, got {getattr(self, name)!r}")
        if self.epochs < 1 or not self.lr > 0:
            raise SecateurError(f"epochs, lr: expected 1 or more, and above 0, got {self.epochs} and {self.lr}")


def heads(width: int) -> int:
    """Four where they divide the width, else as many as do.

    >>> heads(16), heads(14), heads(9), heads(7)
    (4, 2, 3, 1)
    """
    return max(count for count in (1, 2, 3, 4) if width % count == 0)


class Net(nn.Module):
    """Two layers of self-attention, each added to its input and followed by a linear one; then one number a member."""

    def __init__(self, width: int, attention: str) -> None:
        super().__init__()
        inside = attention == "inside"
        self.attention = nn.ModuleList(nn.MultiheadAttention(width, heads(width), batch_first=inside) for _ in range(2))
        self.linear = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.last = nn.Linear(width, 1)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (subsets, members, width) to scores (subsets, members)."""
        for attention, linear in zip(self.attention, self.linear, strict=True):
            rows = linear(rows + attention(rows, rows, rows, need_weights=False)[0])
        return self.last(rows)[..., 0]


@dataclass(frozen=True)
class Selector:
    """A net that was fitted, and what brings its scores to the unit of quality."""

    net: Net
    mean: float
    spread: float

    @torch.no_grad()
    def subsets(self, features: Subsets) -> Labels:
        """The quality expected of subsets: the mean over their members."""
        return self._told(self.net(_tensor(features)).mean(dim=1))

    @torch.no_grad()
    def rows(self, features: Float[np.ndarray, "rows dims"]) -> Float[np.ndarray, " rows"]:
        """The quality expected of a subset that holds one row, as often as you like.

        Among rows all alike attention gives each of them what they have, so one is as good as many. With attention
        `across`, all rows given look at each other.
        """
        return self._told(self.net(_tensor(features)[:, None])[:, 0])

    def _told(self, scores: Tensor) -> np.ndarray:
        return scores.double().numpy() * self.spread + self.mean


def fitted(features: Subsets, quality: Labels, how: Learning, *, seed: int) -> Selector:
    """The selector of subsets with a measured quality, higher is better; features as they are.

    Raises SecateurError where all qualities are equal, and where training leaves the finite numbers.
    """
    if np.ptp(quality) == 0:
        raise SecateurError(f"quality: all {len(quality)} subsets have {quality[0]:g}, so there is nothing to learn")
    mean, spread = (0.0, 1.0) if how.labels == "given" else (float(quality.mean()), float(quality.std()))
    wanted, rows = _tensor((quality - mean) / spread), _tensor(features)
    with lent(seed, "selector"):
        net = Net(features.shape[2], how.attention)
    steps = torch.optim.Adam(net.parameters(), lr=how.lr)
    for _ in range(how.epochs):
        loss = (net(rows).mean(dim=1) - wanted).square().mean()
        steps.zero_grad()
        loss.backward()
        steps.step()
    if not torch.isfinite(net(rows)).all():
        raise SecateurError(
            f"lr: training with {how.lr} left the finite numbers; try features=standard, or a smaller lr"
        )
    return Selector(net.eval(), mean, spread)


def _tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


class HeldOut(NamedTuple):
    """What the selector knows of subsets it has not seen.

    gains (subsets,): how much better each was expected to be than those trained on; correlation: of their ranks with
    those of the measured quality; chance: as large a one comes by chance in one of twenty cases.
    """

    gains: np.ndarray
    correlation: float
    chance: float


def held_out(
    features: Subsets,
    quality: Labels,
    how: Learning,
    *,
    seed: int,
    folds: int = 10,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> HeldOut:
    """Each subset is left out once, alone where there are no more of them than folds, and foretold from the others.

    It is compared with the mean that the same selector expects of those it was trained on. What is expected of it in
    itself would not do: without a good subset the mean of the others is low, so a selector that has learned their mean
    and nothing else would rank the good ones last. correlation is 0 where no subset is told from another.
    """
    from scipy.stats import spearmanr

    gains, fold = np.zeros(len(quality)), np.arange(len(quality)) % folds
    for one in range(min(folds, len(quality))):
        others = fold != one
        if np.ptp(quality[others]) > 0:
            found = fitted(features[others], quality[others], how, seed=seed).subsets(features)
            gains[~others] = found[~others] - found[others].mean()
        advance(one + 1, min(folds, len(quality)))
    known = float(spearmanr(gains, quality).statistic) if np.ptp(gains) > 0 else 0.0
    return HeldOut(gains, known, float(1.645 / np.sqrt(len(quality) - 1)))
