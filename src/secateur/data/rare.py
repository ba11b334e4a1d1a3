"""Classes too small to learn from: the option `on_rare` and its messages."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from secateur.data.decoding.labels import WITHOUT
from secateur.errors import DataError

Labels = Int[np.ndarray, " examples"]
_NAMED = 20
"""The most classes that a message lists."""


def rare_rows(
    labels: Labels, classes: tuple[str, ...], *, on_rare: str, declared: bool, dropped: Sequence[int] | None = None
) -> dict[int, str]:
    """The rows to drop because their class has a single example in train, each with the reason.

    labels: the class of each row, -1 for rows that cannot be used. on_rare: `keep` leaves none out, `drop` leaves these
    out, `stop` raises DataError and names every such class; but not for a set of one row a class whose classes are
    `declared`, which is a condensed one. dropped: of a test split, the classes that were left out of train.

    >>> rare_rows(np.array([0, 0, 1]), ("cat", "dog"), on_rare="drop", declared=False)
    {2: "class 'dog' has a single example in train (--on-rare drop)"}
    """
    if on_rare == "keep":
        return {}
    counts = np.bincount(labels[labels >= 0], minlength=len(classes))
    rare = np.flatnonzero(counts == 1) if dropped is None else np.asarray(dropped, dtype=np.int64)
    if on_rare == "stop":
        if dropped is None and rare.size and not (declared and counts.max() == 1):
            raise _too_few(rare, counts, classes)
        return {}
    rows = np.flatnonzero(np.isin(labels, rare))
    return {int(i): f"class {classes[labels[i]]!r} has a single example in train (--on-rare drop)" for i in rows}


def _too_few(rare: np.ndarray, counts: np.ndarray, classes: tuple[str, ...]) -> DataError:
    names = ", ".join(repr(classes[k]) for k in rare[:_NAMED])
    more = f" and {len(rare) - _NAMED} more" if len(rare) > _NAMED else ""
    these = "1 class has" if len(rare) == 1 else f"{len(rare)} classes have"
    if len(rare) > 1 and len(rare) == np.count_nonzero(counts):
        these = f"all {len(rare)} classes have"
    return DataError(
        f"label: {these} a single example, too few to train and validate on: {names}{more}; add examples, drop "
        f"these (--on-rare drop), use them as they are (--on-rare keep), choose another column with --label, {WITHOUT}"
    )


def check_told_apart(labels: Labels, classes: tuple[str, ...]) -> None:
    """Raise DataError if all usable rows are of one class."""
    counts = np.bincount(labels, minlength=len(classes))
    if (counts > 0).sum() < 2:
        only = classes[int(counts.argmax())]
        raise DataError(
            f"label: expected at least 2 classes, got 1 ({only}); choose another column with --label, {WITHOUT}"
        )
