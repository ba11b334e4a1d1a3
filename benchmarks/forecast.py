"""How far the forecast of `secateur plan --start NET --reach LOSS` is from real fine-tuning, and what each costs.

    SECATEUR_DATA=DIR python benchmarks/forecast.py OUT [--data cifar10|digits] [--net NAME] [--source-epochs 8]
        [--epochs 16] [--sizes 500,...] [--rates 0.1,0.6] [--reach 0.5] [--seed 0]

A net is trained on CIFAR-100 (kept in OUT), and fine-tuned with a new head on random parts of CIFAR-10; with `--data
digits`, on the digits 0 to 4 and 5 to 9. A line is one size and rate: the steps that a run with all weights took until
the mean of twenty batches came to the target, `never` within the steps of `--epochs` over all of the data, and those
that each linear model forecast, with its relative error; then seconds of the run until there, and of each forecast.
Runs that never reach it are left out of the errors; a forecast that says never of one that does is infinitely off.
"""

import argparse
import copy
import os
import time
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from secateur.data.source import open_data
from secateur.select import random
from secateur.store.tables import Subset
from secateur.study.cell import plan_run
from secateur.study.forecast import Kernel, foreseen
from secateur.study.run import Run
from secateur.study.session import Session, session
from secateur.training.forecast import WINDOW, reach
from secateur.training.loop import train
from secateur.training.nets import Normalised, adopt, save_net, spec_in
from secateur.training.sampling import Shuffled

SIZES = {"cifar10": "500,1000,2500,10000,50000", "digits": "50,100,200,400,716"}


class Reached(Exception):
    """The run is at its target."""


class Ear:
    """Hears the loss of every batch, and stops the run at the target."""

    def __init__(self, target: float) -> None:
        self.target, self.losses = target, []

    def batch(self, ids: Tensor, logits: Tensor, labels: Tensor) -> None:
        """The loss of one batch, before its step."""
        self.losses.append(float(F.cross_entropy(logits.detach(), labels)))
        if np.mean(self.losses[-WINDOW:]) <= self.target:
            raise Reached

    def end_epoch(self) -> None:
        """Nothing to do."""


def trained(net: Normalised, work: Session, run: Run, target: float) -> tuple[int | None, float]:
    """Steps to the target and seconds until there, of a copy of the net."""
    assert run.subset is not None
    ear, started, taken = Ear(target), time.perf_counter(), None
    try:
        sampler = Shuffled(run.subset.ids, run.seed)
        train(copy.deepcopy(net), work.train, run.recipe, steps=run.steps, sampler=sampler, seed=run.seed, recorder=ear)
    except Reached:
        taken = len(ear.losses) - 1
    return taken, time.perf_counter() - started


def part(work: Session, size: int, seed: int) -> Subset:
    """A random part of the data."""
    usable = work.source.train.usable
    labels = work.source.train.labels
    return Subset.build(
        labels=labels, scores=np.full(len(labels), np.nan),
        ids=usable[random(len(usable), keep=min(size, len(usable)), rng=np.random.default_rng(seed))],
        reasons=np.full(len(labels), "", dtype=object), provenance={"fingerprint": work.source.fingerprint},
    )  # fmt: skip


def sources(name: str) -> tuple[Any, Any]:
    """The data that the net comes from, and those it is fine-tuned on."""
    if name != "digits":
        folder = Path(os.environ["SECATEUR_DATA"])
        return str(folder / "cifar100"), str(folder / name)
    split = open_data("digits").train
    early = split.labels < 5
    assert split.values is not None
    return (split.values[early], split.labels[early]), (split.values[~early], split.labels[~early] - 5)


def source_net(asked: argparse.Namespace, data: Any) -> Path:
    """The net to start from, trained once."""
    path = asked.out / "source" / "model.safetensors"
    if not path.exists():
        with session(data, asked.out / "source") as work:
            run = plan_run(
                work, "", net=asked.net, recipe="sgd", epochs=asked.source_epochs, budget="steps", seed=asked.seed
            )
            net = work.build_net(run.net, seed=asked.seed, whiten=False)
            sampler = Shuffled(work.source.train.usable, asked.seed)
            train(net, work.train, run.recipe, steps=run.steps, sampler=sampler, seed=asked.seed)
            save_net(net, path, spec=run.net, shape=work.train.shape, classes=work.train.classes)
    return path


def line(work: Session, path: Path, asked: argparse.Namespace, size: int, rate: str) -> tuple[str, dict[str, float]]:
    """A row of the table, and the relative error of each kernel where the run came to the target."""
    run = plan_run(
        work, "", net=None, recipe=f"sgd:lr={rate}", epochs=asked.epochs, budget="steps", seed=asked.seed,
        subset=part(work, size, asked.seed),
    )  # fmt: skip
    net = work.build_net(spec_in(path), seed=asked.seed, whiten=False)
    net = adopt(net, path, new_head=True).eval()
    taken, seconds = trained(net, work, run, asked.reach)
    told, costs, errors = [], [f"{seconds:.1f}"], {}
    for kernel in get_args(Kernel):
        started = time.perf_counter()
        losses, *_ = foreseen(work, net, run, kernel)
        steps = reach(losses, asked.reach)
        costs.append(f"{time.perf_counter() - started:.1f}")
        told.append("never" if steps is None else str(steps))
        if taken:
            errors[kernel] = float("inf") if steps is None else (steps - taken) / taken
            told[-1] += f" ({errors[kernel]:+.0%})" if steps is not None else ""
    counts = [str(size), rate, "never" if taken is None else str(taken), *told, *costs]
    return f"| {' | '.join(counts)} |", errors


def main() -> None:
    """Every size and rate, and the errors over all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="cifar10", choices=SIZES)
    parser.add_argument("--net")
    parser.add_argument("--source-epochs", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--sizes")
    parser.add_argument("--rates", default="0.2,0.6")
    parser.add_argument("--reach", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    asked = parser.parse_args()
    source, target = sources(asked.data)
    path = source_net(asked, source)
    kernels = get_args(Kernel)
    head = ["examples", "rate", "steps taken", *kernels, "s, run", *(f"s, {kernel}" for kernel in kernels)]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    found: dict[str, list[float]] = {kernel: [] for kernel in kernels}
    with session(target, asked.out / "target", threads=asked.threads, quiet=True) as work:
        for size in map(int, (asked.sizes or SIZES[asked.data]).split(",")):
            for rate in asked.rates.split(","):
                text, errors = line(work, path, asked, size, rate)
                print(text, flush=True)
                for kernel, error in errors.items():
                    found[kernel].append(abs(error))
    for kernel, errors in found.items():
        print(f"\n{kernel}: relative error {np.median(errors):.0%} in the median, {max(errors):.0%} at worst, "
              f"of {len(errors)} runs that came to {asked.reach:g}")  # fmt: skip


if __name__ == "__main__":
    main()
