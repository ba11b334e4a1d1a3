"""Pruning while training, beside full training, all of the data cut short to the same steps, and a fixed random part.

    SECATEUR_DATA=DIR python benchmarks/dynamic.py OUT [--data cifar10] [--epochs 16] [--pruned 0.3,0.5,0.7]
        [--rules full,fixed,NAMES] [--net resnet9] [--seeds 1]

Every run has as many epochs, so that a rule that visits less takes fewer steps, and its schedule ends with it. `cut
short` trains on everything for the steps that the rule took. A line: accuracy, worst class, steps, visits as a share of
full training's, seconds, and of these the seconds in the rule itself and in looking at what it does not train on. Every
run is kept in OUT; a stopped one goes on.
"""

import argparse
import dataclasses
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from secateur.dynamic import sampler as sampling
from secateur.select import random
from secateur.store.tables import Subset
from secateur.study.cell import Result, plan_run, run_cell
from secateur.study.run import Run
from secateur.study.session import Session, session
from secateur.training import loop

RULES = {
    "random": "random:keep={kept}",
    "infobatch": "infobatch:drop={pruned}",
    "kakurenbo": "kakurenbo:hide={pruned}",
    "eps-greedy": "eps-greedy:keep={kept},every={period}",
    "ucb": "ucb:keep={kept},every={period}",
    "swap": "swap:keep={kept}",
}
BASES = ("full", "fixed")
SPENT = {"rule": 0.0, "looks": 0.0}


def timed(name: str, fn: Any) -> Any:
    """The function, its seconds added up."""

    def call(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return fn(*args, **kwargs)
        finally:
            SPENT[name] += time.perf_counter() - started

    return call


def fixed(work: Session, kept: float, seed: int) -> Subset:
    """A random part that stays the same."""
    usable = work.source.train.usable
    ids = usable[random(len(usable), keep=kept, rng=np.random.default_rng(seed))]
    return Subset.given(ids, labels=work.source.train.labels, fingerprint=work.source.fingerprint)


def told(name: str, pruned: str, results: list[Result], full: int) -> str:
    """A row of the table."""
    scores = np.array([100 * r.accuracy for r in results])
    spread = f" ± {scores.std(ddof=1):.2f}" if len(scores) > 1 else ""
    worst, share = np.mean([100 * r.worst_class for r in results]), np.mean([r.examples for r in results]) / full
    steps, seconds = np.mean([r.steps for r in results]), np.mean([r.seconds for r in results])
    spent = " | ".join(f"{s:.1f}" if name in RULES else "" for s in SPENT.values())
    counts = f"{steps:.0f} | {share:.0%} | {seconds:.0f} | {spent}"
    return f"| {name} | {pruned} | {scores.mean():.2f}{spread} | {worst:.1f} | {counts} |"


def planned(work: Session, asked: argparse.Namespace, name: str, **options: Any) -> list[Run]:
    """A run a seed."""
    return [
        plan_run(work, name, net=asked.net, recipe="fast", epochs=asked.epochs, budget="epochs", seed=seed, **options)
        for seed in range(asked.seeds)
    ]


def trained(work: Session, runs: list[Run]) -> list[Result]:
    """Train, or read what was trained before, and add up what the rule took."""
    SPENT.update(rule=0.0, looks=0.0)
    return [run_cell(work, run) for run in runs]


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--pruned", default="0.3,0.5,0.7")
    parser.add_argument("--rules", default=",".join((*BASES, *RULES)))
    parser.add_argument("--net")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    sampling.Sampler.plan = timed("rule", sampling.Sampler.plan)  # type: ignore[method-assign]
    sampling.Sampler.report = timed("rule", sampling.Sampler.report)  # type: ignore[method-assign]
    loop.look = timed("looks", loop.look)
    data = str(Path(os.environ["SECATEUR_DATA"]) / asked.data) if asked.data.startswith("cifar") else asked.data
    print("| | pruned | accuracy | worst class | steps | visits | seconds | in the rule | in looks |\n|" + "---|" * 9)
    with session(data, asked.out) as work:
        full = asked.epochs * len(work.source.train.usable)
        if "full" in asked.rules.split(","):
            print(told("full", "0", trained(work, planned(work, asked, "full")), full), flush=True)
        for pruned in map(float, asked.pruned.split(",")):
            rows(work, asked, pruned, full)


def rows(work: Session, asked: argparse.Namespace, pruned: float, full: int) -> None:
    """The lines of one fraction, each rule with everything cut short to its steps after it."""
    kept = round(1 - pruned, 6)
    names = asked.rules.split(",")
    if "fixed" in names:
        results = trained(work, planned(work, asked, "fixed", subset=fixed(work, kept, 0)))
        print(told("a fixed random part", f"{pruned:g}", results, full), flush=True)
    for name in (n for n in names if n in RULES):
        spec = RULES[name].format(kept=kept, pruned=pruned, period=max(1, asked.epochs // 5))
        results = trained(work, planned(work, asked, name, rule=spec))
        print(told(name, f"{pruned:g}", results, full), flush=True)
        steps = round(float(np.mean([r.steps for r in results])))
        cut = [dataclasses.replace(run, steps=steps) for run in planned(work, asked, "cut short")]
        print(told("cut short", f"as {name}", trained(work, cut), full), flush=True)


if __name__ == "__main__":
    main()
