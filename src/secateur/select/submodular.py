"""Selectors that cover the data: greedy on submodular functions of how alike examples are.

Each compares features by 0.5 + 0.5 cosine (`similarity.py`). DeepCore compares last-layer gradients instead.
"""

from itertools import islice
from typing import Annotated

import numpy as np
from jaxtyping import Float, Int

from secateur.errors import SecateurError
from secateur.ranges import NONE_OR_SOME, PART, POSITIVE
from secateur.registry import selector
from secateur.select.greedy import Facility, Gains, Rows, Similarity, lazy
from secateur.select.greedy import Ids as Some
from secateur.select.similarity import cosine_similarity

Features = Float[np.ndarray, "examples dims"]
Ids = Int[np.ndarray, " keep"]


@selector(source="Wei, Iyer & Bilmes, ICML 2015; arXiv:2204.08499 (DeepCore)")
def facility_location(
    features: Features,
    *,
    keep: int | float,
    neighbours: Annotated[int, NONE_OR_SOME] = 64,
    all_pairs: Annotated[int, NONE_OR_SOME] = 5_000,
) -> Ids:
    """Representatives: each example should be like some pick. Greedy on the sum over examples of the best similarity.

    Up to `all_pairs` examples every pair counts, and memory is 4 N^2 bytes. Above, only pairs where one is among the
    `neighbours` nearest of the other, the rest counting as 0, in O(N * neighbours); 0, or as many as there are others,
    means all pairs again. The picks are those of trying every candidate each time (lazily found): at least 1 - 1/e of
    the best value.

    >>> facility_location(np.array([[1., 0.], [2., 0.], [0., 1.], [0., 3.]]), keep=2)
    array([0, 2])
    """
    rows = Rows(cosine_similarity(features, neighbours=neighbours, all_pairs=all_pairs))
    picks = islice(lazy(Facility(rows), np.arange(len(features))), int(keep))
    return np.sort([pick for pick, _ in picks])


@selector(source="arXiv:2204.08499 (DeepCore)")
def graph_cut(
    features: Features,
    *,
    keep: int | float,
    neighbours: Annotated[int, NONE_OR_SOME] = 64,
    weight: Annotated[float, POSITIVE] = 2.0,
) -> Ids:
    """Like everyone, unlike each other: greedy on weight * (similarity of all to the picks) - that among the picks.

    weight: the papers' lambda. From 2 on no pick lowers the value, which greedy's guarantee needs, hence our default;
    DeepCore and apricot have 1, where late picks may lower it and are made all the same. Only pairs count where one is
    among the `neighbours` nearest of the other; with 0 all do, as in DeepCore, in 4 N^2 bytes: then an example in the
    middle of everything beats one in the middle of its own kind. DeepCore leaves out an example's similarity to
    itself, the same for all.

    >>> graph_cut(np.array([[1., 0.], [2., 0.], [0., 1.], [0., 3.]]), keep=2)
    array([0, 2])
    """
    if not weight > 0:
        raise SecateurError(f"weight: expected more than 0, got {weight}")
    rows = Rows(cosine_similarity(features, neighbours=neighbours))
    return np.sort([pick for pick, _ in _cut(rows, weight, int(keep))])


def _cut(rows: Rows, weight: float, keep: int) -> list[tuple[int, float]]:
    """Picks and gains. Every gain is at hand after each pick, so nothing is looked up lazily."""
    gains = weight * rows.sums() - 1
    steps = []
    for _ in range(keep):
        pick = int(gains.argmax())
        steps.append((pick, float(gains[pick])))
        gains[pick] = -np.inf
        where, values = rows.row(pick)
        gains[where] -= 2 * values
    return steps


@selector(source="Lin & Bilmes, ACL 2011")
def saturated_coverage(
    features: Features,
    *,
    keep: int | float,
    neighbours: Annotated[int, NONE_OR_SOME] = 64,
    saturation: Annotated[float, PART] = 0.1,
) -> Ids:
    """Enough of everything: greedy on the similarity of each example to all picks, up to a cap for each.

    The cap is `saturation` times its similarity to everyone (0.1: apricot's value), which about that fraction of the
    data fills; a lower one spreads the picks more. Where all caps are full before `keep` examples are picked, no pick
    is better than another and the function is silent; here the caps then rise by their first heights, as often as it
    takes. neighbours: as in `graph_cut`; with 0 and few picks no cap is reached, and the middle of the data is kept.

    >>> saturated_coverage(np.array([[1., 0.], [2., 0.], [0., 1.], [0., 3.]]), keep=2, saturation=.5)
    array([0, 2])
    """
    if not 0 < saturation <= 1:
        raise SecateurError(f"saturation: expected a fraction in (0, 1], got {saturation}")
    rows = Rows(cosine_similarity(features, neighbours=neighbours))
    return np.sort([pick for pick, _ in _cover(Coverage(rows, saturation), int(keep))])


class Coverage:
    """Saturated coverage: the sum over examples of min(similarity to the picks, cap)."""

    def __init__(self, rows: Rows, saturation: float) -> None:
        self.rows = rows
        self.cap = saturation * rows.sums()
        self.room = self.cap.copy()  # below 0: how far the cap is overshot

    def gains(self, ids: Some) -> Gains:
        return self.rows.total(ids, lambda values, where: np.minimum(values, np.maximum(self.room[where], 0)))

    def add(self, pick: int) -> None:
        where, values = self.rows.row(pick)
        self.room[where] -= values

    def raise_caps(self) -> None:
        """By as many first heights as it takes until some example has room."""
        self.room += self.cap * max(1, np.floor((-self.room / self.cap).min()) + 1)


def _cover(function: Coverage, keep: int) -> list[tuple[int, float]]:
    """Picks and gains; whenever nothing gains any more, the caps rise."""
    steps: list[tuple[int, float]] = []
    left = np.ones(function.rows.examples, dtype=bool)
    nothing = 1e-9 * function.cap.max()  # what rounding may leave of a full cap
    while len(steps) < keep:
        for pick, gain in lazy(function, np.flatnonzero(left)):
            if gain <= nothing or len(steps) == keep:
                break
            steps.append((pick, gain))
            left[pick] = False
        function.raise_caps()
    return steps


def facility_value(similarity: Similarity, ids: Some) -> float:
    """What facility location maximises.

    >>> facility_value(np.array([[1., .5, 0.], [.5, 1., .2], [0., .2, 1.]]), np.array([1]))
    1.7
    """
    best = similarity[ids].max(axis=0)
    return float((best if isinstance(best, np.ndarray) else best.toarray()).sum(dtype=float))


def graph_cut_value(similarity: Similarity, ids: Some, *, weight: float = 2.0) -> float:
    """What graph cut maximises.

    >>> round(graph_cut_value(np.array([[1., .5, 0.], [.5, 1., .2], [0., .2, 1.]]), np.array([0, 1])), 6)
    3.4
    """
    rows = similarity[ids]
    return float(weight * rows.sum(dtype=float) - rows[:, ids].sum(dtype=float))


def coverage_value(similarity: Similarity, ids: Some, *, saturation: float = 0.1) -> float:
    """What saturated coverage maximises, with the caps at their first height.

    >>> round(coverage_value(np.array([[1., .5, 0.], [.5, 1., .2], [0., .2, 1.]]), np.array([0]), saturation=.2), 6)
    0.64
    """
    caps = saturation * similarity.sum(axis=0, dtype=float)
    return float(np.minimum(similarity[ids].sum(axis=0, dtype=float), caps).sum())
