"""How hard a whole data set is, from features alone: spread, near-duplicates, labels that neighbours contradict."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from secateur.errors import SecateurError
from secateur.geometry import nearest

Rows = Float[np.ndarray, "examples dims"]


class Spread(NamedTuple):
    """Two statistics of the distances from each test example to its nearest train example; higher is harder.

    tail: log10 of the mean of 10^distance over the distances at or above their 99.9th percentile: what the published
    code computes (there without the logarithm, which keeps the order and cannot overflow, and negated). For up to 1,000
    test examples that is the largest distance. mean: the plain mean, as the text is usually read; it predicts
    few-shot hardness less well (rank correlation 0.32 against 0.52 on the published raw data).
    """

    tail: float
    mean: float


def spread(train: Rows, test: Float[np.ndarray, "test dims"]) -> Spread:
    """Spread of a data set (Zhao, Murty and Manning, EMNLP 2022): how far test examples lie from the train examples.

    Compare it between data sets in the same feature space only.

    >>> spread(np.array([[0.], [10.]]), np.array([[1.], [7.]]))
    Spread(tail=3.0, mean=2.0)
    """
    return spread_of(nearest(train, 1, queries=test).distances[:, 0])


def spread_of(distances: Float[np.ndarray, " test"]) -> Spread:
    """The two statistics of given distances.

    >>> spread_of(np.array([1., 2., 3.]))
    Spread(tail=3.0, mean=2.0)
    """
    if not len(distances):
        raise SecateurError("test: spread needs test examples, got none")
    far = distances[distances >= np.quantile(distances, 0.999)]
    top = float(far.max())
    tail = top + float(np.log10(np.mean(10.0 ** (far.astype(float) - top))))
    return Spread(tail, float(distances.mean(dtype=float)))


def near_duplicates(features: Rows, queries: Float[np.ndarray, "queries dims"], *, closer_than: float = 0.01) -> float:
    """The share of `queries`, which are among the rows, with another row at less than this cosine distance.

    >>> rows = np.array([[1., 0.], [1., 0.], [0., 1.]])
    >>> round(near_duplicates(rows, rows), 3)
    0.667
    """
    return float((nearest(features, 2, queries=queries, metric="cosine").distances[:, 1] < closer_than).mean())


def contradicted(
    features: Rows,
    labels: Int[np.ndarray, " examples"],
    queries: Int[np.ndarray, " queries"],
    *,
    neighbours: int = 10,
    agree: float = 0.8,
) -> Float[np.ndarray, " queries"]:
    """Which of the rows `queries` at least the share `agree` of their nearest neighbours give one other class: 0 or 1.

    A label that the neighbours contradict is wrong more often than others; the estimate is as good as the features.

    >>> rows = np.array([[0.], [.1], [.2], [5.]])
    >>> contradicted(rows, np.array([0, 0, 1, 1]), np.array([2]), neighbours=2)
    array([1.])
    """
    found = nearest(features, neighbours + 1, queries=features[queries]).ids
    out = np.zeros(len(queries))
    for row, (i, ids) in enumerate(zip(queries, found, strict=True)):
        others = labels[ids[ids != i][:neighbours]]
        counts = np.bincount(others, minlength=int(labels.max()) + 1)
        out[row] = counts.argmax() != labels[i] and counts.max() >= agree * neighbours
    return out
