"""InfoMax: the most informative set, where what near examples share counts once. A quadratic programme on a graph."""

from typing import Annotated

import numpy as np
from jaxtyping import Float, Int, Num
from scipy import sparse

from secateur.errors import SecateurError
from secateur.ranges import AMOUNT, NONE_OR_SOME, SOME
from secateur.registry import selector
from secateur.select.similarity import near_similarity

Scores = Num[np.ndarray, " examples"]
Each = Float[np.ndarray, " examples"]
Ids = Int[np.ndarray, " keep"]


@selector(source="arXiv:2506.01701")
def infomax(
    scores: Scores,
    features: Float[np.ndarray, "examples dims"],
    *,
    keep: int | float,
    neighbours: Annotated[int, SOME] = 10,
    alpha: Annotated[float, AMOUNT] = 0.5,
    iterations: Annotated[int, NONE_OR_SOME] = 100,
) -> Ids:
    """Hard and unlike each other: the sum of the scores less alpha times the similarity of every ordered pair kept.

    Scores are taken in standard deviations from their mean, so that a kept neighbour of similarity 1 costs an example
    2 alpha of them, whatever the score. Similarity is 0.5 + 0.5 cosine of features where one of a pair is among the
    `neighbours` nearest of the other (all others where there are fewer), else 0; no example is like itself.
    `iterations` projected gradient steps on {0 <= x <= 1, sum x = keep} are rounded to the highest x; swaps that raise
    the objective follow. Greedy and the hardest are improved by swaps likewise, and the best of the three is kept.

    The paper's solver, its alpha and its neighbours are not known here: the defaults are ours, and nothing is split
    into partitions. With alpha=0 this is `hardest`.

    >>> infomax(np.array([3., 2.9, 2.]), np.array([[1., 0.], [1., 0.], [0., 1.]]), keep=2, neighbours=1, alpha=2.)
    array([0, 2])
    """
    _check(scores, neighbours, alpha, iterations)
    graph, worth, count = near_similarity(features, neighbours), standardised(scores), int(keep)
    starts = [_top(worth, count), _greedy(worth, graph, alpha, count)]
    if alpha > 0 and iterations:
        starts.append(_top(_relaxed(worth, graph, alpha, count, iterations), count))
    ends = [_swapped(worth, graph, alpha, chosen) for chosen in starts]
    return max(ends, key=lambda ids: infomax_value(worth, graph, ids, alpha=alpha))


def _check(scores: Scores, neighbours: int, alpha: float, iterations: int) -> None:
    if neighbours < 1:
        raise SecateurError(f"neighbours: expected 1 or more, got {neighbours}; alpha=0 turns them off")
    if not 0 <= alpha < np.inf or iterations < 0:
        raise SecateurError(f"infomax: expected alpha and iterations of 0 or more, got {alpha} and {iterations}")
    if not np.isfinite(scores).all():
        where = int((~np.isfinite(scores)).argmax())
        raise SecateurError(
            f"scores: infomax adds them up, so they must be finite, got {scores[where]:.4g} at example {where}; "
            "count never-learned as epochs"
        )


def standardised(scores: Scores) -> Each:
    """Standard deviations from the mean; all 0 where scores are equal.

    >>> standardised(np.array([1., 3.]))
    array([-1.,  1.])
    """
    far = scores - scores.mean(dtype=float)
    return far / (far.std() or 1.0)


def infomax_value(worth: Each, graph: sparse.csr_array, ids: Int[np.ndarray, " some"], *, alpha: float) -> float:
    """The objective: worth of the ids less alpha times the similarity of every ordered pair of them.

    >>> infomax_value(np.array([3., 2., 1.]), sparse.csr_array(np.ones((3, 3)) - np.eye(3)), np.array([0, 1]), alpha=.5)
    4.0
    """
    return float(worth[ids].sum() - alpha * graph[ids][:, ids].sum(dtype=float))


def _top(values: Each, count: int) -> Ids:
    return np.sort(np.argsort(-values, kind="stable")[:count])


def _greedy(worth: Each, graph: sparse.csr_array, alpha: float, count: int) -> Ids:
    """One by one, whatever adds most to the objective."""
    gains, picks = worth.copy(), np.empty(count, dtype=np.int64)
    for k in range(count):
        picks[k] = pick = int(gains.argmax())
        gains[pick] = -np.inf
        _spread(gains, graph, pick, -2 * alpha)
    return np.sort(picks)


def _spread(gains: Each, graph: sparse.csr_array, example: int, by: float) -> None:
    """Add `by` times its similarity to each neighbour of an example."""
    inside = slice(graph.indptr[example], graph.indptr[example + 1])
    gains[graph.indices[inside]] += by * graph.data[inside]


def _relaxed(worth: Each, graph: sparse.csr_array, alpha: float, count: int, iterations: int) -> Each:
    """Projected gradient ascent from the even point, by the inverse of the mean curvature."""
    step = 1 / (2 * alpha * graph.sum(dtype=float) / len(worth) or 1.0)
    x = np.full(len(worth), count / len(worth))
    for _ in range(iterations):
        x = project(x + step * (worth - 2 * alpha * (graph @ x)), count)
    return x


def project(point: Each, total: int) -> Each:
    """The nearest point with coordinates in [0, 1] that sum to `total`, by bisection on the shift.

    >>> project(np.array([2., .5, .4, -3.]), 2).round(6)
    array([1.  , 0.55, 0.45, 0.  ])
    """
    low, high = point.min() - 1, point.max()
    for _ in range(60):
        shift = (low + high) / 2
        low, high = (shift, high) if np.clip(point - shift, 0, 1).sum() > total else (low, shift)
    return np.clip(point - high, 0, 1)


class Choice:
    """A set of ids that knows what swapping one in for one out is worth."""

    def __init__(self, worth: Each, graph: sparse.csr_array, alpha: float, ids: Ids) -> None:
        self.graph, self.alpha = graph, alpha
        self.inside = np.zeros(len(worth), dtype=bool)
        self.inside[ids] = True
        self.gains = worth - 2 * alpha * (graph @ self.inside.astype(float))  # of each id beside those inside

    def swap(self, out: int, into: int, alike: float) -> bool:
        """Do it if the objective rises; `alike`: how alike the two are."""
        rise = self.gains[into] - self.gains[out] + 2 * self.alpha * alike
        if rise <= 1e-9 or self.inside[into] or not self.inside[out]:
            return False
        self.inside[[out, into]] = False, True
        _spread(self.gains, self.graph, out, 2 * self.alpha)
        _spread(self.gains, self.graph, into, -2 * self.alpha)
        return True

    def swap_ends(self) -> bool:
        """The least of those inside (the last one of equals) for the most outside, as long as that helps; did it?"""
        swaps = -1
        swapped = True
        while swapped:
            swaps += 1
            out = len(self.gains) - 1 - int(np.where(self.inside, self.gains, np.inf)[::-1].argmin())
            into = int(np.where(self.inside, -np.inf, self.gains).argmax())
            swapped = self.swap(out, into, float(self.graph[out, into]))
        return swaps > 0

    def swap_neighbours(self) -> bool:
        """One inside for a neighbour outside, the most helpful first; did it help?"""
        graph = self.graph
        owner = np.repeat(np.arange(len(self.gains)), np.diff(graph.indptr))
        rise = self.gains[graph.indices] - self.gains[owner] + 2 * self.alpha * graph.data
        rise[~self.inside[owner] | self.inside[graph.indices]] = 0
        order = np.argsort(-rise, kind="stable")[: np.count_nonzero(rise > 1e-9)]
        return any([self.swap(int(owner[e]), int(graph.indices[e]), float(graph.data[e])) for e in order])


def _swapped(worth: Each, graph: sparse.csr_array, alpha: float, ids: Ids) -> Ids:
    """The ids after every kind of swap that raises the objective, until none does."""
    choice = Choice(worth, graph, alpha, ids)
    while alpha > 0 and (choice.swap_ends() | choice.swap_neighbours()):
        pass
    return np.flatnonzero(choice.inside)
