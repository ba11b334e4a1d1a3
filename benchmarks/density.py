"""Pruning embeddings, labels unused: density and prototypes beside random, by what a net learns from what is kept.

    SECATEUR_DATA=DIR python benchmarks/density.py OUT [--data cifar100] [--keep 0.3,0.1] [--net resnet9] [--seeds 1]
        [--dedup-to 1]

A net is recorded on the data and embeds them; `scale prune` chooses; a net is trained on what it chose with `fast`. A
line: accuracy, worst class, of the classes the smallest and the largest share that is kept. Every cell is kept in OUT.
"""

import argparse
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from secateur import scale
from secateur.scale.embed import embed
from secateur.store.tables import Subset
from secateur.study.cell import plan_run, run_cell
from secateur.study.record import RecordingPlan, record_in
from secateur.study.session import Session, session

WAYS = {
    "random in clusters": scale.Choice("random"),
    "density": scale.Choice("density"),
    "density, easy": scale.Choice("density", "easy"),
    "density, temperature 0.5": scale.Choice("density", temperature=0.5),
    "prototypes, hard": scale.Choice("prototypes", "hard"),
    "prototypes, easy": scale.Choice("prototypes", "easy"),
}


def chosen(
    work: Session, shards: str, out: Path, choice: scale.Choice, keep: float, asked: argparse.Namespace
) -> Subset:
    """The rows that are kept, as a subset of the data."""
    dedup = None if asked.dedup_to == 1 else scale.Dedup(None, asked.dedup_to)
    clustering = scale.Clustering(asked.clusters)
    scale.prune(shards, keep=keep, out=str(out), clustering=clustering, dedup=dedup, choice=choice, workers=1)
    ids = np.sort(pq.read_table(out / "kept_ids.parquet")["id"].to_numpy())
    return Subset.given(ids, labels=work.source.train.labels, fingerprint=work.source.fingerprint)


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="cifar100")
    parser.add_argument("--keep", default="0.3,0.1")
    parser.add_argument("--ways", default=";".join(WAYS))
    parser.add_argument("--clusters", type=int)
    parser.add_argument("--dedup-to", type=float, default=1)
    parser.add_argument("--net")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    data = str(Path(os.environ["SECATEUR_DATA"]) / asked.data) if asked.data.startswith("cifar") else asked.data
    print("| chosen by | keep | accuracy | worst class | share of a class kept | steps |\n|" + "---|" * 6, flush=True)
    with session(data, asked.out / "run") as work:
        record_in(work, RecordingPlan.make(work, epochs=None, net=asked.net, recipe="sgd", seed=0))
        shards = asked.out / "shards"
        embed(data, by=str(work.out.path), out=str(shards))
        for keep in map(float, asked.keep.split(",")):
            for name in asked.ways.split(";"):
                subset = chosen(work, str(shards), asked.out / "pruned", WAYS[name], keep, asked)
                runs = [
                    plan_run(
                        work, name, net=asked.net, recipe="fast", epochs=None, budget="balanced", seed=s, subset=subset
                    )
                    for s in range(asked.seeds)
                ]
                results = [run_cell(work, run) for run in runs]
                scores = np.array([100 * r.accuracy for r in results])
                spread = f" ± {scores.std(ddof=1):.2f}" if len(scores) > 1 else ""
                counts = np.bincount(work.source.train.labels) / 1.0
                shares = np.bincount(work.source.train.labels[subset.ids], minlength=len(counts)) / counts
                worst = np.mean([100 * r.worst_class for r in results])
                classes = f"{shares.min():.1%} to {shares.max():.1%}"
                numbers = f"{scores.mean():.2f}{spread} | {worst:.1f} | {classes} | {results[0].steps}"
                print(f"| {name} | {keep:g} | {numbers} |", flush=True)


if __name__ == "__main__":
    main()
