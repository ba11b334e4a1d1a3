"""The best rows of each cluster, and the files that tell of them."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from secateur.errors import SecateurError, StoreError
from secateur.scale import kept as forms
from secateur.scale.choose import as_column, write_ids
from secateur.scale.quota import largest_remainder
from secateur.scale.shards import Survey, opened
from secateur.scale.stage import numbered
from secateur.scale.storage import Folders, Place
from secateur.scale.subsets import write_table

SELECTION = ("manifest.parquet", "kept_ids.parquet", "kept", "kept_uids.npy", "kept_keys.txt")
"""Everything that is written of a selection."""


def check_lists(write: Sequence[str]) -> None:
    """Raise SecateurError for forms of what is kept that are not known."""
    for name in write:
        if name not in ("shards", *forms.LISTS):
            raise SecateurError(f"write: expected shards, {' or '.join(forms.LISTS)}, got {name!r}")


def chosen(
    ids: Shaped[np.ndarray, " rows"],
    scores: Float[np.ndarray, " rows"],
    clusters: Int[np.ndarray, " rows"],
    count: int,
) -> Bool[np.ndarray, " rows"]:
    """Which rows are kept: of each cluster its share of `count`, highest scores first, ties by lower id.

    Shares go by size, by largest remainder, so their sum is exact; a cluster keeps one at least where `count` is enough
    for that. The paper rounds shares of a few more than it wants down, one at least, and cuts what comes out at the
    best 200.

    >>> chosen(np.arange(6), np.array([1., 3., 2., 9., 8., 7.]), np.array([0, 0, 0, 0, 1, 1]), 3)
    array([False,  True, False,  True,  True, False])
    """
    sizes = np.bincount(clusters)
    low = np.minimum(sizes, int(count >= np.count_nonzero(sizes)))
    quota = largest_remainder(count * sizes / len(ids), count, low=low, high=sizes)
    order = np.lexsort((ids, -scores, clusters))
    place = np.arange(len(ids)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # in its cluster, the best is 0
    out = np.zeros(len(ids), dtype=bool)
    out[order] = place < np.repeat(quota, sizes)
    return out


def write_chosen(
    out: Place,
    found: Survey,
    ids: Shaped[np.ndarray, " rows"],
    of: Int[np.ndarray, " rows"],
    clusters: Int[np.ndarray, " rows"],
    scores: Float[np.ndarray, " rows"],
    kept: Bool[np.ndarray, " rows"],
    write: Sequence[str],
) -> None:
    """Write manifest.parquet (id, subset, cluster, score, kept), kept_ids.parquet and other forms of what is kept."""
    import pyarrow as pa

    if "uids" in write:
        forms.uids(as_column(ids[kept]).to_pylist())
    for name in SELECTION if out.local is not None else ():  # on a store each selection has its own folder
        (out / name).remove()
    columns = {
        "id": as_column(ids),
        "subset": pa.array(of, pa.int32(), mask=of < 0),
        "cluster": pa.array(clusters, pa.int32()),
        "score": scores,
        "kept": kept,
    }
    write_ids(out / "kept_ids.parquet", ids[kept])
    for name in write:
        if name == "shards":
            _write_shards(out, found, np.flatnonzero(kept))
        else:
            target = out / ("kept_uids.npy" if name == "uids" else "kept_keys.txt")
            forms.lists(forms.Listing((out / "kept_ids.parquet",), name, target), out)
    write_table(out / "manifest.parquet", columns)
    _check(out, ids[kept], len(ids), write)


def _check(out: Place, kept: np.ndarray, rows: int, write: Sequence[str]) -> None:
    """Raise StoreError if files that were just written disagree."""
    import pyarrow.parquet as pq

    with (out / "manifest.parquet").open() as file:
        found = pq.read_table(file, columns=["id", "kept"])
    with (out / "kept_ids.parquet").open() as file:
        listed = pq.read_table(file)["id"].combine_chunks()
    marked, wanted = found.filter(found["kept"])["id"].combine_chunks(), as_column(kept)
    if len(found) != rows or not marked.equals(wanted) or not listed.equals(wanted):
        raise StoreError(f"{out.url}: manifest.parquet and kept_ids.parquet, just written, disagree; run again")
    if "shards" in write:
        shards = [opened(out / "kept" / name).metadata.num_rows for name in (out / "kept").names()]
        if sum(shards) != len(kept):
            raise StoreError(
                f"{out.url}/kept: has {sum(shards)} rows, expected {len(kept)}; is another program writing there?"
            )


def _write_shards(out: Place, found: Survey, rows: Int[np.ndarray, " kept"]) -> None:
    """The kept rows of each shard, with all of their columns."""
    chosen = Folders(out / "stages" / "selected", 1)
    starts = np.array([*(unit.start for unit in found.units), found.rows])
    (chosen[0] / "rows.npy").write_array(rows)
    (chosen[0] / "firsts.npy").write_array(np.searchsorted(rows, starts))
    for number, (name, unit) in enumerate(numbered(found.units).items()):
        forms.keep(forms.Keeping(unit, number, chosen, out / "kept" / f"{name}.parquet"), out)
