"""What each thing the loop does for speed is worth: a step of training with all of them, and without each.

    SECATEUR_DATA=DIR python benchmarks/step.py [--nets resnet9,resnet18] [--steps 40,12] [--rounds 3]

Every run is a process of its own; the variants take turns, so that a slow minute of the machine meets them all. A
line is the median over the rounds of each run's median step, and its ratio to the step with everything on.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from secateur.study.session import session
from secateur.training import loop, machine
from secateur.training.loop import Watch
from secateur.training.nets.norms import InstanceNorm
from secateur.training.recipes import RECIPES
from secateur.training.sampling import Shuffled

WARM_UP = 5
WITHOUT = {
    "everything": contextlib.nullcontext,
    "memory handed back to the system": lambda: patch.object(loop, "keep_freed_memory", lambda: None),
    "float32 instead of bfloat16": lambda: patch.object(machine, "bfloat16_helps", lambda device: False),
    "channels first": lambda: patch.object(torch, "channels_last", torch.contiguous_format),
    "torch's group norm as instance norm": lambda: patch.object(InstanceNorm, "forward", torch.nn.GroupNorm.forward),
    "one thread": contextlib.nullcontext,
}


def one(variant: str, net_name: str, steps: int, data: str) -> float:
    """The median step of one run, in seconds."""
    ends: list[float] = []
    watch = Watch(step=lambda done, total: ends.append(time.perf_counter()))
    threads = 1 if variant == "one thread" else None
    with tempfile.TemporaryDirectory() as out, session(data, out, quiet=True, threads=threads) as work:
        recipe = RECIPES["sgd"].for_data(len(work.source.train.usable), work.train.shape)
        net = work.build_net(net_name, seed=0, whiten=False)
        with WITHOUT[variant]():
            loop.train(
                net, work.train, recipe, steps=steps, sampler=Shuffled(work.source.train.usable, 0), seed=0, watch=watch
            )
    return float(np.median(np.diff(ends[WARM_UP:])))


def main() -> None:
    """Every variant in turn, as many rounds as asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="resnet9,resnet18")
    parser.add_argument("--steps", default="40,12")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(one(asked.one, asked.nets, int(asked.steps), str(Path(os.environ["SECATEUR_DATA"]) / "cifar10")))
        return
    print("| net | step | seconds | to everything |\n|---|---|---|---|")
    for net, steps in zip(asked.nets.split(","), asked.steps.split(","), strict=True):
        runs: dict[str, list[float]] = {variant: [] for variant in WITHOUT}
        for _ in range(asked.rounds):
            for variant, taken in runs.items():
                command = [sys.executable, __file__, "--one", variant, "--nets", net, "--steps", steps]
                taken.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        base = np.median(runs["everything"])
        for variant, taken in runs.items():
            print(f"| {net} | {variant} | {np.median(taken):.3f} | {np.median(taken) / base:.2f} |", flush=True)


if __name__ == "__main__":
    main()
