"""Tables of `datasets` whose column `split` assigns rows to splits."""

from dataclasses import replace
from typing import Any

import numpy as np

from secateur.data.columns import Columns
from secateur.data.found import Labelled
from secateur.data.layouts.splits import HELD_OUT, whole

COLUMN = "split"


def by_split_column(splits: dict[str, Labelled]) -> dict[str, Labelled]:
    """Divide a single split by its column `split`, if all of its values are words for splits.

    Held-out rows are told by it, so they never enter train. Without such a column, or where it says `train` alone,
    nothing changes.
    """
    only = next(iter(splits.values()))
    if len(splits) != 1 or not isinstance(only, Columns) or COLUMN not in only.table.column_names:
        return splits
    if COLUMN in (only.input, only.label):
        return splits
    values = _texts(only.table)
    words = [whole(v) if isinstance(v, str) else None for v in values]
    said = set(words)
    if None in said or not said & set(HELD_OUT):
        return splits
    named = np.array(words)
    return {
        str(name): replace(only, table=only.table.select(np.flatnonzero(named == name)))
        for name in sorted(map(str, said))
    }


def _texts(table: Any) -> list[Any]:
    """The column, with names instead of a ClassLabel's numbers."""
    values, feature = list(table.select_columns([COLUMN])[:][COLUMN]), table.features[COLUMN]
    names = getattr(feature, "names", None)
    return values if names is None else [None if v is None or v < 0 else names[v] for v in values]
