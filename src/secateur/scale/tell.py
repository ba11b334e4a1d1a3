"""What a run says of itself: the sums, the clusters, what it took."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from secateur.scale.quotas import Quotas
from secateur.scale.run import Clustered, Remaining, Run
from secateur.scale.shown import groups_to_look_at
from secateur.scale.stage import Stage


@dataclass(frozen=True)
class Pruned:
    """The result for all rows. files: the folder of manifest.parquet etc.: OUT, or on a store a folder in it."""

    out: str
    rows: int
    bad: int
    filtered: int
    duplicates: int
    pruned: int
    kept: int
    clusters: int
    threshold: float | None  # the cosine above which rows were duplicates
    empty: tuple[str, ...]  # shards without rows
    files: str = ""

    def as_json(self) -> dict[str, Any]:
        """For run.json and the command line."""
        return asdict(self)


def told(run: Run, laid: Clustered, rest: Remaining, wanted: Quotas) -> Pruned:
    """The sums."""
    count = int(wanted.kept.sum())
    threshold = None if rest.threshold == np.inf else rest.threshold
    return Pruned(
        run.out.url, run.found.rows, sum(s["bad"] for s in laid.summaries), sum(s["filtered"] for s in rest.summaries),
        sum(s["duplicates"] for s in rest.summaries), rest.rows - count, count, len(laid.centroids), threshold,
        tuple(shard.url for shard in run.found.empty), run.files.url,
    )  # fmt: skip


def note(run: Run, selected: Stage, groups: list[dict[str, Any]], seconds: float) -> None:
    """Write the cost of the run (bill.json), and examples of duplicates (groups.json)."""
    looked, seen = run.files / "groups.json", selected.folder / "groups.json"  # deleted with the selection
    if not (looked.exists() and seen.exists() and seen.read_json(str) == looked.digest()):
        looked.write_json(groups_to_look_at(groups, run.found.units, run.columns))
        seen.write_json(looked.digest())
    (run.files / "bill.json").write_json({"seconds": round(seconds, 3), "stages": run.bill})


def tell_clusters(run: Run, laid: Clustered, rest: Remaining, wanted: Quotas) -> None:
    """Write clusters.parquet, a row a cluster: rows, left, kept; d_intra, d_inter and share; a place on a map."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    places = plane(laid.centroids.fine)
    table = {
        "cluster": np.arange(len(rest.sizes)),
        "rows": rest.sizes,
        "left": rest.counts,
        "kept": wanted.kept,
        "d_intra": rest.d_intra,
        "d_inter": wanted.d_inter,
        "share": wanted.shares,
        "x": places[:, 0],
        "y": places[:, 1],
    }
    with (run.files / "clusters.parquet").writing() as file:
        pq.write_table(pa.table({name: pa.array(values, from_pandas=True) for name, values in table.items()}), file)


def plane(rows: Float[np.ndarray, "rows dims"]) -> Float[np.ndarray, "rows 2"]:
    """Rows on the plane of their two directions of largest spread, about their mean; the longest part points up.

    >>> plane(np.array([[0., 1.], [2., 1.], [4., 1.]])).round(6) + 0.0
    array([[-2.,  0.],
           [ 0.,  0.],
           [ 2.,  0.]])
    """
    around = rows.astype(float) - rows.mean(axis=0, dtype=float)
    _, directions = np.linalg.eigh(around.T @ around)
    first = directions[:, ::-1][:, :2]
    first = first * np.sign(first[np.abs(first).argmax(axis=0), np.arange(first.shape[1])])
    out = np.zeros((len(rows), 2))
    out[:, : first.shape[1]] = around @ first
    return out
