"""`secateur prune`, `record`, `score`, `select`, `train`, `mine`, `slim`: parse, call one function of study, print."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from secateur.cli import options as o
from secateur.cli import show
from secateur.ranges import PART, ROWS, SHARE, SOME


@o.works_on_data
def prune(
    data: o.Data = "digits",
    *,
    keep: o.Keep,
    method: o.Method = None,
    net: o.Net = None,
    train: Annotated[bool, typer.Option("--train", help="also train a student on what is kept")] = False,
    distill: o.Distill = "auto",
    adversary: o.Adversary = "off",
    recipe: o.Recipe = "fast",
    record_recipe: o.RecordRecipe = "sgd",
    record_epochs: o.RecordEpochs = None,
    epochs: o.Epochs = None,
    budget: o.Budget = "balanced",
    min_per_class: o.MinPerClass = None,
    must_keep: o.MustKeep = None,
    exclude: o.Exclude = None,
    eval_pass: o.EvalPass = False,
    features: o.Features = None,
    job: o.Job,
) -> None:
    """Keep the part of a data set worth training on: record, score, select, write kept/ and a report."""
    wanted = o.parse_keep(keep)
    from secateur.study.prune import prune as run

    subset = run(
        data, keep=wanted, method=method, net=net, train=train, distill=distill, recipe=recipe,
        record_recipe=record_recipe, record_epochs=record_epochs, epochs=epochs, budget=budget,
        min_per_class=min_per_class, must_keep=must_keep, exclude=exclude, eval_pass=eval_pass,
        features=features, adversary=adversary, **job.options,
    )  # fmt: skip
    _tell_pruned(subset, job, trained=train)


def _tell_pruned(subset: Any, job: o.Job, *, trained: bool) -> None:
    from secateur.store.files import read_json
    from secateur.store.schemas import runs

    out = job.out
    bill = read_json(out / "bill.json", runs.BillFile)
    stages = read_json(out / "run.json", runs.RunFile)["stages"]
    student = None
    if trained:
        student = read_json(out / "cells" / stages["train"]["asked"]["cell"] / "result.json", runs.ResultFile)
    if job.json:
        show.as_json({"out": str(out), "subset": dict(subset.provenance), "bill": bill, "student": student})
        return
    about = subset.provenance
    method = ":".join(filter(None, (about["method"], ",".join(f"{k}={v}" for k, v in about["knobs"].items()))))
    rows = [["kept", f"{len(subset)} of {about['of']} by {method}"], ["data", str(out / "kept")]]
    if student is not None:
        rows.append(["student", _accuracy(student["accuracy"], student["worst_class"], student.get("robust"))])
    rows += [["bill", bill["bills"][0]["verdict"]], ["report", str(out / "report.html")]]
    show.pairs(rows)


def _accuracy(overall: float, worst: float, robust: float | None) -> str:
    told = f"{overall:.2%} on the test split, worst class {worst:.2%}"
    return told if robust is None else f"{told}, under attack {robust:.2%}"


@o.works_on_data
def record(
    data: o.Data = "digits",
    *,
    epochs: o.RecordEpochs = None,
    net: o.Net = None,
    recipe: o.RecordRecipe = "sgd",
    fields: Annotated[
        str | None, typer.Option(help="what to record, separated by commas; everything by default")
    ] = None,
    eval_pass: o.EvalPass = False,
    job: o.Job,
) -> None:
    """Record the predictions and losses of each example during a short training run."""
    from secateur.study.record import record as run

    wanted = None if fields is None else o.split_list(fields)
    recording = run(data, epochs=epochs, net=net, recipe=recipe, fields=wanted, eval_pass=eval_pass, **job.options)
    if job.json:
        about = {"epochs": recording.epochs, "examples": recording.examples, "fields": list(recording.fields)}
        show.as_json({"recording": str(recording.path), **about})
    else:
        rows = f"{recording.epochs} epochs of {recording.examples} examples"
        show.pairs([["recorded", rows], ["in", str(recording.path)]])


def score(
    out: o.OutFolder,
    *,
    method: Annotated[str, typer.Option(help="one method or several, separated by commas")] = "dual",
    keep: o.Keep = "0.3",
    json: o.AsJson = False,
) -> None:
    """Score the examples of a recording; adds columns to scores.parquet. Needs no data."""
    from secateur.study.score import score as run

    scores = run(out, method=o.split_list(method), keep=o.parse_keep(keep))
    if json:
        show.as_json({"scores": str(out / "scores.parquet"), "columns": list(scores.columns)})
    else:
        show.pairs([["scored", ", ".join(scores.columns)], ["in", str(out / "scores.parquet")]])


def select(
    out: o.OutFolder,
    *,
    keep: o.Keep,
    method: o.Method = None,
    min_per_class: o.MinPerClass = None,
    must_keep: o.MustKeep = None,
    exclude: o.Exclude = None,
    seed: o.Seed = 0,
    json: o.AsJson = False,
) -> None:
    """Choose a subset from a recording; writes subset.parquet. Needs no data; `prune` also writes kept/."""
    from secateur.study.out import Out
    from secateur.study.select import select_from

    subset = select_from(
        out, method=method, keep=o.parse_keep(keep), seed=seed,
        min_per_class=min_per_class, must_keep=must_keep, exclude=exclude,
    )  # fmt: skip
    if json:
        show.as_json({"out": str(out), "subset": dict(subset.provenance)})
    else:
        show.pairs([["kept", f"{len(subset)} of {subset.provenance['of']}"], ["in", str(out / "subset.parquet")]])
    if Out(out).kept not in (None, subset.digest):
        told = f"{out / 'kept'} and report.html still belong to another subset: `secateur prune DATA --out {out}` "
        typer.echo(f"{told}with this method and keep rewrites both, without recording again", err=True)


@o.works_on_data
def train(
    data: o.Data = "digits",
    *,
    subset: Annotated[Path | None, typer.Option(help="the OUT folder of a pruning; all of the data by default")] = None,
    teacher: Annotated[Path | None, typer.Option(help="the OUT folder or model file of a teacher")] = None,
    teacher_net: Annotated[
        str | None, typer.Option(help="the teacher's network, if it is your own and differs from --net")
    ] = None,
    distill: o.Distill = "auto",
    adversary: o.Adversary = "off",
    rule: Annotated[
        str | None,
        typer.Option(
            help="choose examples anew each epoch, with --epochs (no --budget): infobatch:drop=0.3, random:keep=0.5"
        ),
    ] = None,
    objective: Annotated[
        str,
        typer.Option(
            help="training objective: supervised:entropy=0.2, filtered:passing=0.5, beta, imitate, progressive"
        ),
    ] = "supervised",
    start: Annotated[Path | None, typer.Option(help="the OUT folder or model file of a net to start from")] = None,
    unlabelled: Annotated[str | None, typer.Option(help="DATA to use without its labels, if it has any")] = None,
    difficulty: Annotated[Path | None, typer.Option(help="an OUT folder with features, for supervised:entropy")] = None,
    net: o.Net = None,
    recipe: o.Recipe = "fast",
    epochs: o.Epochs = None,
    budget: o.Budget = "balanced",
    job: o.Job,
) -> None:
    """Train a net on a subset, with or without a teacher, and test it."""
    from secateur.study.train import train as run

    result = run(
        data, subset=subset, teacher=teacher, teacher_net=teacher_net, distill=distill, net=net, recipe=recipe,
        epochs=epochs, budget=budget,
        adversary=adversary, rule=rule, objective=objective, start=start, unlabelled=unlabelled, difficulty=difficulty,
        **job.options,
    )  # fmt: skip
    if job.json:
        show.as_json(result.as_json())
        return
    accuracy = "not tested: the head is not trained; continue with --start"
    if result.per_class:
        accuracy = _accuracy(result.accuracy, result.worst_class, result.robust)
    work = f"{result.steps} steps on {result.kept} of {result.of} examples in {result.seconds:.0f} s"
    if result.rule is not None:
        work = f"{result.steps} steps, {result.examples} visits by {result.rule} among {result.kept} of {result.of} "
        work += f"examples, in {result.seconds:.0f} s"
    if result.distill is not None:
        work += f", distilled with {', '.join(f'{name}={value:g}' for name, value in result.distill.items())}"
    if result.objective is not None:
        work += f", objective {result.objective}: {result.examples} visits"
    if result.start is not None:
        work += f", from {result.start}"
    sure = [] if result.ece is None else [["calibration", _calibration(result.ece, result.selective)]]
    folder = job.out / "cells" / result.folder
    learned = [["learned", str(folder / "learned.parquet")]] if (folder / "learned.parquet").exists() else []
    show.pairs([["accuracy", accuracy], *sure, ["trained", work], *learned, ["in", str(folder)]])


def _calibration(ece: float, selective: float | None) -> str:
    return f"off by {ece:.2%} (ECE); {selective:.2%} accuracy on the 80 % it is most confident about"


@o.works_on_data
def slim(
    model: Annotated[Path, typer.Argument(help="the OUT folder or model file of an mlp or a vit_tiny")],
    data: o.Data = "digits",
    *,
    flops: Annotated[float, PART, typer.Option(help="the fraction of its multiply-adds to keep")],
    rank: Annotated[
        str, typer.Option(help="which units to keep: r2d2, representative, data, magnitude or random")
    ] = "r2d2",
    sample: Annotated[int, ROWS, typer.Option(help="how many rows to use")] = 1000,
    job: o.Job,
) -> None:
    """Make a trained net cheaper without training: remove hidden units, based on its weights and unlabelled rows."""
    from secateur.study.slim import slim as run

    found = run(model, data, flops=flops, rank=rank, sample=sample, **job.options)
    if job.json:
        show.as_json({"out": str(job.out), **dataclasses.asdict(found)})
        return
    costs = f"{found.multiply_adds_after:,} of {found.multiply_adds_before:,} multiply-adds a row"
    units = ", ".join(f"{n} of {of}" for n, of in zip(found.units_after, found.units_before, strict=True))
    speed = f"{found.seconds_after:.3g} s for 1,000 rows, {found.seconds_before:.3g} s before"
    rows = [["cost", costs], ["units", units], ["speed", speed]]
    if found.accuracy_after is not None:
        rows.append(["accuracy", f"{found.accuracy_after:.2%} on the test split, {found.accuracy_before:.2%} before"])
    show.pairs([*rows, ["in", str(job.out / "model.safetensors")]])


@o.works_on_data
def mine(
    data: o.Data,
    pool: Annotated[str, typer.Argument(help="DATA to use without its labels, if it has any")],
    *,
    top: Annotated[
        int | None, ROWS, typer.Option(help="how many rows to take per class, the most confident first")
    ] = None,
    at_least: Annotated[
        float | None, SHARE, typer.Option(help="take rows of at least this confidence, the cosine to the class mean")
    ] = None,
    per_class: Annotated[
        int | None, SOME, typer.Option(help="condense the mined rows to this many per class; writes OUT/joint")
    ] = None,
    condense_with: Annotated[
        str | None,
        typer.Option(help="a method of `condense` with its knobs, such as dm:steps=2000,batch=64; dm by default"),
    ] = None,
    model: Annotated[
        Path | None, typer.Option(help="the OUT folder or model file of a net; trained on DATA by default")
    ] = None,
    net: o.Net = None,
    recipe: o.Recipe = "fast",
    epochs: o.Epochs = None,
    job: o.Job,
) -> None:
    """Label the rows of a pool that are similar to the labelled ones; writes OUT/mined to train on."""
    from secateur.study.mine import mine as run

    mined = run(
        data, pool, model=model, top=top, at_least=at_least, per_class=per_class, condense_with=condense_with, net=net,
        recipe=recipe, epochs=epochs, **job.options,
    )  # fmt: skip
    of = len(mined.table["id"])
    if job.json:
        show.as_json({"out": str(job.out), "mined": len(mined), "of": of, "per_class": per_class, **mined.provenance})
        return
    joint = [] if per_class is None else [["condensed", f"{per_class} per class, in {job.out / 'joint'}"]]
    show.pairs([["mined", f"{len(mined)} of {of} rows"], ["data", str(job.out / "mined")], *joint])
