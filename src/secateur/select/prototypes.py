"""The rows of a pool that a class claims with confidence: omni-supervised selection. Not of the data: of a pool."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from secateur.errors import SecateurError
from secateur.geometry import blocks, class_means

Rows = Float[np.ndarray, "examples dims"]
Labels = Int[np.ndarray, " examples"]


class Claimed(NamedTuple):
    """Rows of the pool that are taken, sorted ids (taken,), the classes that claim them, and how surely."""

    ids: np.ndarray
    labels: np.ndarray
    confidence: np.ndarray


def omni(
    features: Rows,
    labels: Labels,
    pool: Float[np.ndarray, "candidates dims"],
    *,
    top: int | None = None,
    at_least: float | None = None,
) -> Claimed:
    """Take from a pool what lies near the mean of a class, with that class as its label.

    The confidence of a row is its cosine to the nearest class mean. at_least: the confidence that it must reach; top:
    so many of each class, the surest, the lower id where two are as sure. With both, the top of those that reach it.
    The selection of Liu et al. (arXiv:2005.08551), from memory; what they condense afterwards: `mine` with per_class.

    >>> omni(
    ...     np.array([[1., 0.], [3., 0.], [0., 2.]]), np.array([0, 0, 1]),
    ...     np.array([[3., 4.], [4., 3.], [0., 1.], [1., 0.]]), top=1)
    Claimed(ids=array([2, 3]), labels=array([1, 0]), confidence=array([1., 1.]))
    """
    check_limits(top, at_least)
    claims, confidence = judge(prototypes(features, labels), pool)
    ids = surest(claims, confidence, top=top, at_least=at_least)
    return Claimed(ids, claims[ids], confidence[ids])


def check_limits(top: int | None, at_least: float | None) -> None:
    """Raise SecateurError unless the two say what to take."""
    if top is None and at_least is None:
        raise SecateurError("top: expected it or at_least, got neither; pass top=500, at_least=0.9, or both")
    if top is not None and top < 1:
        raise SecateurError(f"top: expected 1 or more rows of each class, got {top}")
    if at_least is not None and not -1 <= at_least <= 1:
        raise SecateurError(f"at_least: expected a cosine from -1 to 1, got {at_least}")


def prototypes(features: Rows, labels: Labels) -> Float[np.ndarray, "classes dims"]:
    """The direction of each class: the mean of its features, brought to length 1.

    >>> prototypes(np.array([[1., 0.], [5., 8.], [0., 2.]]), np.array([0, 0, 1]))  # the mean (3, 4) has length 5
    array([[0.6, 0.8],
           [0. , 1. ]])
    """
    means = class_means(features, labels)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    if np.isnan(lengths).any():
        lacking = int(np.isnan(lengths[:, 0]).argmax())
        raise SecateurError(f"labels: class {lacking} has no rows, so it has no prototype; label some, or renumber")
    if not lengths.all():
        lacking = int((lengths[:, 0] == 0).argmax())
        raise SecateurError(
            f"features: the mean of class {lacking} is all zeros, so it has no direction; take another net's features"
        )
    return means / lengths


def judge(
    prototypes: Float[np.ndarray, "classes dims"], features: Float[np.ndarray, "candidates dims"]
) -> tuple[Int[np.ndarray, " candidates"], Float[np.ndarray, " candidates"]]:
    """The class that each row is nearest to, the lower where two are as near, and the cosine to its prototype.

    A row of zeros is near to none: class 0 with a cosine of 0. In float64.

    >>> judge(np.array([[1., 0.], [0., 1.]]), np.array([[3., 4.], [0., 0.]]))
    (array([1, 0]), array([0.8, 0. ]))
    """
    claims, confidence = np.empty(len(features), dtype=np.int64), np.empty(len(features))
    for part in blocks(*features.shape):
        rows = features[part].astype(float)
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        cosines = np.divide(rows @ prototypes.T, lengths, out=np.zeros((len(rows), len(prototypes))), where=lengths > 0)
        claims[part], confidence[part] = cosines.argmax(axis=1), cosines.max(axis=1)
    return claims, confidence


def surest(
    claims: Int[np.ndarray, " candidates"],
    confidence: Float[np.ndarray, " candidates"],
    *,
    top: int | None,
    at_least: float | None,
) -> Int[np.ndarray, " taken"]:
    """Places of what is taken, sorted. Raises SecateurError where nothing reaches `at_least`.

    >>> surest(np.array([0, 0, 0, 1]), np.array([.5, .9, .9, .4]), top=1, at_least=.45)
    array([1])
    """
    order = np.lexsort((-confidence, claims))  # stable: the lower place first
    if at_least is not None:
        order = order[confidence[order] >= at_least]
        if not len(order):
            raise SecateurError(
                f"at_least: no row of the pool reaches {at_least}, the highest confidence is {confidence.max():.4f}; "
                f"ask for less, or for the top rows of each class"
            )
    if top is not None:
        firsts = np.searchsorted(claims[order], claims[order])  # where the class of each begins
        order = order[np.arange(len(order)) - firsts < top]
    return np.sort(order)
