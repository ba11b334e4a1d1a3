"""What a cheaper recording costs DUAL: the numbers of recordings.md. Every run is kept, a stopped one goes on.

    SECATEUR_DATA=DIR python benchmarks/recordings.py OUT record            make and time the recordings
    SECATEUR_DATA=DIR python benchmarks/recordings.py OUT rank              rank correlation of DUAL with the full one
    SECATEUR_DATA=DIR python benchmarks/recordings.py OUT train FORMS KEEP [SEEDS] [+teacher]

FORMS are names of FORMS below, separated by commas; `first-8w5` reads the first 8 epochs of the full recording in
windows of 5.
"""

import json
import os
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import secateur as sc
from secateur.methods import Setting
from secateur.registry import resolve_keep
from secateur.store.recording import Recording
from secateur.store.tables import Subset
from secateur.study.cell import plan_run, run_cell
from secateur.study.session import Session, session
from secateur.training.seeding import rng

DATA = str(Path(os.environ["SECATEUR_DATA"]) / "cifar10")


@dataclass(frozen=True)
class Form:
    """One way to record: options of `secateur.record`, the epochs read, and the part of the data it sees."""

    options: dict[str, Any]
    part: float = 1.0


FORMS = {
    "full": Form({}),
    "epochs-8": Form({"epochs": 8}),
    "epochs-4": Form({"epochs": 4}),
    "epochs-10": Form({"epochs": 10}),
    "epochs-12": Form({"epochs": 12}),
    "half-width": Form({"net": "resnet9:0.5"}),
    "16-pixels": Form({"size": 16}),
    "quarter": Form({}, 0.25),
    "half-width-8": Form({"net": "resnet9:0.5", "epochs": 8}),
}


def record(out: Path) -> None:
    """Make every recording that is not there yet."""
    for name, form in FORMS.items():
        if form.part < 1:
            _record_part(out / name, form.part)
        else:
            sc.record(DATA, out=out / name, quiet=True, **form.options)
        seconds = json.loads((out / name / "run.json").read_text())["stages"]["record"]["seconds"]
        print(f"{name}: {seconds:.0f} s", flush=True)


def _record_part(out: Path, part: float) -> None:
    """A recording of a stratified part, and the features of all examples by its net."""
    if (out / "features.npy").exists():
        return
    import torch
    from datasets import load_dataset

    from secateur.data.parts import stratified

    with session(DATA, out.with_name("whole"), quiet=True) as work:
        train = work.source.train
        ids = stratified(train.labels, train.usable, part, rng(0, "part"))
    table = load_dataset("parquet", data_files=f"{DATA}/train.parquet", split="train").select(ids)
    sc.record(table, out=out, quiet=True)
    from secateur.training.nets import load_net

    started = time.perf_counter()
    with session(DATA, out.with_name("whole"), quiet=True) as work, torch.inference_mode():
        net, rows = load_net(out / "model.safetensors", device=work.device), work.train
        found: list[torch.Tensor] = []
        net.body.head.register_forward_pre_hook(lambda _, given: found.append(given[0].clone()))
        for k in range(0, len(rows), 500):
            net(rows.sample(np.arange(k, k + 500)))
    np.save(out / "ids.npy", ids)
    np.save(out / "features.npy", torch.cat(found).numpy())
    print(f"features of all by the net of a part: {time.perf_counter() - started:.0f} s", flush=True)


def dual_of(out: Path, spec: str) -> tuple[np.ndarray, np.ndarray]:
    """DUAL and the mean probability of every example, by a form and its reading: `NAME`, `NAME-first-N`, with `wW`."""
    match = re.fullmatch(r"(.+?)(?:w(\d+))?", spec)
    assert match
    name, window = match.group(1), match.group(2)
    first = re.fullmatch(r"(?:(.+)-)?first-(\d+)", name)
    form = name if first is None else first.group(1) or "full"
    recording = Recording.open(out / form)
    p = np.asarray(recording["p_target"])[: int(first.group(2)) if first else None]
    width = int(window) if window else Setting(0.1, len(p), 10).fit(30, 10)["window"]
    scores, mean = sc.scores.dual(p, window=width), p.mean(axis=0)
    if FORMS[form].part < 1:
        ids, features = np.load(out / form / "ids.npy"), np.load(out / form / "features.npy")
        labels = np.asarray(Recording.open(out / "full")["labels"])
        scores, mean = (_predicted(v, ids, features, labels) for v in (scores, mean))
    return scores, mean


def _predicted(values: np.ndarray, ids: np.ndarray, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Recorded examples keep their value; the others take the mean of 20 recorded neighbours of their class."""
    from sklearn.neighbors import NearestNeighbors

    every = np.empty(len(labels))
    for label in np.unique(labels):
        known = np.flatnonzero(labels[ids] == label)
        members = np.flatnonzero(labels == label)
        search = NearestNeighbors(n_neighbors=20).fit(features[ids[known]])
        every[members] = values[known][search.kneighbors(features[members], return_distance=False)].mean(axis=1)
    every[ids] = values
    return every


def rank(out: Path, specs: list[str]) -> None:
    """Spearman correlation of each form's DUAL with that of the full recording."""
    from scipy.stats import spearmanr

    whole, _ = dual_of(out, "full")
    for spec in specs:
        print(f"{spec}: {spearmanr(whole, dual_of(out, spec)[0]).statistic:.3f}", flush=True)


def train(out: Path, specs: list[str], keep: float, seeds: int, taught: bool) -> None:
    """Test accuracy of what each form keeps."""
    with session(DATA, out / "cells", quiet=True) as work:
        for spec in specs:
            results = [_cell(work, out, spec, keep, seed, taught) for seed in range(seeds)]
            accuracy = np.array([r.accuracy for r in results]) * 100
            worst = np.mean([r.worst_class for r in results]) * 100
            spread = f" ± {accuracy.std(ddof=1):.2f}" if seeds > 1 else ""
            name = f"{spec}, keep {keep}{' + its net' if taught else ''}"
            print(f"{name}: {accuracy.mean():.2f}{spread}, worst {worst:.1f}", flush=True)


def _cell(work: Session, out: Path, spec: str, keep: float, seed: int, taught: bool) -> Any:
    labels = work.source.train.labels
    count = resolve_keep(keep, len(labels))
    form = re.sub(r"w\d+$", "", spec)
    if spec == "random":
        scores = np.full(len(labels), np.nan)
        ids = sc.select.random(len(labels), keep=count, rng=rng(seed, "select"))
    else:
        scores, mean = dual_of(out, spec)
        ids = sc.select.beta(scores, mean, keep=count, rng=rng(seed, "select"), c_d=5.5)
    reasons = np.full(len(labels), "not selected", dtype=object)
    subset = Subset.build(
        labels=labels, scores=scores, ids=ids, reasons=reasons,
        provenance={"fingerprint": work.source.fingerprint, "method": spec},
    )  # fmt: skip
    run = plan_run(
        work, spec, net=None, recipe="fast", epochs=None, budget="balanced", seed=seed, subset=subset,
        teacher=out / form / "model.safetensors" if taught else None, distill="auto" if taught else None,
    )  # fmt: skip
    return run_cell(work, run)


def main() -> None:
    """Run the part asked for."""
    out, part, *rest = Path(sys.argv[1]), *sys.argv[2:]
    if part == "record":
        record(out)
    elif part == "rank":
        rank(out, rest[0].split(","))
    else:
        counts = [int(r) for r in rest[2:] if r.isdigit()]
        train(out, rest[0].split(","), float(rest[1]), *(counts or [1]), taught="+teacher" in rest)


if __name__ == "__main__":
    main()
