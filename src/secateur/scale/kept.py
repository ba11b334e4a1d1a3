"""What is kept, in the forms that others read: shards as they were, lists of ids and keys."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur.errors import SecateurError, StoreError, reason, refused
from secateur.scale.choose import BAD, write_manifest
from secateur.scale.shards import Unit, opened
from secateur.scale.stage import Summary
from secateur.scale.storage import Place

LISTS = ("uids", "keys")


@dataclass(frozen=True)
class Keeping:
    """Write the kept rows of a unit, with all of their columns. chosen: a folder a bucket, with its kept rows."""

    unit: Unit
    number: int
    chosen: Sequence[Place]
    target: Place


def keep(task: Keeping, folder: Place) -> Summary:
    """One parquet file of the rows that are kept of a unit, in their order; none where none are."""
    import pyarrow.parquet as pq

    found = []
    for bucket in task.chosen:
        low, high = (int(v) for v in (bucket / "firsts.npy").read_rows(task.number, task.number + 2))
        found.append((bucket / "rows.npy").read_rows(low, high))
    rows = np.sort(np.concatenate(found)) - task.unit.start + task.unit.skip
    if not len(rows):
        return {"rows": 0, "files": {}}
    file = opened(task.unit.shard)
    with task.target.writing() as out, pq.ParquetWriter(out, file.schema_arrow, compression="zstd") as writer:
        for batch in _taken(file, task.unit, rows):
            writer.write_batch(batch)
    return {"rows": len(rows), "files": {f"kept/{task.target.name}": task.target.digest()}}


def _taken(file: Any, unit: Unit, rows: np.ndarray) -> Iterator[Any]:
    """Of the batches of a unit the rows asked for, counted from the first of its row groups."""
    import pyarrow as pa

    at = 0
    for batch in file.iter_batches(batch_size=8192, row_groups=list(unit.groups), use_threads=False):
        low, high = np.searchsorted(rows, [at, at + len(batch)])
        if high > low:
            yield batch.take(pa.array(rows[low:high] - at))
        at += len(batch)
        if at > rows[-1]:
            return


@dataclass(frozen=True)
class BadRows:
    """Tell in the manifest of rows whose embeddings are no good. units: folders that list them."""

    units: Sequence[Place]
    target: Place


def tell_bad(task: BadRows, folder: Place) -> Summary:
    """The last part of the manifest: ids without a cluster."""
    ids = np.concatenate([(unit / "bad.npy").read_array() for unit in task.units])
    clusters, distances = np.full(len(ids), -1), np.full(len(ids), np.nan)
    digest = write_manifest(task.target, ids, clusters, distances, ids, np.full(len(ids), BAD))
    return {"rows": len(ids), "files": {f"manifest.parquet/{task.target.name}": digest}}


@dataclass(frozen=True)
class Listing:
    """Write a list of all kept ids. form: uids or keys."""

    parts: tuple[Place, ...]
    form: str
    target: Place


def lists(task: Listing, folder: Place) -> Summary:
    """`uids`: kept_uids.npy as DataComp reads it, sorted pairs of 64 bits; `keys`: a line a key, for webdataset."""
    import pyarrow as pa

    columns = [_read_ids(place) for place in task.parts]
    if task.form == "keys":
        keys = pa.chunked_array([column.cast(pa.large_string()) for column in columns]).sort()
        with task.target.writing() as file:
            for chunk in keys.chunks:
                file.writelines(f"{key}\n".encode() for key in chunk.to_pylist())
    else:
        pairs = np.concatenate([uids(column.to_pylist()) for column in columns])
        task.target.write_array(np.sort(pairs))
    return {"rows": sum(len(column) for column in columns), "files": {task.target.name: task.target.digest()}}


def _read_ids(place: Place) -> Any:
    import pyarrow.parquet as pq

    try:
        with place.open() as file:
            return pq.read_table(file)["id"].combine_chunks()
    except Exception as error:
        told = StoreError(f"{place.url}: not a complete list of ids ({reason(error)}); pass --force to make it again")
        raise refused(error, f"reading {place.url}") or told from None


def uids(ids: list[Any]) -> np.ndarray:
    """Ids of 32 hexadecimal digits as sorted pairs of whole numbers, as DataComp lists them.

    >>> uids(["0000000000000002000000000000000a", "00000000000000010000000000000001"]).tolist()
    [(1, 1), (2, 10)]
    """
    for one in ids:
        if not isinstance(one, str) or not re.fullmatch("[0-9a-fA-F]{32}", one):
            raise SecateurError(
                f"uids: expected ids of 32 hexadecimal digits, got {one!r}; for other ids take kept_ids.parquet or keys"
            )
    pairs = [(int(one[:16], 16), int(one[16:], 16)) for one in ids]
    return np.sort(np.array(pairs, dtype=[("f0", "<u8"), ("f1", "<u8")]))
