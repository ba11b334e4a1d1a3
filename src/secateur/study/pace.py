"""How long each stage of a prune would take here, from a few steps of it."""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from secateur.fields import FIELDS, RECORDED
from secateur.methods import Method, Setting
from secateur.study.budget import full_steps
from secateur.study.probing import Probing
from secateur.study.record import RecordingPlan
from secateur.study.run import Run
from secateur.study.session import Session
from secateur.training.loop import Watch
from secateur.training.loop import train as run_loop
from secateur.training.nets import Normalised
from secateur.training.probes.table import PROBES
from secateur.training.recipes import Recipe
from secateur.training.sampling import Shuffled

STEPS, WARM = 14, 4
"""Steps that are trained for the clock, and the first of them, which are not timed."""


@dataclass(frozen=True)
class Stage:
    """One stage of a prune: seconds, bytes it leaves on disk before compression, and examples it passes over."""

    name: str
    seconds: float
    disk: int
    examples: int


def stages_of(
    work: Session, plan: RecordingPlan, method: Method, setting: Setting, student: Run | None
) -> Iterator[Stage]:
    """What one pruning by `method` would do, and training a student on what it keeps."""
    train = work.source.train
    usable = len(train.usable)
    probing = Probing.make([method], [setting], None, labelled=train.labelled)
    if student is None:  # no labels: nothing is trained
        yield _kept(work, setting)
        return
    net = work.build_net(plan.net, seed=plan.seed, whiten=plan.recipe.whiten)
    weights = sum(p.numel() for p in net.parameters()) * 4
    pace = seconds_a_step(work, net, plan.recipe, train.usable)
    if probing.needs_run:
        steps = full_steps(plan.recipe, usable)
        disk = _bytes_recorded(len(train), plan.recipe.epochs, len(train.classes)) + weights
        yield Stage(f"record {plan.recipe.epochs} epochs", pace * steps, disk, plan.recipe.epochs * usable)
    for name, knobs in probing.wanted.items():
        yield _probe(work, plan, net, name, dict(knobs), pace)
    yield _kept(work, setting)
    other = work.build_net(student.net, seed=plan.seed, whiten=student.recipe.whiten)
    seconds = seconds_a_step(work, other, student.recipe, train.usable) * student.steps
    yield Stage("train a student", seconds, weights, student.steps * student.recipe.batch)
    full = full_steps(student.recipe, usable)
    yield Stage("instead of: train on all", seconds / student.steps * full, weights, full * student.recipe.batch)


def _kept(work: Session, setting: Setting) -> Stage:
    """The pruned data set itself, at the size of decoded rows."""
    train = work.source.train
    row = train.values.nbytes // len(train) if train.values is not None else int(torch.Size(train.shape).numel())
    return Stage("kept", 0.0, round(row * setting.keep * len(train.usable)), 0)


def seconds_a_step(work: Session, net: Normalised, recipe: Recipe, ids: np.ndarray) -> float:
    """The median of a few steps of the one loop on these examples; the net is spoilt."""
    clock: list[float] = []
    watch = Watch(step=lambda done, total: clock.append(time.perf_counter()))
    run_loop(net, work.train, recipe, steps=STEPS, sampler=Shuffled(ids, 0), seed=0, watch=watch)
    passed = [later - earlier for earlier, later in itertools.pairwise(clock)]
    return median(passed[WARM:])


def _probe(
    work: Session, plan: RecordingPlan, net: Normalised, name: str, knobs: dict[str, float], pace: float
) -> Stage:
    """One batch through a probe; nets that it trains are priced by the pace of the recording run."""
    probe, usable = PROBES[name], len(work.source.train.usable)
    runs, epochs = int(knobs.get("runs", 1)), int(knobs.get("epochs", 0))
    ids = torch.from_numpy(work.source.train.usable[:100])
    rows = next(work.train.batches([ids]))
    look = probe.start(net.eval(), work.train, seed=plan.seed, **{k: knobs[k] for k in probe.knobs})
    started = time.perf_counter()
    found = look(rows, work.train.labels[ids.to(work.device)])
    each = (time.perf_counter() - started) / len(ids)
    trained = pace * full_steps(plan.recipe, usable) / plan.recipe.epochs * epochs * knobs.get("part", 1.0)
    disk = sum(v[0].numel() for n, v in found.items() if n in probe.fills) * 4 * len(work.source.train) * runs
    return Stage(f"probe {name}", (trained + each * usable) * runs, disk, runs * usable * (1 + epochs))


def _bytes_recorded(examples: int, epochs: int, classes: int) -> int:
    """What a recording of everything takes before compression."""
    logged = [FIELDS[n] for n in RECORDED]
    each = sum(1 if f.dtype == "bool" else 4 for f in logged if f.axes[0] == "epochs")
    return examples * (epochs * each + 4 * classes + 8)
