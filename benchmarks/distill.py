"""The tables of distill.md: how much of which teacher helps, at which keep, for random, a method, and everything.

    SECATEUR_DATA=DIR python benchmarks/distill.py OUT [--data cifar10] [--keep 0.05,0.1,0.3] [--methods random,dual]
        [--distill a=0.5,0.8,1] [--teachers proxy,resnet9:0.5] [--net resnet9] [--epochs 16] [--seeds 1] [--validate]
        [--plain]

A line for every weight and temperature with every teacher; --plain for those without one too. Of the methods, `all` is
everything cut short to the same steps, and at keep 1 the only one. --validate: train on four fifths and test on the
fifth that is left, in an OUT of its own, for choices. Every cell is trained once and kept, a stopped run goes on.
"""

import argparse
import os
from pathlib import Path

from secateur.methods import method
from secateur.registry import resolve_keep
from secateur.select.limits import Limits
from secateur.study.compare import HELD_OUT, Plan
from secateur.study.prepare import Needs
from secateur.study.record import RecordingPlan
from secateur.study.repeats import Start
from secateur.study.row import Row
from secateur.study.session import Session, session
from secateur.training.distill import parse_grid

ALL = "all"


def line(row: Row) -> str:
    """One row of a table."""
    found, spread = row.as_json(), "" if row.spread is None else f" ± {100 * row.spread:.2f}"
    told = ", ".join(f"{name}={value:g}" for name, value in (found["distill"] or {}).items())
    taught = f"{row.net}, {told}" if row.teacher else ""
    numbers = f"{100 * row.mean:.2f}{spread} | {100 * found['worst_class']:.1f} | {found['steps']}"
    return f"| {row.method} | {row.keep} | {taught} | {numbers} | {found['seconds']:.0f} |"


def prepared(work: Session, asked: argparse.Namespace, keep: list[float], methods: list[str]) -> Plan:
    """Record, probe, train the teachers; the plan of the cells."""
    record = RecordingPlan.make(work, epochs=None, net=asked.net, recipe="sgd", seed=0)
    counts = [resolve_keep(k, len(work.source.train.usable)) for k in keep]
    needs = Needs.of(work, record, [method(n) for n in methods], counts, None)
    start = Start.of(work, record, needs, parse_grid(asked.distill), asked.teachers.split(","))
    for row in start.taught:
        print(line(row), flush=True)
    each = dict.fromkeys(range(asked.seeds), start)
    return Plan(work, each, asked.net, asked.recipe, asked.epochs, "balanced", None, Limits(), needs)


def main() -> None:
    """Train and print one cell after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--keep", default="0.05,0.1,0.3,1")
    parser.add_argument("--methods", default=f"{ALL},random,dual:per_class=1")
    parser.add_argument("--distill", default="auto")
    parser.add_argument("--teachers", default="proxy")
    parser.add_argument("--net")
    parser.add_argument("--recipe", default="fast")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--plain", action="store_true")
    asked = parser.parse_args()
    data = str(Path(os.environ["SECATEUR_DATA"]) / asked.data) if asked.data.startswith("cifar") else asked.data
    keep, names = [float(k) for k in asked.keep.split(",")], asked.methods.split(",")
    which = (False, True) if asked.plain else (True,)
    print("| trained on | keep | teacher | accuracy | worst class | steps | seconds |\n|" + "---|" * 7, flush=True)
    with session(data, asked.out, held_out=HELD_OUT, validate=asked.validate) as work:
        chosen = [n for n in names if n != ALL] or ["random"]
        plan = prepared(work, asked, keep, chosen)
        for k in keep:
            for name in names:
                if name == ALL or k == 1:
                    rows = plan.cut_short([k], teachers=which) if name == ALL else iter(())
                else:
                    rows = plan.pruned([method(name)], [k], teachers=which)
                for row in rows:
                    print(line(row), flush=True)


if __name__ == "__main__":
    main()
