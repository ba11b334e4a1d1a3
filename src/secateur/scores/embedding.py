"""Scores that read where an example lies among the others: the features of a trained or a pre-trained net.

A class number that no example carries counts for nothing. An example alone in its class is its own centre, at distance
0: it ranks as the easiest, so keep small classes with a class floor.
"""

from typing import Annotated, Literal

import numpy as np
from jaxtyping import Float, Int

from secateur.errors import SecateurError
from secateur.geometry import Metric, blocks, class_means, class_medians, k_means, nearest, to_centres, unit
from secateur.ranges import POSITIVE, SEED, SHARE, SOME
from secateur.registry import score, summary, unknown

Rows = Float[np.ndarray, "examples dims"]
Labels = Int[np.ndarray, " examples"]
Score = Float[np.ndarray, " examples"]

PIVOT = 1e-12
"""The part of a dimension's variance that the other dimensions must leave open for a covariance to be inverted."""


@score(source="arXiv:2206.14486", whole_set=True)
def prototype(features: Rows, labels: Labels, *, metric: Metric = "cosine") -> Score:
    """Distance to the mean of the example's class: supervised prototypes.

    metric: `cosine` is 1 - cosine to the mean of the class's rows, each brought to length 1; `euclidean` the distance
    to their plain mean. Keep the far ones where data are plentiful, the near ones where they are scarce.

    >>> prototype(np.array([[0., 2.], [1., 0.], [3., 3.]]), np.array([0, 0, 1])).round(4)
    array([0.2929, 0.2929, 0.    ])
    """
    _check_metric(metric)
    of = _groups(labels)
    means = class_means(unit(features) if metric == "cosine" else features, of)
    if metric == "cosine":
        _check_directions(means, "class", np.unique(labels), "use metric=euclidean")
    return to_centres(features, means, of, metric=metric)


@score(source="arXiv:2206.14486", whole_set=True)
def ssp(features: Rows, *, clusters: Annotated[int, SOME] = 10, seed: Annotated[int, SEED] = 0) -> Score:
    """Self-supervised prototypes: 1 - cosine to the nearest centroid of k-means on rows brought to length 1.

    Needs no labels. clusters: the paper takes the number of classes, and finds that it matters little within a factor
    of ten; 10 is CIFAR-10's. Keep the far ones where data are plentiful, the near ones where they are scarce.

    >>> ssp(np.array([[2., 0.], [0., 3.], [0., 4.]]), clusters=2)
    array([0., 0., 0.])
    """
    centroids, of = k_means(features, clusters, seed=seed, metric="cosine")
    _check_directions(centroids, "cluster", np.arange(clusters), "ask for more clusters")
    return to_centres(features, centroids, of, metric="cosine")


@score(source="Xia et al., ICLR 2023 (Moderate)", whole_set=True)
def moderate(features: Rows, labels: Labels, *, centre: Literal["mean", "median"] = "mean") -> Score:
    """Euclidean distance to the centre of the example's class; the method keeps the middle of the ranking.

    centre: the class mean (the paper), or the median of the class in each dimension (the authors' code).

    >>> moderate(np.array([[0.], [2.], [7.]]), np.array([0, 0, 0])), moderate(
    ...     np.array([[0.], [2.], [7.]]), np.array([0, 0, 0]), centre="median")
    (array([3., 1., 4.]), array([2., 0., 5.]))
    """
    centres = {"mean": class_means, "median": class_medians}
    if centre not in centres:
        raise unknown("centre", centre, list(centres))
    of = _groups(labels)
    return to_centres(features, centres[centre](features, of), of, metric="euclidean")


@score(source="Angiulli & Pizzuti, PKDD 2002; their sum over the neighbours, divided by how many", whole_set=True)
def density(features: Rows, *, neighbours: Annotated[int, SOME] = 20, metric: Metric = "euclidean") -> Score:
    """Mean distance to the nearest other examples: high where examples are sparse, 0 for one with enough duplicates.

    metric: `euclidean`, or `cosine` for 1 - cosine. 20 neighbours are our default.

    >>> density(np.array([[0.], [1.], [5.]]), neighbours=2)
    array([3. , 2.5, 4.5])
    """
    _check_metric(metric)
    return nearest(features, neighbours, metric=metric).distances.mean(axis=1)


@score(source="arXiv:2304.10127; minus the relative distance, so that higher is harder", whole_set=True)
def rmd(features: Rows, labels: Labels, *, shrinkage: Annotated[float | None, SHARE] = None) -> Score:
    """Relative Mahalanobis difficulty: squared distance to the mean of the class, less that to the mean of all.

    The first is in units of the covariance within classes (one for all classes), the second of the covariance of all
    examples. Departs from the paper, which inverts both as they are, where there are more dims than examples or dims
    depend on each other: a covariance S becomes (1 - shrinkage) S + shrinkage * (its mean variance) * identity. None
    takes for each the amount that Ledoit and Wolf (2004) estimate, near 0 where examples are many; 0 is the paper's.

    >>> rmd(np.array([[0.], [2.], [10.], [12.]]), np.array([0, 0, 1, 1])).round(4)  # 1 - 36/26, 1 - 16/26
    array([-0.3846,  0.3846,  0.3846, -0.3846])
    """
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise SecateurError(f"shrinkage: expected 0 to 1, or None to estimate it, got {shrinkage}")
    of = _groups(labels)
    if not of.any():
        raise SecateurError("labels: rmd compares a class with all examples, so it needs at least 2 classes, got 1")
    everyone = np.zeros_like(of)
    own = _squared_mahalanobis(features, class_means(features, of), of, shrinkage)
    return own - _squared_mahalanobis(features, class_means(features, everyone), everyone, shrinkage)


@summary(source="arXiv:2304.10127", whole_set=True)
def rmd_weights(
    features: Rows,
    labels: Labels,
    *,
    temperature: Annotated[float, POSITIVE] = 0.7,
    shrinkage: Annotated[float | None, SHARE] = None,
) -> Score:
    """How much the regularisation of an example counts by its `rmd`: 1 for the hardest, in (0, 1] for the others.

    exp((rmd - highest rmd) / temperature). An example far harder than all others leaves them hardly any weight: raise
    the temperature. Weights that would fall below the smallest positive number stay there.

    >>> rmd_weights(np.array([[0.], [2.], [10.], [12.]]), np.array([0, 0, 1, 1]), temperature=1.).round(4)
    array([0.4634, 1.    , 1.    , 0.4634])
    """
    if not temperature > 0:
        raise SecateurError(f"temperature: expected more than 0, got {temperature}")
    difficulty = rmd(features, labels, shrinkage=shrinkage)
    return np.maximum(np.exp((difficulty - difficulty.max()) / temperature), np.finfo(float).tiny)


def _squared_mahalanobis(features: Rows, centres: np.ndarray, of: np.ndarray, shrinkage: float | None) -> Score:
    """Squared distance to the group's centre in units of the covariance around the centres (mean over examples)."""
    from scipy.linalg import solve_triangular

    examples, dims = features.shape
    covariance, fourth = np.zeros((dims, dims)), 0.0
    for part in blocks(examples, dims):
        gaps = features[part].astype(float) - centres[of[part]]
        covariance += gaps.T @ gaps / examples
        fourth += float((np.einsum("ij,ij->i", gaps, gaps) ** 2).sum()) / examples
    scale = np.trace(covariance) / dims
    if scale <= (PIVOT * np.abs(features).max()) ** 2:
        raise SecateurError("features: within every class all examples are the same, so there is no covariance to use")
    if shrinkage is None:
        shrinkage = _ledoit_wolf(covariance, fourth, examples)
    covariance = (1 - shrinkage) * covariance + shrinkage * scale * np.eye(dims)
    factor = _cholesky(covariance, examples, shrinkage)
    out = np.empty(examples)
    for part in blocks(examples, dims):
        gaps = features[part].astype(float) - centres[of[part]]
        out[part] = (solve_triangular(factor, gaps.T, lower=True) ** 2).sum(axis=0)
    return out


def _ledoit_wolf(covariance: np.ndarray, fourth: float, examples: int) -> float:
    """The shrinkage to the scaled identity that Ledoit and Wolf (2004) estimate; fourth: mean fourth power of length.

    The expected squared error of the covariance over its squared distance to the target, at most 1.
    """
    dims = len(covariance)
    squared = float((covariance**2).sum())
    distance = squared - np.trace(covariance) ** 2 / dims
    error = (fourth - squared) / examples
    return 1.0 if error >= distance else max(0.0, error / distance)


def _cholesky(covariance: np.ndarray, examples: int, shrinkage: float) -> np.ndarray:
    """The lower factor; an error where a dimension is, to rounding, a linear function of those before it."""
    try:
        factor = np.linalg.cholesky(covariance)
        sound = bool((np.diag(factor) ** 2 > PIVOT * np.diag(covariance)).all())
    except np.linalg.LinAlgError:
        sound = False
    if not sound:
        raise SecateurError(
            f"shrinkage: at {shrinkage:.3g} the covariance of {len(covariance)} dims over {examples} examples cannot be"
            " inverted; leave it at None, or raise it"
        )
    return factor


def _groups(labels: Labels) -> np.ndarray:
    """Labels renumbered from 0 without gaps (examples,)."""
    if labels.dtype.kind not in "iu":
        raise SecateurError(f"labels: expected whole numbers, got an array of {labels.dtype}")
    return np.unique(labels, return_inverse=True)[1]


def _check_metric(metric: str) -> None:
    if metric not in ("euclidean", "cosine"):
        raise unknown("metric", metric, ["euclidean", "cosine"])


def _check_directions(centres: np.ndarray, group: str, names: np.ndarray, way_out: str) -> None:
    """Rows of length 1 that cancel out have a mean without direction."""
    none = np.linalg.norm(centres, axis=1) < 1e-6
    if none.any():
        raise SecateurError(
            f"features: the rows of {group} {names[none.argmax()]} point in opposite directions and cancel out, so"
            f" their mean has no direction; {way_out}"
        )
