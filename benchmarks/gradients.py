"""What the probes cost, beside the training they follow: seconds for 10,000 images, and in epochs of training.

    [SECATEUR_DATA=DIR] python benchmarks/gradients.py [--nets resnet9,resnet18] [--images 10000,1000] [--steps 60,60]
        [--rounds 3] [--threads 2]

CIFAR-10 where SECATEUR_DATA names it, else as many random images of its size. Every run is a process of its own; the
variants take turns, so that a slow minute of the machine meets them all. A line is the median over the rounds of each
run's median batch, the first left out as warm-up, scaled to 10,000 images. An epoch is forward, backward and optimiser
in the library's loop, with what it does for speed, its step the median of `--steps` over all the data; the probes look
at the net that these leave, in float32. How long DeepFool takes depends on the net. vmap and one example at a time see
a tenth of the images, DeepFool a fifth, in five batches at least.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.study.session import session
from secateur.training.loop import Watch, train
from secateur.training.machine import keep_freed_memory
from secateur.training.nets import Normalised, load_net, save_net
from secateur.training.probes.curvature import curvature
from secateur.training.probes.gradients import _one_by_one, gradient_norms
from secateur.training.probes.margins import deepfool
from secateur.training.recipes import RECIPES
from secateur.training.sampling import Shuffled

EPOCH, BATCH, SCALE = "an epoch of training", 250, 10_000


def one_at_a_time(net: Normalised, rows: Tensor, labels: Tensor) -> Tensor:
    """The plain way: a backward pass an example."""
    weights = list(net.parameters())
    norms = []
    for i in range(len(rows)):
        loss = F.cross_entropy(net(rows[i : i + 1]), labels[i : i + 1])
        norms.append(torch.stack([g.square().sum() for g in torch.autograd.grad(loss, weights)]).sum().sqrt())
    return torch.stack(norms)


PROBES: dict[str, tuple[Callable[[Normalised, Tensor, Tensor], Any], int]] = {
    "GraNd": (gradient_norms, 1),
    "GraNd by vmap": (_one_by_one, 10),
    "GraNd, one example at a time": (one_at_a_time, 10),
    "curvature": (curvature, 1),
    "DeepFool": (lambda net, rows, labels: deepfool(net, rows), 5),
}
"""What is run, and the part of the images it sees: one in so many."""


def data(images: int) -> Any:
    """The name of CIFAR-10, or random images and labels."""
    if "SECATEUR_DATA" in os.environ:
        return str(Path(os.environ["SECATEUR_DATA"]) / "cifar10")
    draw = np.random.default_rng(0)
    return draw.integers(0, 256, (images, 32, 32, 3), dtype=np.uint8), draw.integers(0, 10, images)


def one(what: str, spec: str, images: int, steps: int, threads: int, model: Path) -> float:
    """Seconds an image of one run: of its median batch."""
    with tempfile.TemporaryDirectory() as out, session(data(images), out, quiet=True, threads=threads) as work:
        ids = work.source.train.usable[:images]
        if what == EPOCH:
            ends = [time.perf_counter()]
            watch = Watch(step=lambda done, total: ends.append(time.perf_counter()))
            recipe = RECIPES["sgd"].for_data(50_000, work.train.shape)
            net = work.build_net(spec, seed=0, whiten=False)
            train(
                net, work.train, recipe, steps=steps, sampler=Shuffled(work.source.train.usable, 0), seed=0, watch=watch
            )
            save_net(net, model, spec=spec, shape=work.train.shape, classes=work.train.classes)
            return float(np.median(np.diff(ends)[1:])) / recipe.batch
        probe, part = PROBES[what]
        keep_freed_memory()
        net, ids = load_net(model, device=work.device), torch.from_numpy(ids[: images // part])
        taken = []
        for batch in ids.split(min(BATCH, len(ids) // 5)):
            rows, labels = work.train.sample(batch.numpy()), work.train.labels[batch]
            started = time.perf_counter()
            probe(net, rows, labels)
            taken.append((time.perf_counter() - started) / len(batch))
    return float(np.median(taken[1:]))


def main() -> None:
    """Every variant in turn, as many rounds as asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="resnet9,resnet18")
    parser.add_argument("--images", default="10000,1000")
    parser.add_argument("--steps", default="60,60")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        what, model = asked.one
        print(one(what, asked.nets, int(asked.images), int(asked.steps), asked.threads, Path(model)))
        return
    print(f"| net | what | images timed | seconds for {SCALE:,} | epochs of training |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for net, images, steps in zip(*(x.split(",") for x in (asked.nets, asked.images, asked.steps)), strict=True):
            runs: dict[str, list[float]] = {what: [] for what in (EPOCH, *PROBES)}
            options = ["--nets", net, "--images", images, "--steps", steps, "--threads", str(asked.threads)]
            for _ in range(asked.rounds):
                for what, taken in runs.items():
                    command = [sys.executable, __file__, "--one", what, f"{folder}/{net}.safetensors", *options]
                    taken.append(float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout))
            for what, taken in runs.items():
                seen = int(images) // PROBES[what][1] if what in PROBES else 500 * int(steps)
                seconds, ratio = SCALE * np.median(taken), np.median(taken) / np.median(runs[EPOCH])
                print(f"| {net} | {what} | {seen:,} | {seconds:.1f} | {ratio:.1f} |", flush=True)


if __name__ == "__main__":
    main()
