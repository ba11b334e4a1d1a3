"""SemDeDup: of rows of a cluster that are nearly alike, one stays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from secateur.scale.exchange import Bucket, Slices, part, pieces
from secateur.scale.shards import unit_vectors
from secateur.scale.split import split
from secateur.scale.stage import Summary
from secateur.scale.storage import Place

Prefer = Literal["hard", "easy", "random"]
PREFER = ("hard", "easy", "random")
LARGEST = 32_768
"""A cluster of more rows is split before its rows are compared, each with each."""
BLOCK = 1024
"""Rows that are compared with as many others at a time; fixed, so that sums come out the same everywhere."""


def most_alike(
    rows: Float[np.ndarray, "rows dims"], order: Int[np.ndarray, " rows"]
) -> tuple[Float32[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
    """Of rows in the order of preference: the highest cosine to a row before, and at which place of the order that is.

    The first has no row before it: -1 and -1. Of rows as alike, the first counts. Compared a block with a block, so
    that rows may lie in a file.

    >>> most_alike(np.array([[0, 2], [.8, .6], [3, 0]]), np.array([2, 0, 1]))
    (array([-1. ,  0. ,  0.8], dtype=float32), array([-1,  0,  0]))
    """
    best, where = np.full(len(order), -1, dtype=np.float32), np.full(len(order), -1, dtype=np.int64)
    for start in range(0, len(order), BLOCK):
        asked = unit_vectors(rows[order[start : start + BLOCK]])[0]
        end = start + len(asked)
        for first in range(0, end, BLOCK):
            others = asked if first == start else unit_vectors(rows[order[first : first + BLOCK]])[0]
            cosines = asked @ others.T
            if first == start:
                cosines[np.triu_indices(len(asked))] = -2
            place = cosines.argmax(axis=1)
            found = cosines[np.arange(len(asked)), place]
            better = found > best[start:end]
            best[start:end][better], where[start:end][better] = found[better], first + place[better]
    return np.minimum(best, 1), where  # sums of squares come out a little above 1


def preferred(distances: np.ndarray, rows: np.ndarray, prefer: Prefer, rng: np.random.Generator) -> np.ndarray:
    """The order in which rows of a cluster are preferred: the farthest from the centroid first, the nearest, or any.

    >>> preferred(np.array([.1, .3, .3]), np.array([7, 9, 8]), "hard", np.random.default_rng(0))
    array([2, 1, 0])
    """
    if prefer == "random":
        order = np.argsort(rows, kind="stable")
        return order[rng.permutation(len(order))]
    return np.lexsort((rows, -distances if prefer == "hard" else distances))


@dataclass(frozen=True)
class Comparing:
    """Compare the rows of a bucket inside its clusters. passed: a folder a unit, of what a filter let through."""

    bucket: Bucket
    prefer: Prefer
    seed: int
    passed: Sequence[Place] | None
    name: str


def compare(task: Comparing, folder: Place) -> Summary:
    """Write, for every row of the bucket, the highest cosine to a row preferred to it, and its place (-1: none)."""
    slices = Slices.of(task.bucket)
    count = int(slices.clusters.sum())
    rows, distances = part(task.bucket, slices, "rows"), part(task.bucket, slices, "distances")
    taken = (
        np.ones(count, dtype=bool) if task.passed is None else part(task.bucket, slices, "passed", source=task.passed)
    )
    best, where = np.full(count, -1, dtype=np.float32), np.full(count, -1, dtype=np.int64)
    for cluster, places, stored in _groups(task, slices, taken):
        rng = np.random.default_rng([task.seed, 3, cluster])
        order = preferred(distances[places], rows[places], task.prefer, rng)
        alike, before = most_alike(stored, order)
        ordered = places[order]
        best[ordered] = alike
        where[ordered] = np.where(before >= 0, ordered[before], -1)
    (folder / task.name / "similarity.npy").write_array(best)
    (folder / task.name / "alike.npy").write_array(where)
    return {"rows": count, "compared": int(taken.sum()), "alone": int((taken & (best == -1)).sum())}


def _groups(task: Comparing, slices: Slices, taken: np.ndarray) -> Iterator[tuple[int, np.ndarray, Any]]:
    """Number of the cluster, and places in the bucket and stored embeddings of rows that are compared together."""
    sizes = slices.clusters
    if len(sizes) == 1 and sizes[0] > LARGEST:
        yield from (
            (task.bucket.first, *group)
            for group in split(
                lambda: pieces(task.bucket, slices, "embeddings", most=LARGEST), taken, LARGEST, task.seed
            )
        )
        return
    stored, ends = part(task.bucket, slices, "embeddings"), np.cumsum(sizes)
    for cluster, (first, end) in enumerate(zip(ends - sizes, ends, strict=True), task.bucket.first):
        places = first + np.flatnonzero(taken[first:end])
        if len(places) > LARGEST:
            inside = split(lambda: iter([stored[first:end]]), taken[first:end], LARGEST, task.seed)  # noqa: B023
            yield from ((cluster, first + group, rows) for group, rows in inside)
        elif len(places):
            yield cluster, places, stored[places]


def removed(similarity: Float[np.ndarray, " rows"], threshold: float) -> Bool[np.ndarray, " rows"]:
    """Is a row a duplicate: more alike than the threshold to one that is preferred to it, removed or not?"""
    return similarity > np.float32(threshold)


def roots(alike: Int[np.ndarray, " rows"], gone: Bool[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    """Of each duplicate the row that stays for it, at the end of the chain of rows most alike; of the others, itself.

    >>> roots(np.array([-1, 0, 1, -1]), np.array([False, True, True, False]))
    array([0, 0, 0, 3])
    """
    found = np.where(gone, alike, np.arange(len(alike)))
    while not np.array_equal(found[found], found):
        found = found[found]
    return found
