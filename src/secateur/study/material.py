"""What a run is made of: its net, what each epoch visits, what it trains for."""

import numpy as np
import torch
from torch import Tensor, nn

from secateur import dynamic
from secateur.data.parts import stratified
from secateur.data.source import Source
from secateur.data.tensors import Tensors
from secateur.errors import SecateurError
from secateur.study.run import Run, content_hash
from secateur.study.session import Session
from secateur.training.adversarial import Attack
from secateur.training.aims import spec_of
from secateur.training.distill import load_teacher
from secateur.training.nets import Normalised, adopt, model_in
from secateur.training.objective import Material, Objective
from secateur.training.sampling import Shuffled
from secateur.training.seeding import rng
from secateur.training.soft import MOST_CLASSES, SoftLabels

VALIDATION = 0.1
"""The seeded, stratified part of the train split that serves every choice."""


def net_of(work: Session, run: Run) -> Normalised:
    """A fresh net, or the saved one to start from with a head for these classes."""
    net = work.build_net(run.net, seed=run.seed, whiten=run.recipe.whiten, classes=classes_of(work, run))
    return net if run.start is None else adopt(net, model_in(run.start))


def classes_of(work: Session, run: Run) -> int:
    """The outputs of its net: the classes of the data; 1 where there are no labels and the run needs none."""
    return work.train.classes if run.aim.classifies else len(work.source.classes)


def sampler_of(work: Session, run: Run) -> Shuffled | dynamic.Sampler:
    """What each epoch visits: the subset, or what a rule makes of it, without validation examples where needed."""
    ids, weights, subset = work.source.train.usable, None, run.subset
    if subset is not None:
        weights = None if (subset.weights == 1).all() else subset.weights
        if run.rule is None or "score" not in run.rule.needs:  # by the scores in its table a rule draws from all
            ids = subset.ids
    if run.rule is not None and weights is not None:
        raise SecateurError("rule: the subset has weights, which rules do not know; leave the rule or the subset out")
    if "validation" in run.aim.needs:
        apart = np.isin(ids, validation_ids(work, run.seed), invert=True)
        ids, weights = ids[apart], None if weights is None else weights[apart]
        if not len(ids):
            raise SecateurError(
                f"validation: objective {spec_of(run.aim)} keeps a tenth of the data to itself, and the subset has "
                f"nothing else; choose a larger one, or another --seed"
            )
    if run.rule is None:
        return Shuffled(ids, run.seed, weights)
    score = None
    if "score" in run.rule.needs and subset is not None:
        score = np.asarray(subset.table["score"], float)
    rows = len(work.source.train)
    return dynamic.Sampler(run.rule, examples=rows, seed=run.seed, epochs=run.epochs, pool=ids, score=score)


def validation_ids(work: Session, seed: int) -> np.ndarray:
    """The validation part of the train split, sorted."""
    train = work.source.train
    return stratified(train.labels, train.usable, VALIDATION, rng(seed, "validation"))


def attack_of(work: Session, run: Run) -> Attack | None:
    """The adversary with a budget for every example; rows that cannot be read are never visited, and get none."""
    if run.adversary is None:
        return None
    run.adversary.check_shape(work.train.shape)
    margins = run.margins
    if margins is not None and margins.shape == work.source.train.labels.shape:
        usable = np.isin(np.arange(len(margins)), work.source.train.usable)
        margins = np.where(usable, margins, 0.0)
    return Attack.of(run.adversary, len(work.source.train), margins, work.device)


def digest_of(work: Session, run: Run) -> str:
    """A name for everything the result depends on."""
    attack = attack_of(work, run)
    return run.digest(work.source.fingerprint, None if attack is None else attack.budgets.cpu().numpy())


def objective_of(work: Session, run: Run, net: Normalised) -> Objective:
    """What the run trains for."""
    given = Material(
        net,
        work.train,
        run.recipe,
        run.seed,
        teacher=_teacher(work, run),
        distill=run.distill,
        adversary=attack_of(work, run),
        unlabelled=None if run.unlabelled is None else Tensors(run.unlabelled.train, work.device),
        validation=validation_ids(work, run.seed) if "validation" in run.aim.needs else None,
        difficulty=_difficulty(work, run),
        soft=_soft(work, run),
        fresh=lambda spec, seed: work.build_net(spec, seed=seed, whiten=run.recipe.whiten),
    )
    return run.aim.objective(given)


def check_aim(work: Session, run: Run) -> None:
    """Raise SecateurError where the run lacks what its aim needs, or has what it would not look at."""
    given = {
        "teacher": run.teacher is not None,
        "adversary": run.adversary is not None,
        "unlabelled": run.unlabelled is not None,
        "difficulty": run.difficulty is not None,
    }
    name = spec_of(run.aim)
    for what, there in given.items():
        if not there and what in run.aim.needs:
            raise SecateurError(f"{what}: objective {name} needs it, got none; pass {what}=, or --{what} there")
        if there and what not in run.aim.sees:
            raise SecateurError(f"{what}: objective {name} does not look at it; leave one of the two out")
    if run.unlabelled is not None:
        check_pool(work, run.unlabelled, "unlabelled")
    _difficulty(work, run)


def check_pool(work: Session, pool: Source, what: str) -> None:
    """Raise SecateurError where the rows of a pool are of another shape than the data's; what: how errors call it."""
    shape, other = work.source.train.shape, pool.train.shape
    if other != shape:
        alike = len(other) == len(shape) == 3 and other[2] == shape[2]
        way = (
            "bring both to one size with --size"
            if alike
            else "they must be of one kind: as many channels or dimensions"
        )
        raise SecateurError(f"{what}: expected rows of shape {shape}, as the data, got {other}; {way}")


def check_kept(work: Session, run: Run) -> None:
    """Raise SecateurError where a teacher's answers cannot be kept as asked, or would be the same for every view."""
    if run.distill is None or not run.distill.views:
        return
    classes, top = work.train.classes, run.distill.top
    if top >= classes or (top and classes > MOST_CLASSES):
        raise SecateurError(
            f"distill: expected top below the number of classes, {classes}, where these are at most "
            f"{MOST_CLASSES}, got {top}; leave top out"
        )
    if run.distill.views > 1 and not run.recipe.views.vary:
        name, shape = run.recipe.name, work.train.shape
        vary = f", or vary the images: --recipe {name}:crop=1" if len(shape) == 3 else ""
        raise SecateurError(
            f"distill: {run.distill.views} views of an example would all be the same, since recipe {name} does not "
            f"vary rows of shape {shape}; take views=1, which asks the teacher once{vary}"
        )


def _soft(work: Session, run: Run) -> SoftLabels | None:
    """Kept answers, in a folder of OUT named by everything they depend on."""
    teacher = _teacher(work, run)
    if teacher is None or run.distill is None or not run.distill.views:
        return None
    ids, top = sampler_of(work, run).ids, run.distill.top
    parts = (
        work.source.fingerprint,
        repr(run.recipe.views),
        run.hash_of_teacher,
        content_hash(ids.tobytes()),
        str(top),
    )
    folder = work.out / "soft" / content_hash("\n".join(parts).encode())
    return SoftLabels(teacher, work.train, run.recipe.views, ids, views=run.distill.views, folder=folder, top=top)


def _difficulty(work: Session, run: Run) -> Tensor | None:
    if run.difficulty is None:
        return None
    values, examples = np.asarray(run.difficulty, dtype=np.float32), len(work.source.train)
    if values.shape != (examples,):
        raise SecateurError(f"difficulty: expected one number an example ({examples},), got shape {values.shape}")
    wrong = ~((values >= 0) & (values <= 1))
    wrong[np.isin(np.arange(examples), work.source.train.usable, invert=True)] = False
    if wrong.any():
        at = int(wrong.argmax())
        raise SecateurError(f"difficulty: expected numbers in [0, 1], got {values[at]} of example {at}")
    return torch.from_numpy(values).to(work.device)


def _teacher(work: Session, run: Run) -> nn.Module | None:
    if run.distill is None and "teacher" not in run.aim.needs:
        return None
    sample = work.train.sample(work.source.train.usable[:2])
    classes = work.train.classes if run.aim.classifies else None
    return load_teacher(run.teacher, device=work.device, rows=sample, classes=classes, named=work.named)
