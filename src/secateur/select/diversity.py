"""Selectors that set an example, or what a net says of it, against its neighbours. Ties go to the lower id."""

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float, Int, Num

from secateur.errors import SecateurError
from secateur.geometry import Neighbours, nearest
from secateur.ranges import AMOUNT, SOME
from secateur.registry import selector
from secateur.select.geometric import farthest_first
from secateur.select.ranked import hardest

Scores = Num[np.ndarray, " examples"]
Rows = Float[np.ndarray, "examples dims"]
Probabilities = Float[np.ndarray, "examples classes"]
Ids = Int[np.ndarray, " keep"]
FLOOR = 1e-8
"""The least probability; lower ones are raised to it and rows made to sum to 1 again, so that logarithms are finite."""


@selector(source="arXiv:2008.05723, on whole examples")
def contextual_diversity(p_final: Probabilities, *, keep: int | float, rng: np.random.Generator) -> Ids:
    """Cover what the net says: greedy k-center on the symmetric KL divergence of probabilities, from a random example.

    The distance is 1/2 KL(p || q) + 1/2 KL(q || p), in nats. Departs from the paper, which first mixes the predictions
    for regions of an image: here an example has one prediction, as in DeepCore. Probabilities below 1e-8 count as 1e-8,
    where DeepCore's code meets log 0.

    >>> p = np.array([[1., 0.], [.9, .1], [.8, .2], [0., 1.]])
    >>> contextual_diversity(p, keep=2, rng=np.random.default_rng(0))  # starts at 3; farthest from it is 0
    array([0, 3])
    """
    p, log_p = _with_logs(p_final)
    p -= p.mean(axis=0)  # which the divergence does not see; rounding takes less from what is left
    log_p -= log_p.mean(axis=0)
    own = np.einsum("ic,ic->i", p, log_p)

    def divergences(ids: np.ndarray) -> np.ndarray:
        """Sum over classes of (p - q)(log p - log q) / 2: (ids, examples)."""
        out: np.ndarray = p[ids] @ log_p.T
        out += log_p[ids] @ p.T
        np.subtract(own, out, out=out)
        out += own[ids, None]
        out /= 2
        out[out < 1e-12] = 0  # what rounding leaves of none
        return out.astype(np.float32)

    return farthest_first(divergences, np.array([rng.integers(len(p))]), len(p), int(keep))


@selector(source="arXiv:2109.03764")
def cal(features: Rows, p_final: Probabilities, *, keep: int | float, neighbours: Annotated[int, SOME] = 10) -> Ids:
    """Contrastive examples: those of which the net says something else than of their neighbours in feature space.

    Keeps the largest mean of KL(p(neighbour) || p(example)) over the nearest neighbours. Departs from the paper, whose
    neighbours are the labelled pool: here they are all other examples. DeepCore's code takes a symmetric divergence and
    keeps the smallest. Probabilities below 1e-8 count as 1e-8. keep = all is no choice, and needs no neighbours.

    >>> p = np.array([[.9, .1], [.9, .1], [.2, .8], [.2, .8], [.2, .8]])
    >>> cal(np.array([[0.], [1.], [2.2], [9.], [9.5]]), p, keep=1, neighbours=1)  # 2 is nearest to 1, which differs
    array([2])
    """
    p, log_p = _with_logs(p_final)
    if (found := _neighbours(features, neighbours, int(keep))) is None:
        return np.arange(len(p))
    around = np.zeros_like(p)  # mean over the neighbours
    for ids in found.ids.T:
        around += p[ids] / neighbours
    own = np.einsum("ic,ic->i", p, log_p)
    contrast = own[found.ids].mean(axis=1) - np.einsum("ic,ic->i", around, log_p)
    return hardest(contrast, keep=int(keep))


@selector(source="arXiv:2310.07931")
def d2(
    scores: Scores,
    features: Rows,
    *,
    keep: int | float,
    neighbours: Annotated[int, SOME] = 5,
    gamma: Annotated[float, AMOUNT] = 0.1,
    gamma_forward: Annotated[float, AMOUNT] = 1.0,
    kernel: Literal["squared", "plain"] = "squared",
    unit: Literal["features", "median"] = "features",
) -> Ids:
    """D2: hard examples, each pick lowering what its neighbours in feature space are worth.

    Worth starts as the score plus the scores of the nearest neighbours, each times exp(-gamma_forward d^2), d the
    Euclidean distance. Then the example of highest worth is kept, and its neighbours lose exp(-gamma d^2) times that
    worth; and so on. kernel: `squared` d as in the paper, or `plain` d as in the authors' code. The smaller gamma, the
    farther picks stay apart. unit: both gammas are in units of the features, as the authors have them, or with `median`
    d is in medians of the distance to a neighbour: in features of large distances all messages vanish, and what is left
    is the score alone. Scores below 0, as of AUM, are all raised by as
    much as makes the lowest 0. Neighbours point one way, where the paper calls its graph undirected. The authors leave
    out the hardest and take it by score strata first, which is the business of `ccs`. keep = all is no choice.

    >>> scores, features = np.array([3., 2.9, 1.]), np.array([[0.], [0.], [9.]])
    >>> d2(scores, features, keep=2, neighbours=1)  # 5.9 twice: 0 is kept and 1 left with nothing
    array([0, 2])
    """
    _check_d2(scores, gamma, gamma_forward, kernel, unit)
    if (found := _neighbours(features, neighbours, int(keep))) is None:
        return np.arange(len(scores))
    ids = found.ids
    reach = _in_units(found.distances.astype(float), unit) ** (2 if kernel == "squared" else 1)
    hard = np.asarray(scores, dtype=float)
    hard = hard - min(hard.min(), 0)
    worth = hard + (np.exp(-gamma_forward * reach) * hard[ids]).sum(axis=1)
    back = np.exp(-gamma * reach)
    for _ in range(int(keep)):
        pick = int(worth.argmax())
        worth[ids[pick]] -= back[pick] * worth[pick]
        worth[pick] = -np.inf
    return np.flatnonzero(np.isneginf(worth))


def _in_units(distances: np.ndarray, unit: str) -> np.ndarray:
    if unit == "features":
        return distances
    median = float(np.median(distances))
    if not median:
        raise SecateurError("unit: half of the neighbours lie at distance 0, which is no unit; use unit=features")
    return distances / median


def _check_d2(scores: np.ndarray, gamma: float, gamma_forward: float, kernel: str, unit: str) -> None:
    if not np.isfinite(scores).all():
        where = int(np.isinf(scores).argmax())
        raise SecateurError(f"scores: messages add them up, so they must be finite, got inf at example {where}")
    for name, value in (("gamma", gamma), ("gamma_forward", gamma_forward)):
        if not 0 <= value < np.inf:
            raise SecateurError(f"{name}: expected 0 or more, got {value}")
    for name, chosen, known in (("kernel", kernel, ("squared", "plain")), ("unit", unit, ("features", "median"))):
        if chosen not in known:
            raise SecateurError(f"{name}: expected {' or '.join(known)}, got {chosen!r}")


def _neighbours(features: np.ndarray, neighbours: int, keep: int) -> Neighbours | None:
    """The nearest of each row; None where all are kept, which a class of few examples may ask for."""
    if neighbours < 1:
        raise SecateurError(f"neighbours: expected 1 or more, got {neighbours}")
    if keep == len(features):
        return None
    found = nearest(features, neighbours)
    if found.ids.min() < 0:
        where = int(np.abs(features).max(axis=1).argmax())
        raise SecateurError(f"features: distances to example {where} go beyond float32; scale the features down")
    return found


def _with_logs(p_final: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities, none below the floor, and their logarithms, in float64."""
    p = np.asarray(p_final, dtype=float)
    sums = p.sum(axis=1)
    if (off := np.abs(sums - 1) > 0.01).any():
        where = int(off.argmax())
        raise SecateurError(
            f"p_final: expected probabilities that sum to 1, got {sums[where]:.4g} at example {where}; "
            "apply softmax over the classes"
        )
    p = np.maximum(p, FLOOR)
    p /= p.sum(axis=1, keepdims=True)
    return p, np.log(p)
