"""From what is left of each cluster to what is kept: sizes and spread, quotas, the manifest."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float

from secateur.geometry import nearest
from secateur.scale.cluster import GUEST
from secateur.scale.dedup import Prefer, preferred, removed, roots
from secateur.scale.exchange import Bucket, Slices, part
from secateur.scale.shards import told
from secateur.scale.stage import Summary
from secateur.scale.storage import Place, digest_of

KEPT, FILTERED, DUPLICATE, PRUNED, BAD = "kept", "filtered", "duplicate", "pruned", "bad embedding"


@dataclass(frozen=True)
class Left:
    """What earlier stages found out about a bucket: who passed a filter, and who is a duplicate."""

    bucket: Bucket
    passed: Sequence[Place] | None
    compared: Place | None
    threshold: float

    def load(self) -> "Rows":
        """Read it."""
        slices = Slices.of(self.bucket)
        sizes = slices.clusters
        count = int(sizes.sum())
        passed = np.ones(count, dtype=bool)
        if self.passed is not None:
            passed = part(self.bucket, slices, "passed", source=self.passed)
        alike = np.full(count, -1, dtype=np.int64)
        gone = np.zeros(count, dtype=bool)
        if self.compared is not None:
            alike = (self.compared / "alike.npy").read_array()
            gone = removed((self.compared / "similarity.npy").read_array(), self.threshold)
        return Rows(slices, np.repeat(np.arange(len(sizes)), sizes), passed, gone, alike)


@dataclass(frozen=True)
class Rows:
    """The rows of a bucket, cluster by cluster; of: the cluster, counted inside the bucket."""

    slices: Slices
    of: np.ndarray
    passed: np.ndarray
    duplicate: np.ndarray
    alike: np.ndarray

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Where each cluster begins and ends."""
        return list(pairwise(np.concatenate([[0], np.cumsum(self.slices.clusters)]).tolist()))

    @property
    def left(self) -> np.ndarray:
        """Who is still there (rows,)."""
        return self.passed & ~self.duplicate


@dataclass(frozen=True)
class Measuring:
    """Count what is left of the clusters of a bucket, and measure its spread."""

    left: Left
    name: str


def measure(task: Measuring, folder: Place) -> Summary:
    """Write, of each cluster (clusters, 3): how many rows are left, the sum of their distances, how many there were."""
    rows = task.left.load()
    distances = part(task.left.bucket, rows.slices, "distances")
    clusters = len(rows.slices.clusters)
    counts = np.bincount(rows.of[rows.left], minlength=clusters)
    sums = np.bincount(rows.of[rows.left], weights=distances[rows.left].astype(float), minlength=clusters)
    (folder / f"{task.name}.npy").write_array(np.stack([counts, sums, rows.slices.clusters], axis=1))
    return {
        "rows": len(rows.of),
        "filtered": int((~rows.passed).sum()),
        "duplicates": int((rows.passed & rows.duplicate).sum()),
        "left": int(counts.sum()),
    }


def d_inter(centroids: Float[np.ndarray, "clusters dims"], neighbours: int = 20) -> Float[np.ndarray, " clusters"]:
    """Mean distance (1 - cosine) of each unit centroid to its nearest others, at most so many of them.

    >>> d_inter(np.array([[1., 0.], [0., 1.], [0.6, 0.8]]), neighbours=1).round(6)
    array([0.4, 0.2, 0.2])
    """
    near = min(neighbours, len(centroids) - 1)
    if near < 1:
        return np.zeros(len(centroids))
    return nearest(centroids, near, metric="cosine").distances.mean(axis=1)


@dataclass(frozen=True)
class Apart:
    """Measure how far centroids lie from their neighbours."""

    fitted: Place
    neighbours: int


def apart(task: Apart, folder: Place) -> Summary:
    """Write d_inter of all clusters (clusters,)."""
    found = d_inter((task.fitted / "centroids.npy").read_array(), task.neighbours)
    (folder / "d_inter.npy").write_array(found)
    return {"clusters": len(found)}


@dataclass(frozen=True)
class Reaching:
    """How many rows of each cluster of a bucket a threshold of distance keeps, but its floor at least."""

    left: Left
    floors: np.ndarray  # (clusters of the bucket,)
    thresholds: np.ndarray
    sign: int  # -1: the nearest are kept
    name: str

    def counts(self) -> np.ndarray:
        """(thresholds, clusters of the bucket)."""
        rows = self.left.load()
        distances = np.float32(self.sign) * part(self.left.bucket, rows.slices, "distances")
        counts = np.empty((len(self.thresholds), len(self.floors)), dtype=np.int64)
        left = rows.left
        for cluster, (first, end) in enumerate(rows.spans):
            found = np.sort(distances[first:end][left[first:end]])
            counts[:, cluster] = np.maximum(self.floors[cluster], len(found) - np.searchsorted(found, self.thresholds))
        return counts


def reach(task: Reaching, folder: Place) -> Summary:
    """Counts of the whole bucket (thresholds,)."""
    return {"counts": task.counts().sum(axis=1).tolist()}


def reach_each(task: Reaching, folder: Place) -> Summary:
    """Write the counts of each cluster (thresholds, clusters)."""
    (folder / f"{task.name}.npy").write_array(task.counts())
    return {}


@dataclass(frozen=True)
class Choosing:
    """Keep of each cluster of a bucket as many as its quota, and write the manifest."""

    left: Left
    quotas: np.ndarray  # (clusters of the bucket,)
    prefer: Prefer
    seed: int
    starts: Place  # the first row of each unit, and one past the last
    out: Place
    name: str


def choose(task: Choosing, folder: Place) -> Summary:
    """Write the bucket's part of the manifest and of the kept ids, and the kept rows unit by unit."""
    rows, bucket = task.left.load(), task.left.bucket
    ids, numbers, distances = (part(bucket, rows.slices, name) for name in ("ids", "rows", "distances"))
    kept, left = np.zeros(len(rows.of), dtype=bool), rows.left
    for quota, (first, end) in zip(task.quotas, rows.spans, strict=True):
        places = first + np.flatnonzero(left[first:end])
        kept[places[preferred(distances[places], numbers[places], task.prefer, task.seed + 1)[:quota]]] = True
    reason = np.select([kept, ~rows.passed, rows.duplicate], [KEPT, FILTERED, DUPLICATE], PRUNED)
    every, among, stays = ids, numbers, np.arange(len(ids))
    if rows.duplicate.any():
        guests = Slices.of(bucket, GUEST)
        every = np.concatenate([ids, part(bucket, guests, "ids")])
        among = np.concatenate([numbers, part(bucket, guests, "rows")])
        stays = roots(rows.alike, rows.duplicate, len(guests))
    part_of = f"part-{task.name}.parquet"
    names = (f"manifest.parquet/{part_of}", f"kept_ids.parquet/{part_of}")
    files = {
        names[0]: write_manifest(task.out / names[0], ids, bucket.first + rows.of, distances, every[stays], reason),
        names[1]: write_ids(task.out / names[1], ids[kept]),
    }
    chosen = np.sort(numbers[kept])
    (folder / "rows" / task.name / "rows.npy").write_array(chosen)
    (folder / "rows" / task.name / "firsts.npy").write_array(np.searchsorted(chosen, task.starts.read_array()))
    groups = _groups(every, among, stays, rows.duplicate & rows.passed)
    return {"rows": len(ids), "kept": int(kept.sum()), "groups": groups, "files": files}


def _groups(
    ids: np.ndarray, rows: np.ndarray, stays: np.ndarray, duplicate: np.ndarray, most: int = 3
) -> list[dict[str, Any]]:
    """The largest groups of duplicates: how many go, the id and row number of who stays, and of some of the others."""
    sizes = np.bincount(stays[duplicate], minlength=len(ids))
    largest = [place for place in np.argsort(-sizes, kind="stable")[:most] if sizes[place]]
    of = [(place, *np.flatnonzero(duplicate & (stays == place))[:5]) for place in largest]
    return [
        {"size": int(sizes[some[0]]), "ids": [told(ids[i]) for i in some], "rows": [int(rows[i]) for i in some]}
        for some in of
    ]


def write_manifest(
    place: Place, ids: np.ndarray, clusters: np.ndarray, distances: np.ndarray, alike: np.ndarray, reason: np.ndarray
) -> str:
    """Write one part: id, cluster, distance, duplicate_of (an id), kept, reason. Returns its digest."""
    import pyarrow as pa
    import pyarrow.compute as pc

    duplicate = reason == DUPLICATE
    others = as_column(alike)
    table = {
        "id": as_column(ids),
        "cluster": pa.array(clusters, pa.int32(), mask=clusters < 0),
        "distance": pa.array(distances, pa.float32(), mask=np.isnan(distances)),
        "duplicate_of": pc.if_else(pa.array(duplicate), others, pa.scalar(None, others.type)),
        "kept": pa.array(reason == KEPT),
        "reason": pa.array(reason.astype(object), pa.string()),
    }
    return _write(place, pa.table(table))


def write_ids(place: Place, ids: np.ndarray) -> str:
    """Write the ids alone. Returns the digest of the file."""
    import pyarrow as pa

    return _write(place, pa.table({"id": as_column(ids)}))


def as_column(ids: np.ndarray) -> Any:
    """Ids as an Arrow array: int64, or strings."""
    import pyarrow as pa

    if ids.dtype.kind != "S":
        return pa.array(ids, pa.int64())
    return pa.array(ids.tolist(), pa.binary()).cast(pa.string())


def _write(place: Place, table: Any) -> str:
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    with place.writing() as file:
        file.write(buffer.getbuffer())
    return digest_of(buffer.getbuffer())
