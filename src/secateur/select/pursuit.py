"""Non-negative least squares on a support that grows and shrinks, for matching pursuit: O(support^2) a change.

For atoms g_i and a target b it keeps the weights w >= 0 that make |sum_i w_i g_i - b|^2 + ridge |w|^2 least over its
support. Only inner products are asked for. The Cholesky factor L of (Gram + ridge I) over the support gains a row when
an atom comes and is updated, not rebuilt, when one goes.
"""

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg.lapack import dtrtrs

DEPENDENT = 1e-12  # an atom whose part outside the span of the others is a smaller share of its length^2 than this

Vector = Float[np.ndarray, " support"]


class Support:
    """At most `room` atoms at a time; `ids` and `weights` are those of the support, in no lasting order."""

    def __init__(self, room: int, ridge: float) -> None:
        self.ridge, self.size = ridge, 0
        self._ids = np.empty(room, dtype=np.int64)
        self._factor = np.zeros((room, room), order="F")  # so that LAPACK reads a corner of it without a copy
        self._targets = np.empty(room)
        self._weights = np.zeros(room)

    @property
    def ids(self) -> Int[np.ndarray, " support"]:
        """The atoms of the support."""
        return self._ids[: self.size]

    @property
    def weights(self) -> Vector:
        """Their weights."""
        return self._weights[: self.size]

    def add(self, atom: int, gram: Vector, square: float, target: float) -> bool:
        """Take an atom in and solve again; False, and nothing done, where the support spans it already.

        gram (support,): its products with the atoms of the support; square, target: with itself and with the target.
        """
        m = self.size
        row = self._solve(gram)
        rest = square + self.ridge - float(row @ row)
        if rest <= DEPENDENT * (square + self.ridge):
            return False
        self._factor[m, :m], self._factor[m, m] = row, np.sqrt(rest)
        self._ids[m], self._targets[m], self._weights[m] = atom, target, 0.0
        self.size += 1
        self._descend()
        return True

    def _descend(self) -> None:
        """Walk from the weights held to those that are best, an atom leaving where its weight reaches 0.

        The inner loop of Lawson and Hanson's algorithm: it ends at weights above 0 that are the free solution on the
        support that is left, and the objective only falls.
        """
        while self.size:
            best = self._solve(self._solve(self._targets[: self.size]), transposed=True)
            low = np.flatnonzero(best <= 0)
            if not len(low):
                self._weights[: self.size] = best
                return
            share = self.weights[low] / (self.weights[low] - best[low] + (self.weights[low] == best[low]))
            self._weights[: self.size] = np.maximum(self.weights + share.min() * (best - self.weights), 0)
            self._drop(int(low[share.argmin()]))

    def _solve(self, right: Vector, *, transposed: bool = False) -> Vector:
        """L^-1 right, or L^-T right."""
        if not len(right):
            return np.zeros(0)
        return dtrtrs(self._factor[:, : self.size], right, lower=1, trans=int(transposed))[0]

    def _drop(self, at: int) -> None:
        """Take the atom at that place out: rows below move up, and the factor of what follows takes in its column."""
        m = self.size
        for held in (self._ids, self._targets, self._weights):
            held[at : m - 1] = held[at + 1 : m].copy()
        column = self._factor[at + 1 : m, at].copy()
        self._factor[at : m - 1, :at] = self._factor[at + 1 : m, :at].copy()
        self._factor[at : m - 1, at : m - 1] = self._factor[at + 1 : m, at + 1 : m].copy()
        self.size -= 1
        _take_in(self._factor[at : m - 1, at : m - 1], column)


def _take_in(factor: Float[np.ndarray, "n n"], column: Float[np.ndarray, " n"]) -> None:
    """Turn the Cholesky factor of A into that of A + column column^T, in place, by a rotation a column."""
    for k in range(len(column)):
        old = factor[k, k]
        new = np.hypot(old, column[k])
        cosine, sine = old / new, column[k] / new
        below = factor[k:, k].copy()
        factor[k:, k] = cosine * below + sine * column[k:]
        column[k:] = cosine * column[k:] - sine * below
