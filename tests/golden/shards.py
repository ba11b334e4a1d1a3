"""`scale` on a small set of embeddings: the manifest and the ids that are kept, under several options."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import secateur as sc
from tests.golden.digests import Digests, digest

ROWS, DIMS = 400, 16
MANIFEST = ("id", "cluster", "distance", "duplicate_of", "kept", "reason")


def write_shards(folder: Path) -> str:
    """Two shards of clouds of points with near-duplicates; an odd number of rows, so that 0.5 has to be rounded."""
    rng = np.random.default_rng(0)
    centres = 3 * np.linalg.qr(rng.normal(size=(DIMS, DIMS)))[0][:8]
    rows = centres[rng.integers(8, size=ROWS + 1)] + 0.3 * rng.normal(size=(ROWS + 1, DIMS))
    rows[::9] = rows[1::9][: len(rows[::9])] + 1e-3 if len(rows[1::9]) >= len(rows[::9]) else rows[::9]
    rows[20:40] = rows[60:80] + 1e-3 * rng.normal(size=(20, DIMS))
    ids, clip = 10_000 - 7 * np.arange(ROWS + 1), rng.random(ROWS + 1)
    folder.mkdir(parents=True)
    for number, part in enumerate((slice(0, 230), slice(230, None))):
        vectors = pa.array(list(rows[part].astype(np.float32)), pa.list_(pa.float32()))
        pq.write_table(
            pa.table({"id": ids[part], "embedding": vectors, "clip": clip[part]}), folder / f"{number}.parquet"
        )
    return str(folder)


def scaled(folder: Path) -> Iterator[tuple[str, Digests]]:
    """Every way of choosing, once."""
    shards, scale = write_shards(folder / "shards"), sc.scale
    few = scale.Clustering(clusters=6, unit_rows=128, seed=3)
    options: dict[str, dict[str, Any]] = {
        "density": {"keep": 0.3},
        "density, no dedup": {"keep": 0.5, "dedup": None},
        "prototypes": {"keep": 0.3, "choice": scale.Choice("prototypes")},
        "random": {"keep": 57, "choice": scale.Choice("random"), "dedup": scale.Dedup(None, 0.9, "easy")},
        "easy": {"keep": 0.2, "choice": scale.Choice("density", "easy", 0.2, 0.05)},
        "filtered": {"keep": 0.2, "filter": scale.Filter("clip", top=0.6), "write": ["keys"]},
        "dedup": {"keep": None, "dedup": scale.Dedup(0.9, None, "random")},
        "cluster": {"keep": None, "dedup": None},
    }
    for name, how in options.items():
        out = folder / name
        scale.prune(shards, out=str(out), clustering=few, workers=1, quiet=True, **how)
        yield f"scale/{name}", _told(out)
    scale.select(str(folder / "density"), out=str(folder / "select"), keep=0.1, workers=1, quiet=True)
    yield "scale/select", _told(folder / "select")
    yield from _instructions(shards, folder / "instructions")


def _told(out: Path) -> Digests:
    table = pq.read_table(out / "manifest.parquet").sort_by("id")
    found = {name: digest(table[name].to_numpy(zero_copy_only=False)) for name in MANIFEST}
    kept = pq.read_table(out / "kept_ids.parquet")["id"].to_pylist()
    return found | {"kept_ids": digest(sorted(kept))}


def _instructions(shards: str, out: Path) -> Iterator[tuple[str, Digests]]:
    how = sc.scale.Selecting(components=3, clusters=4, epochs=3)
    given: dict[str, Any] = {"out": str(out), "indicators": ["clip"], "how": how, "seed": 3, "quiet": True}
    found = sc.scale.instructions(shards, subsets=6, **given)
    names = sorted((out / "subsets").glob("*.parquet"))
    yield "scale/subsets", {p.stem: digest(pq.read_table(p)["id"].to_numpy()) for p in names}
    quality = out.parent / "quality.csv"
    lines = [f"{k},{np.sin(k):.3f}" for k in range(found.subsets)]
    quality.write_text("\n".join(["subset,quality", *lines]) + "\n")
    sc.scale.instructions(shards, quality=str(quality), keep=0.2, **given)
    table = pq.read_table(out / "manifest.parquet").sort_by("id")
    yield (
        "scale/instructions",
        {name: digest(table[name].to_numpy(zero_copy_only=False)) for name in table.column_names},
    )
