"""Schemas of the JSON files of an OUT folder, except those of condensing."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from secateur.store.schemas.base import LOOSE, Count, Hex, Natural, Number, Part, Seconds, Seed, Text, fault_of, holds

Side = Annotated[int, Field(ge=1, le=1 << 14)]


@with_config(LOOSE)
class Reading(TypedDict):
    """How the data were read: options of `open_data`."""

    input: NotRequired[Text]
    label: NotRequired[Text]
    split: NotRequired[Text]
    test: NotRequired[Text]
    size: NotRequired[Side]
    on_bad: NotRequired[Literal["stop", "skip"]]
    on_rare: NotRequired[Literal["stop", "keep", "drop"]]
    memory: NotRequired[Count]
    cache: NotRequired[Text]


@with_config(LOOSE)
class About(TypedDict):
    """The data set that a folder belongs to."""

    name: Text
    form: Text
    fingerprint: Text
    examples: Count
    usable: Count
    classes: list[Text]
    labelled: NotRequired[bool]
    reading: NotRequired[Reading]


def _data_fault(value: Any) -> str | None:
    if value["usable"] > value["examples"]:
        return f"expected at most {value['examples']} usable examples, got {value['usable']}"
    if value.get("labelled", True) and len(value["classes"]) > max(value["usable"], 1 << 20):
        return f"expected no more classes than examples, got {len(value['classes'])}"
    return None


Data = Annotated[About, holds(_data_fault)]


@with_config(LOOSE)
class Stage(TypedDict):
    """A stage that has begun: its options, whether it is done, and its cost."""

    asked: dict[str, Any]
    done: bool
    seconds: NotRequired[Seconds]
    examples: NotRequired[Count]
    steps: NotRequired[Count]
    step: NotRequired[Count]
    steps_now: NotRequired[Count]


@with_config(LOOSE)
class _Epochs(TypedDict):
    name: Text
    epochs: Annotated[int, Field(ge=1, le=10**6)]


@with_config(LOOSE)
class Recorded(TypedDict):
    """The options of a recording."""

    net: Text
    recipe: _Epochs
    seed: Seed


@with_config(LOOSE)
class _Kept(TypedDict):
    rows: Count
    load: Text
    subset: Hex


@with_config(LOOSE)
class _Trained(TypedDict):
    cell: Hex


@with_config(LOOSE)
class Learned(TypedDict):
    """The options of condensing."""

    method: Text
    per_class: Natural
    net: Text


_ASKED: dict[str, Any] = {"record": Recorded, "kept": _Kept, "train": _Trained, "condense": Learned}
"""The schema of a stage's options, by its name up to a dash."""
_OUTCOME = {"record": ("seconds", "examples", "steps"), "train": ("seconds", "examples"), "condense": ("step",)}
"""The keys that a finished stage must have."""


def _stage_fault(stages: Any) -> str | None:
    """What is wrong with the stages that other code reads."""
    for name, stage in stages.items():
        kind = name.partition("-")[0]
        if kind in _ASKED and (fault := fault_of(stage["asked"], _ASKED[kind])) is not None:
            return f"{name}.asked.{fault}"
        for key in _OUTCOME.get(kind, ()) if stage["done"] else ():
            if key not in stage:
                return f"{name}.{key}: expected in a finished stage, found none"
    return None


@with_config(LOOSE)
class RunFile(TypedDict):
    """run.json: the options, the data and the versions of a run. owns: the names that the run wrote."""

    versions: dict[str, Text]
    commit: Text | None
    data: Data
    stages: Annotated[dict[Text, Stage], holds(_stage_fault)]
    owns: NotRequired[list[Text]]


@with_config(LOOSE)
class _Named(TypedDict):
    name: Text
    fingerprint: Text
    labelled: NotRequired[bool]


@with_config(LOOSE)
class Claim(TypedDict):
    """The part of run.json that tells which run owns an OUT folder, and what it has begun."""

    data: _Named
    stages: dict[Text, Stage]
    owns: NotRequired[list[Text]]


@with_config(LOOSE)
class LikeRun(TypedDict):
    """The keys that every run.json of an OUT folder has."""

    versions: dict[str, Any]
    data: dict[str, Any]
    stages: dict[str, Any]


@with_config(LOOSE)
class _Cost(TypedDict):
    seconds: Seconds
    examples: Count


@with_config(LOOSE)
class _Line(TypedDict):
    name: Text
    once_seconds: Seconds
    once_examples: Count
    train_seconds: Seconds
    train_examples: Count
    full_seconds: Seconds
    full_examples: Count
    measured: bool
    pays_after: Natural | None
    verdict: Text


@with_config(LOOSE)
class BillFile(TypedDict):
    """bill.json: the cost of each stage, and a line for each pruning."""

    stages: dict[Text, _Cost]
    bills: Annotated[list[_Line], Field(min_length=1)]


def _kept_fault(value: Any) -> str | None:
    kept, of = value["kept"], value["of"]
    return f"expected at most {of} kept, got {kept}" if kept > of else None


Distill = dict[str, Number]


@with_config(LOOSE)
class _Result(TypedDict):
    name: Text
    accuracy: Part | None
    worst_class: Part | None
    per_class: list[Part | None]
    kept: Natural
    of: Natural
    steps: Count
    examples: Count
    seconds: Seconds
    seed: Seed
    net: Text
    recipe: Text
    distill: Distill | None
    folder: Hex
    adversary: NotRequired[dict[str, Any] | None]
    robust: NotRequired[Part | None]
    rule: NotRequired[Text | None]
    ece: NotRequired[Part | None]
    selective: NotRequired[Part | None]
    objective: NotRequired[Text | None]
    start: NotRequired[Text | None]


ResultFile = Annotated[_Result, holds(_kept_fault)]
"""cells/CELL/result.json, and proxy.json: the result of one training run."""


@with_config(LOOSE)
class Query(TypedDict):
    """query.json: the recall of each class on validation data."""

    asked: dict[str, Any]
    recall: list[Part]


@with_config(LOOSE)
class _Slim(TypedDict):
    net: Text
    rank: Text
    rows: Natural
    multiply_adds_before: Natural
    multiply_adds_after: Natural
    units_before: list[Natural]
    units_after: list[Natural]
    accuracy_before: Part | None
    accuracy_after: Part | None
    seconds_before: Seconds
    seconds_after: Seconds


def _units_fault(value: Any) -> str | None:
    before, after = value["units_before"], value["units_after"]
    return None if len(before) == len(after) else f"expected units of {len(before)} layers, got {len(after)}"


SlimFile = Annotated[_Slim, holds(_units_fault)]
"""slim.json: a net before and after."""


@with_config(LOOSE)
class _Attack(TypedDict):
    norm: Text
    eps: Number


@with_config(LOOSE)
class _Compared(TypedDict):
    data: Data
    record: Recorded
    recipe: Text
    budget: Text
    test: Text
    adversary: NotRequired[_Attack]


@with_config(LOOSE)
class _Row(TypedDict):
    method: Text
    teacher: bool
    heard: NotRequired[Text]
    teacher_net: NotRequired[Text | None]
    distill: NotRequired[Distill | None]
    keep: Number | None
    fraction: Part | None
    accuracy: Part
    spread: Part | None
    worst_class: Part
    per_class: list[Part | None]
    steps: Count
    seconds: Seconds
    seeds: Annotated[list[Seed], Field(min_length=1)]
    robust_accuracy: NotRequired[Part]


def _row_fault(row: Any) -> str | None:
    if row["keep"] is not None and row["fraction"] is None:
        return "expected a fraction beside keep, found none"
    taught = row["teacher"] and row.get("distill")
    return "expected a in distill, found none" if taught and "a" not in row["distill"] else None


@with_config(LOOSE)
class CompareFile(TypedDict):
    """compare.json: one line per method, with and without a teacher."""

    about: _Compared
    rows: Annotated[list[Annotated[_Row, holds(_row_fault)]], Field(min_length=1)]
