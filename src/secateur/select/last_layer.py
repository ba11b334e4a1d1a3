"""Products of last-layer gradients that are never written out.

The gradient of cross entropy in the last linear layer is g_i = e_i (x) [h_i, 1]: the error of each class (probability -
one-hot label) times the activations before that layer, and times 1 for its bias. Those are classes * (dims + 1) numbers
an example; everything a selector asks of them follows from errors and features alone:

    <g_i, g_j> = <e_i, e_j> (1 + <h_i, h_j>)        |g_i|^2 = |e_i|^2 (1 + |h_i|^2)

A sum of gradients is one matrix (classes, dims + 1), its last column the bias. All arithmetic is in float64.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from secateur.errors import SecateurError

BLOCK = 1024  # rows at a time: what is widened to float64, and a square of products, stay small

Rows = Float[np.ndarray, "examples dims"]
Errors = Float[np.ndarray, "examples classes"]
Each = Float[np.ndarray, " examples"]
Matrix = Float[np.ndarray, "classes dims_and_bias"]


class Gradients(NamedTuple):
    """The last-layer gradients of some examples: features (examples, dims) and errors (examples, classes)."""

    features: np.ndarray
    errors: np.ndarray

    @property
    def examples(self) -> int:
        """How many there are."""
        return len(self.errors)

    def rows(self, ids: Int[np.ndarray, " some"] | slice) -> "Gradients":
        """Those of some examples, in float64."""
        return Gradients(*(np.asarray(a[ids], dtype=np.float64) for a in self))

    def blocks(self) -> Iterator[tuple[slice, "Gradients"]]:
        """All of them, so many rows at a time, each with the rows it holds."""
        for start in range(0, self.examples, BLOCK):
            rows = slice(start, min(start + BLOCK, self.examples))
            yield rows, self.rows(rows)


def gradients(features: Rows, errors: Errors) -> Gradients:
    """The gradients of examples with these features and errors; SecateurError where every one of them is zero."""
    if not errors.any():
        raise SecateurError(
            "errors: all zero, so there is no gradient to match; score this net earlier in its training, or select "
            "by features alone"
        )
    return Gradients(features, errors)


def squared_norms(of: Gradients) -> Each:
    """|g_i|^2.

    >>> squared_norms(Gradients(np.array([[3.]]), np.array([[-1., 1.]])))
    array([20.])
    """
    out = np.empty(of.examples)
    for rows, (h, e) in of.blocks():
        out[rows] = np.einsum("nc,nc->n", e, e) * (1 + np.einsum("nd,nd->n", h, h))
    return out


def gram(a: Gradients, b: Gradients) -> Float[np.ndarray, "examples others"]:
    """<g_i, g_j> of every pair, one from each side.

    >>> one = Gradients(np.array([[3.], [0.]]), np.array([[-1., 1.], [-.5, .5]]))
    >>> gram(one, one)
    array([[20. ,  1. ],
           [ 1. ,  0.5]])
    """
    (ha, ea), (hb, eb) = a.rows(slice(None)), b.rows(slice(None))
    return (ea @ eb.T) * (1 + ha @ hb.T)


def weighted_sum(of: Gradients, weights: Each) -> Matrix:
    """sum_i w_i g_i as a matrix (classes, dims + 1).

    >>> weighted_sum(Gradients(np.array([[3.], [0.]]), np.array([[-1., 1.], [-.5, .5]])), np.array([1., 2.]))
    array([[-3., -2.],
           [ 3.,  2.]])
    """
    total = np.zeros((of.errors.shape[1], of.features.shape[1] + 1))
    for rows, (h, e) in of.blocks():
        weighted = e * weights[rows, None]
        total[:, :-1] += weighted.T @ h
        total[:, -1] += weighted.sum(axis=0)
    return total


def products(of: Gradients, matrix: Matrix) -> Each:
    """<g_i, G> of every gradient with a sum of gradients.

    >>> one = Gradients(np.array([[3.], [0.]]), np.array([[-1., 1.], [-.5, .5]]))
    >>> products(one, weighted_sum(one, np.array([1., 2.])))  # 20 + 2 * 1 and 1 + 2 * 0.5
    array([22.,  2.])
    """
    out = np.empty(of.examples)
    for rows, (h, e) in of.blocks():
        out[rows] = np.einsum("nc,nc->n", e, logit_steps(h, matrix))
    return out


def logit_steps(features: Rows, matrix: Matrix) -> Errors:
    """What adding this matrix to the last layer adds to the logits of each example.

    >>> logit_steps(np.array([[3.]]), np.array([[-3., -2.], [3., 2.]]))
    array([[-11.,  11.]])
    """
    return features @ matrix[:, :-1].T + matrix[:, -1]


def distances(of: Gradients) -> Float[np.ndarray, "examples examples"]:
    """|g_i - g_j| of every pair, as float32: rounding leaves at most about 1e-7 of the longer of the two.

    >>> distances(Gradients(np.array([[3.], [0.]]), np.array([[-1., 1.], [-.5, .5]])))[0, 1] ** 2  # 20 + 0.5 - 2 * 1
    np.float32(18.5)
    """
    out = np.empty((of.examples, of.examples), dtype=np.float32)
    squares = squared_norms(of)
    for rows, left in of.blocks():
        for others, right in of.blocks():
            between = squares[rows, None] + squares[others] - 2 * gram(left, right)
            out[rows, others] = np.sqrt(np.maximum(between, 0))
    np.fill_diagonal(out, 0)
    return out
