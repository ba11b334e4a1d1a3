"""`secateur compare`, `report`, `methods`, `cite`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from secateur.cli import options as o
from secateur.cli import show
from secateur.errors import SecateurError
from secateur.ranges import Range


@o.works_on_data
def compare(
    data: o.Data = "digits",
    *,
    methods: Annotated[str, typer.Option(help="methods, separated by commas; random is always among them")] = (
        "dual:per_class=1"
    ),
    rules: Annotated[
        str, typer.Option(help="rules of pruning while training, separated by ;, as infobatch;random:keep=0.5,every=2")
    ] = "",
    keep: Annotated[str, typer.Option(help="fractions or counts, separated by commas")] = "0.1,0.3",
    seeds: Annotated[
        int, Range(1, 1_000, whole=True), typer.Option(help="how often each cell is selected and trained")
    ] = 1,
    repeat_recording: Annotated[
        bool, typer.Option("--repeat-recording", help="record once per seed, so that the spread includes the recording")
    ] = False,
    net: o.Net = None,
    distill: Annotated[
        str, typer.Option(help="how much the teacher is heard: auto, off, or a=0.95,t=4; several as a=0,0.5,1")
    ] = "auto",
    teachers: Annotated[
        str, typer.Option(help="who teaches: proxy, the recorded net, or nets to train, separated by commas")
    ] = "proxy",
    validate: Annotated[
        bool, typer.Option("--validate", help="test on a fifth of train held out, to make choices on")
    ] = False,
    adversary: o.Adversary = "off",
    recipe: o.Recipe = "fast",
    record_recipe: o.RecordRecipe = "sgd",
    record_epochs: o.RecordEpochs = None,
    epochs: o.Epochs = None,
    budget: o.Budget = "balanced",
    min_per_class: o.MinPerClass = None,
    must_keep: o.MustKeep = None,
    exclude: o.Exclude = None,
    features: o.Features = None,
    job: o.Job,
) -> None:
    """Methods side by side, beside full training, full training cut short, and random."""
    keeps = [o.parse_keep(k) for k in o.split_list(keep)]
    from secateur.study.compare import compare as run

    result = run(
        data, methods=o.split_list(methods), keep=keeps, seeds=seeds, repeat_recording=repeat_recording, net=net,
        distill=distill, recipe=recipe,
        record_recipe=record_recipe, record_epochs=record_epochs, epochs=epochs, budget=budget,
        min_per_class=min_per_class, must_keep=must_keep, exclude=exclude, features=features, adversary=adversary,
        teachers=o.split_list(teachers), validate=validate, rules=[r for r in rules.split(";") if r], **job.options,
    )  # fmt: skip
    if job.json:
        show.as_json({"about": result.about, "rows": [r.as_json() for r in result.rows]})
    else:
        _print_comparison(result, job.out)


def _print_comparison(result: Any, out: Path) -> None:
    """The table as in the report, and what each pruning costs."""
    about, attacked = result.about, "adversary" in result.about
    rows = []
    for row in result.rows:
        line = row.as_json()
        kept = "all" if row.keep is None or row.method.startswith("full") else str(row.keep)
        spread = "" if row.spread is None else f"{100 * row.spread:.2f}"
        name = row.name
        name += f" as at {row.keep}" if row.method == "full, cut short" else ""
        rows.append(
            [
                name,
                kept,
                f"{row.mean:.2%}",
                spread,
                *(["" if row.robust is None else f"{row.robust:.2%}"] if attacked else []),
                f"{line['worst_class']:.2%}",
                str(line["steps"]),
                f"{line['seconds']:.1f}",
            ]
        )
    title = f"{about['data']['name']}: accuracy on {about['test']}, {about['budget']} budget, recorded with "
    title += f"{about['record']['recipe']['name']}, trained with {about['recipe']}"
    robust = ["robust"] if attacked else []
    show.table(title, ["method", "keep", "accuracy", "+-", *robust, "worst class", "steps", "seconds"], rows)
    print()
    show.pairs([[bill.name, bill.verdict] for bill in result.bills] + [["report", str(out / "report.html")]])
    print(
        "full, cut short saves as much and needs no recording: pruning is worth it where it is more accurate than that"
    )


def report(
    out: o.OutFolder,
    beside: Annotated[
        list[Path] | None, typer.Argument(metavar="OUT2", help="other condensed sets of the same data")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="DATA of the run; by default what OUT names, if that lies on this machine, unchanged"),
    ] = None,
) -> None:
    """Write OUT/report.html again, with pictures where the data can be found again."""
    from secateur.report import is_scale, write_report, write_scale_report
    from secateur.study.out import Out
    from secateur.study.reopen import reopen

    if is_scale(out):
        show.pairs([["report", str(write_scale_report(out))]])
        return
    try:
        source = reopen(Out(out), data)
    except SecateurError as error:
        source = None
        typer.echo(f"no pictures: {error}", err=True)
    show.pairs([["report", str(write_report(out, source, beside=beside or []))]])


def methods(json: o.AsJson = False) -> None:
    """List the methods, scores and selectors: what each needs recorded and where it comes from."""
    from secateur.methods.listing import listing

    rows = listing()
    if json:
        show.as_json(rows)
    else:
        for kind in ("method", "score", "selector", "rule", "condenser"):
            print(f"{kind}s\n")
            show.pairs([[r["name"], f"{r['summary']} Needs {_listed(r['needs'])}."] for r in rows if r["kind"] == kind])
            print()


def _listed(needs: list[str]) -> str:
    return ", ".join(needs) or "nothing"


def cite(names: Annotated[list[str], typer.Argument(help="methods, rules, condensers, or distillation")]) -> None:
    """Print BibTeX for the methods and rules used."""
    from secateur.methods import bibtex

    for name in names:
        typer.echo(bibtex(name) or f"% {name}: nothing to cite")
