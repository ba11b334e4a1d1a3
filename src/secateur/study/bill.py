"""What pruning costs and when it pays off: seconds and examples of every stage, compared with full training."""

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from secateur.store.files import write_json
from secateur.study.cell import Result
from secateur.study.out import Out


@dataclass(frozen=True)
class Bill:
    """Seconds and examples of what pruning needs once, of one training on what it kept, and of one on everything."""

    name: str
    once_seconds: float
    once_examples: int
    train_seconds: float
    train_examples: int
    full_seconds: float
    full_examples: int
    measured: bool

    @property
    def pays_after(self) -> int | None:
        """The number of trainings after which pruning is cheaper than full training; None if never.

        >>> Bill("dual", 100.0, 0, 40.0, 0, 90.0, 0, True).pays_after
        3
        >>> Bill("dual", 100.0, 0, 90.0, 0, 90.0, 0, True).pays_after is None
        True
        """
        saved = self.full_seconds - self.train_seconds
        if saved <= 0:
            return None
        return math.floor(self.once_seconds / saved) + 1

    @property
    def verdict(self) -> str:
        """The same in a sentence."""
        if not self.full_seconds:
            return "nothing was trained, so there is no cost to compare with"
        how = "measured" if self.measured else "estimated from the speed of a run here"
        once, pruned, full = map(_seconds, (self.once_seconds, self.train_seconds, self.full_seconds))
        base = f"{once} s once, then {pruned} s per training instead of {full} s ({how})"
        if self.pays_after is None:
            return f"{base}: pruning never pays off here; it does not shorten training"
        if self.pays_after == 1:
            return f"{base}: pruning pays off with the first training"
        return f"{base}: pruning pays off after {self.pays_after} trainings on the kept set"


def _seconds(value: float) -> str:
    """Seconds as text, without decimals from 10.

    >>> _seconds(3.14), _seconds(31.4)
    ('3.1', '31')
    """
    return f"{value:.1f}" if value < 9.95 else f"{value:.0f}"


STAGES = ("record", "query", "score", "select", "kept")


def stage_costs(out: Out) -> dict[str, dict[str, float]]:
    """Seconds and examples of each stage done so far; each probe counts as its own stage."""
    stages = out.run["stages"]
    costs = {n: {"seconds": s.get("seconds", 0.0), "examples": s.get("examples", 0)} for n, s in stages.items()}
    probes = sorted(n for n in costs if n.startswith("probe "))
    return {n: costs[n] for n in (*STAGES[:2], *probes, *STAGES[2:]) if n in costs}


def spent_once(out: Out, *, recording: bool, scored: bool, recall: bool, probes: Collection[str]) -> tuple[float, int]:
    """Seconds and examples of the stages that a pruning needs once; other stages in the folder belong to other methods.

    recording: is the recorded net needed, for scores, probes or as teacher? recall: does it need the recall of each
    class? probes: the ones it needs.
    """
    idle = (() if recording else ("record",)) + (() if scored else ("score",)) + (() if recall else ("query",))
    used = [
        c
        for n, c in stage_costs(out).items()
        if n not in idle and (not n.startswith("probe ") or n.removeprefix("probe ") in probes)
    ]
    return math.fsum(c["seconds"] for c in used), int(sum(c["examples"] for c in used))


def make_bill(
    out: Out,
    name: str,
    *,
    spent: tuple[float, int],
    full_steps: int,
    batch: int,
    steps: int,
    student: Result | None,
) -> Bill:
    """The bill of one pruning; what was not run is estimated from the seconds per example of the student (its
    teacher included) if there is one, else of the recording.

    spent: seconds and examples of what it needs once, see `spent_once`.
    """
    seconds, examples = spent
    known = (
        {"seconds": student.seconds, "examples": student.examples} if student else stage_costs(out).get("record", {})
    )
    pace = known["seconds"] / known["examples"] if known.get("examples") else 0.0
    train_examples = steps * batch if student is None else student.examples
    return Bill(
        name=name,
        once_seconds=seconds,
        once_examples=examples,
        train_seconds=pace * train_examples if student is None else student.seconds,
        train_examples=train_examples,
        full_seconds=pace * full_steps * batch,
        full_examples=full_steps * batch,
        measured=False,
    )


def write_bills(out: Out, bills: list[Bill]) -> None:
    """Write bill.json: the stages, and a line for each pruning."""
    lines: list[dict[str, Any]] = [asdict(b) | {"pays_after": b.pays_after, "verdict": b.verdict} for b in bills]
    write_json(out / "bill.json", {"stages": stage_costs(out), "bills": lines})
