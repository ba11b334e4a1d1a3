"""Who teaches in a comparison, and how much is heard of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from secateur.study.cell import plan_run, run_cell
from secateur.study.record import RecordingPlan
from secateur.study.row import Row
from secateur.study.session import Session
from secateur.training.distill import Distill

PROXY = "proxy"
"""The net that was recorded."""


@dataclass(frozen=True)
class Lesson:
    """One way of being taught; told: what tells it apart from the others, nothing where it is alone."""

    distill: str | Distill
    net: str
    model: Path
    told: str


def teach(work: Session, plan: RecordingPlan, nets: Sequence[str]) -> Iterator[Row]:
    """Train the teachers that are not the recorded net: on all of the data, as it was trained."""
    for net in nets:
        if net != PROXY:
            run = plan_run(
                work, f"teacher {net}", net=net, recipe=plan.recipe, epochs=plan.recipe.epochs, budget="epochs",
                seed=plan.seed,
            )  # fmt: skip
            yield Row(run.name, False, None, None, (run_cell(work, run),))


def lessons_of(
    work: Session, grid: Sequence[str | Distill], nets: Sequence[str], taught: Sequence[Row]
) -> tuple[Lesson, ...]:
    """Every weight and temperature with every teacher."""
    models = {row.method.removeprefix("teacher "): work.out / "cells" / row.results[0].folder for row in taught}
    lessons = []
    for net in nets:
        model = (work.out if net == PROXY else models[net]) / "model.safetensors"
        for distill in grid:
            told = [net] * (len(nets) > 1) + [str(distill)] * (len(grid) > 1)
            lessons.append(Lesson(distill, net, model, ", ".join(told)))
    return tuple(lessons)
