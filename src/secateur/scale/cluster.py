"""Clusters: a sample, its centroids, and the one exchange, which lays the rows of each unit out by their cluster."""

from dataclasses import dataclass

import numpy as np

from secateur.errors import DataError, SecateurError
from secateur.scale import kmeans
from secateur.scale.ids import write_keys
from secateur.scale.kmeans import Centroids
from secateur.scale.shards import Columns, Survey, Unit, blocks, told, unit_vectors
from secateur.scale.stage import Summary
from secateur.scale.storage import Place

LISTED = 20
"""How many bad rows a message names."""


@dataclass(frozen=True)
class Sampling:
    """Take some rows of a unit, drawn by a stream of its own."""

    unit: Unit
    columns: Columns
    dims: int
    take: int
    number: int
    seed: int
    name: str


def default_clusters(rows: int) -> int:
    """About the root of the rows: then comparing with centroids, and inside clusters, take as long.

    >>> default_clusters(1_000_000), default_clusters(50)
    (1000, 7)
    """
    return max(1, round(rows**0.5))


def sampling(found: Survey, columns: Columns, *, rows: int, seed: int) -> dict[str, Sampling]:
    """Who takes how many rows: of each unit in proportion to its rows; of many units, a thousand drawn at random."""
    rng = np.random.default_rng([seed, 1])
    units = np.arange(len(found.units))
    if len(units) > 1000:
        units = np.sort(rng.permutation(units)[:1000])
    sizes = np.array([found.units[u].rows for u in units])
    take = np.minimum(sizes, np.ceil(rows * sizes / sizes.sum()).astype(int))
    return {
        f"{u:06d}": Sampling(found.units[u], columns, found.dims, int(n), int(u), seed, f"{u:06d}")
        for u, n in zip(units, take, strict=True)
    }


def sample(task: Sampling, folder: Place) -> Summary:
    """Write the rows drawn from a unit, as unit vectors."""
    rng = np.random.default_rng([task.seed, 2, task.number])
    chosen = np.sort(rng.permutation(task.unit.rows)[: task.take])
    taken, at = [], 0
    for block in blocks(task.unit, task.columns, dims=task.dims, wanted=[task.columns.embedding]):
        low, high = np.searchsorted(chosen, [at, at + len(block.embeddings)])
        vectors, good = unit_vectors(block.embeddings[chosen[low:high] - at])
        taken.append(vectors[good])
        at += len(block.embeddings)
    rows = np.concatenate(taken)
    (folder / f"{task.name}.npy").write_array(rows)
    return {"rows": len(rows)}


@dataclass(frozen=True)
class Fitting:
    """Find the centroids of the samples."""

    samples: tuple[Place, ...]
    clusters: int
    seed: int
    iterations: int


def fit(task: Fitting, folder: Place) -> Summary:
    """Write the centroids."""
    rows = np.concatenate([place.read_array() for place in task.samples])
    if task.clusters > len(rows):
        raise SecateurError(
            f"clusters: expected at most the {len(rows)} good rows of the sample, got {task.clusters}; ask for "
            f"fewer, or for a larger --sample"
        )
    found = kmeans.fit(rows, task.clusters, seed=task.seed, iterations=task.iterations)
    found.save(folder)
    return {"clusters": len(found), "sample": len(rows)}


@dataclass(frozen=True)
class Assigning:
    """Lay a unit out by cluster."""

    unit: Unit
    columns: Columns
    dims: int
    centroids: Place
    on_bad: str
    border: float
    parts: int  # ranges that the ids are spread over
    name: str


GUEST = "guest_"
"""What the names of a guest's parts begin with."""
_MOST = 3
"""A row is laid out in its own cluster, and is a guest in two others at most."""


def assign(task: Assigning, folder: Place) -> Summary:
    """Write the rows of a unit in the order of their clusters, with where each cluster begins (clusters + 1,).

    Parts are embeddings, ids, rows (their numbers) and distances, to the centroid of a row's own cluster. A row that
    another centroid is nearly as near to is laid out there too, as a guest: dedup compares with it.
    """
    centroids = Centroids.open(task.centroids)
    ids, vectors, near, distances, good = _collect(task, centroids)
    _check_bad(task, ids, good)
    of, own = np.where(good, near[:, 0], len(centroids)), distances[:, 0]
    values = {"embeddings": vectors, "ids": ids, "rows": task.unit.start + np.arange(len(of)), "distances": own}
    order = np.argsort(of, kind="stable")[: int(good.sum())]
    _lay(folder / task.name, "", values, order, of[order], len(centroids))
    rows, ranks = np.nonzero((near[:, 1:] >= 0) & (distances[:, 1:] - own[:, None] <= task.border) & good[:, None])
    clusters = near[:, 1:][rows, ranks]
    order = np.lexsort((rows, clusters))
    _lay(folder / task.name, GUEST, values, rows[order], clusters[order], len(centroids))
    (folder / task.name / "bad.npy").write_array(ids[~good])
    write_keys(ids, task.unit.start, task.parts, folder / task.name)
    kept = {"rows": int(good.sum()), "guests": len(rows), "bad": int((~good).sum())}
    return kept | {"distance": float(own[good].sum(dtype=float))}


def _lay(
    folder: Place, prefix: str, values: dict[str, np.ndarray], order: np.ndarray, clusters: np.ndarray, count: int
) -> None:
    """Write parts in an order in which clusters rise, and where each cluster begins."""
    for name, part in values.items():
        (folder / f"{prefix}{name}.npy").write_array(part[order])
    (folder / f"{prefix}firsts.npy").write_array(np.searchsorted(clusters, np.arange(count + 1)))


def _collect(task: Assigning, centroids: Centroids) -> tuple[np.ndarray, ...]:
    """Ids, embeddings as stored, the nearest centroids, the distances to them, and whether a row is any good."""
    parts: list[tuple[np.ndarray, ...]] = []
    for block in blocks(task.unit, task.columns, dims=task.dims):
        vectors, good = unit_vectors(block.embeddings)
        near, distances = kmeans.nearest(vectors, centroids, most=_MOST if task.border > 0 else 1)
        parts.append((block.ids, block.embeddings, near, distances, good))
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _check_bad(task: Assigning, ids: np.ndarray, good: np.ndarray) -> None:
    bad = np.flatnonzero(~good)
    if len(bad) and task.on_bad == "stop":
        named = ", ".join(told(i) for i in ids[bad[:LISTED]])
        raise DataError(
            f"embeddings: {len(bad)} of {len(ids)} rows of {task.unit.shard.url} are zeros, null, nan or inf (ids "
            f"{named}{', ...' if len(bad) > LISTED else ''}); embed them again, or leave them out with --on-bad drop"
        )
