"""Which hidden units of a trained net matter: rankings that need no labels and no gradients, and a cut by cost.

After KCM (Nova, Dai and Schuurmans, ICML 2023, arXiv:2303.04185), for which there is no official code: the kernel and
the update are from a reimplementation. A ranking is a number a unit, higher stays longer, compared over all layers.
"""

import bisect
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from secateur.errors import SecateurError


class Moments(NamedTuple):
    """What the units of one hidden layer do on some rows: means (units,) and mean products (units, units), float64."""

    mean: Tensor
    products: Tensor

    @property
    def covariance(self) -> Tensor:
        """(units, units)."""
        return self.products - torch.outer(self.mean, self.mean)


def representative(weights: Tensor, *, width: float = 1.0, updates: int = 10) -> Tensor:
    """R2, how much each unit must stand for itself among the units of its layer: C_ii (units,), from weights alone.

    weights (units, dims): a unit's outgoing weights a row. With K_ij = exp(-|w_i - w_j|^2 / s^2), C starts at 1 / units
    everywhere and is multiplied by sqrt(K / (K C)), which lowers the error of giving each unit as a sum of all of them
    with weights of 0 or more, in the space of the kernel. That error is 0 where C is the identity: every unit stands
    for itself, and nothing is ranked. So the ranking lives in the early stop, `updates`, in place of which the paper
    has a rate of convergence. One update gives C_ii = 1 / (units * sqrt(mean_j K_ij)): units far from others rank high.

    width: s in root mean square distances between two units of the layer, ours, so that a layer of large weights is
    seen as one of small weights is.

    >>> representative(torch.tensor([[0.], [0.], [3.]]), updates=1)  # s^2 = 4 * 9 / 9, and exp(-9 / 4) = 0.105
    tensor([0.3979, 0.3979, 0.5247])
    """
    if not width > 0:
        raise SecateurError(f"width: expected a number above 0, got {width}; 1 is the layer's own scale")
    if updates < 1:
        raise SecateurError(f"updates: expected at least 1, got {updates}; more than some hundreds rank nothing")
    units = len(weights)
    squares = torch.cdist(weights, weights, compute_mode="donot_use_mm_for_euclid_dist") ** 2
    start = torch.full_like(squares, 1 / units)
    if not squares.any():
        return start.diagonal().clone()  # all units are alike
    kernel = torch.exp(-squares / (width**2 * squares.mean()))
    weight = start
    for _ in range(updates):
        weight = weight * torch.sqrt(kernel / (kernel @ weight))
    return weight.diagonal().clone()


def by_data(moments: Moments) -> Tensor:
    """D2, how strongly the data drive each unit: standard deviation (units,), in the largest of the layer.

    The paper has the mean activation, normalised a layer; reimplementations also a root mean square. The deviation is
    ours: what a unit always says can be handed to a bias, and it kept more accuracy (docs/slim.md).

    >>> by_data(Moments(torch.tensor([0., 3.]), torch.tensor([[1., 0.], [0., 25.]])))
    tensor([0.2500, 1.0000])
    """
    spread = moments.covariance.diagonal().clamp_min(0).sqrt()  # rounding can take a unit that never moves below 0
    return spread / spread.max().clamp_min(torch.finfo(spread.dtype).tiny)  # of a layer that never moves: 0


RANKS: dict[str, Callable[[Tensor, Moments, torch.Generator], Tensor]] = {
    "r2d2": lambda weights, moments, generator: representative(weights) * by_data(moments),
    "representative": lambda weights, moments, generator: representative(weights),
    "data": lambda weights, moments, generator: by_data(moments),
    "magnitude": lambda weights, moments, generator: weights.norm(dim=1),
    "random": lambda weights, moments, generator: torch.rand(len(weights), generator=generator),
}
"""By name, from a layer's outgoing weights (units, dims) and moments; the last two are what the others must beat."""


def fitting(scores: Sequence[Tensor], cost: Callable[[Sequence[int]], int], budget: float) -> list[Tensor]:
    """The units of each layer to keep, sorted: the highest scores (units,) of all layers that fit the budget.

    The best of each layer stay before all others. cost: of so many units a layer, rising in each; the budget pays for
    one a layer. Ties go to the earlier layer, then to the lower unit.

    >>> fitting([torch.tensor([1., 3.]), torch.tensor([9., 8.])], sum, 3)
    [tensor([1]), tensor([0, 1])]
    """
    first = [each.double().index_fill(0, each.argmax(), torch.inf) for each in scores]
    layer = torch.cat([torch.full((len(each),), k) for k, each in enumerate(scores)])
    order = torch.cat(first).argsort(descending=True, stable=True)
    counts = nn.functional.one_hot(layer[order], len(scores)).cumsum(0).tolist()  # of each layer, among the first n
    fit = bisect.bisect_right(counts, budget, key=cost)
    kept = torch.zeros(len(order), dtype=torch.bool)
    kept[order[:fit]] = True
    return [part.nonzero()[:, 0] for part in torch.split(kept, [len(each) for each in scores])]
