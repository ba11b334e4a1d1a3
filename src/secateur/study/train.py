"""Training on a subset, with or without a teacher."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from secateur.data.decoding.labels import NO_LABELS
from secateur.data.source import Source, open_data
from secateur.dynamic import Rule, spec_of
from secateur.dynamic import rule as find_rule
from secateur.errors import DataError, SecateurError, WrongData
from secateur.ranges import SEED, SOME, THREADS, in_ranges
from secateur.scores.embedding import rmd_weights
from secateur.store.recording import Recording
from secateur.store.tables import Subset
from secateur.study.advice import how_to_train
from secateur.study.cell import Result, plan_run, run_cell
from secateur.study.pool import Pool
from secateur.study.run import Run
from secateur.study.session import Session, session, tell
from secateur.training.adversarial import Adversary
from secateur.training.aims import aim as find_aim
from secateur.training.distill import Distill
from secateur.training.objective import Aim
from secateur.training.recipes import Recipe
from secateur.training.recipes import recipe as find_recipe


@in_ranges
def train(
    data: Any,
    *,
    subset: Subset | str | Path | None = None,
    teacher: Any = None,
    teacher_net: str | None = None,
    distill: str | Distill | None = "auto",
    adversary: str | Adversary | None = None,
    margins: np.ndarray | None = None,
    rule: str | Rule | None = None,
    objective: str | Aim = "supervised",
    start: str | Path | None = None,
    unlabelled: Any = None,
    difficulty: np.ndarray | str | Path | None = None,
    net: str | None = None,
    recipe: str | Recipe = "fast",
    epochs: Annotated[int | None, SOME] = None,
    budget: str = "balanced",
    seed: Annotated[int, SEED] = 0,
    out: str | Path = "secateur-out",
    device: str = "auto",
    threads: Annotated[int | None, THREADS] = None,
    force: bool = False,
    quiet: bool = False,
    **reading: Any,
) -> Result:
    """Train a net on a subset of the data (all of it if none is given) and test it.

    subset: a Subset, or the OUT folder or parquet file of one; refused with other data than it was chosen from.
    teacher: an OUT folder, a model file, or a module that takes raw rows; distill: how much it is heard, `auto`, `off`
    or `a=0.95,t=4`. teacher_net: the net of the teacher, needed only where it is your own and not that of `net`: no
    file decides which code runs. adversary: perturbs what is trained on, as `linf:eps=8/255,steps=3`, and the result
    has a `robust` accuracy; margins: (examples,) L2 distances to the boundary in the units of its eps, for its rule
    `margin`. rule: of dynamic pruning, chooses anew what each epoch visits: a value of `secateur.dynamic` or its name
    (`infobatch:drop=0.3`); `esps` draws from all of the data by the scores in the table of the subset. objective: what
    the net trains for, `supervised` with knobs or another of `secateur.training.aims`; unlabelled: a pool for those
    that learn from one, read as the data are but without labels; difficulty: (examples,) in [0, 1], or an OUT folder
    with features, for `supervised:entropy`. start: an OUT folder or model file to go on from, head apart where it has
    other classes. epochs: of the full run that the budget is counted from, the recipe's own by default; with a rule, of
    this run, and there is no budget. budget: `epochs`, `steps` or `balanced`. Without a test split, a seeded 20 % of
    train is held out.
    """
    chosen_rule = None if rule is None else find_rule(rule)
    chosen = Subset.open(subset) if isinstance(subset, (str, Path)) else subset
    aim = find_aim(objective)
    if teacher is None and distill not in (None, "auto", "off"):
        raise SecateurError(
            f"teacher: distill says how much a teacher is heard ({distill}), and there is none; pass teacher=, or "
            "--teacher OUT of a recorded net"
        )
    held_out = 0.2 if chosen is None or "-held-out-" in str(chosen.provenance.get("fingerprint")) else 0.0
    opened = session(
        data, out, device=device, threads=threads, force=force, quiet=quiet, held_out=held_out,
        needs_labels=aim.classifies, reading=reading, named=[net, teacher_net],
    )  # fmt: skip
    with opened as work:
        trained = find_recipe(recipe).name == "sgd" and net is not None and epochs is not None
        if not trained and (advice := how_to_train(data)):
            work.progress.say(advice)
        run = plan_run(
            work,
            "student" if chosen is not None else "full" if chosen_rule is None else f"by {spec_of(chosen_rule)}",
            net=net,
            recipe=recipe,
            epochs=epochs,
            budget=budget,
            seed=seed,
            subset=chosen,
            teacher=teacher,
            distill=distill,
            adversary=adversary,
            margins=margins,
            rule=chosen_rule,
            objective=aim,
            start=start,
            unlabelled=None if unlabelled is None else open_pool(unlabelled, work, reading),
            difficulty=difficulty_in(difficulty, work) if isinstance(difficulty, (str, Path)) else difficulty,
        )
        return train_in(work, run, budget)


def train_in(work: Session, run: Run, budget: str) -> Result:
    """`train` inside a session."""
    result = run_cell(work, run)
    work.out.note("train", {"cell": result.folder, "budget": budget}, seconds=result.seconds, examples=result.examples)
    return result


def open_pool(pool: Any, work: Session, reading: Mapping[str, Any], *, what: str = "unlabelled") -> Source:
    """Read a pool whose labels, if it has any, are not looked at; images in files are brought to the data's size.

    what: how errors call it. Raises DataError where its rows cannot be read.
    """
    how = {name: value for name, value in reading.items() if name in ("on_bad", "memory", "cache", "size")}
    if work.source.train.is_image and isinstance(pool, (str, Path)):
        how["size"] = work.source.train.shape[0]
    try:
        with work.progress.stage("reading the pool"):
            source = open_data(pool, label=NO_LABELS, **how)
    except DataError as error:
        raise DataError(f"{what}: {error}") from None
    tell(work.progress, source, what=f"{what}: ")
    return source


def difficulty_in(out: str | Path, work: Session) -> np.ndarray:
    """How hard each example is by the features that OUT holds, in (0, 1]; 0 for rows that cannot be used."""
    recording = Recording.open(Path(out))
    if recording.fingerprint != work.source.fingerprint:
        raise WrongData(
            f"difficulty: {out} was made from other data (fingerprint {recording.fingerprint}, not "
            f"{work.source.fingerprint}); name the OUT folder of a run on this data"
        )
    pool = Pool.of(recording)
    if "features" not in recording.probed.fields:
        raise SecateurError(
            f"difficulty: {out} holds no features; `secateur prune DATA --method rmd --keep 0.3 --out {out}` puts them "
            "there"
        )
    values, usable = np.zeros(len(pool.labels)), pool.usable
    values[usable] = rmd_weights(np.asarray(pool.field("features"))[usable], pool.labels[usable])
    return values
