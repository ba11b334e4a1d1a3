"""A data set that was found but not read: its splits, each a table of inputs and, mostly, labels."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from secateur.data.rows import Rows
from secateur.errors import DataError

Form = Literal["digits", "folder", "parquet", "saved", "hub", "arrays"]


@runtime_checkable
class Labelled(Protocol):
    """One split, unread."""

    def __len__(self) -> int: ...

    def labels(self) -> tuple[list[Any], Any] | None:
        """The raw labels, and the `datasets` feature that describes them, if any; None for data without labels."""

    def rows(self, size: int | None) -> Rows:
        """A reader of the inputs; size: bring images to squares of that side."""


@dataclass(frozen=True)
class Found:
    """What a data set is called, the form it came in, and its splits."""

    name: str
    form: Form
    splits: Mapping[str, Labelled]
    root: Path | None = None


def choose_split(splits: Mapping[str, Any], asked: str | None, wanted: tuple[str, ...], argument: str) -> str | None:
    """The split to use: the one asked for, else the first of `wanted` that exists.

    >>> choose_split({"train": 0, "validation": 0}, None, ("test", "validation"), "test")
    'validation'
    """
    if asked is not None:
        if asked not in splits:
            raise DataError(f"{argument}: expected one of the splits {', '.join(splits)}, got {asked!r}")
        return asked
    return next((name for name in wanted if name in splits), None)
