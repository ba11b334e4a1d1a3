"""Writing synthetic rows as a data set, with the test split of the real ones."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from secateur.data.decoding.images import encode
from secateur.data.source import Source
from secateur.data.writers.kept import input_column
from secateur.data.writers.mined import write_beside, write_part
from secateur.store.files import replacing


def write_test(source: Source, folder: Path) -> None:
    """Write folder/test.parquet, the usable rows of the test split, where there is one."""
    if source.test is not None:
        with replacing(folder / "test.parquet") as beside:
            write_part(beside, source, source.test)


def write_synthetic(rows: np.ndarray, labels: Sequence[int], source: Source, folder: Path) -> None:
    """Write folder/train.parquet: rows uint8 (rows, height, width, channels) as lossless PNG, or float32 (rows, dims).

    `load_dataset(folder)` and `secateur train folder` read it, with the class names of the real data.
    """
    import datasets

    name, feature = input_column(source.train)
    features = datasets.Features({name: feature, "label": datasets.ClassLabel(names=list(source.classes))})
    table = datasets.Dataset.from_dict({name: _cells(rows), "label": list(labels)}, features=features)
    with replacing(folder / "train.parquet") as beside:
        table.to_parquet(str(beside))


def write_joint(rows: np.ndarray, labels: Sequence[int], source: Source, folder: Path) -> None:
    """Write the labelled rows of the source and then synthetic ones, as `write_synthetic` takes them, as one data set
    with the test split of the source; a folder that is whole or not there.
    """
    write_beside(source, [(_cells(rows), list(labels))], folder)


def _cells(rows: np.ndarray) -> list[Any]:
    """Of the input column: images as lossless PNG, vectors as lists."""
    return [{"bytes": encode(row), "path": None} if rows.ndim == 4 else row.tolist() for row in rows]


def contact_sheet(rows: np.ndarray, per_class: int, *, side: int = 32) -> np.ndarray:
    """All images (rows, height, width, channels) on one (height, width, channels): a line a class, a grey rule between.

    side: small images are enlarged by whole factors to about so many pixels.

    >>> contact_sheet(np.zeros((2, 4, 4, 1), np.uint8), 1, side=8).shape  # two lines of 8 pixels, rules of 1
    (19, 10, 1)
    """
    times = max(1, side // rows.shape[1])
    rows = rows.repeat(times, axis=1).repeat(times, axis=2)
    framed = np.pad(rows, ((0, 0), (0, 1), (0, 1), (0, 0)), constant_values=128)
    lines = [np.concatenate(list(line), axis=1) for line in framed.reshape(-1, per_class, *framed.shape[1:])]
    sheet = np.concatenate(lines, axis=0)
    return np.pad(sheet, ((1, 0), (1, 0), (0, 0)), constant_values=128)
