"""What every selection respects, whatever the method: examples that must stay or go, and a floor for each class."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from secateur.errors import SecateurError

Ids = np.ndarray
Pick = Callable[[Ids, int], Ids]
"""Chooses so many of the given ids; returns them sorted."""


@dataclass(frozen=True)
class Limits:
    """min_per_class: each class keeps at least so many examples, or all it has; None: see `settled`.

    must_keep, exclude: ids.
    """

    min_per_class: int | None = None
    must_keep: tuple[int, ...] = ()
    exclude: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.min_per_class is not None and self.min_per_class < 0:
            raise SecateurError(f"min_per_class: expected 0 or more, got {self.min_per_class}")
        if both := sorted(set(self.must_keep) & set(self.exclude)):
            raise SecateurError(f"must_keep and exclude: both name example {both[0]}")

    def settled(self, labels: np.ndarray, candidates: Ids, keep: int, *, fair: bool) -> "Limits":
        """With a floor that is a number: the one asked for, or 1 where none was, `fair`, and there is room; else 0.

        fair: the method gives every class its share, so that a class with nothing is an accident of rounding.

        >>> every, rows = Limits(), np.arange(4)
        >>> every.settled(np.array([0, 0, 1, 2]), rows, 3, fair=True).min_per_class
        1
        >>> every.settled(np.array([0, 0, 1, 2]), rows, 2, fair=True).min_per_class  # three classes, two rows
        0
        """
        if self.min_per_class is not None:
            return self
        forced = np.bincount(labels[np.asarray(self.must_keep, dtype=np.int64)]) if self.must_keep else np.zeros(1)
        present = np.unique(labels[candidates])
        without = sum(not forced[c : c + 1].any() for c in present)
        room = int(forced.sum()) + without <= keep
        return replace(self, min_per_class=int(fair and room))


NO_LIMITS = Limits()
STARVED = 0.5
"""A class is starved when it keeps less than this part of its even share of what is kept."""


def starved(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The classes that keep too little, by number; before, after: the rows of each class (classes,).

    >>> starved(np.array([100, 100]), np.array([30, 10]))  # an even share is 20 of each
    array([], dtype=int64)
    >>> starved(np.array([100, 100]), np.array([31, 9]))
    array([1])
    """
    share = after.sum() / before.sum() * before
    return np.flatnonzero(after < STARVED * share)


def constrained(
    pick: Pick, inside: Pick, candidates: Ids, keep: int, labels: np.ndarray, limits: Limits, reasons: np.ndarray
) -> Ids:
    """`keep` of the candidates: the must-keeps, then what `pick` chooses; a class that falls short of its floor gets
    exactly its floor, chosen by `inside` among its own, and the other classes share the rest.

    Notes the reason of every id that is kept.
    """
    if keep > len(candidates):
        raise SecateurError(f"keep: {keep} asked for, but only {len(candidates)} examples may be kept")
    must = np.asarray(sorted(limits.must_keep), dtype=np.int64)
    if len(must) > keep:
        raise SecateurError(f"must_keep: names {len(must)} examples, more than the {keep} to keep")
    free = np.setdiff1d(candidates, must)
    floors = _floors(labels, candidates, must, limits.min_per_class or 0, keep)
    short: set[int] = set()
    while True:
        floored = [_to_floor(c, int(floors[c]), inside, free, must, labels) for c in sorted(short)]
        rest = free[~np.isin(labels[free], sorted(short))]
        room = keep - len(must) - sum(map(len, floored))
        chosen = pick(rest, room)
        counts = np.bincount(labels[np.concatenate((must, chosen, *floored))], minlength=len(floors))
        more = set(np.flatnonzero(counts < floors).tolist()) - short
        if not more:
            break
        short |= more
    reasons[chosen] = "selected"
    for ids in floored:
        reasons[ids] = "class floor"
    reasons[must] = "must keep"
    return np.sort(np.concatenate((must, chosen, *floored)))


def _floors(labels: np.ndarray, candidates: Ids, must: Ids, floor: int, keep: int) -> np.ndarray:
    """How many each class must keep (classes,): the floor, or all it has, and no fewer than its must-keeps."""
    have = np.bincount(labels[candidates])
    forced = np.bincount(labels[must], minlength=len(have))
    floors = np.maximum(np.minimum(floor, have), np.minimum(forced, have))
    if floors.sum() > keep:
        raise SecateurError(
            f"min_per_class: {floor} in each class makes {floors.sum()} examples, more than the {keep} to keep"
        )
    return floors


def _to_floor(label: int, floor: int, inside: Pick, free: Ids, must: Ids, labels: np.ndarray) -> Ids:
    """What fills one class up to its floor."""
    return inside(free[labels[free] == label], floor - int((labels[must] == label).sum()))
