"""Greedy maximisation of submodular functions over a similarity: the picks of trying everyone each time, for less work.

Row x of a similarity says how well candidate x stands for each example; a symmetric one has no such side. It is dense
(n, n) or sparse in rows, where a missing pair counts as 0.
"""

import heapq
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse

from secateur.errors import SecateurError

Ids = Int[np.ndarray, " some"]
Gains = Float[np.ndarray, " some"]
Similarity: TypeAlias = Float[np.ndarray, "examples examples"] | sparse.csr_array
Place: TypeAlias = slice | Int[np.ndarray, "..."]
Term = Callable[[np.ndarray, Place], np.ndarray]

BATCH = 32  # stale gains worked out in one go
BLOCK = 1 << 22  # numbers held at once while working out gains


@runtime_checkable
class SetFunction(Protocol):
    """A set function with its set so far: what each candidate would add, and the one that is added.

    Greedy is exact where a gain never grows as the set does, in floating point too: rounded sums, differences, minima
    and maxima in a fixed order keep that.
    """

    def gains(self, ids: Ids) -> Gains: ...

    def add(self, pick: int) -> None: ...


def lazy(function: SetFunction, candidates: Ids) -> Iterator[tuple[int, float]]:
    """Each pick and its gain, best first; of equal gains the lower id.

    Minoux 1978: an old gain bounds the new one from above, so only the candidates on top of a heap of old gains are
    looked at again, a batch at a time. A pick is added when the next one is asked for.
    """
    heap = list(zip((-function.gains(candidates)).tolist(), candidates.tolist(), strict=True))
    heapq.heapify(heap)
    seen = dict.fromkeys(candidates.tolist(), 0)
    step = 0
    while heap:
        stale: list[int] = []
        while heap and len(stale) < BATCH and seen[heap[0][1]] < step:
            stale.append(heapq.heappop(heap)[1])
        if stale:
            for gain, candidate in zip(function.gains(np.array(stale)).tolist(), stale, strict=True):
                seen[candidate] = step
                heapq.heappush(heap, (-gain, candidate))
            continue
        loss, pick = heapq.heappop(heap)
        yield pick, -loss
        function.add(pick)
        step += 1


class Rows:
    """The rows of a similarity, dense or sparse, behind one pair of questions."""

    def __init__(self, similarity: Similarity) -> None:
        self.examples: int = similarity.shape[0]
        self.dense: np.ndarray | None = None
        if isinstance(similarity, np.ndarray):
            self.dense = np.ascontiguousarray(similarity, dtype=np.float32)
        else:
            self.starts, self.columns = similarity.indptr, similarity.indices
            self.values = similarity.data.astype(np.float32, copy=False)

    def row(self, candidate: int) -> tuple[Place, np.ndarray]:
        """Where row `candidate` is not 0, and its values there."""
        if self.dense is not None:
            return slice(None), self.dense[candidate]
        inside = slice(self.starts[candidate], self.starts[candidate + 1])
        return self.columns[inside], self.values[inside]

    def sums(self) -> Gains:
        """The sum of each row, in float64."""
        return self.total(np.arange(self.examples), lambda values, _: values)

    def total(self, ids: Ids, term: Term) -> Gains:
        """The sum over each row of `term(values, where)`, which may overwrite the values; float64, in a fixed order."""
        if self.dense is None:
            return self._total_sparse(ids, term)
        block = max(1, BLOCK // self.examples)
        parts = [ids[k : k + block] for k in range(0, len(ids), block)]
        return np.concatenate([term(self.dense[part], slice(None)).sum(axis=1, dtype=float) for part in parts])

    def _total_sparse(self, ids: Ids, term: Term) -> Gains:
        out = np.empty(len(ids))
        sizes = self.starts[ids + 1] - self.starts[ids]
        block = max(1, BLOCK // max(1, int(sizes.max())))
        for k in range(0, len(ids), block):
            size = sizes[k : k + block]
            owner = np.repeat(np.arange(len(size)), size)
            first = self.starts[ids[k : k + block]] - (np.cumsum(size) - size)
            inside = np.arange(len(owner)) + first[owner]
            terms = term(self.values[inside], self.columns[inside])
            out[k : k + block] = np.bincount(owner, weights=terms, minlength=len(size))
        return out


class Facility:
    """Facility location: the sum over examples of the similarity to the nearest pick."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.best = np.zeros(rows.examples, dtype=np.float32)

    def gains(self, ids: Ids) -> Gains:
        def closer(values: np.ndarray, where: Place) -> np.ndarray:
            values -= self.best[where]
            return np.maximum(values, 0, out=values)

        return self.rows.total(ids, closer)

    def add(self, pick: int) -> None:
        where, values = self.rows.row(pick)
        self.best[where] = np.maximum(self.best[where], values)


def lazy_facility(similarity: Similarity, keep: int) -> Int[np.ndarray, " keep"]:
    """Facility location over a given similarity: `keep` ids in the order they were picked.

    Similarities are read as float32, finite and at least 0. Raises SecateurError where they are not, or where `keep`
    is not from 1 to n.

    >>> lazy_facility(np.array([[1., .9, 0.], [.9, 1., .2], [0., .2, 1.]]), 2)
    array([1, 2])
    """
    check_similarity(similarity)
    examples = similarity.shape[0]
    if not 0 < keep <= examples:
        raise SecateurError(f"keep: expected 1 to {examples}, the examples there are, got {keep}")
    picks = islice(lazy(Facility(Rows(similarity)), np.arange(examples)), keep)
    return np.array([pick for pick, _ in picks])


def check_similarity(similarity: Similarity) -> None:
    """Square, finite, at least 0; else a SecateurError that names the pair."""
    if similarity.ndim != 2 or similarity.shape[0] != similarity.shape[1]:
        raise SecateurError(f"similarity: expected one row and one column an example, got shape {similarity.shape}")
    values = similarity if isinstance(similarity, np.ndarray) else similarity.data
    if not values.size or (values.min() >= 0 and values.max() < np.inf):  # nan is neither
        return
    at = int(np.argmax(~((values >= 0) & (values < np.inf))))
    if isinstance(similarity, np.ndarray):
        row, column = np.unravel_index(at, values.shape)
    else:
        row, column = np.searchsorted(similarity.indptr, at, side="right") - 1, similarity.indices[at]
    raise SecateurError(
        f"similarity: expected finite values of 0 or more, got {values.flat[at]:.4g} for the pair ({row}, {column})"
    )
