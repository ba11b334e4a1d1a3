"""Condensed sets beside coresets of as many rows, as they grow.

    python benchmarks/condense.py grow --out DIR [--data digits] [--methods "dm:1:50+200;dc:1:25+100"] [--compile]
    python benchmarks/condense.py judge --out DIR [--epochs 200] [--nets 3] [--only dm-1] [--net mlp]

A method is NAME:PER_CLASS:STEPS+STEPS[:RATE[:MATCHES,EPOCHS]]. `grow` keeps the set after so many steps of one run, and
after `--minutes` if that is sooner; `judge` trains `--nets` nets on each of them, and on coresets of the same size
at the same augmentation, and tests them on the test split. Seconds are of condensing alone.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from secateur.condensation import CONDENSERS, Real, Synthetic
from secateur.condensation.frame import Ground, begin, finished, grow
from secateur.condensation.protocol import Protocol, judge
from secateur.condensation.real import start
from secateur.condensation.siamese import families
from secateur.data.source import open_data
from secateur.data.tensors import Tensors
from secateur.study.judging import coreset
from secateur.training.machine import keep_freed_memory
from secateur.training.nets.small import published_depth
from secateur.training.seeding import generator


def opened(name: str, statistics: str) -> tuple[Real, Tensors]:
    """The real rows and the test split."""
    source = open_data(name)
    train, test = (Tensors(split, torch.device("cpu")) for split in (source.train, source.test))
    rows = torch.cat(list(train.batches(torch.split(torch.from_numpy(train.usable), 1000))))
    labels = train.labels[torch.from_numpy(train.usable)]
    return Real.of(rows, labels, ids=train.usable, names=source.classes, statistics=statistics), test


def grown(real: Real, asked) -> None:
    """Learn each method, keep the set at each number of steps."""
    for spec in asked.methods.split(";"):
        name, per_class, steps, *rest = spec.split(":")
        more = dict(zip(("matches", "epochs"), map(int, rest[1].split(",")), strict=True)) if len(rest) > 1 else {}
        if name == "idm" and asked.classify is not None:
            more["classify"] = asked.classify
        method, rate = CONDENSERS[name](**more), float(rest[0]) if rest and rest[0] else None
        augment = method.augment or "off"
        ground = Ground.of(real, generator(0, "condense", 0), augment=augment, compiled=asked.compile)
        canvas = begin(method, ground, per_class=int(per_class), init=None, rate=rate)
        seconds, wanted = 0.0, list(map(int, steps.split("+")))
        while canvas.step < wanted[-1] and seconds < 60 * asked.minutes:
            began = time.perf_counter()
            grow(method, canvas, ground, steps=canvas.step + 1)
            seconds += time.perf_counter() - began
            if canvas.step in wanted or seconds >= 60 * asked.minutes:
                about = {
                    "method": name,
                    "augment": augment,
                    "step": canvas.step,
                    "of": method.steps,
                    "rate": canvas.rate,
                    "classify": more.get("classify"),
                }
                path = asked.out / f"{name}-{per_class}-{canvas.step:05d}{f'-{rate:g}' if rate else ''}.safetensors"
                finished(canvas, real).save(path, about | {"seconds": seconds, "statistics": asked.statistics})
                print(f"{path.name} {seconds:.0f} s", flush=True)


def judged(real: Real, test: Tensors, asked) -> None:
    """A line a set, and the coresets of each size and augmentation."""
    told = set()
    for path in sorted(asked.out.glob(f"{asked.only}*.safetensors")):
        about, held = Synthetic.about(path), Synthetic.load(path)
        count, augment = held.per_class, about["augment"]
        if (count, augment) not in told and not asked.bare:
            told.add((count, augment))
            streams = [generator(r, "random coreset") for r in range(asked.nets)]
            sets = {"random": [start(real, per_class=count, generator=s, init="real") for s in streams]}
            for kind in ("herding", "k-center"):
                ids = coreset(real, kind, count)
                sets[kind] = [start(real, per_class=count, generator=generator(0), init=ids)]
            for kind, images in sets.items():
                found = accuracies(images, held.labels, real, test, asked, augment)
                print(f"| {kind} | {count} | {augment} | | | | {found} |", flush=True)
        shown = held.expanded()
        found = accuracies([shown.images], shown.labels, real, test, asked, augment)
        method, step, share = about["method"], about["step"], 100 * about["step"] / about["of"]
        cells = [f"`{method}`, rate {about['rate']:g}", count, augment, step, f"{share:.3g} %", round(about["seconds"])]
        print(f"| {' | '.join(map(str, cells))} | {found} |", flush=True)


def accuracies(images: list[torch.Tensor], labels: torch.Tensor, real: Real, test: Tensors, asked, augment: str) -> str:
    """Mean and spread over the nets, in percent; one set for all nets, or one for each."""
    protocol = Protocol(families(augment, real.shape), asked.epochs, compiled=asked.compile)
    net = asked.net or f"convnet{published_depth(real.shape)}"
    found = [
        100 * judge(images[r % len(images)], labels, real, test, net=net, protocol=protocol, seed=r)
        for r in range(asked.nets)
    ]
    return f"{np.mean(found):.1f} ± {np.std(found, ddof=1):.1f}" if len(found) > 1 else f"{found[0]:.1f}"


def main() -> None:
    """One of the two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("grow", "judge"))
    parser.add_argument("--data", default="digits")
    parser.add_argument("--statistics", default="data")
    parser.add_argument("--methods", default="dm:1:50+200;dm:10:50+200")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--out", type=Path, default=Path("condensed"))
    parser.add_argument("--classify", type=float, help="of idm")
    parser.add_argument("--only", default="", help="judge the files whose names begin so")
    parser.add_argument("--bare", action="store_true", help="judge without coresets beside")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--nets", type=int, default=3)
    parser.add_argument("--net", help="the net to judge with; the ConvNet for the size of the images by default")
    parser.add_argument("--compile", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    real, test = opened(asked.data, asked.statistics)
    if asked.what == "grow":
        asked.out.mkdir(parents=True, exist_ok=True)
        grown(real, asked)
    else:
        judged(real, test, asked)


if __name__ == "__main__":
    main()
