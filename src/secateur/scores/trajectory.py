"""Scores that read a whole trajectory: one value an epoch for every example."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Annotated, Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Num

from secateur.errors import SecateurError
from secateur.ranges import SHARE, SOME, Range
from secateur.registry import score, summary

Each = Float[np.ndarray, "epochs examples"]
Score = Float[np.ndarray, " examples"]

TILE = 1 << 14
"""Examples worked on at a time: a window of ten rows of them in float64 stays in a core's cache."""


@score(source="arXiv:1812.05159")
def forgetting(
    correct: Num[np.ndarray, "epochs examples"] | Bool[np.ndarray, "epochs examples"],
    *,
    never_learned: Literal["epochs", "inf", "zero"] = "epochs",
) -> Score:
    """How often an example went from right to wrong between epochs.

    An example that was never right counts as many events as there are epochs (as the authors' code does), infinitely
    many ("inf", as Data Diet does), or none ("zero", as DeepCore, CCS and DUAL do: it ranks the hopeless as easy).

    >>> forgetting(np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0]]))
    array([0., 1., 3.])
    """
    values = {"epochs": float(len(correct)), "inf": np.inf, "zero": 0.0}
    if never_learned not in values:
        raise SecateurError(f"never_learned: expected epochs, inf or zero, got {never_learned!r}")
    right = correct.astype(bool)
    lost = (right[:-1] & ~right[1:]).sum(axis=0).astype(float)
    return np.where(right.any(axis=0), lost, values[never_learned])


@score(source="arXiv:2001.10528; negated so that higher is harder")
def aum(z_target: Each, z_other: Each) -> Score:
    """Minus the mean margin in logits: label less the best other class. The paper's form.

    >>> aum(np.array([[3., 0.], [1., 0.]]), np.array([[1., 2.], [0., 1.]]))
    array([-1.5,  1.5])
    """
    return (z_other - z_target).mean(axis=0, dtype=float)


@score(source="arXiv:2210.15809; negated so that higher is harder")
def aum_prob(p_target: Each, p_other: Each) -> Score:
    """Minus the mean margin in probabilities; the form that CCS and D2 call accumulated margin (they sum).

    >>> aum_prob(np.array([[0.75, 0.25]]), np.array([[0.25, 0.5]]))
    array([-0.5 ,  0.25])
    """
    return (p_other - p_target).mean(axis=0, dtype=float)


@score(source="arXiv:2306.05175")
def dyn_unc(p_target: Each, *, window: Annotated[int, SOME] = 10) -> Score:
    """Mean, over sliding windows, of the standard deviation (unbiased) of the label's probability in the window.

    Departs from the authors' code, which multiplies by 10 and leaves out the window that ends at the last epoch.

    >>> dyn_unc(np.array([[.5, 0.], [.5, 1.], [.5, 0.]]), window=2).round(3)
    array([0.   , 0.707])
    """
    return _mean_over_windows(p_target, window, lambda mean, spread: spread)


@score(source="arXiv:2502.06905")
def dual(p_target: Each, *, window: Annotated[int, SOME] = 10) -> Score:
    """Uncertainty times difficulty, window by window: mean of (1 - mean probability) * standard deviation (unbiased).

    Needs only the first part of a training run. Departs from the authors' code in its factor 10 alone.

    >>> dual(np.array([[.5, 0.], [.5, 1.], [.5, 0.]]), window=2).round(3)
    array([0.   , 0.354])
    """
    return _mean_over_windows(p_target, window, lambda mean, spread: (1 - mean) * spread)


@score(source="arXiv:2311.13613")
def tdds(kl_step: Each, *, window: Annotated[int, SOME] = 10, decay: Annotated[float, SHARE] = 0.9) -> Score:
    """Spread of the epoch-to-epoch divergence inside sliding windows, averaged with most weight on the newest.

    A window of J epochs holds J - 1 divergences; its spread is the length of their deviations from their mean (not
    divided by J - 1), and windows weigh decay * (1 - decay)^age. Row 0 of `kl_step` has no previous epoch and is
    skipped.

    >>> tdds(np.array([[np.nan], [0.2], [0.8], [0.2]]), window=3).round(4)
    array([0.42])
    """
    _check_window(window, len(kl_step), least=3)
    out = np.empty(kl_step.shape[1])
    for tile in _tiles(kl_step):
        total = np.zeros(len(out[tile]))
        for _, squares in _sliding(kl_step[1:, tile], window - 1):
            total *= 1 - decay
            total += decay * np.sqrt(squares)
        out[tile] = total
    return out


@score(source="IEEE Access 2026 (ESPS, github.com/Hu210/esps-data-pruning)")
def esps(cos_step: Each) -> Score:
    """How much the predicted distribution turns from one epoch to the next: mean of one minus the cosine.

    The paper reads the first ten epochs, and re-draws its subset from a pool at every epoch; this is the score alone.
    Row 0 of `cos_step` has no previous epoch and is skipped.

    >>> esps(np.array([[np.nan, np.nan], [1., 0.5], [1., 0.]]))
    array([0.  , 0.75])
    """
    if len(cos_step) < 2:
        raise SecateurError("cos_step: expected at least 2 epochs, got 1")
    return 1 - cos_step[1:].mean(axis=0, dtype=float)


@score(source="arXiv:2412.10091")
def soft_label_entropy(logits_mean: Float[np.ndarray, "examples classes"]) -> Score:
    """Entropy, in nats, of the softmax of an example's mean logits over training.

    The object re-identification paper's one statistic: high for hard and mislabelled examples, highest for outliers.

    >>> soft_label_entropy(np.array([[0., 0.], [1000., 0.]])).round(4)
    array([0.6931, 0.    ])
    """
    p, log_p = _softmax(logits_mean)
    return (p * -log_p).sum(axis=1)


@summary(source="arXiv:2412.10091")
def corrected_label(
    logits_mean: Float[np.ndarray, "examples classes"],
    labels: Int[np.ndarray, " examples"],
    *,
    outlier: Annotated[float, Range(0, 1, below=True)] = 0.0,
) -> Int[np.ndarray, " examples"]:
    """The label that the mean logits of the run speak for; -1 for an outlier, which no class dominates.

    outlier: the highest class probability below which an example counts as an outlier. The paper gives no value that
    we could find; 0 finds none.

    >>> corrected_label(np.array([[2., 0.], [0., 2.], [0., 0.1]]), np.array([0, 0, 0]), outlier=0.6)
    array([ 0,  1, -1])
    """
    p, _ = _softmax(logits_mean)
    best = p.argmax(axis=1)
    tied = np.take_along_axis(p, labels[:, None].astype(int), axis=1)[:, 0] >= p.max(axis=1)
    return np.where(p.max(axis=1) < outlier, -1, np.where(tied, labels, best)).astype(np.int64)


@summary(source="arXiv:2502.06905")
def p_mean(p_target: Each) -> Score:
    """Mean probability of the label over all the epochs given: where Beta sampling places an example.

    >>> p_mean(np.array([[0.25, 1.], [0.75, 1.]]))
    array([0.5, 1. ])
    """
    return p_target.mean(axis=0, dtype=float)


def _mean_over_windows(p: Each, window: int, value: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Score:
    """Mean over windows of `value(mean, deviation)`, linear in the unbiased deviation; a cache-sized tile at a time."""
    _check_window(window, len(p), least=2)
    out = np.empty(p.shape[1])
    for tile in _tiles(p):
        total = np.zeros(len(out[tile]))
        for mean, squares in _sliding(p[:, tile], window):
            total += value(mean, np.sqrt(squares))
        out[tile] = total / ((len(p) - window + 1) * np.sqrt(window - 1))
    return out


def _sliding(rows: np.ndarray, window: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Mean and sum of squared deviations of each window down the first axis; (rows, examples) in, (examples,) out.

    The first window is worked out plainly, the others from the one before by the row that leaves and the one that
    comes, so that a long window costs no more than a short one. In float64 the deviation stays within 1e-7 of the
    plain form (tests/scores), and is exactly 0 where the values are constant. The arrays given are used again.
    """
    inside = deque(rows[:window].astype(float))
    first = np.stack(inside)
    mean = first.mean(axis=0)
    squares = ((first - mean) ** 2).sum(axis=0)
    yield mean, squares
    for row in rows[window:]:
        old, new = inside.popleft(), row.astype(float)
        inside.append(new)
        off = old - mean
        np.subtract(new, old, out=old)
        mean += old / window
        off += new
        off -= mean
        off *= old
        squares += off
        np.maximum(squares, 0.0, out=squares)  # rounding may leave -1e-17
        yield mean, squares


def _tiles(array: np.ndarray) -> list[slice]:
    return [slice(start, start + TILE) for start in range(0, array.shape[1], TILE)]


def _check_window(window: int, epochs: int, *, least: int) -> None:
    if not least <= window <= epochs:
        raise SecateurError(f"window: expected {least} to {epochs}, the epochs recorded, got {window}")


def _softmax(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    shifted = logits.astype(float) - logits.max(axis=1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return np.exp(log_p), log_p
