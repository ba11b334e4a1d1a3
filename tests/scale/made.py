"""Shards made on the spot: clusters of uneven size, near-duplicates on purpose, a score, ids as numbers or strings."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import secateur.scale
from secateur.scale import Clustering

ALONE = {"workers": 1, "quiet": True}
"""In this process."""

FEW = Clustering(clusters=3, unit_rows=16)
BAD = {
    "r0": None,
    "r3": [0.0] * 16,
    "r4": [float("nan")] * 16,
    "r9": [float("inf")] + [0.5] * 15,
    "r12": [None] + [0.5] * 15,
}
"""Embeddings of 16 numbers that are none."""


@dataclass(frozen=True)
class Made:
    """Rows in the order of the shards; planted: pairs (one, near-duplicate of it) by row."""

    ids: np.ndarray
    embeddings: np.ndarray
    clip: np.ndarray
    blob: np.ndarray
    planted: np.ndarray


def unit(rows):
    rows = np.asarray(rows, dtype=float)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def made(rows=400, *, blobs=8, dims=16, spread=0.08, planted=30, strings=False, seed=0):
    """Blobs of sizes that fall as 1, 1/2, 1/3 ...; the near-duplicates have a cosine above 0.999 to their row."""
    rng = np.random.default_rng(seed)
    shares = 1 / np.arange(1, blobs + 1)
    blob = np.concatenate([np.arange(blobs), rng.choice(blobs, rows - blobs, p=shares / shares.sum())])
    centres = np.linalg.qr(rng.normal(size=(max(dims, blobs), dims)).T)[0].T[:blobs]
    embeddings = centres[blob] + spread * rng.normal(size=(rows, dims)) * (1 + blob % 3)[:, None]
    pairs = rng.permutation(rows)[: 2 * planted].reshape(2, planted).T
    embeddings[pairs[:, 1]] = unit(embeddings[pairs[:, 0]]) * 3 + 1e-3 * rng.normal(size=(planted, dims))
    blob[pairs[:, 1]] = blob[pairs[:, 0]]
    ids = 10_000 - 7 * np.arange(rows)
    if strings:
        ids = np.array([f"{i:032x}" for i in ids])
    return Made(ids, embeddings.astype(np.float32), rng.random(rows), blob, pairs)


def table(made, rows=slice(None), **columns):
    """A shard: fixed-size lists, a score and a caption; `columns` come instead, or beside."""
    embeddings = made.embeddings[rows]
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(embeddings.ravel()), embeddings.shape[1])
    captions = [f"caption of {i}" for i in made.ids[rows].tolist()]
    about = {"id": made.ids[rows], "embedding": vectors, "clip": made.clip[rows], "caption": captions}
    return pa.table(about | columns)


def write(folder, made, *, shards=3, group=60):
    """Shards of uneven length; returns the folder as a string."""
    folder.mkdir(parents=True, exist_ok=True)
    cuts = np.linspace(0, 1, shards + 1) ** 0.8 * len(made.ids)
    for number, (low, high) in enumerate(zip(cuts[:-1].astype(int), cuts[1:].astype(int), strict=True)):
        pq.write_table(table(made, slice(low, high)), folder / f"{number:03d}.parquet", row_group_size=group)
    return str(folder)


def lists(rows):
    """A column of lists of float32 of any width, None for null."""
    return pa.array(rows, pa.list_(pa.float32()))


def vectors(rows=20, dims=16, **changed):
    """A column of embeddings in which single rows are changed, as r3=None."""
    found = np.random.default_rng(0).normal(size=(rows, dims)).tolist()
    for name, value in changed.items():
        found[int(name[1:])] = value
    return lists(found)


def prune(shards, out, *, keep=0.3, **options):
    return secateur.scale.prune(str(shards), out=str(out), keep=keep, **ALONE | options)


def manifest(out):
    """The manifest, as one table of numpy columns, sorted by id; null clusters are -1."""
    found = pq.read_table(out / "manifest.parquet").sort_by("id").to_pydict()
    found["cluster"] = [-1 if c is None else c for c in found["cluster"]]
    return {name: np.array(values) for name, values in found.items()}


def kept_ids(out):
    return sorted(pq.read_table(out / "kept_ids.parquet")["id"].to_pylist())


def stage(out, name):
    """The one folder of a stage."""
    (found,) = (out / "stages").glob(f"{name}-*")
    return found
