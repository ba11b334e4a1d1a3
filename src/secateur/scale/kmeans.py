"""Spherical k-means: centroids from a sample, in one level or two, and the nearest of them."""

from dataclasses import dataclass

import numpy as np

from secateur.geometry import centroids, k_means
from secateur.scale.quota import largest_remainder
from secateur.scale.storage import Place

ONE_LEVEL = 10_000
"""Up to so many clusters are sought at once; more are sought inside coarse ones."""
PROBES = 4
"""In how many coarse clusters the nearest centroid of a row is looked for."""
_ROWS = 4096
"""Rows compared with all centroids at a time; fixed, so that sums come out the same everywhere."""


@dataclass(frozen=True)
class Centroids:
    """Unit vectors (clusters, dims) float32, by coarse cluster; coarse: of these, one where in one level."""

    fine: np.ndarray
    coarse: np.ndarray  # (groups, dims)
    firsts: np.ndarray  # (groups + 1,): where each group begins among the fine

    def __len__(self) -> int:
        return len(self.fine)

    def save(self, folder: Place) -> None:
        """Write the three arrays."""
        (folder / "centroids.npy").write_array(self.fine)
        (folder / "coarse.npy").write_array(self.coarse)
        (folder / "firsts.npy").write_array(self.firsts)

    @classmethod
    def open(cls, folder: Place) -> "Centroids":
        """Read them."""
        return cls(*((folder / f"{name}.npy").read_array() for name in ("centroids", "coarse", "firsts")))


def fit(rows: np.ndarray, clusters: int, *, seed: int, iterations: int = 6) -> Centroids:
    """Centroids of unit rows (rows, dims) float32: spherical k-means of faiss, on one thread.

    Above 10,000 clusters, about the root of their number is sought first, and the others inside these, to each in
    proportion to its rows of the sample.
    """
    if clusters <= ONE_LEVEL:
        fine = _means(rows, clusters, seed, iterations)
        return Centroids(fine, fine.mean(axis=0, keepdims=True), np.array([0, len(fine)]))
    groups = round(clusters**0.5)
    coarse, of = k_means(rows, groups, seed=seed, iterations=iterations, metric="cosine")
    counts = np.bincount(of, minlength=groups)
    parts = largest_remainder(counts / len(rows) * clusters, clusters, low=np.minimum(counts, 1), high=counts)
    inside = [_means(rows[of == g], int(n), seed, iterations) for g, n in enumerate(parts) if n]
    firsts = np.concatenate([[0], np.cumsum([len(part) for part in inside])])
    return Centroids(np.concatenate(inside), coarse[np.flatnonzero(parts)], firsts)


def _means(rows: np.ndarray, clusters: int, seed: int, iterations: int) -> np.ndarray:
    """As many centroids as that, or the rows themselves where these are no more."""
    if clusters >= len(rows):
        return rows.copy()
    return centroids(rows, clusters, seed=seed, iterations=iterations, metric="cosine")


def nearest(rows: np.ndarray, those: Centroids, *, most: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The `most` nearest centroids of each unit row (rows, most) int32, and 1 - cosine (rows, most) float32.

    The nearest first, of two as near the lower. In two levels they are looked for in the four nearest coarse clusters.
    Where there are fewer, -1 and inf stand for the others.
    """
    of, cosine = np.empty((len(rows), most), dtype=np.int32), np.empty((len(rows), most), dtype=np.float32)
    seek = _nearest if len(those.coarse) == 1 else _probed
    for start in range(0, len(rows), _ROWS):
        part = slice(start, start + _ROWS)
        of[part], cosine[part] = seek(rows[part], those, most)
    return of, np.maximum(0, 1 - cosine)


def _nearest(rows: np.ndarray, those: Centroids, most: int) -> tuple[np.ndarray, np.ndarray]:
    return _highest(rows @ those.fine.T, most)


def _highest(products: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Places (rows, most) of the largest numbers of each row, the largest first, and these; overwrites `products`."""
    of = np.full((len(products), most), -1, dtype=np.int32)
    cosine, rows = np.full((len(products), most), -np.inf, dtype=np.float32), np.arange(len(products))
    for rank in range(min(most, products.shape[1])):
        place = products.argmax(axis=1)
        of[:, rank], cosine[:, rank] = place, products[rows, place]
        products[rows, place] = -np.inf
    return of, cosine


def _probed(rows: np.ndarray, those: Centroids, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Of some rows, coarse cluster by coarse cluster."""
    of, cosine = np.full((len(rows), most), -1, dtype=np.int32), np.full((len(rows), most), -np.inf, dtype=np.float32)
    probes = min(PROBES, len(those.coarse))
    groups = np.argpartition(rows @ -those.coarse.T, probes - 1, axis=1)[:, :probes]
    for group in np.unique(groups):
        asked = np.flatnonzero((groups == group).any(axis=1))
        first, end = those.firsts[group], those.firsts[group + 1]
        place, best = _highest(rows[asked] @ those.fine[first:end].T, most)
        places = np.concatenate([of[asked], np.where(place < 0, -1, place + np.int32(first))], axis=1)
        found = np.concatenate([cosine[asked], best], axis=1)
        order = np.lexsort((places, -found), axis=1)[:, :most]
        of[asked] = np.take_along_axis(places, order, axis=1)
        cosine[asked] = np.take_along_axis(found, order, axis=1)
    return of, cosine
