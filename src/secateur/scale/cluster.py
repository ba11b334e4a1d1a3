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
    parts: int  # ranges that the ids are spread over
    name: str


PARTS = ("embeddings", "ids", "rows", "distances")
"""What is exchanged: each an array (rows,) or (rows, dims) in the order of the clusters, rows of one in their order."""


def assign(task: Assigning, folder: Place) -> Summary:
    """Write the rows of a unit in the order of their clusters, with where each cluster begins (clusters + 1,)."""
    centroids = Centroids.open(task.centroids)
    ids, vectors, of, distances, good = _collect(task, centroids)
    rows = task.unit.start + np.arange(len(of))
    _check_bad(task, ids, good)
    order = np.argsort(np.where(good, of, len(centroids)), kind="stable")[: int(good.sum())]
    firsts = np.searchsorted(of[order], np.arange(len(centroids) + 1))
    parts = {"embeddings": vectors, "ids": ids, "rows": rows, "distances": distances}
    for name, values in parts.items():
        (folder / task.name / f"{name}.npy").write_array(values[order])
    (folder / task.name / "firsts.npy").write_array(firsts)
    (folder / task.name / "bad.npy").write_array(ids[~good])
    write_keys(ids, task.unit.start, task.parts, folder / task.name)
    return {"rows": len(order), "bad": int((~good).sum()), "distance": float(distances[good].sum(dtype=float))}


def _collect(task: Assigning, centroids: Centroids) -> tuple[np.ndarray, ...]:
    """Ids, embeddings as stored, the nearest centroid, the distance to it, and whether a row is any good."""
    parts: list[tuple[np.ndarray, ...]] = []
    for block in blocks(task.unit, task.columns, dims=task.dims):
        vectors, good = unit_vectors(block.embeddings)
        of, distances = kmeans.nearest(vectors, centroids)
        parts.append((block.ids, block.embeddings, of, distances, good))
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


def _check_bad(task: Assigning, ids: np.ndarray, good: np.ndarray) -> None:
    bad = np.flatnonzero(~good)
    if len(bad) and task.on_bad == "stop":
        named = ", ".join(told(i) for i in ids[bad[:LISTED]])
        raise DataError(
            f"embeddings: {len(bad)} of {len(ids)} rows of {task.unit.shard.url} are zeros, null, nan or inf (ids "
            f"{named}{', ...' if len(bad) > LISTED else ''}); embed them again, or leave them out with --on-bad drop"
        )
