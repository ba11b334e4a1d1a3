"""`scale instructions` on digits with wrong labels, and on made-up rows whose quality is known.

    python benchmarks/instructions.py OUT [--seeds 10] [--wrong 0,0.4,0.4u] [--keep 0.1,0.3]
    python benchmarks/instructions.py OUT --planted

Digits stand for images and their labels for captions, of which a part is wrong (`u`: of some digits more than of
others). A small net is trained on 100 rows that are right; then, gently and from there, on each of 30 subsets of a
pool of 1,100 rows, and measured on 237 validation rows: the quality. What is chosen is trained on likewise and
measured on the 360 rows of the test split. Indicators: `match`, what a logistic regression that has not seen the row
(5 folds, labels as they are) gives to its label; `ink`, the mean pixel.
"""

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from torch import nn

import secateur as sc
from secateur import scale
from secateur.training.quality import Learning, fitted, held_out
from secateur.training.seeding import lent, rng

WAYS = {
    "mended": {},
    "as in the paper": {"features": "given", "labels": "given"},
    "as in the official code": {"features": "given", "labels": "given", "pca": "subset", "attention": "across"},
}


def trained(net: nn.Module, rows: np.ndarray, labels: np.ndarray, steps: int, lr: float) -> nn.Module:
    """Adam, full batches."""
    x, y = torch.tensor(rows, dtype=torch.float32), torch.tensor(labels)
    updates = torch.optim.Adam(net.parameters(), lr=lr)
    for _ in range(steps):
        updates.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        updates.step()
    return net


class Trial:
    """One draw of rows, wrong labels and first weights."""

    def __init__(self, seed: int, wrong: float, uneven: bool) -> None:
        source, draw = sc.open_data("digits"), rng(seed, "trial")
        train, test = source.train, source.test
        parts = [s.rows.value(raw) for s in (train, test) for raw in s.rows.raw(np.arange(len(s.labels)))]
        rows = np.stack(parts).reshape(len(parts), 64) / 255
        labels = np.concatenate([train.labels, test.labels])
        order = draw.permutation(len(train.labels))
        self.seed, self.rows, self.labels = seed, rows, labels.copy()
        self.base, self.valid, self.pool = order[:100], order[100:337], order[337:]
        self.test = np.arange(len(train.labels), len(labels))
        rates = np.full(10, wrong)
        if uneven:
            rates = draw.permutation(np.linspace(0, 2 * wrong, 10))
        self.spoiled = self.pool[draw.random(len(self.pool)) < rates[labels[self.pool]]]
        self.labels[self.spoiled] = (labels[self.spoiled] + draw.integers(1, 10, len(self.spoiled))) % 10
        with lent(seed, "first weights"):
            first = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        self.first = trained(first, rows[self.base], self.labels[self.base], 200, 0.003).state_dict()

    def accuracy(self, ids: np.ndarray, on: np.ndarray) -> float:
        """Per cent, on some rows, of the net trained on from its first weights on others."""
        net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))
        net.load_state_dict(self.first)
        trained(net, self.rows[ids], self.labels[ids], 50, 0.001)
        found = net(torch.tensor(self.rows[on], dtype=torch.float32)).argmax(dim=1).numpy()
        return 100 * float((found == self.labels[on]).mean())

    def shard(self, folder: Path) -> str:
        """The pool, with embeddings of images and captions, and the indicators."""
        rows, labels = self.rows[self.pool], self.labels[self.pool]
        said = cross_val_predict(LogisticRegression(max_iter=2000), rows, labels, method="predict_proba")
        self.match = said[np.arange(len(labels)), labels]
        folder.mkdir(parents=True, exist_ok=True)
        columns = {
            "id": self.pool,
            "embedding": pa.array(list(rows.astype(np.float32)), pa.list_(pa.float32())),
            "text": pa.array(list(np.eye(10, dtype=np.float32)[labels]), pa.list_(pa.float32())),
            "match": self.match,
            "ink": rows.mean(axis=1),
        }
        pq.write_table(pa.table(columns), folder / "pool.parquet")
        return str(folder)


def compared(trial: Trial, out: Path, keeps: list[float]) -> dict[tuple[str, float], tuple[float, float, float]]:
    """By way and keep: test accuracy, the share of wrong labels in what is kept, and the held-out correlation."""
    shards = trial.shard(out / "shards")
    common = {"indicators": ["match", "ink"], "text": "text", "out": str(out / "chosen"), "quiet": True}
    scale.instructions(shards, **common, seed=trial.seed)
    subsets = [pq.read_table(p)["id"].to_numpy() for p in sorted((out / "chosen" / "subsets").iterdir())]
    quality = {k: trial.accuracy(ids, trial.valid) for k, ids in enumerate(subsets)}
    found = {}

    def note(way: str, keep: float, ids: np.ndarray, known: float = np.nan) -> None:
        found[way, keep] = trial.accuracy(ids, trial.test), 100 * np.isin(ids, trial.spoiled).mean(), known

    for keep in keeps:
        for way, how in WAYS.items():
            told = scale.instructions(
                shards, **common, quality=quality, keep=keep, how=scale.Selecting(**how), seed=trial.seed
            )
            ids = pq.read_table(out / "chosen" / "kept_ids.parquet")["id"].to_numpy()
            note(way, keep, ids, told.correlation)
        note("random", keep, rng(trial.seed, "random").permutation(trial.pool)[: len(ids)])
        note("highest match", keep, trial.pool[np.argsort(-trial.match, kind="stable")[: len(ids)]])
        note("all rows", keep, trial.pool)
    return found


def planted(seed: int, sign: int, how: dict[str, str]) -> tuple[float, float]:
    """30 subsets of 30 rows, features in the units of the paper, quality by the last of them, up or down.

    Gives the rank correlation of the scores of rows with their quality, and that of subsets not seen.
    """
    draw = rng(seed, "planted")
    of = np.repeat(np.arange(30), 30)
    parts = 0.3 * draw.normal(size=(30, 12))[of] + 0.2 * draw.normal(size=(900, 12))
    level = 0.5 * draw.normal(size=30)[of]
    about = draw.normal(size=(900, 4)) * [5, 15, 1.5, 12] + [30, -10, 4, 80]  # CLIP score, reward, length, rating
    about[:, 3] += 12 * level
    good = sign * about[:, 3]
    means = good.reshape(30, 30).mean(axis=1)
    quality = 30.5 + 0.6 * (means - means.mean()) / means.std() + 0.1 * draw.normal(size=30)
    rows = np.concatenate([parts, about], axis=1)
    if how.get("features") != "given":
        rows = (rows - rows.mean(axis=0)) / rows.std(axis=0)
    learning = Learning(how.get("attention", "inside"), how.get("labels", "standard"))
    subsets = rows.reshape(30, 30, -1)
    scores = fitted(subsets, quality, learning, seed=seed).rows(rows)
    return spearmanr(scores, good).statistic, held_out(subsets, quality, learning, seed=seed).correlation


def show(rows: dict[tuple[str, float], list[tuple[float, ...]]]) -> None:
    """A line a key, mean and spread of each number."""
    for (way, what), values in rows.items():
        mean, spread = np.mean(values, axis=0), np.std(values, axis=0, ddof=1)
        cells = " | ".join("" if np.isnan(m) else f"{m:.2f} ± {s:.2f}" for m, s in zip(mean, spread, strict=True))
        print(f"| {way} | {what:g} | {cells} |", flush=True)


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--wrong", default="0,0.4,0.4u")
    parser.add_argument("--keep", default="0.1,0.3")
    parser.add_argument("--planted", action="store_true")
    asked = parser.parse_args()
    if asked.planted:
        print("| features and labels | sign | rows | subsets not seen |\n|" + "---|" * 4, flush=True)
        ways = {
            "standard": {},
            "labels alone given": {"labels": "given"},
            "features alone given": {"features": "given"},
        }
        ways["both given, as in the paper"] = WAYS["as in the paper"]
        show({(n, s): [planted(k, s, how) for k in range(asked.seeds)] for n, how in ways.items() for s in (1, -1)})
        return
    for form in asked.wrong.split(","):
        wrong, uneven = float(form.removesuffix("u")), form.endswith("u")
        print(f"\n{wrong:.0%} wrong{', of some digits more than of others' * uneven}\n")
        print("| way | keep | accuracy | wrong labels kept, % | not seen |\n|" + "---|" * 5, flush=True)
        rows: dict[tuple[str, float], list[tuple[float, ...]]] = {}
        for seed in range(asked.seeds):
            out = asked.out / f"{form}-{seed}"
            for key, value in compared(
                Trial(seed, wrong, uneven), out, [float(k) for k in asked.keep.split(",")]
            ).items():
                rows.setdefault(key, []).append(value)
        show(rows)


if __name__ == "__main__":
    main()
