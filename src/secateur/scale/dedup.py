"""SemDeDup: of rows of a cluster that are nearly alike, one stays."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from secateur.scale.cluster import GUEST
from secateur.scale.exchange import Bucket, Slices, part, pieces
from secateur.scale.ids import keys
from secateur.scale.shards import unit_vectors
from secateur.scale.split import split
from secateur.scale.stage import Summary
from secateur.scale.storage import Place

Prefer = Literal["hard", "easy", "random"]
PREFER = ("hard", "easy", "random")
LARGEST = 32_768
"""A cluster of more rows is split before its rows are compared, each with each."""
LEVELS = (0.8, 0.9, 0.95, 0.99, 0.999)
"""Cosines at which a run tells how many rows would be duplicates."""
BLOCK = 1024
"""Rows that are compared with as many others at a time; fixed, so that sums come out the same everywhere."""


def most_alike(
    rows: Float[np.ndarray, "rows dims"],
    order: Int[np.ndarray, " rows"],
    asked: Bool[np.ndarray, " rows"] | None = None,
) -> tuple[Float32[np.ndarray, " rows"], Int[np.ndarray, " rows"]]:
    """Of rows in the order of preference: the highest cosine to a row before, and at which place of the order that is.

    The first has no row before it: -1 and -1. Of rows as alike, the first counts. asked: in the order of preference,
    who is asked about; of the others, -1 and -1. Compared a block with a block, so that rows may lie in a file.

    >>> most_alike(np.array([[0, 2], [.8, .6], [3, 0]]), np.array([2, 0, 1]))
    (array([-1. ,  0. ,  0.8], dtype=float32), array([-1,  0,  0]))
    """
    best, where = np.full(len(order), -1, dtype=np.float32), np.full(len(order), -1, dtype=np.int64)
    for start in range(0, len(order), BLOCK):
        block = unit_vectors(rows[order[start : start + BLOCK]])[0]
        end = start + len(block)
        places = np.arange(start, end) if asked is None else start + np.flatnonzero(asked[start:end])
        those = block[places - start]
        for first in range(0, end, BLOCK) if len(places) else ():
            others = block if first == start else unit_vectors(rows[order[first : first + BLOCK]])[0]
            cosines = those @ others.T
            np.minimum(cosines, 1, out=cosines)
            if first == start:
                cosines[np.arange(len(block)) >= (places - start)[:, None]] = -2
            place = cosines.argmax(axis=1)
            found = cosines[np.arange(len(places)), place]
            better = found > best[places]
            best[places[better]], where[places[better]] = found[better], first + place[better]
    return best, where


def preferred(
    distances: np.ndarray, rows: Int[np.ndarray, " rows"], prefer: Prefer, seed: int
) -> Int[np.ndarray, " rows"]:
    """Rows in the order of preference: the farthest from their centroid first, the nearest, or any, the same for all.

    Of two as far the row of the lower number. It goes by what a row is alone, so rows of two clusters compare.

    >>> preferred(np.array([.1, .3, .3]), np.array([7, 9, 8]), "hard", 0)
    array([2, 1, 0])
    """
    if prefer == "random":
        return np.argsort(keys(rows + (seed << 32)), kind="stable")
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
    """Write, for every row of the bucket, the highest cosine to a row preferred to it, and its place (-1: none).

    A place from the number of the bucket's rows on is that of a guest.
    """
    both = Both(task.bucket, Slices.of(task.bucket), Slices.of(task.bucket, GUEST))
    count = len(both.rows)
    rows, distances = both.part("rows"), both.part("distances")
    taken = np.ones(len(rows), dtype=bool) if task.passed is None else both.part("passed", source=task.passed)
    best, where = np.full(count, -1, dtype=np.float32), np.full(count, -1, dtype=np.int64)
    for places, stored in _groups(both, taken, task.seed):
        order = preferred(distances[places], rows[places], task.prefer, task.seed)
        ordered = places[order]
        own = ordered < count
        alike, before = most_alike(stored, order, own)
        best[ordered[own]] = alike[own]
        where[ordered[own]] = np.where(before >= 0, ordered[before], -1)[own]
    (folder / task.name / "similarity.npy").write_array(best)
    (folder / task.name / "alike.npy").write_array(where)
    levels = [int(removed(best, level).sum()) for level in LEVELS]
    alone = int((taken[:count] & (best == -1)).sum())
    return {"rows": count, "compared": int(taken[:count].sum()), "alone": alone, "alike": levels}


@dataclass(frozen=True)
class Both:
    """The rows of a bucket and, after them, its guests."""

    bucket: Bucket
    rows: Slices
    guests: Slices

    def part(self, name: str, *, source: Sequence[Place] | None = None) -> np.ndarray:
        """One part of both, each cluster by cluster."""
        return np.concatenate([part(self.bucket, s, name, source=source) for s in (self.rows, self.guests)])

    def pieces(self) -> Iterator[np.ndarray]:
        """The embeddings of a bucket that is a single cluster, some at a time."""
        for slices in (self.rows, self.guests):
            yield from pieces(self.bucket, slices, "embeddings", most=LARGEST)


def _groups(both: Both, taken: np.ndarray, seed: int) -> Iterator[tuple[np.ndarray, Any]]:
    """Places, and stored embeddings, of rows and guests that are compared together."""
    sizes, guests = both.rows.clusters, both.guests.clusters
    if len(sizes) == 1 and sizes[0] + guests[0] > LARGEST:
        yield from split(both.pieces, taken, LARGEST, seed)
        return
    stored, ends, more = both.part("embeddings"), np.cumsum(sizes), len(both.rows) + np.cumsum(guests)
    for cluster in range(len(sizes)):
        own = np.arange(ends[cluster] - sizes[cluster], ends[cluster])
        places = np.concatenate([own, np.arange(more[cluster] - guests[cluster], more[cluster])])
        places = places[taken[places]]
        if len(places) > LARGEST:
            here = stored[places]
            whole = split(lambda: iter([here]), np.ones(len(places), dtype=bool), LARGEST, seed)  # noqa: B023
            yield from ((places[group], rows) for group, rows in whole)
        elif len(places):
            yield places, stored[places]


def removed(similarity: Float[np.ndarray, " rows"], threshold: float) -> Bool[np.ndarray, " rows"]:
    """Is a row a duplicate: more alike than the threshold to one that is preferred to it, removed or not?"""
    return similarity > np.float32(threshold)


def roots(
    alike: Int[np.ndarray, " rows"], gone: Bool[np.ndarray, " rows"], guests: int = 0
) -> Int[np.ndarray, " rows"]:
    """Of each duplicate the place that its chain of most alike rows ends at; of the others, their own.

    It ends at a row that stays, or at a guest, at a place from the number of rows on: in its own cluster that may be a
    duplicate of another.

    >>> roots(np.array([-1, 0, 1, -1]), np.array([False, True, True, False]))
    array([0, 0, 0, 3])
    """
    count = len(alike)
    found = np.concatenate([np.where(gone, alike, np.arange(count)), np.arange(count, count + guests)])
    while not np.array_equal(found[found], found):
        found = found[found]
    return found[:count]
