"""A cluster of too many rows, in parts that are compared each in itself; its embeddings go through a temporary file."""

import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from secateur.scale import kmeans
from secateur.scale.kmeans import Centroids
from secateur.scale.shards import unit_vectors

Pieces = Callable[[], Iterator[np.ndarray]]
"""Gives the stored embeddings of a cluster, in the order of its rows, some at a time; called more than once."""
_SAMPLE = 64
"""Rows for each part from which the parts are found."""


def split(stored: Pieces, taken: np.ndarray, largest: int, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Parts of about half of `largest` rows: their places among all, and their embeddings, which lie in a file.

    taken: the rows that count; up to `largest` of them are one part. Parts are clusters again, so that rows nearly
    alike are together, but for some at the borders. Rows that are the same to the bit stay together; where these alone
    are more than `largest`, so is a part.
    """
    if not taken.any():
        return
    of = _parts(stored, taken, largest, seed)
    order = np.argsort(of, kind="stable")[int((~taken).sum()) :]
    target = np.full(len(of), -1, dtype=np.int64)
    target[order] = np.arange(len(order))
    with tempfile.TemporaryFile() as file:
        spool: np.ndarray | None = None
        at = 0
        for piece in stored():
            if spool is None:
                spool = np.memmap(file, dtype=piece.dtype, mode="w+", shape=(max(1, len(order)), piece.shape[1]))
            to = target[at : at + len(piece)]
            spool[to[to >= 0]] = piece[to >= 0]
            at += len(piece)
        firsts = np.searchsorted(of[order], np.arange(int(of.max(initial=-1)) + 2))
        for low, high in pairwise(firsts):
            if high > low and spool is not None:
                yield order[low:high], spool[low:high]


def _parts(stored: Pieces, taken: np.ndarray, largest: int, seed: int) -> np.ndarray:
    """The part of each row, -1 of those that do not count."""
    centroids = _inner(stored, taken, largest, seed)
    of, at = np.full(len(taken), -1, dtype=np.int64), 0
    for piece in stored():
        of[at : at + len(piece)] = kmeans.nearest(unit_vectors(piece)[0], centroids)[0][:, 0]
        at += len(piece)
    of[~taken] = -1
    return of


def _inner(stored: Pieces, taken: np.ndarray, largest: int, seed: int) -> Centroids:
    places = np.flatnonzero(taken)
    parts = 1 if len(places) <= largest else -(-2 * len(places) // largest)
    drawn = np.sort(np.random.default_rng([seed, 4]).permutation(places)[: parts * _SAMPLE])
    sample, at = [], 0
    for piece in stored():
        low, high = np.searchsorted(drawn, [at, at + len(piece)])
        sample.append(unit_vectors(piece[drawn[low:high] - at])[0])
        at += len(piece)
    rows = np.unique(np.concatenate(sample), axis=0)  # what is the same many times is one place to be near to
    return kmeans.fit(rows, min(parts, len(rows)), seed=seed)
