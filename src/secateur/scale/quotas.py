"""How much of each cluster is kept, by its density, by the distance of single rows, or evenly."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np

from secateur.errors import SecateurError
from secateur.ranges import ABOVE_0, SOME
from secateur.registry import part_of
from secateur.scale import choose, dedup
from secateur.scale.dedup import PREFER, Prefer
from secateur.scale.filters import total
from secateur.scale.quota import largest_remainder, shares
from secateur.scale.run import Clustered, Remaining, Run
from secateur.scale.stage import Stage, numbered
from secateur.scale.storage import Place, together
from secateur.scale.thresholds import asked, largest_reaching

By = Literal["density", "prototypes", "random"]
KNOBS = {"density": ("floor", "temperature", "neighbours"), "prototypes": ("floor",), "random": ()}
"""Ways of choosing, and what each may be told beside `prefer`."""


@dataclass(frozen=True)
class Choice:
    """What is kept of what is left.

    by: `density`, a quota for each cluster by how far it spreads and how far others are (density-based pruning);
    `prototypes`, the rows farthest from their centroid, whatever the cluster (SSP); `random`, of each cluster the same
    share. prefer: inside a cluster the farthest (hard), the nearest (easy), or any. floor: each cluster keeps this part
    of an even share of what is kept, or all it has, and one row at least; not of `random`. temperature,
    neighbours: of the density alone.
    """

    by: By = "density"
    prefer: Prefer | None = None
    floor: float = 0.5
    temperature: float = 0.1
    neighbours: int = 20

    def __post_init__(self) -> None:
        if self.by not in KNOBS:
            raise SecateurError(f"by: expected {', '.join(KNOBS)}, got {self.by!r}")
        if self.prefer is not None and self.prefer not in PREFER:
            raise SecateurError(f"prefer: expected {', '.join(PREFER)}, got {self.prefer!r}")
        if self.by == "prototypes" and self.prefer == "random":
            raise SecateurError("prefer: prototypes go by distance, so expected hard or easy; for any rows, by random")
        if not 0 <= self.floor <= 1:
            raise SecateurError(f"floor: expected a part of an even share, in [0, 1], got {self.floor}")
        ABOVE_0.check(self.temperature, "temperature")
        SOME.check(self.neighbours, "neighbours")
        for knob in fields(self)[2:]:
            if knob.name not in KNOBS[self.by] and getattr(self, knob.name) != knob.default:
                who = " or ".join(by for by, names in KNOBS.items() if knob.name in names)
                raise SecateurError(f"{knob.name}: choosing by {self.by} has none; leave it out, or choose by {who}")

    @property
    def preferred(self) -> Prefer:
        """Inside a cluster."""
        return self.prefer or ("random" if self.by == "random" else "hard")

    def asked(self) -> dict[str, Any]:
        """As it stands in run.json."""
        return {"by": self.by, "prefer": self.preferred} | {name: getattr(self, name) for name in KNOBS[self.by]}


@dataclass(frozen=True)
class Quotas:
    """What each cluster keeps, and why."""

    kept: np.ndarray  # (clusters,)
    shares: np.ndarray  # (clusters,) before limits; of the kept ones where there are none
    d_inter: np.ndarray  # (clusters,)
    stage: Stage


def count_of(keep: int | float, rows: int, left: int | None = None, alike: Sequence[int] = ()) -> int:
    """How many rows a fraction of all rows, or a count, is; an error where not so many are there, or left.

    alike: how many rows would be duplicates at each of `dedup.LEVELS`, for the error.
    """
    if isinstance(keep, float) and not 0 < keep <= 1:
        raise SecateurError(f"keep: expected a fraction in (0, 1] or a count, got {keep}")
    if isinstance(keep, bool) or not isinstance(keep, (int, float)):
        raise SecateurError(f"keep: expected a fraction in (0, 1] or a count, got {keep!r}")
    count = part_of(keep, rows) if isinstance(keep, float) else keep
    if count < 1:
        raise SecateurError(f"keep: expected to keep a row at least, but {keep} of {rows} rows are {count}")
    if count > rows:
        raise SecateurError(f"keep: expected at most the {rows} rows there are, got {count}")
    if left is not None and count > left:
        levels = zip(dedup.LEVELS, alike, strict=False)
        gone = ", ".join(f"{n} above {level}" for level, n in levels)
        dups = f"; or take fewer rows for duplicates (by cosine, these have one like them: {gone})" if gone else ""
        raise SecateurError(
            f"keep: {count} of {rows} rows are asked for, but filter and dedup leave {left}; keep at most "
            f"{np.floor(1e4 * left / rows) / 1e4:.4f}, or filter less{dups}"
        )
    return count


def quotas(run: Run, laid: Clustered, rest: Remaining, how: Choice, count: int) -> Quotas:
    """Whole numbers of sum `count`, none above what is left of a cluster."""
    stage = Stage("quota", how.asked() | {"count": count}, run.out, rest.stage)
    beside = Stage("inter", {"neighbours": how.neighbours}, run.out, laid.fitted)
    apart = choose.Apart(laid.fitted.folder, how.neighbours)
    run.stage(beside, "measuring how far clusters lie apart", choose.apart, numbered([apart]))
    inter = (beside.folder / "d_inter.npy").read_array()
    if how.by == "prototypes":
        kept = _prototypes(run, rest, stage, how, count)
        return Quotas(kept, kept / count, inter, stage)
    if how.by == "random":
        part = rest.counts / rest.rows
        kept = largest_remainder(part * count, count, low=np.zeros_like(rest.counts), high=rest.counts)
        return Quotas(kept, part, inter, stage)
    part = shares(rest.d_intra, inter, temperature=how.temperature)
    kept = largest_remainder(part * count, count, low=floors(rest.counts, count, how.floor), high=rest.counts)
    return Quotas(kept, part, inter, stage)


def floors(counts: np.ndarray, count: int, floor: float) -> np.ndarray:
    """What each cluster keeps at least: a part of an even share, one row, or all it has; none where that is too much.

    >>> floors(np.array([10, 3, 0]), 6, 0.5), floors(np.array([5, 5, 5]), 2, 1.0)
    (array([1, 1, 0]), array([0, 0, 0]))
    """
    even = max(1, int(floor * count / len(counts)))
    found = np.minimum(counts, even)
    return found if found.sum() <= count else np.zeros_like(counts)


def _prototypes(run: Run, rest: Remaining, stage: Stage, how: Choice, count: int) -> np.ndarray:
    """The rows beyond one distance, of each cluster its floor at least; of rows level with it the first."""
    low, sign = floors(rest.counts, count, how.floor), 1 if how.preferred == "hard" else -1
    ends = np.array([left.bucket.end for left in rest.left])
    parts = np.split(low, ends[:-1])

    def counts(thresholds: np.ndarray) -> np.ndarray:
        counting = Stage("reach", asked(thresholds), run.out, stage)
        return total(run.stage(counting, "seeking a distance", choose.reach, tasks(thresholds)))

    def tasks(thresholds: np.ndarray) -> dict[str, choose.Reaching]:
        each = zip(numbered(parts).items(), rest.left, strict=True)
        return {name: choose.Reaching(left, floor, thresholds, sign, name) for (name, floor), left in each}

    threshold = largest_reaching(counts, count)
    edge = np.array([np.nextafter(threshold, np.float32(np.inf)), threshold])
    last = Stage("edge", {"threshold": str(threshold)}, run.out, stage)
    run.stage(last, "counting what is beyond it", choose.reach_each, tasks(edge))
    above, level = np.concatenate(
        list(together(Place.read_array, [last.folder / f"{n}.npy" for n in numbered(parts)])), axis=1
    )
    room = np.cumsum(level - above)
    return above + np.diff(np.minimum(room, count - above.sum()), prepend=0)
