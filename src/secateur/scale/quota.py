"""How many of each cluster are kept: exact, in whole numbers, with floors and ceilings."""

import numpy as np
from jaxtyping import Float, Int

from secateur.errors import SecateurError

Each = Float[np.ndarray, " clusters"]
Counts = Int[np.ndarray, " clusters"]


def shares(d_intra: Each, d_inter: Each, *, temperature: float = 0.1) -> Each:
    """The share of what is kept that each cluster is given before limits: softmax of d_intra * d_inter / temperature.

    d_intra: mean distance (1 - cosine) of its rows to the centroid; d_inter: of the centroid to its nearest others.
    Where one is nan (an empty cluster) the mean of the others stands in. Source: Abbas et al. (arXiv:2401.04578);
    temperature 0.1 as in the paper, their code has 0.5.

    >>> shares(np.array([.2, .4]), np.array([.5, .5])).round(3)  # softmax of 1 and 2
    array([0.269, 0.731])
    """
    complexity = d_intra * d_inter
    known = np.isfinite(complexity)
    complexity = np.where(known, complexity, complexity[known].mean() if known.any() else 0.0)
    weights = np.exp((complexity - complexity.max()) / temperature)
    return weights / weights.sum()


def projected(wanted: Each, total: int, *, low: Each | Counts, high: Each | Counts) -> Each:
    """The quotas of sum `total`, between low and high, nearest to `wanted` in squares: clip(wanted + v, low, high).

    v is found by bisection; this is the solution of the quadratic program of density-based pruning, without a solver.

    >>> projected(np.array([6., 3., 1.]), 10, low=np.array([1, 1, 2]), high=np.array([5, 9, 9]))
    array([5., 3., 2.])
    """
    if not np.sum(low) <= total <= np.sum(high):
        raise SecateurError(
            f"total: expected one from {np.sum(low):g} to {np.sum(high):g}, the limits' sums; got {total}"
        )
    below, above = float(np.min(low - wanted)), float(np.max(high - wanted))
    for _ in range(200):
        middle = (below + above) / 2
        if np.clip(wanted + middle, low, high).sum() < total:
            below = middle
        else:
            above = middle
    return np.clip(wanted + above, low, high)


def largest_remainder(wanted: Each, total: int, *, low: Counts, high: Counts) -> Counts:
    """Whole numbers of sum `total`, between low and high: rounded down, the rest to the largest remainders.

    Of two remainders as large the lower cluster goes first. `wanted` has the sum `total`, or is projected first.

    >>> largest_remainder(np.array([1.5, 2.5, 6.]), 10, low=np.array([0, 0, 0]), high=np.array([9, 9, 9]))
    array([2, 2, 6])
    """
    exact = projected(wanted, total, low=low, high=high)
    whole = np.clip(np.floor(exact + 1e-9), low, high).astype(np.int64)
    order = np.lexsort((np.arange(len(whole)), -np.round(exact - whole, 9)))
    for step in (1, -1):  # up where the sum is short; down where rounding brought it over
        places = order if step == 1 else order[::-1]
        while (gap := (total - int(whole.sum())) * step) > 0:
            open_to = places[(whole[places] + step <= high[places]) & (whole[places] + step >= low[places])]
            whole[open_to[:gap]] += step
    return whole
