"""What slimming a trained net costs in accuracy and gives in speed, by ranking, with and without handing on.

    SECATEUR_DATA=DIR python benchmarks/slim.py OUT [--data cifar10] [--nets vit_tiny,mlp] [--recipe fast]
        [--epochs 16] [--flops 0.6,0.7,0.8] [--ranks NAMES] [--sample 1000] [--seeds 3]

Trains each net on all of the data, or goes on from OUT; a net may also be the file of a saved one. A line: the fraction
of multiply-adds asked for, the ranking, accuracy on the test split where units are taken out and nothing else is done,
accuracy where what they told is handed on to those that stay, and seconds per 1,000 rows, before and after, taking
turns. `random` is the mean over the seeds, with its deviation. With PYTHONPATH=. `benchmarks.slim:narrow` is a vit that
the digits can train.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from secateur.study.cell import plan_run, run_cell
from secateur.study.session import Session, session
from secateur.training import removal
from secateur.training.evaluate import accuracy, seconds_per_1000
from secateur.training.nets import Normalised, load_net
from secateur.training.nets.vit import ViT
from secateur.training.removal import look, slimmable, slimmed, units_of
from secateur.training.seeding import generator, rng
from secateur.training.slim import RANKS, Moments

BATCH = 250


def narrow(shape: tuple[int, int, int], classes: int) -> ViT:
    """A vision transformer of 4 blocks of 48 dims."""
    return ViT(shape, classes, dims=48, depth=4)


def only_taken_out(reads: nn.Linear, kept: Tensor, moments: Moments) -> None:
    """What is left where nothing is handed on."""
    reads.weight = nn.Parameter(reads.weight.detach()[:, kept])
    reads.in_features = len(kept)


def trained(work: Session, asked: argparse.Namespace, name: str) -> Normalised:
    """The net of a file, or a net by name, trained on everything."""
    if name.endswith(".safetensors"):
        return load_net(Path(name), device=work.device)
    run = plan_run(work, name, net=name, recipe=asked.recipe, epochs=asked.epochs, budget="epochs", seed=0)
    folder = work.out / "cells" / run_cell(work, run).folder
    return load_net(folder / "model.safetensors", device=work.device)


def moments_of(work: Session, net: Normalised, sample: int) -> list[Moments]:
    """What the hidden units do on a random sample, as `secateur slim --seed 0` draws it."""
    ids = np.sort(rng(0, "slim").permutation(work.source.train.usable)[:sample])
    return look(net, work.train.batches([torch.from_numpy(ids[k : k + BATCH]) for k in range(0, len(ids), BATCH)]))


def told(values: Sequence[float]) -> str:
    """In percent, with the deviation of several."""
    spread = f" ± {100 * np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{100 * np.mean(values):.2f}{spread}"


def rows(work: Session, asked: argparse.Namespace, name: str) -> None:
    """The lines of one net."""
    net, name = trained(work, asked, name), Path(name).name
    body, test = slimmable(net), work.train.sample(work.source.train.usable[:BATCH])
    whole = body.multiply_adds(units_of(body))
    print(f"| {name} | 1 | none | | {told([accuracy(net, work.test).overall])} | |", flush=True)
    moments = moments_of(work, net, asked.sample)
    for flops in map(float, asked.flops.split(",")):
        for rank in asked.ranks.split(","):
            bare, handed = [], []
            for seed in range(asked.seeds if rank == "random" else 1):
                with patch.object(removal, "hand_on", only_taken_out):
                    out = slimmed(net, moments, flops=flops, rank=rank, generator=generator(seed, "slim"))
                bare.append(accuracy(out, work.test).overall)
                out = slimmed(net, moments, flops=flops, rank=rank, generator=generator(seed, "slim"))
                handed.append(accuracy(out, work.test).overall)
            before, after = seconds_per_1000([net, out], test)
            thin = slimmable(out)
            share = thin.multiply_adds(units_of(thin)) / whole
            speed = f"{before:.3g}, {after:.3g}"
            print(f"| {name} | {share:.3f} | {rank} | {told(bare)} | {told(handed)} | {speed} |", flush=True)


def main() -> None:
    """Every net in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--nets", default="vit_tiny,mlp")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--flops", default="0.6,0.7,0.8")
    parser.add_argument("--ranks", default=",".join(RANKS))
    parser.add_argument("--sample", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    data = str(Path(os.environ["SECATEUR_DATA"]) / asked.data) if asked.data.startswith("cifar") else asked.data
    head = "| net | multiply-adds | ranking | accuracy, only taken out | accuracy, handed on | seconds before, after |"
    print(f"{head}\n|{'---|' * 6}")
    with session(data, asked.out) as work:
        for name in asked.nets.split(","):
            rows(work, asked, name)


if __name__ == "__main__":
    main()
