"""Selectors that spread what they keep: over score strata, around a difficulty, over classes."""

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float, Int, Num

from secateur.errors import SecateurError
from secateur.ranges import AMOUNT, POSITIVE, SHARE, SOME, Range
from secateur.registry import selector
from secateur.select.ranked import apportion

Scores = Num[np.ndarray, " examples"]
Ids = Int[np.ndarray, " keep"]


@selector(source="arXiv:2210.15809")
def ccs(
    scores: Scores,
    *,
    keep: int | float,
    rng: np.random.Generator,
    cutoff: Annotated[float, Range(0, 1, below=True)] = 0.0,
    strata: Annotated[int, SOME] = 50,
    cutoff_by: Scores | None = None,
) -> Ids:
    """Coverage-centric selection: leave out the hardest, then draw evenly over strata of the score.

    The floor(cutoff * N) examples that score highest by `cutoff_by` (default: by `scores`) are left out. The rest is
    cut into strata of equal width; the smallest strata are served first, each with an even part of what is left, and
    examples are drawn uniformly inside a stratum. Departs from the authors' code where that fails: the highest score
    always falls in the top stratum, also when it is negative or all scores are equal.

    >>> ccs(np.array([0., 0., 0., 1.]), keep=2, strata=2, rng=np.random.default_rng(0))[-1]
    np.int64(3)
    """
    if not 0 <= cutoff < 1 or strata < 1:
        raise SecateurError(f"ccs: expected cutoff in [0, 1) and at least 1 stratum, got {cutoff} and {strata}")
    cut = int(cutoff * len(scores) + 1e-9)
    if cut + keep > len(scores):
        raise SecateurError(f"cutoff: leaving out {cut} of {len(scores)} examples leaves fewer than {keep} to keep")
    hard = np.asarray(scores if cutoff_by is None else cutoff_by)
    eligible = np.sort(np.argsort(-hard, kind="stable")[cut:])
    stratum = _strata(np.asarray(scores, dtype=float)[eligible], strata)
    sizes = np.bincount(stratum, minlength=strata)
    quotas = _serve_smallest_first(sizes, int(keep))
    shuffled = rng.permutation(len(eligible))
    order = shuffled[np.argsort(stratum[shuffled], kind="stable")]
    rank = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[stratum[order]]
    return np.sort(eligible[order[rank < quotas[stratum[order]]]])


def _strata(scores: Float[np.ndarray, " examples"], strata: int) -> Int[np.ndarray, " examples"]:
    low, high = scores.min(), scores.max()
    if not np.isfinite(low) or not np.isfinite(high):
        raise SecateurError("scores: strata of equal width need finite scores, got inf; count never-learned as epochs")
    if low == high:
        return np.zeros(len(scores), dtype=np.int64)
    return np.minimum(((scores - low) / (high - low) * strata).astype(np.int64), strata - 1)


def _serve_smallest_first(sizes: Int[np.ndarray, " strata"], budget: int) -> Int[np.ndarray, " strata"]:
    """Each stratum, smallest first, takes an even part of the budget left, as far as it can fill it."""
    quotas = np.zeros_like(sizes)
    for served, stratum in enumerate(np.argsort(sizes, kind="stable")):
        quotas[stratum] = min(sizes[stratum], budget // (len(sizes) - served))
        budget -= quotas[stratum]
    return quotas


@selector(source="arXiv:2502.06905")
def beta(
    scores: Scores,
    p_mean: Float[np.ndarray, " examples"],
    *,
    keep: int | float,
    rng: np.random.Generator,
    c_d: Annotated[float, AMOUNT] = 4.0,
    total: Annotated[float, POSITIVE] = 16.0,
) -> Ids:
    """Beta sampling: draw by score times a Beta density over the mean probability, easier the less is kept.

    With r the share dropped and m the mean `p_mean` of the ten highest scores, b = 15 (1 - m) (1 - r^c_d) and
    a = total - b; weights are scores * Beta(p_mean; a, b), drawn without replacement (Gumbel top-n, which equals
    successive weighted draws in law and cannot run out of non-zero weights). total: 16 as the authors' tables, 15 as
    their text. c_d: 5.5 on CIFAR-10, 4 on CIFAR-100, 11 on ImageNet.

    >>> beta(np.array([1., 1., 0.]), np.array([.5, .4, .5]), keep=2, rng=np.random.default_rng(0))
    array([0, 1])
    """
    if (low := np.min(scores)) < 0:
        raise SecateurError(f"scores: Beta sampling weighs by them, so they must be at least 0, got {low:.4g}")
    alpha, b = beta_parameters(scores, p_mean, keep=int(keep), c_d=c_d, total=total)
    p = np.clip(p_mean, 1e-6, 1 - 1e-6)  # the density may be infinite at the ends
    with np.errstate(divide="ignore"):
        log_weight = (alpha - 1) * np.log(p) + (b - 1) * np.log(1 - p) + np.log(np.asarray(scores, dtype=float))
    noise = rng.gumbel(size=len(scores))
    return np.sort(np.lexsort((-noise, -(log_weight + noise)))[: int(keep)])


def beta_parameters(
    scores: Scores, p_mean: Float[np.ndarray, " examples"], *, keep: int, c_d: float, total: float
) -> tuple[float, float]:
    """The two parameters (a, b) of the Beta density.

    >>> scores, p_mean = np.ones(10), np.full(10, 0.2)
    >>> [round(float(v), 2) for v in beta_parameters(scores, p_mean, keep=1, c_d=5.5, total=16.0)]
    [10.72, 5.28]
    """
    dropped = 1 - keep / len(scores)
    anchor = p_mean[np.argsort(-scores, kind="stable")[:10]].mean(dtype=float)
    b = 15 * (1 - anchor) * (1 - dropped**c_d)
    return total - b, b


@selector(source="arXiv:2404.05579")
def drop(
    labels: Int[np.ndarray, " examples"],
    recall: Float[np.ndarray, " classes"],
    *,
    keep: int | float,
    rng: np.random.Generator,
    share: Literal["density", "size"] = "density",
) -> Ids:
    """DRoP: each class keeps a share in proportion to its validation error, drawn at random inside the class.

    recall: accuracy on each class, measured on validation data. Classes that would keep more than all of their
    examples keep all, and what is left over goes to the others in the same proportion. share: `density` makes the kept
    *fraction* of a class proportional to its error (the paper); `size` the kept *number* (the authors' code), which
    differs where classes differ in size. Totals are exact by largest remainder, where the paper rounds down.

    >>> drop(np.array([0, 0, 1, 1]), np.array([1., 0.]), keep=2, rng=np.random.default_rng(0))
    array([2, 3])
    """
    sizes = np.bincount(labels, minlength=len(recall))
    if len(sizes) > len(recall) or not ((recall >= 0) & (recall <= 1)).all():
        raise SecateurError(f"recall: expected {len(sizes)} values in [0, 1], one a class, got {np.asarray(recall)}")
    quotas = drop_quotas(sizes, recall, keep=int(keep), share=share)
    shuffled = rng.permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    rank = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[labels[order]]
    return np.sort(order[rank < quotas[labels[order]]])


def drop_quotas(
    sizes: Int[np.ndarray, " classes"],
    recall: Float[np.ndarray, " classes"],
    *,
    keep: int,
    share: Literal["density", "size"] = "density",
) -> Int[np.ndarray, " classes"]:
    """How many examples each class keeps.

    >>> drop_quotas(np.full(5, 5000), np.array([.95, .9, .85, .7, .5]), keep=12_500)
    array([ 625, 1250, 1875, 3750, 5000])
    """
    if share not in ("density", "size"):
        raise SecateurError(f"share: expected density or size, got {share!r}")
    error = 1 - np.asarray(recall, dtype=float)
    weight = error * sizes if share == "density" else error
    shares = np.zeros(len(sizes))
    open_ = sizes > 0
    while (left := keep - shares.sum()) > 1e-6:
        weights = np.where(open_, weight, 0.0)
        if not weights.sum():  # no errors at all: the rest is spread evenly, by size
            weights = np.where(open_, sizes, 0).astype(float)
        shares = np.minimum(shares + left * weights / weights.sum(), sizes)
        open_ = shares < sizes
    return apportion(shares, keep, sizes)


@selector(source="arXiv:2402.05356")
def flexrand(
    scores: Scores, *, keep: int | float, rng: np.random.Generator, split: Annotated[float, SHARE] = 0.5
) -> Ids:
    """FlexRand: half at random from the easy part, half from the hard part; a part too small for its half stays whole.

    The easy part is the round(split * N) lowest scores, the hard part the others. The part that `split` makes the
    smaller (the easy one at 0.5) gives half of `keep`, rounded half up, or all it has; the other gives the rest. So the
    total is exact, where the authors' code rounds each part for itself. The paper selects in each class and tries
    splits from 0.45 to 0.55.

    >>> flexrand(np.arange(10.), keep=6, split=0.2, rng=np.random.default_rng(0))[:2]  # 2 easy ones, then 4 of 8
    array([0, 1])
    """
    easy, hard = flexrand_counts(len(scores), int(keep), split)
    order = np.argsort(scores, kind="stable")
    part = _easy_part(len(scores), split)
    drawn = rng.choice(order[:part], easy, replace=False), rng.choice(order[part:], hard, replace=False)
    return np.sort(np.concatenate(drawn))


def flexrand_counts(examples: int, keep: int, split: float) -> tuple[int, int]:
    """How many FlexRand draws from the easy part and from the hard part.

    >>> flexrand_counts(100, 30, 0.5), flexrand_counts(100, 30, 0.1), flexrand_counts(100, 30, 0.9)
    ((15, 15), (10, 20), (20, 10))
    """
    if not 0 <= split <= 1:
        raise SecateurError(f"split: expected the fraction that is easy, 0 to 1, got {split}")
    part = _easy_part(examples, split)
    if split <= 0.5:
        easy = min(part, (keep + 1) // 2)
        return easy, keep - easy
    hard = min(examples - part, (keep + 1) // 2)
    return keep - hard, hard


def _easy_part(examples: int, split: float) -> int:
    return int(np.floor(split * examples + 0.5 + 1e-9))


@selector(source="arXiv:2206.14486")
def floored(
    scores: Scores,
    labels: Int[np.ndarray, " examples"],
    *,
    keep: int | float,
    floor: Annotated[float, SHARE] = 0.5,
    side: Literal["hard", "easy"] = "hard",
) -> Ids:
    """The hardest (or easiest) of all, after each class has kept a part of an even share: the floor of the SSP paper.

    With C classes, each first keeps its floor(floor * keep / C) best, or all it has; the rest of `keep` goes by rank
    over all examples left. floor: 0 ranks alone, 1 keeps classes even as far as they reach. side: `hard` keeps the
    highest scores, for plentiful data; `easy` the lowest, for scarce data.

    >>> floored(np.array([1., 2., 3., 4., 5., 6.]), np.array([0, 0, 1, 1, 1, 1]), keep=4)  # one of each class, then two
    array([1, 3, 4, 5])
    """
    if not 0 <= floor <= 1:
        raise SecateurError(f"floor: expected a part of an even share, 0 to 1, got {floor}")
    if side not in ("hard", "easy"):
        raise SecateurError(f"side: expected hard or easy, got {side!r}")
    order = np.argsort(-scores if side == "hard" else scores, kind="stable")
    _, of, sizes = np.unique(labels[order], return_inverse=True, return_counts=True)
    least = int(floor * int(keep) / len(sizes) + 1e-9)
    grouped = np.argsort(of, kind="stable")
    rank = np.empty(len(order), dtype=np.int64)
    rank[grouped] = np.arange(len(order)) - (np.cumsum(sizes) - sizes)[of[grouped]]
    first = rank < least
    rest = order[~first][: int(keep) - int(first.sum())]
    return np.sort(np.concatenate((order[first], rest)))
