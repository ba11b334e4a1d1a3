"""The main job: record, score, select, write what is kept, and report; train a student on it where asked."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from secateur.methods import Method, default_method
from secateur.methods import method as find_method
from secateur.ranges import NONE_OR_ROWS, SEED, SOME, THREADS, in_ranges
from secateur.registry import resolve_keep
from secateur.store.tables import Subset
from secateur.study.bill import make_bill, write_bills
from secateur.study.budget import full_steps
from secateur.study.cell import Result, plan_run
from secateur.study.held import read_limits
from secateur.study.prepare import Needs
from secateur.study.record import RecordingPlan
from secateur.study.run import Run
from secateur.study.select import select_in, write_kept_in
from secateur.study.session import Session, session
from secateur.study.starved import starved_warning
from secateur.study.train import train_in
from secateur.training.adversarial import Adversary
from secateur.training.distill import Distill
from secateur.training.recipes import Recipe


@in_ranges
def prune(
    data: Any,
    *,
    keep: int | float,
    method: str | Method | None = None,
    record_recipe: str | Recipe = "sgd",
    recipe: str | Recipe = "fast",
    out: str | Path = "secateur-out",
    seed: Annotated[int, SEED] = 0,
    net: str | None = None,
    record_epochs: Annotated[int | None, SOME] = None,
    epochs: Annotated[int | None, SOME] = None,
    train: bool = False,
    distill: str | Distill | None = "auto",
    adversary: str | Adversary | None = None,
    budget: str = "balanced",
    min_per_class: Annotated[int | None, NONE_OR_ROWS] = None,
    must_keep: Any = None,
    exclude: Any = None,
    eval_pass: bool = False,
    features: str | None = None,
    device: str = "auto",
    threads: Annotated[int | None, THREADS] = None,
    force: bool = False,
    quiet: bool = False,
    **reading: Any,
) -> Subset:
    """Keep the part of a data set worth training on; writes the subset, the kept data, a bill and a report to OUT.

    keep: a count, or a fraction in (0, 1]. method: see `secateur methods`; knobs after a colon (`dual:c_d=4`); by
    default `dual:per_class=1`, DUAL inside each class, and `k-center` for data without labels. record_recipe,
    record_epochs: of the short run that is watched. train: also train a student on what is kept, with `recipe` for a
    `budget` counted from a full run of `epochs`, heard by the recorded proxy as its teacher (`distill`), on views that
    an `adversary` perturbs, as `l2:eps=0.5,steps=3`: in the run that is watched by eps, in the student's by no more
    than each example's distance to the boundary (`rule=constant` for eps there too).
    min_per_class, must_keep, exclude: hold whatever the method. features: where a method's features come from, the
    recorded net by default: a file of embeddings, `input` for the rows themselves, or a net that is none of ours
    (`timm:NAME`, `transformers:NAME`, `package.module:function`). Data without labels can be pruned by methods that
    need none. Run again, it goes on where it stood; with another keep or method it uses the recording again. reading:
    how to read the data, see `secateur.open_data`.
    """
    named = None if method is None else find_method(method)
    with session(
        data, out, device=device, threads=threads, force=force, quiet=quiet, reading=reading, named=[net]
    ) as work:
        chosen = named or default_method(labelled=work.source.labelled)
        if train:
            work.source.require_labels("training a student (--train)")
            work.test_split()  # stops here where there is none
        limits = read_limits(min_per_class, must_keep, exclude, len(work.source.train))
        taught = train and distill not in (None, "off")
        plan = RecordingPlan.make(
            work, epochs=record_epochs, net=net, recipe=record_recipe, seed=seed, eval_pass=eval_pass,
            adversary=adversary, half_a_run=chosen.half_a_run and not taught,
        )  # fmt: skip
        student_of = partial(
            plan_run, work, f"{chosen.name}, keep {keep}", net=net, recipe=recipe, epochs=epochs, budget=budget,
            seed=seed, teacher=work.out / "model.safetensors" if taught else None, distill=distill, adversary=adversary,
        )  # fmt: skip
        count = resolve_keep(keep, len(work.source.train.usable))
        needs = Needs.of(work, plan, [chosen], [count], features)
        student_of(like=count, margins=np.zeros(len(work.source.train)))  # what is impossible stops here
        pool, checked = needs.meet(work, plan, taught=taught)
        subset = select_in(work.out, pool, chosen, keep, seed, limits, checked=checked)
        _tell(work, subset, chosen)
        run = student_of(subset=subset, margins=needs.margins(pool))
        work.out.forget("train")  # a student of another subset
        student = train_in(work, run, budget) if train else None
        _charge(work, run, needs.spent(work.out, chosen, taught=taught), student)
        from secateur.report import write_report

        write_report(work.out.path, work.source, progress=work.progress.say)
    return subset


def _charge(work: Session, run: Run, spent: tuple[float, int], student: Result | None) -> None:
    """Write the bill, which says when pruning pays."""
    full = full_steps(run.recipe, len(work.source.train.usable))
    bill = make_bill(
        work.out, run.name, spent=spent, full_steps=full, batch=run.recipe.batch, steps=run.steps, student=student
    )
    write_bills(work.out, [bill])


def _tell(work: Session, subset: Subset, method: Method) -> None:
    """Write the kept data set, and say what it lacks."""
    train = work.source.train
    write_kept_in(work.out, work.source, subset)
    work.progress.say(f"kept {len(subset)} of {len(train.usable)} examples in {work.out / 'kept'}")
    if train.labelled:
        _tell_starved(work, subset, method)


def _tell_starved(work: Session, subset: Subset, method: Method) -> None:
    """Which classes keep too little, if any do, and what helps."""
    labels, classes = np.asarray(subset.table["label"]), work.source.train.classes
    before = np.bincount(labels[labels >= 0], minlength=len(classes))
    after = np.bincount(labels[subset.ids], minlength=len(classes))
    told = starved_warning(classes, before, after, method, int(subset.provenance["min_per_class"]))
    if told is not None:
        work.progress.say(told)
