"""Distances between rows of features, by the block: nearest neighbours, k-means, class means. numpy and faiss.

Everything here is deterministic for the same input, seed and number of threads.
"""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from secateur.errors import SecateurError

Rows = Float[np.ndarray, "examples dims"]
Metric = Literal["euclidean", "cosine"]


class Neighbours(NamedTuple):
    """ids (queries, k) of the nearest rows, nearest first, and distances (queries, k): Euclidean, or 1 - cosine."""

    ids: np.ndarray
    distances: np.ndarray


def nearest(
    features: Rows, k: int, *, queries: Float[np.ndarray, "queries dims"] | None = None, metric: Metric = "euclidean"
) -> Neighbours:
    """The k nearest rows of each query by exact search; where no queries are given, of each row, itself left out.

    >>> nearest(np.array([[0.], [1.], [3.]]), 1).ids.ravel()
    array([1, 0, 1])
    """
    import faiss

    rows = _float32(unit(features) if metric == "cosine" else features)
    asked = rows if queries is None else _float32(unit(queries) if metric == "cosine" else queries)
    more = k + (queries is None)
    if not 0 < more <= len(rows):
        raise SecateurError(f"neighbours: expected 1 to {len(rows) - (queries is None)}, the others there are, got {k}")
    index = faiss.IndexFlatIP(rows.shape[1]) if metric == "cosine" else faiss.IndexFlatL2(rows.shape[1])
    index.add(rows)
    found, ids = index.search(asked, more)
    distances = 1 - found if metric == "cosine" else np.sqrt(np.maximum(found, 0))
    if queries is None:
        ids, distances = _without_self(ids, distances)
    return Neighbours(ids, np.maximum(distances, 0))


def _without_self(ids: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Take each row's own id out of its neighbours; a duplicate may have pushed it off the list: then the last goes."""
    own = ids == np.arange(len(ids))[:, None]
    own[~own.any(axis=1), -1] = True
    shape = (len(ids), ids.shape[1] - 1)
    return ids[~own].reshape(shape), distances[~own].reshape(shape)


def unit(features: Rows) -> Rows:
    """Rows of length 1. Raises SecateurError for a row of zeros, which has no direction.

    >>> unit(np.array([[3., 4.]]))
    array([[0.6, 0.8]])
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    if not lengths.all():
        where = int((lengths[:, 0] == 0).argmax())
        raise SecateurError(
            f"features: example {where} is all zeros, so it has no cosine; leave it out, or use distances"
        )
    return features / lengths


class Clusters(NamedTuple):
    """centroids (clusters, dims) and the cluster of each row (examples,)."""

    centroids: np.ndarray
    of: np.ndarray


def k_means(
    features: Rows, clusters: int, *, seed: int = 0, iterations: int = 20, metric: Metric = "euclidean"
) -> Clusters:
    """Lloyd's k-means from `clusters` rows drawn by the seed; with `cosine` on the sphere.

    >>> k_means(np.array([[0.], [1.], [10.], [11.]]), 2).of.tolist() in ([0, 0, 1, 1], [1, 1, 0, 0])
    True
    """
    import faiss

    if not 0 < clusters <= len(features):
        raise SecateurError(f"clusters: expected 1 to {len(features)}, the examples there are, got {clusters}")
    rows = _float32(unit(features) if metric == "cosine" else features)
    mill = faiss.Kmeans(
        rows.shape[1], clusters, niter=iterations, seed=seed, spherical=metric == "cosine",
        min_points_per_centroid=1, max_points_per_centroid=len(rows),
    )  # fmt: skip
    mill.train(rows)
    _, of = mill.index.search(rows, 1)
    return Clusters(np.asarray(mill.centroids), of[:, 0])


def class_means(features: Rows, labels: Int[np.ndarray, " examples"]) -> Float[np.ndarray, "classes dims"]:
    """The mean of each class, in float64; nan for a class number without examples.

    >>> class_means(np.array([[0.], [2.], [5.]]), np.array([0, 0, 1]))
    array([[1.],
           [5.]])
    """
    classes = int(labels.max()) + 1
    sums = np.zeros((classes, features.shape[1]))
    np.add.at(sums, labels, features)
    counts = np.bincount(labels, minlength=classes)[:, None]
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)


def _float32(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows, dtype=np.float32)
