"""What to go on from: imitation of a teacher's features, supervised pre-training on the same rows, or nothing.

    SECATEUR_DATA=DIR python benchmarks/imitation.py OUT [--data cifar100] [--on cifar10] [--part 0.1]
        [--pretrain 64] [--fine 0.01,0.1] [--epochs 16] [--net resnet9] [--teacher resnet9:2] [--seeds 1]

The teacher trains on all of DATA for 16 epochs. The student then trains on `part` of its rows for the steps of
`pretrain` epochs of that part, with labels or by imitation without; the third start is none. Each goes on to parts of
ON, for the steps of `epochs` epochs of them. `digits` as DATA teaches five digits and goes on to the others. A line for
each part of ON: accuracy by start. Every run is kept in OUT; a stopped one goes on.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

from secateur.data.parts import stratified
from secateur.data.source import open_data
from secateur.store.tables import Subset
from secateur.study.cell import Result, plan_run, run_cell
from secateur.study.session import Session, session
from secateur.training.seeding import rng

STARTS = ("none", "supervised", "imitate")


def opened(name: str, low: bool) -> tuple[Any, Any]:
    """Rows and labels to train on, and to test on; low: of digits, those below five, else the others less five."""
    if name.startswith("cifar"):
        return str(Path(os.environ["SECATEUR_DATA"]) / name), None
    source, pairs = open_data("digits"), []
    for split in (source.train, source.test):
        assert split is not None
        assert split.values is not None
        some = (split.labels < 5) == low
        pairs.append((split.values[some], split.labels[some] % 5))
    return pairs[0], pairs[1]


def part_of(work: Session, share: float, seed: int) -> Subset:
    """A random part, class by class."""
    train = work.source.train
    ids = stratified(train.labels, train.usable, share, rng(seed, "part"))
    reasons = np.full(len(train), "", dtype=object)
    about = {"fingerprint": work.source.fingerprint}
    return Subset.build(
        labels=train.labels, scores=np.full(len(train), np.nan), ids=ids, reasons=reasons, provenance=about
    )


def pretrained(asked: argparse.Namespace, seed: int) -> dict[str, Path | None]:
    """The folders to start from, by name."""
    data, test = opened(asked.data, low=True)
    with session(data, asked.out / "pretrained", reading={"test": test}) as work:
        how: dict[str, Any] = {"recipe": asked.recipe, "budget": "epochs"}
        taught = run_cell(work, plan_run(work, "teacher", net=asked.teacher, epochs=asked.teach, seed=0, **how))
        cells = work.out / "cells"
        how |= {"net": asked.net, "epochs": asked.pretrain, "seed": seed, "subset": part_of(work, asked.part, seed)}
        plain = run_cell(work, plan_run(work, "supervised", **how))
        alike = run_cell(
            work, plan_run(work, "imitate", objective=asked.objective, teacher=cells / taught.folder, **how)
        )
        if seed == 0:
            seconds = f"{taught.seconds:.0f}, {plain.seconds:.0f} and {alike.seconds:.0f} s"
            print(f"teacher {taught.accuracy:.2%}, supervised {plain.accuracy:.2%}; both and imitation in {seconds}\n")
        return {"none": None, "supervised": cells / plain.folder, "imitate": cells / alike.folder}


def told(share: float, count: int, found: dict[str, list[Result]]) -> str:
    """A row of the table."""
    cells = []
    for results in found.values():
        scores = np.array([100 * r.accuracy for r in results])
        cells.append(f"{scores.mean():.2f}" + (f" ± {scores.std(ddof=1):.2f}" if len(scores) > 1 else ""))
    return f"| {share:g} | {count} | {' | '.join(cells)} |"


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="cifar100")
    parser.add_argument("--on", default="cifar10")
    parser.add_argument("--part", type=float, default=0.1)
    parser.add_argument("--teach", type=int, default=16)
    parser.add_argument("--pretrain", type=int, default=64)
    parser.add_argument("--fine", default="0.01,0.1")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--net", default="resnet9")
    parser.add_argument("--teacher", default="resnet9:2")
    parser.add_argument("--objective", default="imitate")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    starts = [pretrained(asked, seed) for seed in range(asked.seeds)]
    print("| part | examples | " + " | ".join(STARTS) + " |\n|" + "---|" * 5)
    data, test = opened("digits" if asked.data == "digits" else asked.on, low=False)
    with session(data, asked.out / "fine", reading={"test": test}) as work:
        for share in map(float, asked.fine.split(",")):
            how = {"net": asked.net, "recipe": asked.recipe, "epochs": asked.epochs, "budget": "epochs"}
            found: dict[str, list[Result]] = {name: [] for name in STARTS}
            for seed, begins in enumerate(starts):
                subset = part_of(work, share, seed)
                for name, start in begins.items():
                    run = plan_run(work, name, seed=seed, subset=subset, start=start, **how)
                    found[name].append(run_cell(work, run))
            print(told(share, len(subset), found), flush=True)


if __name__ == "__main__":
    main()
