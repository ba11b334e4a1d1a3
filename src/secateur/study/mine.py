"""Mining a pool: what lies near the labelled rows of a class joins them with its label."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from secateur.data.source import Source
from secateur.data.tensors import Tensors
from secateur.data.writers.mined import write_mined
from secateur.errors import SecateurError, reason
from secateur.ranges import ROWS, SEED, SHARE, SOME, THREADS, in_ranges
from secateur.select.prototypes import check_limits, judge, prototypes, surest
from secateur.store.files import remove, replacing
from secateur.store.tables import Mined
from secateur.study.joint import Condensing, condense_mined, drop
from secateur.study.material import check_pool
from secateur.study.record import RecordingPlan, record_in
from secateur.study.run import content_hash
from secateur.study.session import Session, session
from secateur.study.train import open_pool
from secateur.training.checkpoint import damage
from secateur.training.nets import Normalised, load_net, model_in
from secateur.training.probes.penultimate import Penultimate
from secateur.training.recipes import Recipe

BATCH = 500
BLOCK = 10_000
"""Rows of the pool that a stopped run judges again, at most."""


@in_ranges
def mine(
    data: Any,
    pool: Any,
    *,
    model: str | Path | None = None,
    top: Annotated[int | None, ROWS] = None,
    at_least: Annotated[float | None, SHARE] = None,
    per_class: Annotated[int | None, SOME] = None,
    condense_with: str | None = None,
    net: str | None = None,
    recipe: str | Recipe = "fast",
    epochs: Annotated[int | None, SOME] = None,
    seed: Annotated[int, SEED] = 0,
    out: str | Path = "secateur-out",
    device: str = "auto",
    threads: Annotated[int | None, THREADS] = None,
    force: bool = False,
    quiet: bool = False,
    **reading: Any,
) -> Mined:
    """Label what lies near the labelled rows: the selection of omni-supervised training; see `secateur.select.omni`.

    pool: read as the data are, but its labels, if it has any, are not looked at. Features come from `model`, an OUT
    folder or a model file; by default from a net that is trained on the data first, by net, recipe and epochs, and kept
    in OUT. A net of your own in `model` must be named as `net` too: no file decides which code runs. top, at_least: so
    many rows of each class, and the cosine to the class mean that they must reach. Writes OUT/mined.parquet, every
    candidate with its class and confidence, and OUT/mined/, the labelled and the mined rows as a data set to `train`
    on, with the test split of the data. per_class: condense what was mined into so many rows of each class, by
    condense_with, `dm` unless told: a method of `condense` with knobs, as `dm:steps=2000`; OUT/joint/ has these in
    place of the mined rows. Run again, it goes on where it stood; with other limits it mines again with the same net.
    """
    check_limits(top, at_least)
    how = _condensing(per_class, condense_with)
    with session(
        data, out, device=device, threads=threads, force=force, quiet=quiet, reading=reading, named=[net]
    ) as work:
        _check_labels(work.source)
        if how is not None:
            how.check(work.source)
        found = open_pool(pool, work, reading, what="pool")
        check_pool(work, found, "pool")
        if model is None:
            record_in(work, RecordingPlan.make(work, epochs=epochs, net=net, recipe=recipe, seed=seed))
        path = model_in(work.out.path if model is None else Path(model))
        used = load_net(path, device=work.device, named=work.named)
        asked = {"model": content_hash(path.read_bytes()), "pool": found.fingerprint}
        mined = _mine(work, found, used, asked, {"top": top, "at_least": at_least})
        if how is not None:
            condense_mined(work, found, mined, how, seed=seed)
        return mined


def _condensing(per_class: int | None, spec: str | None) -> Condensing | None:
    if per_class is not None:
        return Condensing.of(per_class, spec or "dm")
    if spec is not None:
        raise SecateurError(
            f"condense_with: {spec!r} says how mined rows are condensed, but not into how many; give per_class too "
            f"(--per-class 10)"
        )
    return None


def _mine(work: Session, pool: Source, net: Normalised, made_of: dict[str, Any], limits: dict[str, Any]) -> Mined:
    """Mine, or read what was mined so before."""
    asked = made_of | limits
    if work.out.run["stages"].get("mine", {}).get("asked") == asked and (work.out / "mined").exists():
        return Mined.open(work.out.path)
    started, state = time.perf_counter(), work.out / "state" / f"mine-{content_hash(json.dumps(made_of).encode())}"
    claims, confidence = _judged(work, pool, net, state)
    taken = surest(claims, confidence, **limits)
    kept = np.zeros(len(claims), dtype=bool)
    kept[taken] = True
    names = np.array(work.source.classes, dtype=object)[claims]
    table = {"id": pool.train.usable, "label": claims, "class": names, "confidence": confidence, "kept": kept}
    mined = Mined.of(table, asked | {"fingerprint": work.source.fingerprint})
    work.out.forget("mine")
    drop(work.out)
    mined.save(work.out / "mined.parquet")
    write_mined(work.source, pool, mined.ids, mined.labels, work.out / "mined")
    work.out.note("mine", asked, seconds=time.perf_counter() - started, examples=len(claims))
    remove(state)
    if work.source.test is None:
        work.progress.say("no test split: `train` would hold out mined rows too, and test on their claimed classes")
    counts = np.bincount(mined.labels, minlength=len(work.source.classes))
    work.progress.say(
        f"mined {len(mined)} of {len(claims)} rows, {counts.min()} to {counts.max()} a class, confidence from "
        f"{confidence[taken].min():.3f}, into {work.out / 'mined'}"
    )
    return mined


def _check_labels(data: Source) -> None:
    """Raise SecateurError unless every class has labelled rows."""
    data.require_labels("mining")
    counts = np.bincount(data.train.labels[data.train.usable], minlength=len(data.classes))
    if not counts.all():
        raise SecateurError(
            f"label: class {data.classes[int(counts.argmin())]!r} has no labelled rows, so nothing can be like it; "
            f"label some, or take it out of the classes"
        )


def _judged(work: Session, pool: Source, net: Normalised, state: Path) -> tuple[np.ndarray, np.ndarray]:
    """The class and the confidence of each usable row of the pool, both (candidates,), by the block."""
    train, rows = work.source.train, Tensors(pool.train, work.device)
    own = np.concatenate(list(_features(net, work.train, train.usable)))
    means = prototypes(own, train.labels[train.usable])
    parts = []
    with work.progress.stage("mining the pool") as advance:
        for k, start in enumerate(range(0, len(rows.usable), BLOCK)):
            path = state / f"{k:06d}.safetensors"
            if not path.exists():
                block = [judge(means, f) for f in _features(net, rows, rows.usable[start : start + BLOCK])]
                claims, confidence = (np.concatenate(column) for column in zip(*block, strict=True))
                with replacing(path) as beside:
                    save_file({"claims": claims, "confidence": confidence}, beside)
            parts.append(_block(path, min(BLOCK, len(rows.usable) - start), len(means)))
            advance(min(start + BLOCK, len(rows.usable)), len(rows.usable))
    return np.concatenate([p["claims"] for p in parts]), np.concatenate([p["confidence"] for p in parts])


def _block(path: Path, rows: int, classes: int) -> dict[str, np.ndarray]:
    """What was said of some rows. Raises StoreError for a file that is damaged, or of something else."""
    with damage(path, "what was mined so far", "delete it and run again"):
        found = load_file(path)
        claims, sure = found["claims"], found["confidence"]
        whole = claims.shape == sure.shape == (rows,) and claims.dtype.kind == "i" and sure.dtype.kind == "f"
        if not whole or claims.min() < 0 or claims.max() >= classes or not np.isfinite(sure).all():
            raise ValueError(f"expected the class and the confidence of {rows} rows")
        return found


def _features(net: Normalised, data: Tensors, ids: np.ndarray) -> Iterator[np.ndarray]:
    """What enters the net's last layer, a batch (rows, dims) at a time: in eval mode, in float32, without views."""
    penultimate = Penultimate(net.eval())
    plan = [torch.from_numpy(ids[k : k + BATCH]) for k in range(0, len(ids), BATCH)]
    for rows in data.batches(plan):
        try:
            with torch.inference_mode():
                features, _ = penultimate(rows)
        except RuntimeError as error:
            raise SecateurError(f"model: does not take rows of shape {data.shape} ({reason(error)})") from None
        yield features.cpu().numpy()
