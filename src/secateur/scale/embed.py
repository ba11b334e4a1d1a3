"""`scale embed`: a data set into embedding shards, by the net of a run, a net trained elsewhere, or one of your own."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from secateur.data.source import Source, open_data
from secateur.data.tensors import Tensors
from secateur.errors import SecateurError
from secateur.progress import Progress
from secateur.scale.claim import HOW, How
from secateur.scale.embedded import SOURCE, Shards, claimed
from secateur.scale.storage import Place
from secateur.training.embedders import Embedder, embedder
from secateur.training.machine import pick_device
from secateur.training.nets import model_in


def embed(
    data: Any,
    *,
    by: str,
    net: str | None = None,
    out: str = "secateur-shards",
    rows: int = 65_536,
    batch: int = 256,
    device: str = "auto",
    force: bool = False,
    quiet: bool = False,
    claiming: How = HOW,
    **reading: Any,
) -> list[Place]:
    """Write parquet shards of `rows` rows: id (row number of the data), embedding (float16), label and file if known.

    by: the OUT folder or model file of a run, whose features are taken; `timm:NAME`, `transformers:NAME`,
    `package.module:function` or `input`, see `secateur.training.embedders`; net: the net of your own that such a file
    holds. out: a folder or URL; on an object store the shards lie in a folder below it. One command at a time writes
    there; claiming: what to do about another. A stopped run goes on after its last whole shard. Rows that cannot be
    read are left out where `on_bad="skip"`.

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
    model = embedder(by, shape=tensors.shape, device=tensors.device, named=() if net is None else (net,))
    asked = {"fingerprint": source.fingerprint, "by": by, "rows": rows, **_model(by)}
    parts, same = math.ceil(len(source.train.usable) / rows), (batch, tensors.device.type)
    with claimed(place, asked, parts, claiming, same=same, force=force, say=progress.say) as shards:
        if source.root is not None and place.local is not None:  # where a report finds the images that `file` names
            with (place / SOURCE).writing() as file:
                file.write(os.path.realpath(source.root).encode())
        with progress.stage("embedding") as advance:
            _fill(shards, source, rows, lambda part: _embedded(model, tensors, part, batch), advance)
        shards.publish()
        return list(shards)


def _fill(
    shards: Shards, source: Source, rows: int, vectors: Callable[[np.ndarray], np.ndarray], advance: Callable[..., None]
) -> None:
    """Write the missing shards."""
    ids, missing = source.train.usable, shards.missing()
    for start, shard in zip(range(0, len(ids), rows), shards, strict=True):
        part = ids[start : start + rows]
        if shard.name in missing:
            found = vectors(part)
            shards.check()
            _write(shard, source, part, found)
        advance(start + len(part), len(ids))


def _model(by: str) -> dict[str, str]:
    """What tells the net in a model file, or in that of an OUT folder, from another."""
    return {"model": Place(str(model_in(Path(by)))).digest()} if by and Path(by).exists() else {}


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
