"""`scale embed`: a data set into embedding shards, by the net of a run, a net trained elsewhere, or one of your own."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from secateur.data.source import Source, open_data
from secateur.data.tensors import Tensors
from secateur.errors import SecateurError, WrongData
from secateur.progress import Progress
from secateur.scale.storage import Place
from secateur.training.embedders import Embedder, embedder
from secateur.training.machine import pick_device


def embed(
    data: Any,
    *,
    by: str,
    out: str = "secateur-shards",
    rows: int = 65_536,
    batch: int = 256,
    device: str = "auto",
    force: bool = False,
    quiet: bool = False,
    **reading: Any,
) -> list[Place]:
    """Write parquet shards of `rows` rows: id (row number of the data), embedding (float16), label and file if known.

    by: the OUT folder or model file of a run, whose features are taken; `timm:NAME`, `transformers:NAME`,
    `package.module:function` or `input`, see `secateur.training.embedders`. out: a folder or URL. A stopped run goes on
    after its last whole shard. Rows that cannot be read are left out where `on_bad="skip"`.

    Raises DataError for data that cannot be read; SecateurError for embeddings beyond float16; WrongData for an OUT of
    other data or of another embedder.
    """
    if rows < 1 or batch < 1:
        raise SecateurError(f"rows, batch: expected 1 or more, got {rows} and {batch}")
    progress, place = Progress(quiet=quiet), Place(str(out))
    with progress.stage("reading") as advance:
        source = open_data(data, progress=lambda what, done, total: advance(done, total), **reading)
    progress.say(source.told)
    progress.say(source.ignored)
    tensors = Tensors(source.train, pick_device(device))
    net = embedder(by, shape=tensors.shape, device=tensors.device)
    claim(place, {"fingerprint": source.fingerprint, "by": by, "rows": rows}, force=force)
    if source.root is not None:  # where a report finds the images that `file` names
        with (place / "_source.txt").writing() as file:
            file.write(str(source.root.resolve()).encode())
    ids, there = source.train.usable, set(place.names())
    starts = range(0, len(ids), rows)
    names = [f"part-{number:06d}.parquet" for number in range(len(starts))]
    with progress.stage("embedding") as advance:
        for name, start in zip(names, starts, strict=True):
            part = ids[start : start + rows]
            if name not in there:
                _write(place / name, source, part, _embedded(net, tensors, part, batch))
            advance(start + len(part), len(ids))
    return [place / name for name in names]


def claim(place: Place, asked: dict[str, Any], *, force: bool) -> None:
    """Make a folder that of these embeddings; others stop it, unless `force`, and anything else does."""
    names = place.names()
    if force:
        for name in names:
            if name in ("_embed.json", "_source.txt") or name.startswith("part-"):
                (place / name).remove()
    elif "_embed.json" in names:
        if (before := (place / "_embed.json").read_json(dict[str, Any])) != asked:
            changed = ", ".join(f"{k} was {before.get(k)!r}, now {v!r}" for k, v in asked.items() if before.get(k) != v)
            raise WrongData(
                f"out: {place.url} contains other embeddings ({changed}); choose another --out, or pass --force"
            )
    elif [name for name in names if not name.startswith(".")]:
        raise WrongData(f"out: {place.url} contains other files ({names[0]}); choose another --out")
    (place / "_embed.json").write_json(asked)


def _embedded(net: Embedder, data: Tensors, ids: np.ndarray, batch: int) -> np.ndarray:
    """Embeddings (rows, dims) float16 of some rows."""
    plan = [torch.from_numpy(ids[k : k + batch]) for k in range(0, len(ids), batch)]
    found = np.concatenate([net(rows).cpu().numpy() for rows in data.batches(plan)])
    return half(found, lambda at: f"row {ids[at]}")


def half(found: np.ndarray, where: Callable[[int], str]) -> np.ndarray:
    """Embeddings (rows, dims) in float16; where: what a row is called that does not fit."""
    if (far := np.flatnonzero(~(np.abs(found) <= np.finfo(np.float16).max).all(axis=1))).size:
        raise SecateurError(
            f"embedding: {where(int(far[0]))} has a number that is nan or beyond float16; scale what the net gives, or "
            f"look at that row"
        )
    return found.astype(np.float16)


def _write(place: Place, source: Source, ids: np.ndarray, vectors: np.ndarray) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    split = source.train
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    columns: dict[str, Any] = {"id": pa.array(ids), "embedding": lists}
    if split.labelled:
        names = np.array([*split.classes, None], dtype=object)  # -1, where a label is missing, is the last
        columns["label"] = pa.array(names[split.labels[ids]], pa.string())
    if (files := _files(source, ids)) is not None:
        columns["file"] = pa.array(files, pa.string())
    groups = math.ceil(len(ids) / 8)
    with place.writing() as file:
        pq.write_table(pa.table(columns), file, row_group_size=max(groups, 1))


def _files(source: Source, ids: np.ndarray) -> list[str | None] | None:
    """Where each image lies in the folder that was given; None where they lie in no files."""
    path, root = getattr(source.train.rows, "path", None), source.root
    if path is None or root is None:
        return None
    found = [path(int(i)) for i in ids]
    places = [p if p is None or not p.is_relative_to(root) else p.relative_to(root) for p in found]
    return [None if place is None else str(place) for place in places] if any(places) else None
