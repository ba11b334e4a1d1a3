"""One training run and its result: a student on a subset, or on everything. Each has a folder and can be resumed."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from secateur.data.source import Source
from secateur.dynamic import Rule, spec_of
from secateur.dynamic import rule as find_rule
from secateur.errors import SecateurError
from secateur.store.files import read_json, remove, write_json
from secateur.store.schemas.runs import ResultFile
from secateur.store.tables import Scores, Subset
from secateur.study.budget import steps_for
from secateur.study.material import (
    attack_of,
    check_aim,
    check_kept,
    classes_of,
    digest_of,
    net_of,
    objective_of,
    sampler_of,
)
from secateur.study.run import Run
from secateur.study.session import Session
from secateur.training.adversarial import Adversary
from secateur.training.adversarial import parse as parse_adversary
from secateur.training.aims import Plain
from secateur.training.aims import aim as find_aim
from secateur.training.aims import spec_of as spec_of_aim
from secateur.training.distill import Distill
from secateur.training.distill import parse as parse_distill
from secateur.training.evaluate import Accuracy, accuracy, robust_accuracy
from secateur.training.loop import Position
from secateur.training.loop import train as run_loop
from secateur.training.nets import model_in, save_net, spec_in
from secateur.training.objective import Aim
from secateur.training.recipes import Recipe
from secateur.training.recipes import recipe as find_recipe


@dataclass(frozen=True)
class Result:
    """The result of one run. Accuracies are of the last step, on the test split, which is read once.

    per_class: recall of each class, None for a class that the test split does not have. robust: accuracy under the
    adversary that it was trained with, None where it was trained without. rule: of dynamic pruning, with its knobs.
    examples: how many were trained on, counting repeats; seconds: of the whole run. ece: expected
    calibration error, 15 bins; selective: accuracy on the 80 % with the highest confidence; None in older results.
    objective: None for labels alone; start: the saved net it started from. What an objective learns about each
    example is saved beside the student, in learned.parquet. If it does not teach the net the classes of the data,
    accuracies are nan (null in the file) and per_class is empty.
    """

    name: str
    accuracy: float
    worst_class: float
    per_class: tuple[float | None, ...]
    kept: int
    of: int
    steps: int
    examples: int
    seconds: float
    seed: int
    net: str
    recipe: str
    distill: dict[str, float] | None
    folder: str
    adversary: dict[str, Any] | None = None
    robust: float | None = None
    rule: str | None = None
    ece: float | None = None
    selective: float | None = None
    objective: str | None = None
    start: str | None = None

    @property
    def keep(self) -> float:
        """The fraction trained on."""
        return self.kept / self.of

    @classmethod
    def tested(cls, tested: Accuracy, **about: Any) -> "Result":
        """A result from the test scores; about: the other fields."""
        recalls = tuple(None if np.isnan(r) else float(r) for r in tested.per_class)
        sure: dict[str, Any] = {"ece": tested.ece, "selective": tested.selective()}
        return cls(accuracy=tested.overall, worst_class=tested.worst, per_class=recalls, **sure, **about)

    @classmethod
    def read(cls, path: Path, **changed: Any) -> "Result":
        """What `write` wrote, with some fields changed."""
        found = read_json(path, ResultFile)
        saved = {f.name: found[f.name] for f in dataclasses.fields(cls) if f.name in found}
        tested = {name: math.nan for name in _TESTED if saved[name] is None}
        return cls(**saved | tested | {"per_class": tuple(saved["per_class"])} | changed)

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, self.as_json())

    def as_json(self) -> dict[str, Any]:
        """The result as plain JSON values; null for what was not tested."""
        return dataclasses.asdict(self) | {name: None for name in _TESTED if np.isnan(getattr(self, name))}


_TESTED = ("accuracy", "worst_class")


def plan_run(
    work: Session,
    name: str,
    *,
    net: str | None,
    recipe: str | Recipe,
    epochs: int | None,
    budget: str,
    seed: int,
    subset: Subset | None = None,
    like: int | None = None,
    teacher: Any = None,
    distill: str | Distill | None = None,
    adversary: str | Adversary | None = None,
    margins: np.ndarray | None = None,
    rule: str | Rule | None = None,
    objective: str | Aim = "supervised",
    start: str | Path | None = None,
    unlabelled: Source | None = None,
    difficulty: np.ndarray | None = None,
) -> Run:
    """A run on a subset, or on everything.

    rule: chooses the examples of each epoch; the run then has the epochs of a full run, however many steps they take.
    like: train everything with the steps and batches of a run on this many examples, at the same cost. margins:
    (examples,) L2 lengths in the units of the adversary's eps; nan where a row cannot be read. start: a saved net to
    start from, which is then the net. objective and its inputs: see `train`.
    """
    examples = len(work.source.train.usable)
    if epochs is not None and epochs < 1:
        raise SecateurError(f"epochs: expected at least 1, got {epochs}")
    if subset is not None:
        subset.check_data(work.source.fingerprint)
    kept = examples if subset is None else len(subset)
    whole = find_recipe(recipe).for_data(examples, work.train.shape)
    whole = dataclasses.replace(whole, epochs=whole.epochs if epochs is None else epochs)
    batch = whole.for_keep((like or kept) / examples).batch
    chosen = dataclasses.replace(whole.for_keep(kept / examples), batch=batch)
    steps = steps_for(budget, whole, examples=examples, kept=like or kept, batch=batch)
    aim = find_aim(objective)
    if not aim.classifies and distill not in (None, "auto", "off"):
        raise SecateurError(f"distill: objective {spec_of_aim(aim)} does not use the teacher's answers; leave it out")
    heard = None if teacher is None or not aim.classifies else parse_distill(distill, (like or kept) / examples)
    begun = None if start is None else Path(start)
    run = Run(
        name, work.net_name(net) if begun is None else spec_in(model_in(begun), net), chosen, steps, seed, subset,
        teacher, heard, parse_adversary(adversary), margins, aim=aim, start=begun,
        unlabelled=unlabelled, difficulty=difficulty,
    )  # fmt: skip
    if rule is not None:
        run = dataclasses.replace(run, rule=find_rule(rule), steps=0, epochs=whole.epochs)
        sampler_of(work, run)
    attack_of(work, run)  # fail early
    check_aim(work, run)
    check_kept(work, run)
    return run


def run_cell(work: Session, run: Run) -> Result:
    """Train and test, or read the existing result; the student is saved beside it."""
    folder = work.out / "cells" / digest_of(work, run)
    path = folder / "result.json"
    if not path.exists():
        _train(work, run, folder)
    return Result.read(path, name=run.name, folder=folder.name)


def _train(work: Session, run: Run, folder: Path) -> None:
    sampler, net = sampler_of(work, run), net_of(work, run)
    objective = objective_of(work, run, net)
    state = folder / "state.safetensors"
    with work.progress.stage(f"training {run.name}, seed {run.seed}") as advance:
        done = run_loop(
            net,
            work.train,
            run.recipe,
            steps=run.steps if run.rule is None else None,
            epochs=None if run.rule is None else run.epochs,
            sampler=sampler,
            seed=run.seed,
            objective=objective,
            save_to=state,
            watch=work.watch(f"cells/{folder.name}", advance),
        )
    net = objective.best(net)
    save_net(net, folder / "model.safetensors", spec=run.net, shape=work.train.shape, classes=classes_of(work, run))
    if learned := objective.learned():
        columns = {name: values.cpu().numpy() for name, values in learned.items()}
        about = {"fingerprint": work.source.fingerprint, "objective": spec_of_aim(run.aim)}
        Scores(work.source.train.labels, columns, about).save(folder / "learned.parquet")
    _result(work, run, net, len(sampler.ids), done, folder.name).write(folder / "result.json")
    remove(state)


def _result(work: Session, run: Run, net: nn.Module, kept: int, done: Position, folder: str) -> Result:
    """The result, with a test if there is something to test."""
    about: dict[str, Any] = {
        "name": run.name,
        "kept": kept,
        "of": len(work.source.train.usable),
        "steps": done.step,
        "examples": done.examples,
        "seconds": done.seconds,
        "seed": run.seed,
        "net": run.net,
        "recipe": run.recipe.name,
        "distill": None if run.distill is None else run.distill.as_dict(),
        "folder": folder,
        "adversary": None if run.adversary is None else dataclasses.asdict(run.adversary),
        "robust": _robust(work, run, net),
        "rule": None if run.rule is None else spec_of(run.rule),
        "objective": None if run.aim == Plain() else spec_of_aim(run.aim),
        "start": None if run.start is None else str(run.start),
    }
    if not run.aim.classifies:
        return Result(accuracy=math.nan, worst_class=math.nan, per_class=(), **about)
    return Result.tested(accuracy(net, work.test), **about)


def _robust(work: Session, run: Run, net: nn.Module) -> float | None:
    if run.adversary is None:
        return None
    return robust_accuracy(net, work.test, adversary=run.adversary, seed=run.seed).overall
