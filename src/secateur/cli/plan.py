"""`secateur plan`: how hard a data set is, and what pruning it, or fine-tuning on it, would cost."""

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
        str | None,
        typer.Option(help="how to train: fast by default, sgd for a forecast; with changes such as sgd:lr=0.3"),
    ] = None,
    record_recipe: o.RecordRecipe = "sgd",
    record_epochs: o.RecordEpochs = None,
    epochs: o.Epochs = None,
    budget: o.Budget = "balanced",
    start: Annotated[
        Path | None, typer.Option(help="OUT folder or model file of a trained net: forecast its fine-tuning")
    ] = None,
    reach: Annotated[float | None, POSITIVE, typer.Option(help="target training loss in nats, such as 0.3")] = None,
    kernel: Annotated[str, typer.Option(help="kernel of the forecast: jacobian (all weights) or last-layer")] = (
        "jacobian"
    ),
    new_head: Annotated[
        bool, typer.Option("--new-head", help="fine-tune with a new last layer, as for a different number of classes")
    ] = False,
    subset: Annotated[
        Path | None, typer.Option(help="the OUT folder of a pruning to fine-tune on; all of the data by default")
    ] = None,
    job: o.Job,
) -> None:
    """Measure how hard the data are, and estimate the time, disk and memory of each stage of a prune.

    Features come from the net in --out. With --start and --reach, also forecast how many steps and how much time
    fine-tuning needs to reach that training loss.
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
    rows = [["examples", f"{found.usable} of {found.examples} usable, each {' x '.join(map(str, found.shape))}"]]
    if counts:
        rows.append(["classes", f"{len(counts)}, with {counts[0]} to {counts[-1]} examples each"])
    rows.append(["exact duplicates", str(hard.exact_duplicates)])
    by = f"of {hard.sample} sampled from {hard.among}"
    rows.append(["near-duplicates", f"{hard.near_duplicates:.1%} {by}, compared by the rows themselves"])
    if hard.contradicted is None:
        rows.append(["doubtful labels", "not checked: give the folder of a recorded net with --out"])
    else:
        rows.append(
            [
                "doubtful labels",
                f"{hard.contradicted:.1%} contradicted by their neighbours, {by}, compared by {hard.features}",
            ]
        )
    if hard.spread is not None:
        rows.append(
            [
                "spread",
                f"tail {hard.spread.tail:.3g}, mean {hard.spread.mean:.3g} (distance from test to nearest train row)",
            ]
        )
    rows.append(["memory", f"{show.size(found.memory)} at the peak"])
    rows.append(["cache", f"{show.size(found.cache)} of files cached by `datasets`"])
    if found.forecast is not None:
        time = (
            ""
            if not found.forecast.steps or found.forecast.seconds is None
            else f", {show.clock(found.forecast.seconds)}"
        )
        rows.append(["fine-tuning", f"{found.forecast.told}{time}; with the {found.forecast.kernel} kernel"])
    show.pairs(rows)
    stages = [[s.name, show.clock(s.seconds), show.size(s.disk), f"{s.examples:,}"] for s in found.stages]
    show.table("", ["stage", "time", "disk", "examples"], stages)
