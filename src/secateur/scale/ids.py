"""Is every id there once? Ids are spread by a hash over ranges, and each range is looked through by itself."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt64

from secateur.errors import DataError
from secateur.scale.shards import Columns, Unit, blocks, told
from secateur.scale.stage import Summary
from secateur.scale.storage import Place

_RANGE = 1 << 22
"""About as many ids are looked through by a task."""
_TOLD = 20
"""So many pairs of a range are looked at: more than two strings with one key by chance are not to be expected."""


def ranges(rows: int) -> int:
    """How many ranges ids are spread over."""
    return max(1, -(-rows // _RANGE))


def keys(ids: np.ndarray) -> UInt64[np.ndarray, " rows"]:
    """64 bits an id, spread evenly: of whole numbers a mixture that tells any two apart, of strings a hash.

    >>> len(set(keys(np.arange(1000)).tolist())), bool(keys(np.array([b"a"]))[0] == keys(np.array([b"a"]))[0])
    (1000, True)
    """
    if ids.dtype.kind == "S":
        found = b"".join(hashlib.blake2b(one, digest_size=8).digest() for one in ids.tolist())
        return np.frombuffer(found, dtype=np.uint64)
    mixed = ids.astype(np.int64).view(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # each step can be undone
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def write_keys(ids: np.ndarray, start: int, parts: int, folder: Place) -> None:
    """Write the keys of a unit in their order, the row of each, and where each range begins (ranges + 1,)."""
    found = keys(ids)
    order = np.argsort(found, kind="stable")
    (folder / "keys.npy").write_array(found[order])
    (folder / "key_rows.npy").write_array(start + order)
    bounds = np.array([(part << 64) // parts for part in range(1, parts)], dtype=np.uint64)
    inner = np.searchsorted(found[order], bounds)
    (folder / "key_firsts.npy").write_array(np.concatenate([[0], inner, [len(found)]]))


@dataclass(frozen=True)
class Looking:
    """Look through one range of the ids."""

    folders: Sequence[Place]  # a unit
    part: int


def look(task: Looking, folder: Place) -> Summary:
    """Say which rows have the same key, by pairs, the first of them all."""
    found, rows = [], []
    for unit in task.folders:
        low, high = (int(v) for v in (unit / "key_firsts.npy").read_rows(task.part, task.part + 2))
        found.append((unit / "keys.npy").read_rows(low, high))
        rows.append((unit / "key_rows.npy").read_rows(low, high))
    key, row = np.concatenate(found), np.concatenate(rows)
    order = np.lexsort((row, key))
    twice = np.flatnonzero(key[order][1:] == key[order][:-1])
    pairs = np.stack([row[order[twice]], row[order[twice + 1]]], axis=1)
    return {"rows": len(key), "twice": pairs[:_TOLD].tolist()}


def tell(units: Sequence[Unit], columns: Columns, pairs: Sequence[Sequence[int]]) -> None:
    """Raise DataError about two rows of the same id; two strings may happen to have the same key, and are none."""
    for one, other in pairs:
        first, second = (_at(units, columns, row) for row in (one, other))
        if first[0] == second[0]:
            raise DataError(
                f"ids: {told(first[0])!r} is there twice, in {first[1].shard.url} and in {second[1].shard.url} (rows "
                f"{one} and {other} of all); give each row an id of its own, or leave out the shard that is there twice"
            )


def _at(units: Sequence[Unit], columns: Columns, row: int) -> tuple[object, Unit]:
    """The id of a row, and the unit it is in."""
    unit = next(u for u in units if u.start <= row < u.start + u.rows)
    ids = np.concatenate([b.ids for b in blocks(unit, columns, dims=0, wanted=[columns.id])])
    return ids[row - unit.start], unit
