"""Selectors that rank: each returns the sorted ids to keep. Ties go to the lower id."""

from typing import Annotated

import numpy as np
from jaxtyping import Float, Int, Num

from secateur.errors import SecateurError
from secateur.ranges import Range
from secateur.registry import selector

Scores = Num[np.ndarray, " examples"]
Ids = Int[np.ndarray, " keep"]


@selector(source="arXiv:2107.07075")
def hardest(scores: Scores, *, keep: int | float) -> Ids:
    """The highest scores.

    >>> hardest(np.array([1., 3., 2.]), keep=2)
    array([1, 2])
    """
    return np.sort(np.argsort(-scores, kind="stable")[: int(keep)])


@selector(source="arXiv:2206.14486")
def easiest(scores: Scores, *, keep: int | float) -> Ids:
    """The lowest scores: the better end where data are scarce.

    >>> easiest(np.array([1., 3., 2.]), keep=2)
    array([0, 2])
    """
    return np.sort(np.argsort(scores, kind="stable")[: int(keep)])


@selector(source="Xia et al., ICLR 2023 (Moderate)")
def middle(scores: Scores, *, keep: int | float) -> Ids:
    """The ranks around the median score.

    >>> middle(np.array([5., 1., 3., 2., 4.]), keep=3)
    array([2, 3, 4])
    """
    first = (len(scores) - int(keep)) // 2
    return np.sort(np.argsort(scores, kind="stable")[first : first + int(keep)])


@selector(source="arXiv:2107.07075")
def offset(scores: Scores, *, keep: int | float, drop: Annotated[float, Range(0, 1, below=True)] = 0.05) -> Ids:
    """The highest scores after leaving out the `drop` fraction that scores highest of all: often label noise.

    >>> offset(np.array([1., 4., 3., 2.]), keep=2, drop=0.25)
    array([2, 3])
    """
    first = int(np.floor(drop * len(scores) + 0.5))
    if not 0 <= drop < 1 or first + keep > len(scores):
        raise SecateurError(f"drop: {drop} of {len(scores)} examples leaves fewer than the {keep} to keep")
    return np.sort(np.argsort(-scores, kind="stable")[first : first + int(keep)])


@selector(source="the baseline of every paper")
def random(n: int, *, keep: int | float, rng: np.random.Generator) -> Ids:
    """A uniform draw without replacement from n examples.

    >>> len(random(10, keep=0.3, rng=np.random.default_rng(0)))
    3
    """
    return np.sort(rng.choice(n, int(keep), replace=False))


@selector(source="arXiv:2204.08499 (DeepCore)")
def per_class(
    scores: Float[np.ndarray, " examples"] | Scores, labels: Int[np.ndarray, " examples"], *, keep: int | float
) -> Ids:
    """The highest scores inside each class, classes keeping their shares of the data (largest remainder).

    >>> per_class(np.array([1., 2., 3., 4.]), np.array([0, 0, 1, 1]), keep=2)
    array([1, 3])
    """
    classes, of_class = np.unique(labels, return_inverse=True)
    sizes = np.bincount(of_class)
    quotas = apportion(sizes * (int(keep) / len(labels)), int(keep), sizes)
    order = np.lexsort((np.arange(len(scores)), -scores, of_class))
    starts = np.cumsum(sizes) - sizes
    chosen = [order[start : start + quota] for start, quota in zip(starts, quotas, strict=True)]
    assert len(chosen) == len(classes)
    return np.sort(np.concatenate(chosen))


def apportion(
    shares: Float[np.ndarray, " groups"], total: int, limits: Int[np.ndarray, " groups"]
) -> Int[np.ndarray, " groups"]:
    """Whole numbers near `shares` that sum to `total` and stay within `limits`, by largest remainder.

    >>> apportion(np.array([1.5, 1.5, 2.]), 5, np.array([9, 9, 9]))
    array([2, 1, 2])
    """
    counts = np.minimum(np.floor(shares + 1e-9).astype(np.int64), limits)
    while (short := total - int(counts.sum())) > 0:
        room = np.flatnonzero(counts < limits)
        if not len(room):
            raise SecateurError(f"keep: {total} is more than the {int(limits.sum())} examples there are")
        first = room[np.argsort(-(shares - counts)[room], kind="stable")][:short]
        counts[first] += 1
    return counts
