"""A data set that was found but not read: its splits, each a table of inputs and, mostly, labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from secateur.data.decoding.rows import Rows

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
    """The name of a data set, its form, and its splits.

    ignored: what lay there and is not read, by reason.
    """

    name: str
    form: Form
    splits: Mapping[str, Labelled]
    root: Path | None = None
    ignored: Mapping[str, Sequence[str]] = field(default_factory=dict)
