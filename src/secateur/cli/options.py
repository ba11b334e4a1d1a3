"""Options that commands share, and how they are parsed."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.models import ParameterInfo

from secateur.errors import SecateurError
from secateur.ranges import BYTES, NONE_OR_ROWS, SEED, SIDE, SOME, THREADS, plain_number, range_of

_HELP_DATA = "digits (bundled), a folder of images by class, parquet files or a glob, a saved data set, or a hub name"

Data = Annotated[str, typer.Argument(help=_HELP_DATA)]
OutFolder = Annotated[Path, typer.Argument(metavar="OUT", help="the folder of an earlier run")]
Out = Annotated[Path, typer.Option(help="folder for everything the command writes")]
Seed = Annotated[int, SEED, typer.Option(help="random seed")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or mps")]
Threads = Annotated[int | None, THREADS, typer.Option(help="CPU threads for training")]
Force = Annotated[bool, typer.Option("--force", help="start over: delete what an earlier run wrote to OUT")]
AsJson = Annotated[bool, typer.Option("--json", help="print the result as JSON, and no progress")]

Input = Annotated[str | None, typer.Option(help="the input column; detected if only one can be meant")]
Label = Annotated[str | None, typer.Option(help="the label column; detected if only one can be meant")]
Split = Annotated[str | None, typer.Option(help="the split to prune")]
Test = Annotated[str | None, typer.Option(help="the split to test on")]
Size = Annotated[int | None, SIDE, typer.Option(help="resize images to squares of this side, in pixels")]
OnRare = Annotated[
    str, typer.Option(help="classes with a single example: stop, keep them, or drop their rows and list them")
]
OnBad = Annotated[str, typer.Option(help="rows that cannot be read: stop, or skip and list them")]
Memory = Annotated[
    str | None, typer.Option(help="memory limit for decoded rows, such as 8G; above it, rows are streamed")
]
Cache = Annotated[Path | None, typer.Option(help="where `datasets` caches parquet and hub data")]

Net = Annotated[
    str | None,
    typer.Option(help="a net by name, NAME:WIDTH, vit_tiny:tokens=0.7, timm:NAME or package.module:function"),
]
Recipe = Annotated[str, typer.Option(help="how to train: sgd, fast or paper, with changes such as fast:lr=0.1,crop=4")]
RecordRecipe = Annotated[str, typer.Option(help="how to train the recorded run")]
RecordEpochs = Annotated[
    int | None,
    SOME,
    typer.Option(help="epochs to record; by default the recipe's, or half of them if the method needs no more"),
]
Epochs = Annotated[int | None, SOME, typer.Option(help="epochs of full training, on which budgets are based")]
Budget = Annotated[str, typer.Option(help="how long a pruned run trains: epochs, steps or balanced")]
Distill = Annotated[
    str,
    typer.Option(help="distillation strength: auto, off, or a=0.95,t=4 (also mixup=, cutmix=, views=, top=)"),
]
Adversary = Annotated[
    str, typer.Option(help="train on perturbed rows: off, l2:eps=0.5,steps=3 or linf:eps=8/255 (of the pixel range)")
]
Method = Annotated[
    str | None,
    typer.Option(
        help="see `secateur methods`; knobs after a colon, such as dual:c_d=4; default dual:per_class=1, "
        "or k-center without labels"
    ),
]
Keep = Annotated[str, typer.Option(help="how many to keep: 0.3 is a fraction, 500 a count")]
MinPerClass = Annotated[
    int | None,
    NONE_OR_ROWS,
    typer.Option(
        help="keep at least this many of each class, or all it has; default 1 for methods that choose inside classes, "
        "if enough rows are kept"
    ),
]
Features = Annotated[
    str | None,
    typer.Option(
        help="where features come from: the recorded net by default; FILE.npy, FILE.parquet, `input` for the rows "
        "themselves, timm:NAME, transformers:NAME or package.module:function"
    ),
]
MustKeep = Annotated[Path | None, typer.Option(help="file of ids to keep: text, .npy or .parquet")]
Exclude = Annotated[Path | None, typer.Option(help="file of ids to leave out: text, .npy or .parquet")]
EvalPass = Annotated[
    bool, typer.Option("--eval-pass", help="record a separate evaluation pass instead of the training pass")
]


def parse_keep(text: str) -> int | float:
    """`0.3` and `1.0` are fractions, `500` and `1` are counts.

    >>> parse_keep("0.3"), parse_keep("1.0"), parse_keep("1")
    (0.3, 1.0, 1)
    """
    try:
        value = plain_number(text)
    except ValueError:
        raise SecateurError(f"keep: expected a fraction such as 0.3 or a count such as 500, got {text!r}") from None
    if isinstance(value, float) and not 0 < value <= 1:
        raise SecateurError(f"keep: expected a fraction in (0, 1] or a whole count, got {text}")
    return value


def parse_memory(text: str | None) -> int | None:
    """Bytes; K, M, G and T are powers of 1024.

    >>> parse_memory("2G"), parse_memory("512M"), parse_memory(None)
    (2147483648, 536870912, None)
    """
    if text is None:
        return None
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in "KMGT" and text else (text, "")
    try:
        size = int(plain_number(number) * 1024 ** " KMGT".index(unit or " "))
        if size not in BYTES:
            raise ValueError(text)
        return size
    except (ValueError, OverflowError):  # of infinity
        raise SecateurError(f"memory: expected a size such as 8G or 512M, got {text!r}") from None


def telling_ranges(command: Callable[..., None]) -> Callable[..., None]:
    """The command, with the allowed range at the end of the help of each number."""
    for parameter in inspect.signature(command).parameters.values():
        known = range_of(parameter.annotation)
        for option in getattr(parameter.annotation, "__metadata__", ()):
            if known is not None and isinstance(option, ParameterInfo) and not (option.help or "").endswith("]"):
                option.help = f"{option.help} [{known}]"
    return command


@dataclass(frozen=True)
class Job:
    """The options of every command on a data set: how to read it, and where and how to work."""

    json: bool
    out: Path
    options: dict[str, Any]  # as the functions of study expect them


_SHARED: dict[str, tuple[Any, Any]] = {
    "input": (Input, None),
    "label": (Label, None),
    "split": (Split, None),
    "test": (Test, None),
    "size": (Size, None),
    "on_bad": (OnBad, "stop"),
    "on_rare": (OnRare, "stop"),
    "memory": (Memory, None),
    "cache": (Cache, None),
    "out": (Out, Path("secateur-out")),
    "seed": (Seed, 0),
    "device": (Device, "auto"),
    "threads": (Threads, None),
    "force": (Force, False),
    "json": (AsJson, False),
}


def works_on_data(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the shared options; it receives them as `job`."""

    def run(**given: Any) -> None:
        options = {name: given.pop(name) for name in _SHARED}
        json, out = options.pop("json"), options["out"]
        options["memory"] = parse_memory(options["memory"])
        command(**given, job=Job(json, out, {n: v for n, v in options.items() if v is not None} | {"quiet": json}))

    return with_options(run, command, _SHARED)


def with_options(
    run: Callable[..., None], command: Callable[..., Any], shared: dict[str, tuple[Any, Any]]
) -> Callable[..., None]:
    """`run` with the name, help and options of the command, except `job`, followed by the shared options."""
    own = [p for name, p in inspect.signature(command).parameters.items() if name != "job"]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in shared.items()
    ]
    wraps(command)(run)
    run.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (*own, *more)}
    del run.__wrapped__  # type: ignore[attr-defined]
    return run


def split_list(text: str) -> list[str]:
    """Split names at commas; a comma after a colon belongs to the name's knobs.

    >>> split_list("dual,el2n:epochs=5,ccs"), split_list("dual:c_d=4,window=8,el2n")
    (['dual', 'el2n:epochs=5', 'ccs'], ['dual:c_d=4,window=8', 'el2n'])
    """
    out: list[str] = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        if "=" in part and ":" not in part and out:
            out[-1] += f",{part}"
        else:
            out.append(part)
    return out
