"""Filtering by a column of the shards: a range, quantiles, or the top fraction."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from secateur.errors import SecateurError
from secateur.scale.cluster import GUEST
from secateur.scale.shards import Columns, Unit, blocks
from secateur.scale.stage import Summary
from secateur.scale.storage import Place


@dataclass(frozen=True)
class Filter:
    """Let through rows whose column is in a range; min and max both belong to it. A row without a value stays out.

    top: the fraction of all rows that is highest. quantiles: from the first to the second, as (0.1, 0.9). Rows that
    are level with a bound of these two are let through, so that it may be some more than the fraction.
    """

    column: str
    min: float | None = None
    max: float | None = None
    top: float | None = None
    quantiles: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if all(v is None for v in (self.min, self.max, self.top, self.quantiles)):
            raise SecateurError(f"filter: expected min, max, top or quantiles for {self.column!r}, got none")
        for name in ("min", "max"):
            if (bound := getattr(self, name)) is not None and bound != bound:
                raise SecateurError(f"filter: expected a number for {name}, got nan")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise SecateurError(f"filter: expected min up to max, got {self.min} and {self.max}")
        if self.top is not None and not 0 < self.top <= 1:
            raise SecateurError(f"filter: expected top in (0, 1], got {self.top}")
        if self.quantiles is not None and not 0 <= self.quantiles[0] < self.quantiles[1] <= 1:
            raise SecateurError(f"filter: expected two rising quantiles in [0, 1], got {self.quantiles}")

    def asked(self) -> dict[str, Any]:
        """As it stands in run.json."""
        return {name: value for name, value in asdict(self).items() if value is not None}


@dataclass(frozen=True)
class Scoring:
    """Lay the column of a unit out as its rows are."""

    unit: Unit
    columns: Columns
    column: str
    dims: int
    laid: Place
    name: str


def scores(task: Scoring, folder: Place) -> Summary:
    """Write the column of a unit (rows,), in the order of its clusters, and that of its guests."""
    columns = Columns(task.columns.id, task.columns.embedding, (task.column,))
    found = [b.scores[task.column] for b in blocks(task.unit, columns, dims=task.dims, wanted=[task.column])]
    values = np.concatenate(found)
    for prefix in ("", GUEST):
        rows = (task.laid / f"{prefix}rows.npy").read_array() - task.unit.start
        (folder / task.name / f"{prefix}scores.npy").write_array(values[rows])
    return {"missing": int(np.isnan(values).sum())}


@dataclass(frozen=True)
class Counting:
    """How many of a unit's values reach each threshold."""

    values: Place
    thresholds: np.ndarray


def count(task: Counting, folder: Place) -> Summary:
    """Counts of values at or above each threshold (thresholds,); nan reaches none."""
    found = task.values.read_array().astype(np.float32)
    found = np.sort(found[~np.isnan(found)])
    return {"counts": (len(found) - np.searchsorted(found, task.thresholds)).tolist()}


@dataclass(frozen=True)
class Passing:
    """Let through what lies in both ranges: one as it was asked, one as it was counted, in float32."""

    scores: Place  # folder of a unit
    asked: tuple[float, float]
    counted: tuple[float, float]
    name: str


def passing(task: Passing, folder: Place) -> Summary:
    """Write whether each row of a unit is let through (rows,) bool, and each guest."""
    passed = {}
    for prefix in ("", GUEST):
        found = (task.scores / f"{prefix}scores.npy").read_array()
        passed[prefix] = _inside(found, task.asked) & _inside(found.astype(np.float32), task.counted)
        (folder / task.name / f"{prefix}passed.npy").write_array(passed[prefix])
    return {"rows": len(passed[""]), "passed": int(passed[""].sum())}


def _inside(found: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """From one to the other, both in the precision of what is compared: 0.3 reaches up to float32's 0.3."""
    with np.errstate(over="ignore"):
        low, high = np.array(bounds).astype(found.dtype)
    return (found >= low) & (found <= high)


def total(summaries: Sequence[Summary]) -> np.ndarray:
    """Counts of all tasks."""
    return np.sum([s["counts"] for s in summaries], axis=0)
