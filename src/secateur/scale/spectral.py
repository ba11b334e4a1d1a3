"""Clusters of embeddings for the quotas of instruction data."""

import warnings

import numpy as np
from jaxtyping import Float, Int

from secateur.errors import SecateurError
from secateur.scale.subsets import grouped

NEIGHBOURS = 10
LIMIT = 20_000
"""Rows; the paper has 3,439. Time and memory grow faster than rows do."""
BY = ("spectral", "k-means")


def check_clusters(rows: int, clusters: int, by: str) -> None:
    """Raise SecateurError for more clusters than rows allow, and for more rows than spectral clustering is good for."""
    if by not in BY:
        raise SecateurError(f"cluster_by: expected {' or '.join(BY)}, got {by!r}")
    if not 1 <= clusters < rows:
        raise SecateurError(f"clusters: expected 1 to {rows - 1}, fewer than the rows there are, got {clusters}")
    if by == "spectral" and rows > LIMIT:
        raise SecateurError(
            f"cluster_by: spectral clustering is for {LIMIT} rows at most, there are {rows}; take cluster_by=k-means, "
            f"or choose among fewer rows first, with `secateur scale prune`"
        )


def clustered(
    rows: Float[np.ndarray, "rows dims"], clusters: int, *, by: str = "spectral", seed: int
) -> Int[np.ndarray, " rows"]:
    """The cluster of each row: spectral clustering over the ten nearest neighbours, as in the paper, or k-means.

    Raises what `check_clusters` raises.
    """
    check_clusters(len(rows), clusters, by)
    if by == "k-means" or clusters == 1:
        return grouped(rows, clusters, seed=seed).of.astype(np.int64)
    from sklearn.cluster import SpectralClustering

    found = SpectralClustering(
        clusters, affinity="nearest_neighbors", n_neighbors=min(NEIGHBOURS, len(rows)), random_state=seed
    )
    with warnings.catch_warnings():
        # a graph in several parts: they come apart, as clusters do; and alike rows may make fewer clusters than asked
        warnings.simplefilter("ignore", UserWarning)
        return found.fit_predict(rows.astype(float)).astype(np.int64)
