"""How alike examples are: 0.5 + 0.5 cosine of their features, of all pairs or of near ones only."""

import numpy as np
from jaxtyping import Float
from scipy import sparse

from secateur.errors import SecateurError
from secateur.geometry import nearest, unit
from secateur.select.greedy import Similarity

GRID = 1 << 20  # about what float32 is good for in a cosine of a few hundred dims

Features = Float[np.ndarray, "examples dims"]


def cosine_similarity(features: Features, *, neighbours: int, all_pairs: int = 0) -> Similarity:
    """0.5 + 0.5 cosine, symmetric, 1 on the diagonal; float32 rounded to steps of 2^-20, so that equal ones tie.

    Dense where `neighbours` is 0 or there are at most `all_pairs` examples: 4 N^2 bytes. Otherwise sparse: a pair is
    there if one is among the `neighbours` nearest of the other (all others where there are fewer), the rest counts as
    0; about 16 N * neighbours bytes. Raises SecateurError for a row of zeros.

    >>> cosine_similarity(np.array([[1., 0.], [0., 2.], [-3., 0.]]), neighbours=0)
    array([[1. , 0.5, 0. ],
           [0.5, 1. , 0.5],
           [0. , 0.5, 1. ]], dtype=float32)
    """
    if neighbours < 0 or all_pairs < 0:
        raise SecateurError(
            f"neighbours, all_pairs: expected 0 or more (neighbours=0: all pairs), got {neighbours} and {all_pairs}"
        )
    examples = len(features)
    if neighbours == 0 or examples <= all_pairs:
        return _pairs(unit(features).astype(np.float32, copy=False))
    graph = near_similarity(features, neighbours)
    return (graph + sparse.eye_array(examples, dtype=np.float32, format="csr")).tocsr()


def near_similarity(features: Features, neighbours: int) -> sparse.csr_array:
    """The sparse form without the diagonal: no example is its own neighbour. All others where there are fewer.

    >>> near_similarity(np.array([[1., 0.], [1., 0.], [0., 1.], [0., 1.]]), 1).toarray()[0]
    array([0., 1., 0., 0.], dtype=float32)
    """
    examples = len(features)
    if examples == 1:
        return sparse.csr_array((1, 1), dtype=np.float32)
    neighbours = min(neighbours, examples - 1)
    found = nearest(features, neighbours, metric="cosine")
    alike = _snapped(1 - found.distances.astype(np.float32) / 2)
    starts = np.arange(0, alike.size + 1, neighbours)
    graph = sparse.csr_array(
        (alike.ravel(), found.ids.astype(np.int32).ravel(), starts.astype(np.int32)), (examples, examples)
    )
    return graph.maximum(graph.T.tocsr())


def _pairs(rows: Float[np.ndarray, "examples dims"]) -> Float[np.ndarray, "examples examples"]:
    out = rows @ rows.T
    out *= 0.5
    out += 0.5
    out = _snapped(out)
    np.fill_diagonal(out, 1)
    return out


def _snapped(values: np.ndarray) -> np.ndarray:
    """Within [0, 1] on the grid; in place."""
    np.clip(values, 0, 1, out=values)
    values *= GRID
    np.rint(values, out=values)
    values /= GRID
    return values
