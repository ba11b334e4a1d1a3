"""One line of a comparison."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from secateur.study.cell import Result


@dataclass(frozen=True)
class Row:
    """One line of the table: a method, with or without teacher, at one keep; a result a seed."""

    method: str
    teacher: bool
    keep: int | float | None  # as asked for; None: all of the data, in full
    fraction: float | None  # the same as a part of the data
    results: tuple[Result, ...]
    heard: str = ""  # tells lines with a teacher apart, where there are several: a weight, a net
    net: str | None = None  # of the teacher

    @property
    def name(self) -> str:
        """How people call the line."""
        told = f" ({self.heard})" if self.heard else ""
        return self.method + (f" + teacher{told}" if self.teacher else "")

    @property
    def mean(self) -> float:
        """Mean test accuracy over the seeds."""
        return fmean(r.accuracy for r in self.results)

    @property
    def robust(self) -> float | None:
        """Mean test accuracy under attack over the seeds; None where no adversary trained."""
        return _mean([r.robust for r in self.results])

    @property
    def spread(self) -> float | None:
        """Standard deviation over the seeds (n - 1); None for a single one."""
        return stdev(r.accuracy for r in self.results) if len(self.results) > 1 else None

    def as_json(self) -> dict[str, Any]:
        """The row as it stands in compare.json."""
        robust = {"robust_accuracy": self.robust, "robust_accuracies": [r.robust for r in self.results]}
        return {
            "method": self.method,
            "teacher": self.teacher,
            "heard": self.heard,
            "teacher_net": self.net,
            "distill": self.results[0].distill,
            "keep": self.keep,
            "fraction": self.fraction,
            "accuracy": self.mean,
            "spread": self.spread,
            "worst_class": fmean(r.worst_class for r in self.results),
            "per_class": [_mean(recalls) for recalls in zip(*(r.per_class for r in self.results), strict=True)],
            "ece": _mean([r.ece for r in self.results]),
            "selective": _mean([r.selective for r in self.results]),
            "steps": self.results[0].steps,
            "examples": self.results[0].examples,
            "seconds": fmean(r.seconds for r in self.results),
            "seeds": [r.seed for r in self.results],
            "accuracies": [r.accuracy for r in self.results],
        } | ({} if self.robust is None else robust)


def _mean(values: Sequence[float | None]) -> float | None:
    """Over the seeds; None for what was not measured, as the recall of a class that the test split does not have."""
    known = [v for v in values if v is not None]
    return fmean(known) if known else None
