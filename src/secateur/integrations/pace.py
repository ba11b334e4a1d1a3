"""Where a run stands that is counted in epochs, when no two of them need be of one length."""

from dataclasses import dataclass


@dataclass
class Pace:
    """The epoch under way, and its place on a schedule that is laid out over epochs of `nominal` steps.

    epoch, steps: its number and its length. before: the steps of the run before it. counted: those that the schedule
    has counted, which are fewer where mixed precision skipped some.

    >>> Pace(nominal=10, epoch=2, steps=5, before=17, counted=17).at(18)  # one of five steps: two of ten
    22.0
    """

    nominal: int
    epoch: int = 0
    steps: int = 1
    before: int = 0
    counted: int = 0

    def at(self, counted: int) -> float:
        """The place on the schedule after so many of its steps; with epochs of one length, as many."""
        return self.nominal * self.epoch + self.nominal * (counted - self.counted) / self.steps

    def stands(self, steps: int) -> tuple[int, int]:
        """The epoch to go on with after so many steps of the run, and how many of its own are done.

        >>> pace = Pace(nominal=10, epoch=2, steps=5, before=17)
        >>> pace.stands(19), pace.stands(22)
        ((2, 2), (3, 0))
        """
        done = steps - self.before
        return (self.epoch + 1, 0) if done >= self.steps else (self.epoch, done)
