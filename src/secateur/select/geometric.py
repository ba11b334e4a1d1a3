"""Selectors that look at where examples lie: follow the mean of the features, or cover them.

Ties go to the lower id, as far as float32 tells them from differences.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from secateur.errors import SecateurError
from secateur.registry import selector

Rows = Float[np.ndarray, "examples dims"]
Ids = Int[np.ndarray, " keep"]
BATCH = 32  # examples whose distances to all are worked out at a time
NOISE = 1e-6  # a squared distance below this share of |x|^2 + |u|^2 is what rounding leaves of none


@selector(source="Welling, ICML 2009; as a coreset: arXiv:1611.07725")
def herding(features: Rows, *, keep: int | float) -> Ids:
    """Follow the mean: each pick brings the mean of what is kept as near as it can to the mean of all.

    Step i takes the free example nearest to i * mean - (sum of those kept): the nearest, where DeepCore's code takes
    the farthest. No example is taken twice, where Welling's herding may. The published tables run it class by class.
    Computed in float32, one matrix-vector product a pick.

    >>> herding(np.array([[0.], [1.], [2.], [3.], [10.]]), keep=2)  # mean 3.2: first 3; then 2, nearest to 6.4 - 3
    array([2, 3])
    """
    space = _space(features)
    toward, free = np.empty_like(space.squares), space.squares.copy()
    residual = np.zeros_like(space.mean)  # picks * mean - sum of the picked
    for _ in range(int(keep)):
        np.matmul(space.rows, (-2 * space.scale * residual).astype(np.float32), out=toward)
        toward += free
        pick = int(toward.argmin())
        free[pick] = np.inf
        residual += space.mean - space.rows[pick]
    return np.flatnonzero(np.isinf(free))


@selector(source="arXiv:1708.00489")
def k_center(
    features: Rows,
    *,
    keep: int | float,
    rng: np.random.Generator,
    start: Literal["random", "mean"] = "random",
    initial: Int[np.ndarray, " held"] | None = None,
) -> Ids:
    """Cover the features: each pick is the example farthest from all that are kept.

    The greedy algorithm, whose largest distance to the nearest kept example is at most twice the least possible; the
    paper's search for outliers by integer programming is left out. start: a `random` first example, or the one nearest
    to the `mean` (condensation tables, class by class). initial: ids that are held already, instead of a start. They
    are among the ids returned, so `keep` counts them too; the paper's budget counts only what is added. Distances are
    squared, in float32; memory beyond the features grows with the examples alone.

    >>> line, rng = np.array([[0.], [1.], [5.], [9.]]), np.random.default_rng(0)
    >>> k_center(line, keep=2, start="mean", rng=rng)  # mean 3.75: first 5; then 0, farthest from it
    array([0, 2])
    >>> k_center(line, keep=3, initial=np.array([1]), rng=rng)  # from 1 the farthest is 9, and then 5
    array([1, 2, 3])
    """
    if start not in ("random", "mean"):
        raise SecateurError(f"start: expected random or mean, got {start!r}")
    space = _space(features)
    if initial is not None and np.size(initial):
        first = _held(np.asarray(initial), len(features), int(keep))
    else:
        first = np.array([space.squares.argmin() if start == "mean" else rng.integers(len(features))])
    return farthest_first(partial(_squared_distances, space), first, len(features), int(keep))


def farthest_first(
    distances: Callable[[np.ndarray], np.ndarray], first: Int[np.ndarray, " first"], examples: int, keep: int
) -> Ids:
    """Greedy k-center from the ids of `first`, under any distance: ids -> (ids, examples), in float32, 0 or more.

    The next picks are nearly always among those now farthest, so distances to so many are worked out in one product and
    used as their turn comes: the same picks, 3x faster than one at a time on 12,500 x 512, for they need not read all
    features each time. Equals the plain loop, see tests/select/test_geometric.py.

    >>> line = np.array([0., 1., 5., 9.])
    >>> farthest_first(lambda ids: np.abs(line[ids, None] - line), np.array([0]), 4, 3)
    array([0, 2, 3])
    """
    gap = np.full(examples, np.inf, dtype=np.float32)  # to the nearest of those kept; these have -1
    for at in range(0, len(first), BATCH):
        np.minimum(gap, distances(first[at : at + BATCH]).min(axis=0), out=gap)
    gap[first] = -1
    ready: dict[int, np.ndarray] = {}
    size = min(BATCH, examples)  # whatever keep, so that a smaller selection is part of a larger one
    for _ in range(keep - len(first)):
        pick = int(gap.argmax())
        if pick not in ready:
            ids = np.union1d(np.argpartition(gap, -size)[-size:], pick)
            ready.clear()  # before the next are made
            ready = dict(zip(ids.tolist(), distances(ids), strict=True))
        np.minimum(gap, ready[pick], out=gap)
        gap[pick] = -1
    return np.flatnonzero(gap < 0)


class _Space(NamedTuple):
    """Rows (examples, dims) in float32, not copied where they are so already; their mean (dims,) in float64; the
    squared distance of each row to it (examples,), in float32, times `scale`.

    Distances are measured from the mean, since float32 loses small ones far from the origin. The scale is a power of
    two that brings the largest square near 1, so that none leaves the range of float32.
    """

    rows: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    scale: float


def _space(features: np.ndarray) -> _Space:
    with np.errstate(over="ignore", invalid="ignore"):
        rows = np.ascontiguousarray(features, dtype=np.float32)
        mean = rows.mean(axis=0, dtype=float)
    if not np.isfinite(mean).all():
        where = int(np.abs(features).max(axis=1).argmax())
        raise SecateurError(f"features: example {where} goes beyond the range of float32; scale the features down")
    squares = np.empty(len(rows))
    step = max(1, (1 << 20) // max(1, rows.shape[1]))  # 8 MB in float64
    for at in range(0, len(rows), step):
        gaps = rows[at : at + step] - mean
        squares[at : at + step] = np.einsum("ij,ij->i", gaps, gaps)
    scale = float(2.0 ** -np.frexp(squares.max())[1])
    return _Space(rows, mean, (squares * scale).astype(np.float32), scale)


def _squared_distances(space: _Space, ids: np.ndarray) -> np.ndarray:
    """Squared distances (ids, examples), times the scale: |x - m|^2 + |u - m|^2 - 2 (u - m)(x - m)."""
    steps = -2 * space.scale * (space.rows[ids] - space.mean)
    out: np.ndarray = steps.astype(np.float32) @ space.rows.T
    for row, square, shift in zip(out, space.squares[ids], (steps @ space.mean).astype(np.float32), strict=True):
        both = space.squares + square
        row -= shift  # first: far from the origin these two are large, and nearly equal
        row += both
        both *= np.float32(NOISE)
        row[row <= both] = 0
    return out


def _held(initial: np.ndarray, examples: int, keep: int) -> np.ndarray:
    """The ids held already, checked."""
    if initial.ndim != 1 or initial.dtype.kind not in "iu":
        raise SecateurError(f"initial: expected ids, got an array of {initial.dtype} of shape {initial.shape}")
    if len(wrong := initial[(initial < 0) | (initial >= examples)]):
        raise SecateurError(f"initial: expected ids from 0 to {examples - 1}, got {wrong[0]}")
    ids, times = np.unique(initial.astype(np.int64), return_counts=True)
    if len(ids) < len(initial):
        raise SecateurError(f"initial: names example {ids[times.argmax()]} {times.max()} times")
    if len(ids) > keep:
        raise SecateurError(f"initial: names {len(ids)} examples, more than the {keep} to keep")
    return ids
