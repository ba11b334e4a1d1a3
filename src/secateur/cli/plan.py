"""`secateur plan`: how hard a data set is, and what pruning it, or fine-tuning on it, would take."""

from pathlib import Path
from typing import Annotated, Any

import typer

from secateur.cli import options as o
from secateur.cli import show
from secateur.ranges import POSITIVE


@o.works_on_data
def plan(
    data: o.Data = "digits",
    *,
    keep: o.Keep = "0.3",
    method: o.Method = None,
    net: o.Net = None,
    recipe: Annotated[
        str | None, typer.Option(help="how it trains: fast by default, sgd for a forecast; with changes as sgd:lr=0.3")
    ] = None,
    record_recipe: o.RecordRecipe = "sgd",
    record_epochs: o.RecordEpochs = None,
    epochs: o.Epochs = None,
    budget: o.Budget = "balanced",
    start: Annotated[
        Path | None, typer.Option(help="OUT folder or model file of a trained net: forecast its fine-tuning")
    ] = None,
    reach: Annotated[float | None, POSITIVE, typer.Option(help="the training loss to come to, in nats, as 0.3")] = None,
    kernel: Annotated[str, typer.Option(help="the forecast goes by all weights, jacobian, or by the last-layer")] = (
        "jacobian"
    ),
    new_head: Annotated[
        bool, typer.Option("--new-head", help="fine-tune with a new last layer, as if the classes were other in number")
    ] = False,
    subset: Annotated[
        Path | None, typer.Option(help="fine-tune on it: the OUT folder of a pruning; else on all")
    ] = None,
    job: o.Job,
) -> None:
    """How hard the data are, and the time, disk and memory of each stage of a prune. Features by the net in --out.

    With --start and --reach also how many steps, and how long, fine-tuning would take to a training loss.
    """
    wanted = o.parse_keep(keep)
    from secateur.study.plan import plan as run

    options = {name: value for name, value in job.options.items() if name != "force"}
    found = run(
        data, keep=wanted, method=method, net=net, recipe=recipe, record_recipe=record_recipe,
        record_epochs=record_epochs, epochs=epochs, budget=budget, start=start, reach=reach, kernel=kernel,
        new_head=new_head, subset=subset, **options,
    )  # fmt: skip
    if job.json:
        show.as_json(found.as_json())
    else:
        _tell(found)


def _tell(found: Any) -> None:
    hard = found.difficulty
    counts = sorted(found.per_class.values())
    rows = [["examples", f"{found.usable} of {found.examples} can be used, each {' x '.join(map(str, found.shape))}"]]
    if counts:
        rows.append(["classes", f"{len(counts)}, of {counts[0]} to {counts[-1]} examples"])
    rows.append(["exact duplicates", str(hard.exact_duplicates)])
    by = f"of {hard.sample} looked at among {hard.among}"
    rows.append(["near-duplicates", f"{hard.near_duplicates:.1%} {by}, by the rows themselves"])
    if hard.contradicted is None:
        rows.append(["doubtful labels", "not judged: name the folder of a recorded net with --out"])
    else:
        rows.append(
            ["doubtful labels", f"{hard.contradicted:.1%} contradicted by their neighbours, {by}, by {hard.features}"]
        )
    if hard.spread is not None:
        rows.append(["spread", f"tail {hard.spread.tail:.3g}, mean {hard.spread.mean:.3g}: test to nearest train"])
    rows.append(["memory", f"{show.size(found.memory)} at the peak, as read and trained here"])
    rows.append(["cache", f"{show.size(found.cache)} of files that `datasets` keeps"])
    if found.forecast is not None:
        time = (
            ""
            if not found.forecast.steps or found.forecast.seconds is None
            else f", {show.clock(found.forecast.seconds)}"
        )
        rows.append(["fine-tuning", f"{found.forecast.told}{time}; by the {found.forecast.kernel} kernel"])
    show.pairs(rows)
    stages = [[s.name, show.clock(s.seconds), show.size(s.disk), f"{s.examples:,}"] for s in found.stages]
    show.table("", ["stage", "time", "disk", "examples"], stages)
