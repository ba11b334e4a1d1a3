"""Writing labelled rows and rows mined from a pool as one data set, with the test split of the labelled ones."""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from secateur.data.source import Source, Split
from secateur.data.writers.kept import cell, input_column
from secateur.store.files import replacing

BLOCK = 1000
"""Rows in memory at a time, as they are written."""
Block = tuple[list[Any], list[int]]
"""Cells of the input column, and as many labels."""


def mined_rows(source: Source, pool: Source, ids: np.ndarray, labels: np.ndarray) -> Source:
    """Rows `ids` of the pool alone, with `labels`, as a data set with the classes and the test split of the source.

    They keep their numbers in the pool; its other rows cannot be used. It exists only where it was made.
    """
    claimed = np.full(len(pool.train), -1, dtype=np.int64)
    claimed[ids] = labels
    digest = hashlib.blake2b(claimed.tobytes(), digest_size=8).hexdigest()
    train = dataclasses.replace(
        pool.train, classes=source.classes, labels=claimed, usable=np.asarray(ids, dtype=np.int64), labelled=True,
        fingerprint=f"{pool.fingerprint}-mined-{digest}",
    )  # fmt: skip
    name = f"rows mined from {pool.name}"
    return dataclasses.replace(pool, name=name, form="arrays", train=train, _open_test=lambda: source.test)


def write_mined(source: Source, pool: Source, ids: np.ndarray, labels: np.ndarray, folder: Path) -> None:
    """Write labelled rows, and then rows `ids` of the pool with `labels`; see `write_beside`."""
    write_beside(source, _blocks(pool.train, ids, labels), folder)


def write_beside(source: Source, more: Iterable[Block], folder: Path) -> None:
    """Write train.parquet, the labelled rows and then the rows of `more`, and test.parquet.

    Both by id, with the input and the class alone: images as lossless PNG of the size they are trained at, since what
    joins them may differ in form and in other columns. Without a test split there is no test.parquet.
    """
    with replacing(folder) as beside:
        beside.mkdir(parents=True)
        _write(beside / "train.parquet", source, itertools.chain(_labelled(source.train), more))
        if source.test is not None:
            write_part(beside / "test.parquet", source, source.test)


def write_part(path: Path, source: Source, split: Split) -> None:
    """Write the usable rows of a split of the source, with their labels, as one parquet file."""
    _write(path, source, _labelled(split))


def _write(path: Path, source: Source, blocks: Iterable[Block]) -> None:
    import datasets
    import pyarrow as pa
    import pyarrow.parquet as pq

    name, feature = input_column(source.train)
    features = datasets.Features({name: feature, "label": datasets.ClassLabel(names=list(source.classes))})
    schema = features.arrow_schema
    with pq.ParquetWriter(path, schema) as writer:
        for cells, labels in blocks:
            writer.write_table(pa.Table.from_pydict({name: cells, "label": labels}, schema=schema))


def _labelled(split: Split) -> Iterator[Block]:
    return _blocks(split, split.usable, split.labels[split.usable])


def _blocks(split: Split, ids: np.ndarray, labels: np.ndarray) -> Iterator[Block]:
    for start in range(0, len(ids), BLOCK):
        block = slice(start, start + BLOCK)
        yield [cell(split, int(i)) for i in ids[block]], labels[block].tolist()
