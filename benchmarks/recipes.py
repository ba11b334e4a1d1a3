"""Training recipes on validation data: the trials behind the numbers of `fast`.

    SECATEUR_DATA=DIR python benchmarks/recipes.py RESULTS.jsonl "fast@600/0.1" "fast:lr=0.12@1600/1" ...

A trial is RECIPE@STEPS/KEEP: so many steps on a random part of the training rows (which part depends on the seed
alone), tested on the seeded, stratified 10 % of CIFAR-10's train split that no trial trains on. The test split is
never read. Trials that RESULTS.jsonl holds already are not run again.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

from secateur.data.parts import stratified
from secateur.store.files import append_line
from secateur.study.session import Session, session
from secateur.training.evaluate import accuracy
from secateur.training.loop import train
from secateur.training.recipes import recipe
from secateur.training.sampling import Shuffled
from secateur.training.seeding import rng


def trial(work: Session, spec: str, steps: int, keep: float, seed: int, net: str) -> float:
    """Validation accuracy at the last step."""
    split = work.source.train
    held = stratified(split.labels, split.usable, 0.1, rng(0, "validation"))
    rest = np.setdiff1d(split.usable, held)
    count = round(keep * len(split.usable))
    ids = rest if keep == 1 else np.sort(rng(seed, "part").permutation(rest)[:count])
    chosen = recipe(spec).for_data(len(split.usable), work.train.shape).for_keep(keep)
    model = work.build_net(net, seed=seed, whiten=chosen.whiten)
    train(model, work.train, chosen, steps=steps, sampler=Shuffled(ids, seed), seed=seed)
    return accuracy(model, work.train, held).overall


def main() -> None:
    """Run the trials that are missing and print each as it ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    parser.add_argument("trials", nargs="+")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--net", default="resnet9")
    asked = parser.parse_args()
    lines = asked.results.read_text().splitlines() if asked.results.exists() else []
    done = {(r["trial"], r["seed"], r["net"]) for r in map(json.loads, lines)}
    data = str(Path(os.environ["SECATEUR_DATA"]) / "cifar10")
    with session(data, asked.results.with_suffix(".out"), quiet=True) as work:
        for text in asked.trials:
            if (text, asked.seed, asked.net) in done:
                continue
            spec, _, rest = text.rpartition("@")
            steps, keep = rest.split("/")
            started = time.perf_counter()
            score = trial(work, spec, int(steps), float(keep), asked.seed, asked.net)
            seconds = time.perf_counter() - started
            row = {"trial": text, "seed": asked.seed, "net": asked.net, "validation": score, "seconds": seconds}
            append_line(asked.results, row)
            print(f"{text:60} seed {asked.seed}  {score:.2%}  {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
