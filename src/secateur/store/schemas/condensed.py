"""Schemas of the JSON files of condensing, and of the metadata of tensor files."""

from typing import Annotated, Any, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from secateur.store.schemas.base import LOOSE, Count, Natural, Number, Part, Seconds, Text, holds


@with_config(LOOSE)
class _Augment(TypedDict):
    families: list[Text]
    epochs: Natural


@with_config(LOOSE)
class _About(TypedDict):
    protocol: Text
    augments: dict[Text, _Augment]
    coreset_features: Text


@with_config(LOOSE)
class _Row(TypedDict):
    net: Text
    augment: Text
    rows: Text
    accuracy: Part
    spread: Part | None
    above_random: Number
    seconds: Seconds
    accuracies: Annotated[list[Part], Field(min_length=1)]
    soft: Part | None
    soft_spread: Part | None
    soft_above_random: Number | None
    soft_seconds: Seconds | None
    soft_accuracies: list[Part] | None


def _fault(row: Any) -> str | None:
    if row["soft"] is None:
        return None
    missing = [name for name in ("above_random", "seconds", "accuracies") if row[f"soft_{name}"] is None]
    return f"expected soft_{missing[0]} beside soft, found none" if missing else None


def _table_fault(rows: Any) -> str | None:
    """Every kind of rows must have a cell in every column."""
    kinds = list(dict.fromkeys(row["rows"] for row in rows))
    for soft in (False, True):
        own = [row for row in rows if not soft or row["soft"] is not None]
        cells = {(row["rows"], row["net"], row["augment"]) for row in own}
        heads = {cell[1:] for cell in cells}
        if len(cells) != len(kinds) * len(heads):
            return "expected a line for every kind of rows with every net and augmentation"
    return None


@with_config(LOOSE)
class CondenseFile(TypedDict):
    """condense.json: the accuracy of nets trained on condensed rows and on coresets."""

    about: _About
    rows: Annotated[list[Annotated[_Row, holds(_fault)]], Field(min_length=1), holds(_table_fault)]
    teacher: Part | None
    teacher_agrees: NotRequired[Part | None]


@with_config(LOOSE)
class JudgingState(TypedDict):
    """state/judging.json: the accuracy and seconds of each finished net."""

    about: dict[str, Any]
    done: dict[str, Annotated[list[Number], Field(min_length=2, max_length=2)]]


@with_config(LOOSE)
class SyntheticAbout(TypedDict):
    """In the metadata of synthetic.safetensors. step: the step after which its rows were saved."""

    tiles: NotRequired[Annotated[int, Field(ge=1, le=64)]]
    step: NotRequired[Count]
    method: NotRequired[Text]
    net: NotRequired[Text | None]


@with_config(LOOSE)
class CheckpointAbout(TypedDict):
    """In the metadata of a checkpoint: facts about the run, and scalars of its optimisers."""

    about: dict[str, Any]
    plain: dict[str, Number | int | bool | str | None]


@with_config(LOOSE)
class Standing(TypedDict):
    """The position of a training run, see `secateur.training.loop.Position`."""

    epoch: Annotated[int, Field(ge=0, le=10**6)]
    step: Count
    examples: Count
    seconds: Seconds


@with_config(LOOSE)
class Grown(TypedDict):
    """The position of a condensing run."""

    asked: dict[str, Any]
    step: Count
