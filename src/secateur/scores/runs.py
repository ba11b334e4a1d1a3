"""What many short runs on parts of the data say: what a net knows by heart, and what it learns from other examples."""

import numpy as np
from jaxtyping import Bool, Float, Num

from secateur.errors import SecateurError
from secateur.registry import score

Runs = Num[np.ndarray, "runs examples"] | Bool[np.ndarray, "runs examples"]
Answers = Num[np.ndarray, "runs targets"] | Bool[np.ndarray, "runs targets"]
Value = Float[np.ndarray, " examples"]


@score(source="arXiv:2008.03703")
def memorization(included: Runs, correct_runs: Runs) -> Value:
    """How much more often runs get an example right that trained on it than runs that did not.

    The paper trains thousands of nets, each on a random 70 %; what dozens tell has a deviation near 1 / sqrt(runs).
    Raises SecateurError for an example that all runs saw, or none.

    >>> memorization(np.array([[1, 1], [1, 1], [0, 0], [0, 0]]), np.array([[1, 1], [1, 1], [1, 0], [1, 0]]))
    array([0., 1.])
    """
    seen, right = included.astype(bool), correct_runs.astype(bool)
    inside, outside = _counts(seen)
    return (right & seen).sum(axis=0) / inside - (right & ~seen).sum(axis=0) / outside


def influence(included: Runs, correct: Answers, *, own: Answers | None = None) -> Float[np.ndarray, "examples targets"]:
    """How much more often runs get a target right that trained on an example than runs that did not (arXiv:2008.03703).

    correct: did the run get the target right? For targets that no run trained on, as in the paper, that is all. Where
    targets are examples themselves, own says whether the run trained on the target, and only the runs that did not are
    compared, else what a net knows by heart would drown what it learns from others. nan where they leave none to
    compare: an example that is always with its target, or never, as each is with itself. Above 0 the example helps.

    Pairs number examples times targets, so ask for a few targets; what one pair says has a deviation near 1 / sqrt(runs
    compared). Raises SecateurError for an example that all runs saw, or none.

    >>> included = np.array([[1, 1], [1, 0], [0, 1], [0, 0]])
    >>> influence(included, np.array([[1], [1], [0], [0]]))  # right exactly where the first was trained on
    array([[1.],
           [0.]])
    >>> influence(included, included[:, :1], own=included[:, :1])  # known by heart, so nothing comes from the second
    array([[nan],
           [ 0.]])
    """
    seen, right = included.astype(bool).astype(float), correct.astype(float)
    _counts(seen)
    apart = np.ones(right.shape) if own is None else 1 - own.astype(float)
    if len(right) != len(seen) or apart.shape != right.shape:
        raise SecateurError(
            f"correct: expected (runs, targets) for the {len(seen)} runs of included, and own alike, got {right.shape} "
            f"and {apart.shape}"
        )
    inside = seen.T @ apart
    outside = apart.sum(axis=0) - inside
    well = seen.T @ (apart * right)
    found = np.full_like(inside, np.nan)
    np.divide(well, inside, out=found, where=(inside > 0) & (outside > 0))
    rest = (apart * right).sum(axis=0) - well
    return found - np.divide(rest, outside, out=np.zeros_like(rest), where=outside > 0)


def _counts(seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many runs saw each example (examples,), and how many did not: not 0."""
    runs, inside = len(seen), seen.sum(axis=0)
    outside = runs - inside
    for count, what in ((inside, "no run"), (outside, "every run")):
        if not count.all():
            raise SecateurError(
                f"included: expected runs with and runs without each example, but {what} trained on example "
                f"{int((count == 0).argmax())} ({runs} runs); add runs on other parts of the data"
            )
    return inside, outside
