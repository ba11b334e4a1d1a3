"""Writing the kept examples as a data set of their own, flat, in the form they came in."""

import glob
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from secateur.data.columns import Columns
from secateur.data.decoding.images import encode
from secateur.data.source import Source, Split
from secateur.data.writers.copies import write_images
from secateur.errors import DataError
from secateur.store.files import replacing
from secateur.untrusted import literal

_SHARD_BYTES = 500_000_000


def write_kept(source: Source, ids: Sequence[int] | np.ndarray, folder: Path) -> str:
    """Write rows `ids` of the train split to `folder`, in id order; returns the line of Python that loads them.

    A folder of images becomes class folders of the same files, or, where labels or more come from a metadata file, or
    without labels, a folder of them that lie as they lay, with such a file. A saved data set is saved again, everything
    else becomes parquet. All columns of the input stay.
    """
    ids = [int(i) for i in ids]
    with replacing(folder) as beside:
        beside.mkdir(parents=True)
        labelled = source.train_as_found
        if source.form == "folder" and isinstance(labelled, Columns):
            written = write_images(labelled, source, ids, beside)
            files = literal(f"{glob.escape(str(folder))}/**")  # not data_dir: `test` would be taken for a split
            return f'datasets.load_dataset("imagefolder", data_files={files}, split="train", {written})'
        if source.form == "saved" and isinstance(labelled, Columns):
            labelled.table.select(ids).save_to_disk(str(beside))
            return f"datasets.load_from_disk({literal(folder)})"
        table = labelled.table.select(ids) if isinstance(labelled, Columns) else _as_table(source, ids)
        _write_parquet(table, beside)
        if not set("*?[]\n") & set(str(folder)):
            return f'datasets.load_dataset({literal(folder)}, split="train")'
        files = literal(f"{glob.escape(str(folder))}/*.parquet")  # `datasets` takes a folder for a pattern
        return f'datasets.load_dataset("parquet", data_files={files}, split="train")'


def _write_parquet(table: Any, folder: Path) -> None:
    """Shards of about half a gigabyte, named so that `load_dataset(folder)` finds one train split."""
    rows_bytes = table._estimate_nbytes() if hasattr(table, "_estimate_nbytes") else table.data.nbytes
    shards = max(1, round(rows_bytes / _SHARD_BYTES))
    for k in range(shards):
        shard = table.shard(num_shards=shards, index=k, contiguous=True)
        shard.to_parquet(str(folder / f"train-{k:05d}-of-{shards:05d}.parquet"))


def _as_table(source: Source, ids: list[int]) -> Any:
    """Rows that exist only in Python as a table."""
    import datasets

    split = source.train
    name, feature = input_column(split)
    values = [cell(split, i) for i in ids]
    if not values:
        raise DataError("kept: nothing to write")
    columns, features = {name: values}, {name: feature}
    if split.labelled:
        columns["label"] = split.labels[ids].tolist()
        features["label"] = datasets.ClassLabel(names=list(source.classes))
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def input_column(split: Split) -> tuple[str, Any]:
    """The name and the `datasets` feature of a column of decoded rows."""
    import datasets

    if split.is_image:
        return "image", datasets.Image()
    return "features", datasets.List(datasets.Value("float32"))


def cell(split: Split, i: int) -> Any:
    """Row i for such a column: an image as lossless PNG, a vector as a list of float32."""
    row = split.decoded(i)
    return {"bytes": encode(row), "path": None} if split.is_image else row.tolist()
