"""Writing the kept examples as a data set of their own, flat, in the form they came in."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from secateur.data.columns import Columns
from secateur.data.images import encode
from secateur.data.source import Source
from secateur.errors import DataError
from secateur.store.files import replacing

_SHARD_BYTES = 500_000_000


def write_kept(source: Source, ids: Sequence[int] | np.ndarray, folder: Path) -> str:
    """Write rows `ids` of the train split to `folder`, in id order; returns the line of Python that loads them.

    A folder of images becomes class folders of the same files, a saved data set is saved again, everything else
    becomes parquet. All columns of the input stay.
    """
    ids = [int(i) for i in ids]
    with replacing(folder) as beside:
        beside.mkdir(parents=True)
        labelled = source.train_as_found
        if source.form == "folder" and isinstance(labelled, Columns):
            _copy_files(labelled, source, ids, beside)
            return f'datasets.load_dataset("imagefolder", data_dir="{folder}", split="train")'
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
    """Class folders of the original files; a file name that two images of a class share gets its id in front."""
    from datasets import Image

    cells = columns.table.cast_column(columns.input, Image(decode=False))
    taken: set[Path] = set()
    for i, cell in zip(ids, cells.select(ids)[:][columns.input], strict=True):
        origin = Path(cell["path"])
        target = folder / source.classes[source.train.labels[i]] / origin.name
        if target in taken:
            target = target.with_name(f"{i}-{origin.name}")
        taken.add(target)
        target.parent.mkdir(exist_ok=True)
        shutil.copy2(origin, target)


def _as_table(source: Source, ids: list[int]) -> Any:
    """Rows that exist only in Python as a table: images as lossless PNG, vectors as lists of float32."""
    import datasets

    split = source.train
    label = datasets.ClassLabel(names=list(source.classes))
    if split.is_image:
        name, feature = "image", datasets.Image()
        values: list[Any] = [{"bytes": encode(split.decoded(i)), "path": None} for i in ids]
    else:
        name, feature = "features", datasets.List(datasets.Value("float32"))
        values = [split.decoded(i).tolist() for i in ids]
    if not values:
        raise DataError("kept: nothing to write")
    columns = {name: values, "label": split.labels[ids].tolist()}
    return datasets.Dataset.from_dict(columns, features=datasets.Features({name: feature, "label": label}))
