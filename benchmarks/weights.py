"""Learned weights on planted images of noise and wrong labels, beside plain training and training without the planted.

    SECATEUR_DATA=DIR python benchmarks/weights.py OUT [--data cifar10] [--examples 10000] [--epochs 16] [--share 0.2]
        [--objectives "beta;beta:below=0.45,after=0.3"] [--goals as-is,clean] [--seeds 1]

A share of the train rows becomes noise and as large a share gets a wrong label; labels of the test split stay. goals:
what the weights are learned for; `as-is`, a tenth of the train rows as they are, planted ones among them; `clean`, the
same tenth with nothing planted in it (the other runs then train on that data too). The runs that learn weights train
on nine tenths. A line: accuracy; mean weights of the rest, of noise, of wrong labels; how well the weight alone tells
either from the rest (area under the curve, 0.5 is chance); the share of each that was left out; seconds. Every run is
kept in OUT; a stopped one goes on.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from secateur.data.source import Source, open_data
from secateur.store.tables import Scores, Subset
from secateur.study.cell import Result, plan_run, run_cell
from secateur.study.material import VALIDATION
from secateur.study.session import Session, session
from secateur.training.aims import aim
from secateur.training.seeding import rng

KINDS = ("rest", "noise", "wrong")


def opened(name: str, examples: int) -> tuple[np.ndarray, np.ndarray, Any]:
    """Images and labels of a random part of the train split, and the test split as it is."""
    path = str(Path(os.environ["SECATEUR_DATA"]) / name) if name.startswith("cifar") else name
    source: Source = open_data(path)
    assert source.train.values is not None
    assert source.test is not None
    ids = np.sort(rng(0, "part").permutation(source.train.usable)[:examples])
    return source.train.values[ids], source.train.labels[ids], (source.test.values, source.test.labels)


def planted(images: np.ndarray, labels: np.ndarray, share: float, clean: np.ndarray) -> tuple[Any, Any, np.ndarray]:
    """The data with noise and wrong labels in it, none in the rows `clean`, and the kind of each row."""
    draw, count = rng(0, "planted"), round(share * len(labels))
    order = draw.permutation(len(labels))
    kinds = np.zeros(len(labels), dtype=int)
    kinds[order[:count]], kinds[order[count : 2 * count]] = 1, 2
    kinds[clean] = 0
    images, wrong = images.copy(), labels.copy()
    noise = draw.integers(0, 256, images.shape, dtype=np.uint8)
    images[kinds == 1] = noise[kinds == 1]
    shift = draw.integers(1, labels.max() + 1, len(labels))
    wrong[kinds == 2] = (labels + shift)[kinds == 2] % (labels.max() + 1)
    return images, wrong, kinds


def apart(weights: np.ndarray, kinds: np.ndarray, kind: int) -> float:
    """The chance that one of the rest weighs more than one of the kind; a tie counts half."""
    two = np.isin(kinds, (0, kind))
    ranks, rest = rankdata(weights[two]), kinds[two] == 0
    return float((ranks[rest].sum() - rest.sum() * (rest.sum() + 1) / 2) / (rest.sum() * (~rest).sum()))


def told(work: Session, name: str, results: list[Result], kinds: np.ndarray) -> str:
    """A row of the table."""
    scores = np.array([100 * r.accuracy for r in results])
    spread = f" ± {scores.std(ddof=1):.2f}" if len(scores) > 1 else ""
    paths = [work.out / "cells" / r.folder / "learned.parquet" for r in results]
    seconds = f"{np.mean([r.seconds for r in results]):.0f}"
    if not all(p.exists() for p in paths):
        return f"| {name} | {scores.mean():.2f}{spread} |" + " |" * 8 + f" {seconds} |"
    found = []
    for path in paths:
        table = Scores.open(path)
        trained = ~table["validation"]
        mean, of, out = table["mean"][trained], kinds[trained], table["dropped"][trained]
        found.append(
            [mean[of == k].mean() for k in range(3)]
            + [apart(mean, of, k) for k in (1, 2)]
            + [out[of == k].mean() for k in range(3)]
        )
    cells = " | ".join(f"{v:.3f}" for v in np.mean(found, axis=0))
    return f"| {name} | {scores.mean():.2f}{spread} | {cells} | {seconds} |"


def rows(asked: argparse.Namespace, goal: str) -> None:
    """The lines of one kind of goal."""
    images, labels, test = opened(asked.data, asked.examples)
    clean = np.arange(0)
    if goal == "clean":  # one fixed part, which every seed's goal is then
        clean = np.sort(rng(0, "clean").permutation(len(labels))[: round(VALIDATION * len(labels))])
    images, labels, kinds = planted(images, labels, asked.share, clean)
    with session((images, labels), asked.out / goal, reading={"test": test}) as work:
        how = {"net": asked.net, "recipe": asked.recipe, "epochs": asked.epochs, "budget": "steps"}
        if goal == "clean":
            hold(clean)
        without = subset_of(work, np.flatnonzero(kinds == 0))
        runs: dict[str, dict[str, Any]] = {"plain": {}, "without the planted": {"subset": without}}
        runs |= {spec: {"objective": aim(spec)} for spec in asked.objectives.split(";")}
        for name, options in runs.items():
            results = [run_cell(work, plan_run(work, name, seed=seed, **how, **options)) for seed in range(asked.seeds)]
            print(told(work, f"{name}, goal {goal}" if "objective" in options else name, results, kinds), flush=True)


def hold(ids: np.ndarray) -> None:
    """Let these be the validation part."""
    from secateur.study import material

    material.validation_ids = lambda work, seed: ids


def subset_of(work: Session, ids: np.ndarray) -> Subset:
    """A subset of these."""
    return Subset.given(ids, labels=work.source.train.labels, fingerprint=work.source.fingerprint)


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--examples", type=int, default=10_000)
    parser.add_argument("--net", default=None)
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--share", type=float, default=0.2)
    parser.add_argument("--objectives", default="beta;beta:below=0.45,after=0.3")
    parser.add_argument("--goals", default="as-is,clean")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    weights = " | ".join(f"weight of {kind}" for kind in KINDS)
    gone = " | ".join(f"{kind} left out" for kind in KINDS)
    print(f"| | accuracy | {weights} | tells noise | tells wrong | {gone} | seconds |\n|" + "---|" * 11)
    for goal in asked.goals.split(","):  # as-is first: `hold` lasts
        rows(asked, goal)


if __name__ == "__main__":
    main()
