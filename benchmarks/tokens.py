"""What dropping patches saves a vision transformer: a step of training beside a dense one, and whole runs on CIFAR-10.

    python benchmarks/tokens.py [--batches 128,500] [--tokens 0.9,0.8,0.7,0.5] [--attention 0.5] [--steps 15]
    SECATEUR_DATA=DIR python benchmarks/tokens.py OUT --data cifar10 --epochs 16 [--recipe fast] [--seed 0]

Steps: all variants in one process, a step of each in turn on the same batch of 32x32 images, at the full rates, so that
a slow moment of the machine meets them all. A line: the median step, the middle half of the steps, and the median of
each step's ratio to the dense one beside it. Runs: dense, with tokens=0.7, and with the rule `swap` on top, which
leaves out a fifth of the examples. Every run is kept in OUT; a stopped one goes on.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import secateur as sc
from secateur.training.machine import autocast, keep_freed_memory, pick_device
from secateur.training.nets import build
from secateur.training.optimizers import build as optimizers_for
from secateur.training.recipes import RECIPES

WARM_UP = 3
RUNS = {"dense": ("", None), "tokens 0.7": (":tokens=0.7", None), "tokens 0.7, swap": (":tokens=0.7", "swap:keep=0.8")}


def stepping(spec: str, device: torch.device) -> Callable[[Tensor, Tensor], float]:
    """A net of that spec behind a function that trains it on one batch and says how many seconds that took."""
    net = build(spec, shape=(3, 32, 32), classes=10, mean=torch.zeros(3), spread=torch.ones(3), seed=0).to(device)
    optimizers = optimizers_for(net, RECIPES["sgd"])

    def step(rows: Tensor, labels: Tensor) -> float:
        started = time.perf_counter()
        with autocast(device):
            logits = net(rows).float()
        F.cross_entropy(logits, labels).backward()  # type: ignore[no-untyped-call]
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started

    return step


def steps(asked: argparse.Namespace) -> None:
    """Print a table of steps for each size of batch."""
    keep_freed_memory()
    device, noise = pick_device(), torch.Generator().manual_seed(0)
    rates = [f":tokens={share}" for share in asked.tokens.split(",")]
    specs = [
        asked.net,
        *(asked.net + r for r in rates),
        *(f"{asked.net}{r},attention={asked.attention}" for r in rates),
    ]
    print("| batch | net | seconds | middle half | to dense |\n|---|---|---|---|---|")
    for batch in map(int, asked.batches.split(",")):
        step_of = {spec: stepping(spec, device) for spec in specs}
        taken: dict[str, list[float]] = {spec: [] for spec in specs}
        for _ in range(WARM_UP + asked.steps):
            rows = torch.randn(batch, 3, 32, 32, generator=noise).to(device)
            labels = torch.randint(0, 10, (batch,), generator=noise).to(device)
            for spec, step in step_of.items():
                taken[spec].append(step(rows, labels))
        dense = np.array(taken[asked.net][WARM_UP:])
        for spec in specs:
            own = np.array(taken[spec][WARM_UP:])
            low, middle, high = np.percentile(own, (25, 50, 75))
            ratio = np.median(own / dense)
            print(f"| {batch} | {spec} | {middle:.3f} | {low:.3f} to {high:.3f} | {ratio:.2f} |", flush=True)


def runs(asked: argparse.Namespace) -> None:
    """Print a table of whole runs."""
    data = str(Path(os.environ["SECATEUR_DATA"]) / asked.data) if asked.data.startswith("cifar") else asked.data
    print("| run | test accuracy | worst class | visits | steps | seconds | to dense |\n|---|---|---|---|---|---|---|")
    dense = None
    for name in asked.runs.split(";"):
        options, rule = RUNS[name]
        result = sc.train(
            data, net=asked.net + options, rule=rule, recipe=asked.recipe, epochs=asked.epochs, budget="epochs",
            seed=asked.seed, out=asked.out,
        )  # fmt: skip
        dense = dense or result
        accuracy = f"{100 * result.accuracy:.2f} | {100 * result.worst_class:.1f}"
        counts = f"{result.examples / dense.examples:.0%} | {result.steps} | {result.seconds:.0f}"
        print(f"| {name} | {accuracy} | {counts} | {result.seconds / dense.seconds:.2f} |", flush=True)


def main() -> None:
    """Steps, or runs where there is a data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, nargs="?", default=Path("secateur-out"))
    parser.add_argument("--net", default="vit_tiny")
    parser.add_argument("--batches", default="128,500")
    parser.add_argument("--tokens", default="0.9,0.8,0.7,0.5")
    parser.add_argument("--attention", default="0.5")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--data")
    parser.add_argument("--runs", default=";".join(RUNS))
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    if asked.data is None:
        steps(asked)
    else:
        runs(asked)


if __name__ == "__main__":
    main()
