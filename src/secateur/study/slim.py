"""A cheaper net from a trained one: hidden units taken out by what unlabelled rows and the weights say, no training."""

import dataclasses
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from secateur.errors import SecateurError
from secateur.ranges import PART, ROWS, SEED, THREADS, in_ranges
from secateur.store.files import read_json, write_json
from secateur.store.schemas.runs import SlimFile
from secateur.study.run import content_hash
from secateur.study.session import Session, session
from secateur.training.evaluate import accuracy, seconds_per_1000
from secateur.training.nets import NETS, Normalised, Saved, load_about, load_net, model_in, save_net, with_hidden
from secateur.training.removal import check_slim, look, slimmable, slimmed, units_of
from secateur.training.seeding import generator, rng

BATCH = 250


@dataclass(frozen=True)
class Slimmed:
    """What came of slimming a net. Before and after: of the net given, and of the one written.

    net: its spec. multiply_adds: of one row. units: of each hidden layer. accuracy: on the test split, None without
    labels or without a test split. seconds: per 1,000 rows, here and now. rows: how many were looked at.
    """

    net: str
    rank: str
    rows: int
    multiply_adds_before: int
    multiply_adds_after: int
    units_before: tuple[int, ...]
    units_after: tuple[int, ...]
    accuracy_before: float | None
    accuracy_after: float | None
    seconds_before: float
    seconds_after: float

    @classmethod
    def read(cls, path: Path) -> "Slimmed":
        """What the job wrote as JSON."""
        saved = {f.name: read_json(path, SlimFile)[f.name] for f in dataclasses.fields(cls)}
        return cls(**saved | {name: tuple(saved[name]) for name in ("units_before", "units_after")})


@in_ranges
def slim(
    model: str | Path,
    data: Any,
    *,
    flops: Annotated[float, PART],
    rank: str = "r2d2",
    sample: Annotated[int, ROWS] = 1000,
    seed: Annotated[int, SEED] = 0,
    out: str | Path = "secateur-out",
    device: str = "auto",
    threads: Annotated[int | None, THREADS] = None,
    force: bool = False,
    quiet: bool = False,
    **reading: Any,
) -> Slimmed:
    """Take hidden units out of a trained mlp or vit_tiny until it costs a fraction of its multiply-adds.

    model: an OUT folder or a model file; data: rows such as the net will meet, labels not needed. flops: the fraction.
    rank: which units stay, `r2d2` (after arXiv:2303.04185), `representative`, `data`, `magnitude` or `random`. sample:
    how many random rows of the train split are looked at, all of them where there are fewer. Writes
    OUT/model.safetensors, which teaches and is probed like any other net. Run again, it reads the result.
    """
    path = _model_file(model, Path(out))
    saved = load_about(path)
    if saved.spec.partition(":")[0] not in NETS:
        with_hidden(saved.spec, ())  # a net of your own could be slimmed, but not be built again
    net = load_net(path, device=torch.device("cpu"))
    check_slim(net, flops=flops, rank=rank)
    if sample < 1:
        raise SecateurError(f"sample: expected at least one row to look at, got {sample}")
    asked = {"model": content_hash(path.read_bytes()), "flops": flops, "rank": rank, "sample": sample, "seed": seed}
    with session(data, out, device=device, threads=threads, force=force, quiet=quiet, reading=reading) as work:
        _check_fit(work, saved)
        if not work.out.begin("slim", asked):
            started = time.perf_counter()
            found = _slim(work, net.to(work.device), saved, flops=flops, rank=rank, sample=sample, seed=seed)
            write_json(work.out / "slim.json", dataclasses.asdict(found))
            work.out.end("slim", seconds=time.perf_counter() - started, examples=found.rows)
        return Slimmed.read(work.out / "slim.json")


def _model_file(model: str | Path, out: Path) -> Path:
    path = model_in(Path(model))
    if Path(os.path.realpath(path)).is_relative_to(os.path.realpath(out)):
        raise SecateurError(f"out: {out} holds the model itself ({path}), which stays as it is; choose another --out")
    return path


def _check_fit(work: Session, saved: Saved) -> None:
    if saved.shape != work.train.shape:
        raise SecateurError(
            f"model: takes rows of shape {saved.shape}, but the data have rows of shape {work.train.shape}; name data "
            "such as it was trained on, or bring images to its side with --size"
        )
    if work.source.labelled and saved.classes != work.train.classes:
        raise SecateurError(
            f"model: knows {saved.classes} classes, but the data have {work.train.classes}; name data such as it was "
            "trained on, or read them with --label none"
        )


def _slim(work: Session, net: Normalised, saved: Saved, *, flops: float, rank: str, sample: int, seed: int) -> Slimmed:
    ids = np.sort(rng(seed, "slim").permutation(work.source.train.usable)[:sample])
    plan = [torch.from_numpy(ids[k : k + BATCH]) for k in range(0, len(ids), BATCH)]
    with work.progress.stage("looking at hidden units") as advance:

        def batches() -> Iterator[Tensor]:
            for k, rows in enumerate(work.train.batches(plan)):
                yield rows
                advance(min((k + 1) * BATCH, len(ids)), len(ids))

        moments = look(net, batches())
    out = slimmed(net, moments, flops=flops, rank=rank, generator=generator(seed, "slim"))
    before, after = slimmable(net), slimmable(out)
    units = units_of(before), units_of(after)
    spec = with_hidden(saved.spec, units[1])
    save_net(out, work.out / "model.safetensors", spec=spec, shape=saved.shape, classes=saved.classes)
    seconds = seconds_per_1000([net, out], work.train.sample(ids[:BATCH]))
    return Slimmed(
        net=spec,
        rank=rank,
        rows=len(ids),
        multiply_adds_before=before.multiply_adds(units[0]),
        multiply_adds_after=after.multiply_adds(units[1]),
        units_before=tuple(units[0]),
        units_after=tuple(units[1]),
        accuracy_before=_accuracy(work, net),
        accuracy_after=_accuracy(work, out),
        seconds_before=seconds[0],
        seconds_after=seconds[1],
    )


def _accuracy(work: Session, net: Normalised) -> float | None:
    if not work.source.labelled or work.source.test is None:
        return None
    return accuracy(net, work.test).overall
