"""Wrong labels: what is kept of them, what they cost, what is put right.

    SECATEUR_DATA=DIR python benchmarks/noise.py OUT [--data cifar10] [--wrong 0.2,0.4] [--keep 0.3] [--epochs 16]
        [--methods random,dual,ccs] [--net resnet9] [--seeds 1]

The given part of the train labels is moved to another class, evenly. Everything after that is `compare`, which knows
nothing of it: the recording, the teacher and every method see the wrong labels, the test labels are right. Then, with
the true labels at hand: the share of wrong labels in each subset, and how many labels that the mean logits of the
recording contradict are rightly contradicted, and rightly put. Every cell is kept in OUT; a stopped run goes on.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

import secateur as sc
from secateur.data.source import Split, open_data


def rows_of(split: Split) -> np.ndarray:
    """The images of a split that is in memory."""
    assert split.values is not None
    return split.values


def flipped(labels: np.ndarray, share: float, classes: int, seed: int) -> np.ndarray:
    """Labels, `share` of them moved to another class."""
    rng = np.random.default_rng(seed)
    wrong = rng.permutation(len(labels))[: round(share * len(labels))]
    out = labels.copy()
    out[wrong] = (labels[wrong] + rng.integers(1, classes, len(wrong))) % classes
    return out


def corrections(out: Path, given: np.ndarray, true: np.ndarray) -> str:
    """How right the labels are that the mean logits of the recording propose."""
    proposed = sc.scores.corrected_label(np.asarray(sc.Recording.open(out)["logits_mean"]), given)
    said, wrong = proposed != given, given != true
    return (
        f"contradicted {said.sum()}, of these wrong {wrong[said].mean():.1%} and put right "
        f"{(proposed == true)[said].mean():.1%}; of the wrong, put right {(proposed == true)[wrong].mean():.1%}; "
        f"labels right before {(given == true).mean():.1%}, after {(proposed == true).mean():.1%}"
    )


def kept_wrong(out: Path, row: Any, given: np.ndarray, true: np.ndarray) -> str:
    """The share of wrong labels in the subsets of a row."""
    if row.keep is None or not (out / "subsets" / f"{row.method}-{row.keep}-0").exists():
        return f"{(given != true).mean():.1%}"
    parts = [sc.Subset.open(out / "subsets" / f"{row.method}-{row.keep}-{r.seed}").ids for r in row.results]
    return f"{np.mean([(given != true)[ids].mean() for ids in parts]):.1%}"


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--wrong", default="0.2,0.4")
    parser.add_argument("--keep", type=float, default=0.3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--methods", default="random,dual,ccs")
    parser.add_argument("--net")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    data = str(Path(os.environ["SECATEUR_DATA"]) / asked.data) if asked.data.startswith("cifar") else asked.data
    source = open_data(data)
    assert source.test is not None
    true, test = source.train.labels, (rows_of(source.test), source.test.labels)
    for share in map(float, asked.wrong.split(",")):
        given, out = flipped(true, share, len(source.classes), seed=0), asked.out / f"wrong-{share:g}"
        table = sc.compare(
            (rows_of(source.train), given), test=test, methods=asked.methods.split(","), keep=[asked.keep], out=out,
            epochs=asked.epochs, record_epochs=asked.epochs, seeds=asked.seeds,
            net=asked.net,
        )  # fmt: skip
        print(f"\n{share:.0%} wrong: {corrections(out, given, true)}\n")
        print("| | accuracy | worst class | wrong labels | steps |\n|---|---|---|---|---|")
        for row in table.rows:
            found = row.as_json()
            spread = "" if row.spread is None else f" ± {100 * row.spread:.2f}"
            numbers = f"{100 * row.mean:.2f}{spread} | {100 * found['worst_class']:.1f}"
            print(f"| {row.name} | {numbers} | {kept_wrong(out, row, given, true)} | {found['steps']} |", flush=True)


if __name__ == "__main__":
    main()
