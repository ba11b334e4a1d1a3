"""Selectors that match gradients of the last layer: the part kept pulls a net where all of the data would.

Weights are the papers' own, not normalised. CRAIG and GradMatch are run class by class in the published codes.
"""

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from secateur.errors import SecateurError
from secateur.ranges import AMOUNT, POSITIVE, SOME
from secateur.registry import Weighted, selector
from secateur.select.greedy import lazy_facility
from secateur.select.last_layer import (
    Errors,
    Gradients,
    Rows,
    distances,
    gradients,
    gram,
    logit_steps,
    products,
    squared_norms,
    weighted_sum,
)
from secateur.select.pursuit import Support

LARGEST = 25_000  # a square of so many float32 numbers takes 2.5 GB
EXPLAINED = 1e-7  # what is left of the target has a smaller cosine, times |residual| / |target|, with every gradient
ONE_HOT = 1e-3  # how far p_final - errors may be from a one-hot label: float16 rounds by 5e-4

Ids = Int[np.ndarray, " keep"]


@selector(source="arXiv:1906.01827")
def craig(
    features: Rows, errors: Errors, *, keep: int | float, gradient: Literal["layer", "logits"] = "layer"
) -> Weighted:
    """CRAIG: the medoids of the gradients, each counting for the examples it stands for.

    Facility location by lazy greedy, exact, with similarity max(d) - d, where d is the Euclidean distance between
    last-layer gradients. The weight of a medoid is the number of examples nearest to it, itself among them; weights sum
    to N. gradient: `layer` as in the published codes, or the gradient in the `logits` alone (errors, no features), the
    bound in the paper's text. Published codes differ: one adds 1 to every weight, one squares the distances and returns
    ids of a shuffled order. Takes N^2 numbers, so it is meant for one class at a time.

    >>> errors = np.array([[-.1, .1], [-.2, .2], [-.9, .9]])
    >>> craig(np.zeros((3, 1)), errors, keep=2)
    Weighted(ids=array([1, 2]), weights=array([2., 1.]))
    """
    if gradient not in ("layer", "logits"):
        raise SecateurError(f"gradient: expected layer or logits, got {gradient!r}")
    _check_square("craig", "examples", len(errors), 4)
    apart = distances(gradients(features if gradient == "layer" else features[:, :0], errors))
    similarity = np.subtract(apart.max(), apart, out=apart)  # in place: this is the largest thing here
    ids = np.sort(lazy_facility(similarity, int(keep)))
    return Weighted(ids, _cluster_sizes(similarity[ids], ids))


def _cluster_sizes(similarity: Float[np.ndarray, "keep examples"], ids: Ids) -> Float[np.ndarray, " keep"]:
    """How many examples are nearest to each id, ties to the lower; an id is nearest to itself."""
    nearest = similarity.argmax(axis=0)
    nearest[ids] = np.arange(len(ids))
    return np.bincount(nearest, minlength=len(ids)).astype(float)


@selector(source="arXiv:2103.00123")
def gradmatch(
    features: Rows, errors: Errors, *, keep: int | float, regularisation: Annotated[float, AMOUNT] = 0.5
) -> Weighted:
    """GradMatch: examples and weights w >= 0 whose weighted gradients add up to the sum of all of them.

    Orthogonal matching pursuit for |sum_i w_i g_i - sum of all g|^2 + regularisation * |w|^2, of last-layer gradients.
    Each step takes in the example outside the support with the largest positive product with the residual, and solves
    for the weights on the support exactly; where a weight would fall below 0, the weights move until the first of them
    is 0, its example leaves and may return, and the rest is solved again (Lawson and Hanson's non-negative least
    squares, stopped at `keep` examples; a step is O(keep^2) on an updated Cholesky factor, and a product with all
    gradients). So weights are non-negative least squares on the support, all above 0. When no gradient points along the
    residual any more, the rest is filled in the order of its products with it, with weight 0.

    regularisation: 0.5 as in the authors' code; DeepCore's 1. DeepCore matches the mean, which divides every weight by
    N and changes nothing else. The authors' code draws the rest at random with weight 1, and may take an example twice.

    >>> errors = np.array([[-.5, .5], [-.4, .4], [.5, -.5]])
    >>> gradmatch(np.zeros((3, 1)), errors, keep=2, regularisation=0.0)  # the sum, -0.4, is 0.8 of the first
    Weighted(ids=array([0, 1]), weights=array([0.8, 0. ]))
    """
    if not 0 <= regularisation < np.inf:
        raise SecateurError(f"regularisation: expected a number of 0 or more, got {regularisation}")
    _check_square("gradmatch", "kept examples", int(keep), 8)
    of = gradients(features, errors).rows(slice(None))
    support, along = _pursue(of, int(keep), regularisation)
    weights = np.zeros(of.examples)
    weights[support.ids] = support.weights
    along[support.ids] = np.inf  # first of all
    ids = np.sort(np.argsort(-along, kind="stable")[: int(keep)])
    return Weighted(ids, weights[ids])


def _pursue(of: Gradients, keep: int, ridge: float) -> tuple[Support, Float[np.ndarray, " examples"]]:
    """The support after the pursuit, and the product of every gradient with what it leaves unexplained."""
    target = weighted_sum(of, np.ones(of.examples))
    along = toward = products(of, target)
    squares = squared_norms(of)
    reach = np.sqrt(squares) * np.linalg.norm(target)
    if reach.max() <= EXPLAINED * squares.sum():
        raise SecateurError(
            "errors: the gradients add up to zero, so there is no sum to match; select by another method"
        )
    support, open_ = Support(keep, ridge), np.ones(of.examples, dtype=bool)
    while support.size < keep:
        outside = open_.copy()
        outside[support.ids] = False
        candidates = np.flatnonzero(outside & (along > EXPLAINED * reach))
        if not len(candidates):
            break
        pick = int(candidates[along[candidates].argmax()])
        column = gram(of.rows(support.ids), of.rows(np.array([pick])))[:, 0]
        added = support.add(pick, column, float(squares[pick]), float(toward[pick]))
        open_[pick] = added and pick in support.ids  # else it was of use by a rounding error only
        along = products(of, target - weighted_sum(of.rows(support.ids), support.weights))
    return support, np.where(np.abs(along) > EXPLAINED * reach, along, 0)  # no order by rounding errors


@selector(source="arXiv:2012.10630")
def glister(
    features: Rows,
    errors: Errors,
    p_final: Float[np.ndarray, "examples classes"],
    validation: Bool[np.ndarray, " examples"],
    *,
    keep: int | float,
    rate: Annotated[float, POSITIVE] = 0.05,
    rounds: Annotated[int, SOME] = 15,
    step: Literal["sum", "mean"] = "sum",
) -> Ids:
    """GLISTER: what a gradient step on would lower the validation loss most, looked at anew in each of `rounds`.

    A round takes the next keep / rounds examples by <g_i, mean validation gradient>, ties to the lower id. Then the
    validation logits move by a step of size `rate` on the gradients taken, z <- z - rate * sum_i e_i (1 + <h_i, h>),
    and the validation gradient is worked out from them again; the g_i stay as they are. A sum, as in the authors' code,
    grows with the round: at their rate it overshoots where rate * keep / rounds * |h|^2 is far above 1. step: `mean` as
    in DeepCore, whose refresh never ran: its published GLISTER is `rounds=1`.

    validation: is the example of the validation part? Its examples may be taken like any other. p_final gives their
    logits and, less errors, their labels; a probability below 1e-38 counts as that.

    >>> p = np.array([[.5, .5], [.6, .4], [.8, .2]])
    >>> errors = p - np.array([[1, 0], [1, 0], [0, 1]])
    >>> glister(np.zeros((3, 1)), errors, p, np.array([True, False, False]), keep=1)
    array([0])
    """
    if not 0 < rate < np.inf or rounds < 1 or step not in ("sum", "mean"):
        raise SecateurError(
            f"glister: expected a rate above 0, 1 round or more and step sum or mean, got {rate}, {rounds} and {step!r}"
        )
    held = _validation_ids(validation, errors)
    of, labels = gradients(features, errors), _one_hot(p_final, errors, held)
    rows = of.rows(held).features
    logits = np.log(np.maximum(p_final[held], np.finfo(np.float32).tiny), dtype=np.float64)
    outside = np.ones(of.examples, dtype=bool)
    for size in _rounds(int(keep), rounds):
        uphill = weighted_sum(Gradients(rows, _softmax(logits) - labels), _shares(len(held)))
        gain = np.where(outside, products(of, uphill), -np.inf)
        taken = np.argsort(-gain, kind="stable")[:size]
        outside[taken] = False
        weights = np.ones(size) if step == "sum" else _shares(size)
        logits -= rate * logit_steps(rows, weighted_sum(of.rows(taken), weights))
    return np.flatnonzero(~outside)


def _rounds(keep: int, rounds: int) -> list[int]:
    """How many to take in each round: as even as can be, none empty.

    >>> _rounds(8, 3), _rounds(2, 15)
    ([2, 3, 3], [1, 1])
    """
    rounds = min(rounds, keep)
    return np.diff(keep * np.arange(rounds + 1) // rounds).tolist()


def _validation_ids(validation: np.ndarray, errors: Errors) -> Int[np.ndarray, " held"]:
    if validation.dtype != bool:
        raise SecateurError(f"validation: expected True or False an example, got an array of {validation.dtype}")
    if not validation.any():
        raise SecateurError(f"validation: none of the {len(errors)} examples is of the validation part; hold some out")
    if not errors[validation].any():
        raise SecateurError("validation: every error of its examples is zero, so no step can lower their loss")
    return np.flatnonzero(validation)


def _one_hot(p_final: Errors, errors: Errors, ids: Int[np.ndarray, " held"]) -> Float[np.ndarray, "held classes"]:
    """The labels of these examples, as p_final - errors; SecateurError where that is no one-hot row."""
    rest = p_final[ids] - errors[ids]
    labels = np.eye(rest.shape[1])[rest.argmax(axis=1)]
    off = np.abs(rest - labels).max(axis=1)
    if off.max() > ONE_HOT:
        raise SecateurError(
            f"errors: expected p_final - one-hot label, but p_final - errors is {rest[off.argmax()].round(4)} at "
            f"example {ids[off.argmax()]}; take both from the same net"
        )
    return labels


def _shares(count: int) -> Float[np.ndarray, " some"]:
    return np.full(count, 1 / count)


def _softmax(logits: Errors) -> Errors:
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    return p / p.sum(axis=1, keepdims=True)


def _check_square(name: str, what: str, size: int, width: int) -> None:
    if size > LARGEST:
        raise SecateurError(
            f"{name}: {size} {what} need a table of {size}^2 numbers, {size**2 * width / 1e9:.1f} GB; the most is "
            f"{LARGEST}; select class by class, or from a smaller part"
        )
