"""One training run with a result: a student on a subset, or on everything. Each is a folder that resumes."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from secateur import dynamic
from secateur.dynamic import Rule, spec_of
from secateur.dynamic import rule as find_rule
from secateur.errors import SecateurError
from secateur.store.files import read_json, remove, write_json
from secateur.store.tables import Subset
from secateur.study.budget import steps_for
from secateur.study.session import Session
from secateur.training.adversarial import Adversary, Attack
from secateur.training.adversarial import parse as parse_adversary
from secateur.training.distill import Distill, load_teacher
from secateur.training.distill import parse as parse_distill
from secateur.training.evaluate import Accuracy, accuracy, robust_accuracy
from secateur.training.loop import train as run_loop
from secateur.training.nets import save_net
from secateur.training.objective import Supervised
from secateur.training.recipes import Recipe
from secateur.training.recipes import recipe as find_recipe
from secateur.training.sampling import Shuffled


@dataclass(frozen=True)
class Run:
    """What is trained: everything a result depends on."""

    name: str  # how tables call it
    net: str
    recipe: Recipe
    steps: int
    seed: int
    subset: Subset | None = None
    teacher: Any = None
    distill: Distill | None = None
    adversary: Adversary | None = None
    margins: np.ndarray | None = None  # (examples,), as the adversary's rule may need
    rule: Rule | None = None  # chooses each epoch anew; then so many epochs of it, and steps is 0
    epochs: int = 0


@dataclass(frozen=True)
class Result:
    """What came of one run. Accuracies are of the last step, on the test split, read once.

    per_class: recall of each class, None for a class that the test split does not have. robust: accuracy under the
    adversary that it was trained with, None where it was trained without. rule: of dynamic pruning, with its knobs.
    examples: how many were trained on, each as often as it was; seconds: of everything the run did. ece: expected
    calibration error, over 15 bins; selective: accuracy on the 80 % that the net is surest of; None in older results.
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

    @property
    def keep(self) -> float:
        """The fraction trained on."""
        return self.kept / self.of

    @classmethod
    def tested(cls, tested: Accuracy, **about: Any) -> "Result":
        """A result from how the test went; about: the other fields."""
        recalls = tuple(None if np.isnan(r) else float(r) for r in tested.per_class)
        sure: dict[str, Any] = {"ece": tested.ece, "selective": tested.selective()}
        return cls(accuracy=tested.overall, worst_class=tested.worst, per_class=recalls, **sure, **about)

    @classmethod
    def read(cls, path: Path, **changed: Any) -> "Result":
        """What `write` wrote, with some fields changed."""
        saved = read_json(path)
        return cls(**saved | {"per_class": tuple(saved["per_class"])} | changed)

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        write_json(path, dataclasses.asdict(self))


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
) -> Run:
    """A run on a subset, or on everything.

    rule: what each epoch visits of it; the run then has the epochs of a full run, however many steps these take.
    like: train everything for the steps, and in the batches, of a run on so many examples: at the same cost. margins:
    (examples,) L2 lengths in the units of the adversary's eps; nan where a row cannot be read.
    """
    examples = len(work.source.train.usable)
    if subset is not None:
        subset.check_data(work.source.fingerprint)
    kept = examples if subset is None else len(subset)
    whole = find_recipe(recipe).for_data(examples, work.train.shape)
    whole = dataclasses.replace(whole, epochs=whole.epochs if epochs is None else epochs)
    batch = whole.for_keep((like or kept) / examples).batch
    chosen = dataclasses.replace(whole.for_keep(kept / examples), batch=batch)
    steps = steps_for(budget, whole, examples=examples, kept=like or kept, batch=batch)
    heard = None if teacher is None else parse_distill(distill, (like or kept) / examples)
    run = Run(
        name, work.net_name(net), chosen, steps, seed, subset, teacher, heard, parse_adversary(adversary), margins
    )
    if rule is not None:
        run = dataclasses.replace(run, rule=find_rule(rule), steps=0, epochs=whole.epochs)
        _sampler(work, run)
    _attack(work, run)  # what is impossible stops here
    return run


def run_cell(work: Session, run: Run) -> Result:
    """Train and test, or read the result of having done so; the student is saved beside it."""
    folder = work.out / "cells" / _digest(work, run)
    path = folder / "result.json"
    if not path.exists():
        _train(work, run, folder)
    return Result.read(path, name=run.name)


def _train(work: Session, run: Run, folder: Path) -> None:
    sampler = _sampler(work, run)
    net = work.build_net(run.net, seed=run.seed, whiten=run.recipe.whiten)
    objective = Supervised(
        net, work.train, run.recipe, seed=run.seed,
        teacher=_teacher(work, run), distill=run.distill, adversary=_attack(work, run),
    )  # fmt: skip
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
    save_net(net, folder / "model.safetensors", spec=run.net, shape=work.train.shape, classes=work.train.classes)
    result = Result.tested(
        accuracy(net, work.test),
        name=run.name,
        kept=len(sampler.ids),
        of=len(work.source.train.usable),
        steps=done.step,
        examples=done.examples,
        seconds=done.seconds,
        seed=run.seed,
        net=run.net,
        recipe=run.recipe.name,
        distill=None if run.distill is None else run.distill.as_dict(),
        folder=folder.name,
        adversary=None if run.adversary is None else dataclasses.asdict(run.adversary),
        robust=_robust(work, run, net),
        rule=None if run.rule is None else spec_of(run.rule),
    )
    result.write(folder / "result.json")
    remove(state)


def _sampler(work: Session, run: Run) -> Shuffled | dynamic.Sampler:
    """What each epoch visits: the subset, or what a rule makes of it."""
    ids, weights, subset = work.source.train.usable, None, run.subset
    if subset is not None:
        ids, weights = subset.ids, None if (subset.weights == 1).all() else subset.weights
    if run.rule is None:
        return Shuffled(ids, run.seed, weights)
    if weights is not None:
        raise SecateurError("rule: the subset has weights, which rules do not know; leave the rule or the subset out")
    score = None
    if "score" in run.rule.needs:
        ids, score = work.source.train.usable, None if subset is None else np.asarray(subset.table["score"], float)
    rows = len(work.source.train)
    return dynamic.Sampler(run.rule, examples=rows, seed=run.seed, epochs=run.epochs, pool=ids, score=score)


def _teacher(work: Session, run: Run) -> nn.Module | None:
    if run.distill is None:
        return None
    sample = work.train.sample(work.source.train.usable[:2])
    return load_teacher(run.teacher, device=work.device, rows=sample, classes=work.train.classes)


def _attack(work: Session, run: Run) -> Attack | None:
    """The adversary with a budget for every example; rows that cannot be read are never visited, and get none."""
    if run.adversary is None:
        return None
    run.adversary.check_shape(work.train.shape)
    margins = run.margins
    if margins is not None and margins.shape == work.source.train.labels.shape:
        usable = np.isin(np.arange(len(margins)), work.source.train.usable)
        margins = np.where(usable, margins, 0.0)
    return Attack.of(run.adversary, len(work.source.train), margins, work.device)


def _robust(work: Session, run: Run, net: nn.Module) -> float | None:
    if run.adversary is None:
        return None
    return robust_accuracy(net, work.test, adversary=run.adversary, seed=run.seed).overall


def _digest(work: Session, run: Run) -> str:
    """A name for everything the result depends on."""
    about: dict[str, Any] = {
        "data": work.source.fingerprint,
        "net": run.net,
        "recipe": dataclasses.asdict(run.recipe),
        "steps": run.steps,
        "seed": run.seed,
        "ids": None if run.subset is None else content_hash(run.subset.ids.tobytes() + run.subset.weights.tobytes()),
        "distill": None if run.distill is None else run.distill.as_dict(),
        "teacher": None if run.distill is None else _teacher_hash(run.teacher),
    }
    if run.rule is not None:  # no key without one: older cells keep their names
        about["rule"] = {"spec": repr(run.rule), "epochs": run.epochs}
    if (attack := _attack(work, run)) is not None:
        budgets = content_hash(attack.budgets.cpu().numpy().tobytes())
        about["adversary"] = dataclasses.asdict(attack.adversary) | {"budgets": budgets}
    return content_hash(json.dumps(about, sort_keys=True).encode())


def _teacher_hash(teacher: Any) -> str:
    """Of a teacher's weights, wherever they are."""
    if isinstance(teacher, (str, Path)):
        path = Path(teacher)
        path = path / "model.safetensors" if path.is_dir() else path
        return content_hash(path.read_bytes()) if path.is_file() else str(path)
    values = [np.ascontiguousarray(v.detach().float().cpu().numpy()) for v in teacher.state_dict().values()]
    return content_hash(b"".join(v.tobytes() for v in values))


def content_hash(content: bytes) -> str:
    """A short name for bytes."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()
