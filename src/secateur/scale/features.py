"""What a selector sees of a row: its embeddings brought down to a few numbers, and its indicators."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from secateur.errors import SecateurError

Rows = Float[np.ndarray, "rows dims"]


def principal(rows: Rows, components: int) -> Float[np.ndarray, "rows components"]:
    """Rows about their mean along their directions of largest spread, the largest first, in their own unit.

    Of each direction the longest part points up. Raises SecateurError where there are fewer rows or numbers than that.

    >>> principal(np.array([[0., 1.], [2., 1.], [4., 1.]]), 1).round(6) + 0.0
    array([[-2.],
           [ 0.],
           [ 2.]])
    """
    from scipy.linalg import eigh

    count, dims = rows.shape
    if not 1 <= components <= min(count, dims):
        raise SecateurError(
            f"components: expected 1 to {min(count, dims)}, the fewer of {count} rows and the {dims} numbers of an "
            f"embedding, got {components}"
        )
    around = rows - rows.mean(axis=0, dtype=float)
    if dims <= count:
        directions = eigh(around.T @ around, subset_by_index=[dims - components, dims - 1])[1][:, ::-1]
    else:  # the same directions, from the smaller of the two products
        values, inner = eigh(around @ around.T, subset_by_index=[count - components, count - 1])
        lengths = np.sqrt(np.maximum(values[::-1], np.finfo(float).tiny))
        directions = around.T @ inner[:, ::-1] / lengths
    longest = np.abs(directions).argmax(axis=0)
    return around @ (directions * np.where(directions[longest, range(components)] < 0, -1, 1))


def joined(
    embeddings: list[np.ndarray], indicators: Float[np.ndarray, "rows indicators"], *, components: int
) -> Float[np.ndarray, "rows width"]:
    """What is seen of rows: so many numbers of each of their embeddings, then their indicators."""
    return np.concatenate([*(principal(rows, components) for rows in embeddings), indicators], axis=1)


def standard(features: Float[np.ndarray, "... dims"], like: Rows) -> Float[np.ndarray, "... dims"]:
    """Columns moved and divided so that those of `like` have mean 0 and spread 1; a column without spread is 0.

    >>> standard(np.array([[3., 7.]]), like=np.array([[0., 7.], [2., 7.]]))
    array([[2., 0.]])
    """
    spread = like.std(axis=0)
    flat = spread <= 1e-12 * np.abs(like).max(axis=0)
    return (features - like.mean(axis=0)) / np.where(flat, np.inf, spread)


def of_subsets(
    embeddings: list[np.ndarray], indicators: np.ndarray, members: np.ndarray, *, components: int
) -> Iterator[np.ndarray]:
    """What is seen of the members of each subset (members, width), its directions found from its own rows alone."""
    for rows in members:
        yield joined([one[rows] for one in embeddings], indicators[rows], components=components)
