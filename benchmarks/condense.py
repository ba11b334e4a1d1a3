"""Condensed sets beside coresets of as many rows, as they grow; and what a step costs beside a loop over classes.

    python benchmarks/condense.py grow [--data digits] [--methods dm:1:50+200,dc:1:25+100] [--epochs 200] [--nets 3]
    python benchmarks/condense.py steps [--data digits]

A method is NAME:PER_CLASS:STEPS+STEPS[:RATE[:MATCHES,EPOCHS]]: it is judged after so many steps of one run, each time
by `--nets` nets trained for `--epochs` epochs, on the test split. Seconds are of condensing alone.
"""

import argparse
import time

import numpy as np
import torch
import torch.nn.functional as F

from secateur.condensation import CONDENSERS, Real
from secateur.condensation.distribution import DM, features_of
from secateur.condensation.frame import Ground, begin, finished, grow
from secateur.condensation.gradient import DC
from secateur.condensation.protocol import Protocol, judge
from secateur.condensation.real import start
from secateur.condensation.siamese import families
from secateur.data.source import open_data
from secateur.data.tensors import Tensors
from secateur.study.judging import coreset
from secateur.training.seeding import generator


def opened(name: str, statistics: str) -> tuple[Real, Tensors]:
    """The real rows and the test split."""
    source = open_data(name)
    train, test = (Tensors(split, torch.device("cpu")) for split in (source.train, source.test))
    rows = torch.cat(list(train.batches(torch.split(torch.from_numpy(train.usable), 1000))))
    labels = train.labels[torch.from_numpy(train.usable)]
    return Real.of(rows, labels, ids=train.usable, names=source.classes, statistics=statistics), test


def accuracies(images: list[torch.Tensor], labels: torch.Tensor, real: Real, test: Tensors, asked, augment: str) -> str:
    """Mean and spread over the nets, in percent; one set for all nets, or one for each."""
    protocol = Protocol(families(augment, real.shape), asked.epochs)
    found = [
        100 * judge(images[r % len(images)], labels, real, test, net="convnet3", protocol=protocol, seed=r)
        for r in range(asked.nets)
    ]
    return f"{np.mean(found):.1f} ± {np.std(found, ddof=1):.1f}" if len(found) > 1 else f"{found[0]:.1f}"


def grow_and_judge(real: Real, test: Tensors, asked) -> None:
    """A line a method and number of steps, and the coresets of each size and augmentation."""
    told = set()
    for spec in asked.methods.split(";"):
        name, per_class, steps, *rest = spec.split(":")
        count, more = int(per_class), {}
        if len(rest) > 1:
            more = dict(zip(("matches", "epochs"), map(int, rest[1].split(",")), strict=True))
        method = CONDENSERS[name](**more)
        augment = method.augment or "off"
        labels = torch.arange(real.classes).repeat_interleave(count)
        if (count, augment) not in told:
            told.add((count, augment))
            draws = [
                start(real, per_class=count, generator=generator(r, "random coreset"), init="real")
                for r in range(asked.nets)
            ]
            print(
                f"| random | {count} | {augment} | | | {accuracies(draws, labels, real, test, asked, augment)} |",
                flush=True,
            )
            for kind in ("herding", "k-center"):
                ids = coreset(real, kind, count)
                rows = [start(real, per_class=count, generator=generator(0), init=ids)]
                print(
                    f"| {kind} | {count} | {augment} | | | {accuracies(rows, labels, real, test, asked, augment)} |",
                    flush=True,
                )
        ground = Ground.of(real, generator(0, "condense", 0), augment=augment)
        canvas = begin(method, ground, per_class=count, init=None, rate=float(rest[0]) if rest else None)
        seconds = 0.0
        for until in map(int, steps.split("+")):
            began = time.perf_counter()
            grow(method, canvas, ground, steps=until)
            seconds += time.perf_counter() - began
            held = finished(canvas, real)
            told_ = accuracies([held.images], held.labels, real, test, asked, augment)
            print(f"| {spec} | {count} | {augment} | {until} | {seconds:.0f} | {told_} |", flush=True)


def dm_by_class(canvas, ground: Ground) -> None:
    """A step of DM as the paper's code goes: class after class, the graph of the real rows kept out by detaching."""
    net, rows = features_of(ground.fresh_net()).requires_grad_(True), canvas.leaf()
    loss, size = torch.zeros(()), len(rows) // ground.real.classes
    for real, synthetic in zip(ground.real.draw(256, ground.generator), rows.split(size), strict=True):
        if (vary := ground.transform()) is not None:
            real, synthetic = vary(real), vary(synthetic)
        loss = loss + (net(real).flatten(1).detach().mean(0) - net(synthetic).flatten(1).mean(0)).square().sum()
    canvas.move(torch.autograd.grad(loss, rows)[0])


def dc_by_class(canvas, ground: Ground) -> None:
    """A match of DC as the paper's code goes: gradients of all parameters, one backward pass at the end."""
    net, rows = ground.fresh_net(), canvas.leaf()
    loss, size = torch.zeros(()), len(rows) // ground.real.classes
    weights = list(net.parameters())
    for c, real in enumerate(ground.real.draw(256, ground.generator)):
        sides = [
            torch.autograd.grad(F.cross_entropy(net(x), torch.full((len(x),), c)), weights, create_graph=graph)
            for x, graph in ((real, False), (rows[c * size : (c + 1) * size], True))
        ]
        for a, b in zip(*sides, strict=True):
            if a.ndim > 1:
                a, b = a.flatten(1), b.flatten(1)
                loss = loss + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
    canvas.move(torch.autograd.grad(loss, rows)[0])


def time_steps(real: Real, rounds: int) -> None:
    """Ours and the loop over classes in turn; the median of each."""
    for name, method, plain, augment in (("dm", DM(), dm_by_class, "auto"), ("dc", DC(), dc_by_class, "off")):
        for count in (1, 10):
            ground = Ground.of(real, generator(0, "steps"), augment=augment)
            canvas = begin(method, ground, per_class=count, init=None, rate=1e-6)
            ours = (lambda c, g: DC().match(g.fresh_net(), c, g)) if name == "dc" else method.step
            seconds: dict[str, list[float]] = {"ours": [], "by class": []}
            for _ in range(rounds + 1):
                for kind, step in (("ours", ours), ("by class", plain)):
                    began = time.perf_counter()
                    step(canvas, ground)
                    seconds[kind].append(time.perf_counter() - began)
            a, b = (float(np.median(seconds[kind][1:])) for kind in ("ours", "by class"))
            print(f"| {name} | {count} | {a:.3f} | {b:.3f} | {b / a:.2f} |", flush=True)


def main() -> None:
    """One of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("grow", "steps"))
    parser.add_argument("--data", default="digits")
    parser.add_argument("--statistics", default="data")
    parser.add_argument("--methods", default="dm:1:50+200;dm:10:50+200")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--nets", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    real, test = opened(asked.data, asked.statistics)
    if asked.what == "steps":
        time_steps(real, asked.rounds)
    else:
        grow_and_judge(real, test, asked)


if __name__ == "__main__":
    main()
