"""Writing labelled rows and rows mined from a pool as one data set, with the test split of the labelled ones."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from secateur.data.kept import cell, input_column
from secateur.data.source import Source, Split
from secateur.store.files import replacing

BLOCK = 1000
"""Rows in memory at a time, as they are written."""
Part = tuple[Split, np.ndarray, np.ndarray]
"""Rows of a split: ids and labels, both (rows,)."""


def write_mined(source: Source, pool: Source, ids: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    """Write train.parquet, the labelled rows and then rows `ids` of the pool with `labels`, and test.parquet.

    Both by id, with the input and the class alone: images as lossless PNG of the size they are trained at, since the
    two sources may differ in form and in their other columns. Without a test split there is no test.parquet.
    """
    train, test = source.train, source.test
    with replacing(folder) as beside:
        beside.mkdir(parents=True)
        mined: Part = (pool.train, ids, labels)
        _write(beside / "train.parquet", source, [_labelled(train), mined])
        if test is not None:
            _write(beside / "test.parquet", source, [_labelled(test)])


def write_part(path: Path, source: Source, split: Split) -> None:
    """Write the usable rows of a split of the source, with their labels, as one parquet file."""
    _write(path, source, [_labelled(split)])


def _labelled(split: Split) -> Part:
    return split, split.usable, split.labels[split.usable]


def _write(path: Path, source: Source, parts: Sequence[Part]) -> None:
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    name, feature = input_column(source.train)
    features = datasets.Features({name: feature, "label": datasets.ClassLabel(names=list(source.classes))})
    schema = features.arrow_schema
    with pq.ParquetWriter(path, schema) as writer:
        for cells, labels in _blocks(parts):
            writer.write_table(pa.Table.from_pydict({name: cells, "label": labels}, schema=schema))


def _blocks(parts: Sequence[Part]) -> Iterator[tuple[list[Any], list[int]]]:
    for split, ids, labels in parts:
        for start in range(0, len(ids), BLOCK):
            block = slice(start, start + BLOCK)
            yield [cell(split, int(i)) for i in ids[block]], labels[block].tolist()
