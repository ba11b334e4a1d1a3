"""Few labels and many examples: the labels alone, with a pool by Progressive Teacher, and with what is mined from it.

    SECATEUR_DATA=DIR python benchmarks/semi.py OUT [--data cifar10] [--labels 2000] [--steps 1500] [--noise 0,0.3]
        [--top 1000] [--recipe fast] [--seeds 1]
    python benchmarks/semi.py OUT --data digits --labels 100 --steps 300 --top 50 --recipe fast:crop=1 --seeds 3
    python benchmarks/semi.py OUT --per-class 1,10 --condense-with dm:steps=1000 [--pool 10000]

Labels are kept for a stratified part, hidden for the rest, which is the pool; noise: the share of labels made wrong, by
drawing another class. Every run takes as many steps; batches are those of the recipe for as many labelled rows. The
progressive runs are told the noise. Mined: `top` rows a class, by the net that learned from the labels alone; the
share of them that are what they are taken for is printed. `all labels` hides none. With --per-class, in place of the
progressive runs and of `all labels`: the labelled rows with so many condensed ones of each class, learned from what was
mined alone, and with as many mined ones, drawn at random and the surest. Every run is kept in OUT; a stopped one goes
on.
"""

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from secateur.data.parts import stratified
from secateur.data.source import Source, open_data
from secateur.store.tables import Mined
from secateur.study.cell import Result, plan_run, run_cell
from secateur.study.mine import mine
from secateur.study.session import session
from secateur.training.seeding import rng

HEAD = "| | wrong labels | accuracy | worst class | steps | visits | seconds | mined | of these right |\n|" + "---|" * 9


class Problem(NamedTuple):
    """Which rows are labelled, the labels given, those hidden, and where its runs are kept."""

    rows: np.ndarray
    labels: np.ndarray  # (examples,), some of them wrong
    truth: np.ndarray
    known: np.ndarray  # ids
    pool: np.ndarray  # ids
    test: tuple[np.ndarray, np.ndarray]
    noise: float
    seed: int
    out: Path

    @classmethod
    def of(cls, source: Source, count: int, noise: float, seed: int, out: Path, most: int | None = None) -> "Problem":
        """The data with labels hidden and made wrong by the seed; most: rows of the pool."""
        train, test = source.train, source.test
        assert train.values is not None
        assert test is not None
        assert test.values is not None
        known = stratified(train.labels, train.usable, count / len(train.usable), rng(seed, "labelled"))
        draw, labels = rng(seed, "wrong"), train.labels.copy()
        shifts = draw.integers(1, len(source.classes), len(labels))
        for part in (known, np.setdiff1d(train.usable, known)):  # the same share of what is shown and of what is hidden
            wrong = draw.permutation(part)[: round(noise * len(part))]
            labels[wrong] = (labels[wrong] + shifts[wrong]) % len(source.classes)
        pool, shown = np.setdiff1d(train.usable, known), (test.values, test.labels)
        if most is not None:
            pool = np.sort(rng(seed, "pool").permutation(pool)[:most])
        return cls(train.values, labels, train.labels, known, pool, shown, noise, seed, out / f"{noise:g}-{seed}")

    def few(self) -> tuple[np.ndarray, np.ndarray]:
        """The labelled rows."""
        return self.rows[self.known], self.labels[self.known]


def trained(problem: Problem, asked: argparse.Namespace, data: Any, name: str, **options: Any) -> Result:
    """A run of so many steps, or what it gave before."""
    reading = {} if isinstance(data, str) else {"test": problem.test}
    with session(data, problem.out / name, quiet=True, reading=reading) as work:
        run = plan_run(
            work, name, net=asked.net, recipe=asked.recipe, epochs=None, budget="steps", seed=problem.seed, **options
        )
        return run_cell(work, dataclasses.replace(run, steps=asked.steps))


def mining(problem: Problem, asked: argparse.Namespace, out: Path, **options: Any) -> Mined:
    """Mine the pool by the net that learned from the labels alone."""
    first = trained(problem, asked, problem.few(), "labels alone")
    model = problem.out / "labels alone" / "cells" / first.folder / "model.safetensors"
    how = {"test": problem.test, "model": model, "top": asked.top, "seed": problem.seed, "quiet": True}
    return mine(problem.few(), problem.rows[problem.pool], out=out, **how | options)


def mined(problem: Problem, asked: argparse.Namespace) -> tuple[Result, int, float]:
    """A run on labelled and mined rows, how many were mined, and the share of them that is right."""
    out = problem.out / "mining"
    found = mining(problem, asked, out)
    right = float((problem.truth[problem.pool][found.ids] == found.labels).mean())
    return trained(problem, asked, str(out / "mined"), "mined"), len(found), right


def drawn(problem: Problem, asked: argparse.Namespace, count: int) -> Result:
    """A run on the labelled rows and `count` mined ones of each class, drawn at random."""
    found, draw = Mined.open(problem.out / "mining"), rng(problem.seed, "drawn", count)
    places = [draw.permutation(np.flatnonzero(found.labels == c))[:count] for c in np.unique(found.labels)]
    taken = np.concatenate(places)
    rows, labels = problem.few()
    more = problem.rows[problem.pool[found.ids[taken]]]
    data = np.concatenate([rows, more]), np.concatenate([labels, found.labels[taken]])
    return trained(problem, asked, data, f"drawn {count}")


def surest(problem: Problem, asked: argparse.Namespace, count: int) -> Result:
    """A run on the labelled rows and the `count` surest of each class."""
    out = problem.out / f"mining {count}"
    mining(problem, asked, out, top=count)
    return trained(problem, asked, str(out / "mined"), f"surest {count}")


def condensed(problem: Problem, asked: argparse.Namespace, count: int) -> Result:
    """A run on the labelled rows and `count` of each class that were learned from the mined ones."""
    name = f"{count} by {asked.condense_with}"
    out = problem.out / f"condensing {name}"
    mining(problem, asked, out, per_class=count, condense_with=asked.condense_with)
    return trained(problem, asked, str(out / "joint"), f"joint {name}")


def told(name: str, noise: float, results: list[Result], count: str = "", right: str = "") -> None:
    """Print a row of the table."""
    scores = np.array([100 * r.accuracy for r in results])
    spread = f" ± {scores.std(ddof=1):.2f}" if len(scores) > 1 else ""
    worst, seconds = np.mean([100 * r.worst_class for r in results]), np.mean([r.seconds for r in results])
    steps, visits = results[0].steps, results[0].examples
    line = f"| {name} | {noise:.0%} | {scores.mean():.2f}{spread} | {worst:.1f} | {steps} | {visits} | {seconds:.0f} |"
    print(f"{line} {count} | {right} |", flush=True)


def lines(source: Source, asked: argparse.Namespace, noise: float) -> None:
    """The rows of one share of wrong labels."""
    problems = [Problem.of(source, asked.labels, noise, seed, asked.out, asked.pool) for seed in range(asked.seeds)]
    told("labels alone", noise, [trained(p, asked, p.few(), "labels alone") for p in problems])
    if asked.per_class:
        second_half(problems, asked, noise)
        return
    spec = f"progressive:noise={noise:g}{asked.knobs and ','}{asked.knobs}"
    own = [trained(p, asked, p.few(), "teacher", objective=spec) for p in problems]
    told("progressive without the pool", noise, own)
    pools = [open_data(p.rows[p.pool]) for p in problems]
    both = [
        trained(p, asked, p.few(), "pool", objective=spec, unlabelled=q) for p, q in zip(problems, pools, strict=True)
    ]
    told("progressive with the pool", noise, both)
    tell_mined(problems, asked, noise)
    everything = [
        trained(p, asked, (p.rows[source.train.usable], p.labels[source.train.usable]), "all labels") for p in problems
    ]
    told("all labels", noise, everything)


def tell_mined(problems: list[Problem], asked: argparse.Namespace, noise: float) -> None:
    """Print the row of all that was mined."""
    found = [mined(p, asked) for p in problems]
    right = f"{np.mean([r for _, _, r in found]):.1%}"
    told("mined, then trained", noise, [r for r, _, _ in found], f"{np.mean([n for _, n, _ in found]):.0f}", right)


def second_half(problems: list[Problem], asked: argparse.Namespace, noise: float) -> None:
    """Print the rows that tell what condensing does for what was mined."""
    tell_mined(problems, asked, noise)
    for count in map(int, asked.per_class.split(",")):
        told(f"{count} mined a class, random", noise, [drawn(p, asked, count) for p in problems])
        told(f"{count} mined a class, the surest", noise, [surest(p, asked, count) for p in problems])
        told(f"{count} condensed a class", noise, [condensed(p, asked, count) for p in problems])


def main() -> None:
    """Run everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--labels", type=int, default=2000)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--noise", default="0,0.3")
    parser.add_argument("--top", type=int, default=1000, help="rows mined of each class")
    parser.add_argument("--pool", type=int, help="rows of the pool, all by default")
    parser.add_argument("--per-class", default="", help="condensed rows of each class, as 1,10")
    parser.add_argument("--condense-with", default="dm:steps=1000", help="the method and its knobs")
    parser.add_argument("--knobs", default="", help="more of the objective, as weight=3,ramp=0.3")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--net")
    parser.add_argument("--seeds", type=int, default=1)
    asked = parser.parse_args()
    data = str(Path(os.environ["SECATEUR_DATA"]) / asked.data) if asked.data.startswith("cifar") else asked.data
    source = open_data(data)
    print(HEAD)
    for noise in map(float, asked.noise.split(",")):
        lines(source, asked, noise)


if __name__ == "__main__":
    main()
