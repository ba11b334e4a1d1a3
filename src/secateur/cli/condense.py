"""`secateur condense`: parse, call one function of study, print."""

from pathlib import Path
from typing import Annotated, Any

import typer

from secateur.cli import options as o
from secateur.cli import show
from secateur.errors import SecateurError
from secateur.ranges import AMOUNT, NONE_OR_SOME, SOME, Range, plain_number


def parse_schedule(text: str | None) -> tuple[int, int] | None:
    """Parse MATCHES,EPOCHS: matches per net, and epochs between two matches.

    >>> parse_schedule("10,50"), parse_schedule(None)
    ((10, 50), None)
    """
    if text is None:
        return None
    try:
        matches, epochs = map(plain_number, text.split(","))
    except ValueError:
        matches, epochs = -1, -1
    if matches not in SOME or epochs not in NONE_OR_SOME:
        raise SecateurError(f"schedule: expected MATCHES,EPOCHS with at least one match, such as 10,50, got {text!r}")
    return int(matches), int(epochs)


@o.works_on_data
def condense(
    data: o.Data = "digits",
    *,
    per_class: Annotated[int, SOME, typer.Option(help="synthetic rows per class")],
    method: Annotated[
        str, typer.Option(help="dm, dc, dsa, cafe or idm; dm is the cheapest, and also accepts vectors")
    ] = "dm",
    steps: Annotated[
        int | None,
        NONE_OR_SOME,
        typer.Option(help="optimisation steps; default 20,000 for dm and idm, 1,000 for dc and dsa, 2,000 for cafe"),
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(
            help="start from noise, real, mosaic or the OUT folder of a subset; depends on the method by default"
        ),
    ] = None,
    net: Annotated[
        str | None,
        typer.Option(help="the net to condense with: convnet1 to convnet5, chosen by image size; mlp for vectors"),
    ] = None,
    augment: Annotated[
        str | None, typer.Option(help="off, auto, or a list of families such as color_crop_cutout_flip_scale_rotate")
    ] = None,
    rate: Annotated[
        float | None,
        Range(0, 1e30, above=True),
        typer.Option(help="learning rate of the synthetic rows; 1 for dm, 0.2 for idm, 0.1 for the others"),
    ] = None,
    batch: Annotated[int | None, SOME, typer.Option(help="real rows per class and step, 256 by default")] = None,
    schedule: Annotated[
        str | None,
        typer.Option(help="MATCHES,EPOCHS per net for dc and dsa, known for some --per-class; an upper limit for cafe"),
    ] = None,
    tiles: Annotated[
        int | None,
        Range(1, 64, whole=True),
        typer.Option(help="idm: tiles per side of an image; 2, or 1 below 16 pixels"),
    ] = None,
    classify: Annotated[
        float | None, AMOUNT, typer.Option(help="idm: weight of the cross-entropy; 0.5, or 0.1 from 50 rows per class")
    ] = None,
    compiled: Annotated[
        bool, typer.Option("--compile", help="faster steps after a minute of compiling; needs a C++ compiler on a CPU")
    ] = False,
    statistics: Annotated[
        str, typer.Option(help="normalise with: data, mnist, fashion-mnist, svhn, cifar10, cifar100, tiny-imagenet")
    ] = "data",
    every: Annotated[
        int | None, SOME, typer.Option(help="steps between checkpoints of the images; 100, or a tenth of the steps")
    ] = None,
    sets: Annotated[
        int,
        Range(1, 1_000, whole=True),
        typer.Option(help="how many sets to learn independently; the papers evaluate 5"),
    ] = 1,
    nets: Annotated[
        str | None, typer.Option(help="nets to evaluate with, separated by semicolons, such as convnet3;resnet9;mlp")
    ] = None,
    repeats: Annotated[
        int, Range(1, 1_000, whole=True), typer.Option(help="nets to train on each set; the papers use 20")
    ] = 3,
    eval_epochs: Annotated[
        int | None,
        NONE_OR_SOME,
        typer.Option(help="evaluation epochs, plus one as published; 1000 with augmentation, else 300"),
    ] = None,
    eval_augment: Annotated[
        str | None, typer.Option(help="evaluation augmentation, several as 'auto;off'; the method's own by default")
    ] = None,
    recording: Annotated[
        Path | None,
        typer.Option(metavar="OUT", help="compare with coresets chosen by the features and scores of a recorded run"),
    ] = None,
    soft: Annotated[
        bool, typer.Option("--soft", help="also train nets on soft labels from the net of --recording")
    ] = False,
    evaluate: Annotated[
        bool, typer.Option(help="train nets on the result and on coresets of the same size, and compare them")
    ] = True,
    job: o.Job,
) -> None:
    """Condense a data set into a few synthetic rows per class; writes OUT/synthetic and compares it with coresets."""
    matches = parse_schedule(schedule)
    from secateur.study.condense import condense as run

    held = run(
        data, per_class=per_class, method=method, steps=steps, init=init, net=net, augment=augment, rate=rate,
        batch=batch, schedule=matches, tiles=tiles, classify=classify, compiled=compiled, statistics=statistics,
        every=every, sets=sets, nets=nets, repeats=repeats, eval_epochs=eval_epochs, eval_augment=eval_augment,
        recording=recording, soft=soft, evaluate=evaluate,
        **job.options,
    )  # fmt: skip
    _tell(held, job, evaluate=evaluate)


def _tell(held: Any, job: o.Job, *, evaluate: bool) -> None:
    from secateur.store.files import read_json
    from secateur.store.schemas.condensed import CondenseFile

    path = job.out / "condense.json"
    found = read_json(path, CondenseFile) if evaluate and path.exists() else None
    if job.json:
        show.as_json({"out": str(job.out), "rows": len(held.labels), "result": found})
        return
    from secateur.study.advice import TRAINED

    about = held.about(job.out / "synthetic.safetensors")
    show.pairs(
        [
            ["condensed", f"{len(held.labels)} rows, {held.per_class} per class{_cut(held)}"],
            ["data", str(job.out / "synthetic")],
            ["steps", _steps(about)],
            ["to train", f"secateur train {job.out / 'synthetic'} {TRAINED.format(about['net'])} --out OUT"],
        ]
    )
    if found is None:
        return
    how = "; ".join(_augmented(name, about) for name, about in found["about"]["augments"].items())
    title = f"\naccuracy on the test split; {found['about']['protocol']}; {how}"
    if soft := found["teacher"] is not None:
        title += f"; the soft-label teacher itself: {found['teacher']:.2%}, and it agrees with the labels of "
        title += f"{found['teacher_agrees']:.0%} of the condensed rows"
    rows = [
        [
            line["rows"],
            line["net"],
            line["augment"],
            *_numbers(line, "accuracy", ""),
            *(_numbers(line, "soft", "soft_") if soft else []),
        ]
        for line in found["rows"]
    ]
    numbers = ["+-", "above random", "seconds"]
    head = ["accuracy", *numbers, *(["soft", *numbers] if soft else [])]
    show.table(title, ["rows", "net", "augment", *head], rows)
    show.pairs([["report", str(job.out / "report.html")]])


def _steps(about: dict[str, Any]) -> str:
    """The steps done, compared with the published number.

    >>> _steps({"method": "dm", "step": 500}), _steps({"method": "dc", "step": 1000})
    ('500, 2.5 % of the published 20,000', '1,000, as published')
    """
    from secateur.condensation import CONDENSERS

    published = CONDENSERS[about["method"]]().steps
    if about["step"] == published:
        return f"{published:,}, as published"
    return f"{about['step']:,}, {100 * about['step'] / published:.3g} % of the published {published:,}"


def _numbers(line: dict[str, Any], mean: str, prefix: str) -> list[str]:
    spread = line[f"{prefix}spread"]
    return [
        f"{line[mean]:.2%}",
        "" if spread is None else f"{100 * spread:.2f}",
        f"{100 * line[f'{prefix}above_random']:+.2f}",
        f"{line[f'{prefix}seconds']:.1f}",
    ]


def _cut(held: Any) -> str:
    return "" if held.tiles == 1 else f"; cut into tiles, {len(held.expanded().labels)} to train on"


def _augmented(name: str, about: dict[str, Any]) -> str:
    """Describe one evaluation augmentation.

    >>> _augmented("auto", {"families": ["crop", "scale"], "epochs": 1001})
    'auto: 1001 epochs, crop+scale'
    """
    return f"{name}: {about['epochs']} epochs" + (", " if about["families"] else "") + "+".join(about["families"])
