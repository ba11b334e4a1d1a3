"""Writing the kept examples as a data set of their own, flat, in the form they came in."""

import glob
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from secateur.data.columns import Columns
from secateur.data.images import encode
from secateur.data.source import Source, Split
from secateur.errors import DataError
from secateur.store.files import replacing

_SHARD_BYTES = 500_000_000


def write_kept(source: Source, ids: Sequence[int] | np.ndarray, folder: Path) -> str:
    """Write rows `ids` of the train split to `folder`, in id order; returns the line of Python that loads them.

    A folder of images becomes class folders of the same files, or, without labels, a folder of them that lie as they
    lay; a saved data set is saved again, everything else becomes parquet. All columns of the input stay.
    """
    ids = [int(i) for i in ids]
    with replacing(folder) as beside:
        beside.mkdir(parents=True)
        labelled = source.train_as_found
        if source.form == "folder" and isinstance(labelled, Columns):
            _copy_files(labelled, source, ids, beside)
            files = f"{glob.escape(str(folder))}/**"  # not data_dir: names such as `test` would be taken for splits
            drop = not source.labelled
            return f'datasets.load_dataset("imagefolder", data_files="{files}", split="train", drop_labels={drop})'
        if source.form == "saved" and isinstance(labelled, Columns):
            labelled.table.select(ids).save_to_disk(str(beside))
            return f'datasets.load_from_disk("{folder}")'
        table = labelled.table.select(ids) if isinstance(labelled, Columns) else _as_table(source, ids)
        _write_parquet(table, beside)
        return f'datasets.load_dataset("{folder}", split="train")'


def _write_parquet(table: Any, folder: Path) -> None:
    """Shards of about half a gigabyte, named so that `load_dataset(folder)` finds one train split."""
    rows_bytes = table._estimate_nbytes() if hasattr(table, "_estimate_nbytes") else table.data.nbytes
    shards = max(1, round(rows_bytes / _SHARD_BYTES))
    for k in range(shards):
        shard = table.shard(num_shards=shards, index=k, contiguous=True)
        shard.to_parquet(str(folder / f"train-{k:05d}-of-{shards:05d}.parquet"))


def _copy_files(columns: Columns, source: Source, ids: list[int], folder: Path) -> None:
    """Copies of the original files; a name that two images of a class share gets its id in front."""
    taken: set[Path] = set()
    for i, (origin, place) in zip(ids, _places(columns, source, ids), strict=True):
        target = folder / place
        if target in taken:
            target = target.with_name(f"{i}-{origin.name}")
        taken.add(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(origin, target)


def _places(columns: Columns, source: Source, ids: list[int]) -> list[tuple[Path, Path]]:
    """Where each image lies and where its copy goes: its class; without labels, where it lay among all the images."""
    from datasets import Image

    cells = columns.table.select_columns([columns.input]).cast_column(columns.input, Image(decode=False))
    origins = [Path(cell["path"]) for cell in cells.select(ids)[:][columns.input]]
    if source.labelled:
        classes = [source.classes[k] for k in source.train.labels[ids]]
        return [(origin, Path(name) / origin.name) for origin, name in zip(origins, classes, strict=True)]
    home = os.path.commonpath([Path(cell["path"]).parent for cell in cells[:][columns.input]])
    return [(origin, origin.relative_to(home)) for origin in origins]


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
