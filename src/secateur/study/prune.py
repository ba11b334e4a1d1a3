"""The main job: record, score, select, write what is kept, and report; train a student on it where asked."""

from functools import partial
from pathlib import Path
from typing import Any

from secateur.methods import Method
from secateur.methods import method as find_method
from secateur.registry import resolve_keep
from secateur.select.limits import Limits
from secateur.store.recording import Recording
from secateur.store.tables import Subset
from secateur.study.bill import make_bill, write_bills
from secateur.study.budget import full_steps
from secateur.study.cell import plan_run
from secateur.study.query import recall_in
from secateur.study.record import RecordingPlan, record_in
from secateur.study.select import Pool, read_limits, select_in, write_kept_in
from secateur.study.session import Session, session
from secateur.study.train import train_in
from secateur.training.distill import Distill
from secateur.training.recipes import Recipe


def prune(
    data: Any,
    *,
    keep: int | float,
    method: str | Method = "dual",
    record_recipe: str | Recipe = "sgd",
    recipe: str | Recipe = "fast",
    out: str | Path = "secateur-out",
    seed: int = 0,
    net: str | None = None,
    record_epochs: int | None = None,
    epochs: int | None = None,
    train: bool = False,
    distill: str | Distill | None = "auto",
    budget: str = "balanced",
    min_per_class: int = 0,
    must_keep: Any = None,
    exclude: Any = None,
    eval_pass: bool = False,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    quiet: bool = False,
    **reading: Any,
) -> Subset:
    """Keep the part of a data set worth training on; writes the subset, the kept data, a bill and a report to OUT.

    keep: a count, or a fraction in (0, 1]. method: see `secateur methods`; knobs after a colon (`dual:c_d=4`).
    record_recipe, record_epochs: of the short run that is watched. train: also train a student on what is kept, with
    `recipe` for a `budget` counted from a full run of `epochs`, heard by the recorded proxy as its teacher (`distill`).
    min_per_class, must_keep, exclude: hold whatever the method. Run again, it goes on where it stood; with another
    keep or method it uses the recording again. reading: how to read the data, see `secateur.open_data`.
    """
    chosen = find_method(method)
    with session(data, out, device=device, threads=threads, force=force, quiet=quiet, reading=reading) as work:
        if train:
            work.test_split()  # stops here where there is none
        limits = read_limits(min_per_class, must_keep, exclude, len(work.source.train))
        plan = RecordingPlan.make(
            work, epochs=record_epochs, net=net, recipe=record_recipe, seed=seed, eval_pass=eval_pass
        )
        taught = train and distill not in (None, "off")
        student_of = partial(
            plan_run,
            work,
            f"{chosen.name}, keep {keep}",
            net=net,
            recipe=recipe,
            epochs=epochs,
            budget=budget,
            seed=seed,
            teacher=work.out / "model.safetensors" if taught else None,
            distill=distill,
        )
        student_of(like=resolve_keep(keep, len(work.source.train.usable)))  # what is impossible stops here
        needs_recording = chosen.score is not None or taught
        recording = record_in(work, plan) if needs_recording else None
        subset = _select(work, plan, recording, chosen, keep, seed, limits)
        run = student_of(subset=subset)
        work.out.forget("train")  # a student of another subset
        student = train_in(work, run, budget) if train else None
        full = full_steps(run.recipe, len(work.source.train.usable))
        bill = make_bill(
            work.out, run.name, recording=needs_recording, recall=chosen.recall,
            full_steps=full, batch=run.recipe.batch, steps=run.steps, student=student,
        )  # fmt: skip
        write_bills(work.out, [bill])
        work.progress.say(bill.verdict)
        from secateur.report import write_report

        write_report(work.out.path, work.source, progress=work.progress.say)
    return subset


def _select(
    work: Session,
    plan: RecordingPlan,
    recording: Recording | None,
    method: Method,
    keep: int | float,
    seed: int,
    limits: Limits,
) -> Subset:
    """Score, select, and write the kept data set."""
    recall = recall_in(work, plan) if method.recall else None
    train = work.source.train
    pool = Pool(train.labels, train.fingerprint) if recording is None else Pool.of(recording)
    subset = select_in(work.out, pool, method, keep, seed, limits, recall=recall)
    write_kept_in(work.out, work.source, subset)
    work.progress.say(f"kept {len(subset)} of {len(train.usable)} examples in {work.out / 'kept'}")
    return subset
