"""The table of benchmarks/cifar10-cpu.md: every cell is trained once and kept, so that a stopped run goes on.

    SECATEUR_DATA=DIR python benchmarks/cifar10_cpu.py OUT [--part PARTS] [--keep 0.1,0.3] [--methods NAMES]

fast:       every method, trained with `fast`, plain and with the recorded proxy as teacher.
seeds:      random and dual at keep 0.1 with three seeds.
sgd:        the same as `fast`, trained with `sgd`.
lengths:    dual at keep 0.1 from the first 4 and 8 and from all 16 epochs of the recording.
schedules:  dual at keep 0.1 from recordings whose schedule ends after 4 and 8 epochs.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import secateur as sc
from secateur.methods import method
from secateur.registry import resolve_keep
from secateur.select.limits import Limits
from secateur.store.files import read_json
from secateur.store.recording import Recording
from secateur.study.compare import Plan, Row
from secateur.study.select import Pool
from secateur.study.session import session
from secateur.training.recipes import RECIPES

HEAD = "| method | keep | plain | + teacher | worst class, plain | + teacher | steps | seconds, plain | + teacher |"


def table(rows: Sequence[Row]) -> str:
    """The rows of a comparison with plain and taught runs side by side."""
    lines = [HEAD, "|---|---|---|---|---|---|---|---|---|"]
    taught = {(row.method, row.keep): row for row in rows if row.teacher}
    for row in (r for r in rows if not r.teacher):
        both = (row, taught.get((row.method, row.keep)))
        kept = "all" if row.keep is None else f"all, as {row.keep}" if row.method.startswith("full") else row.keep
        accuracy = [_accuracy(r) for r in both]
        worst = ["" if r is None else f"{100 * r.as_json()['worst_class']:.1f}" for r in both]
        seconds = ["" if r is None else f"{r.as_json()['seconds']:.0f}" for r in both]
        cells = [row.method, kept, *accuracy, *worst, row.results[0].steps, *seconds]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def _accuracy(row: Row | None) -> str:
    if row is None:
        return ""
    spread = "" if row.spread is None else f" ± {100 * row.spread:.2f}"
    return f"{100 * row.mean:.2f}{spread}"


def main() -> None:
    """Run the parts asked for and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--part", default="fast,seeds,sgd,lengths,schedules")
    parser.add_argument("--keep", default="0.1,0.3")
    parser.add_argument("--methods", default="el2n,forgetting,dual,ccs,tdds")
    asked = parser.parse_args()
    data, out = str(Path(os.environ["SECATEUR_DATA"]) / "cifar10"), asked.out
    keep = [float(k) for k in asked.keep.split(",")]
    for part in asked.part.split(","):
        print(f"\n{part}\n", flush=True)
        if part in RECIPES:
            methods = asked.methods.split(",")
            print(table(sc.compare(data, methods=methods, keep=keep, recipe=part, out=out / "main").rows), flush=True)
        elif part == "seeds":
            print(table(seeds(data, out / "main")), flush=True)
        elif part == "lengths":
            first = [f"dual:epochs={n},window=3" for n in (4, 8)]
            of_16 = sc.compare(data, methods=["dual", *first], keep=[0.1], distill="off", out=out / "main")
            print(table(of_16.rows), flush=True)
        elif part == "schedules":
            for epochs in (4, 8):
                print(own_schedule(data, epochs, out / f"epochs-{epochs}"), flush=True)
        else:
            parser.error(f"part: expected fast, seeds, sgd, lengths or schedules, got {part}")


def seeds(data: str, out: Path) -> list[Row]:
    """Random and dual at keep 0.1 with three seeds of selection and training, and one recording."""
    with session(data, out) as work:
        pool = Pool.of(Recording.open(out / "recording.zarr"))
        count = resolve_keep(0.1, len(work.source.train.usable))
        plan = Plan(work, pool, None, "fast", None, "balanced", "auto", Limits(), (0, 1, 2))
        return list(plan.pruned([method("random"), method("dual")], [0.1], [count], None))


def own_schedule(data: str, epochs: int, out: Path) -> str:
    """Dual at keep 0.1 from a recording whose schedule ends after so many epochs."""
    sc.prune(data, keep=0.1, record_epochs=epochs, train=True, distill="off", out=out)
    stages = read_json(out / "run.json")["stages"]
    student = read_json(out / "cells" / stages["train"]["asked"]["cell"] / "result.json")
    return f"{epochs} epochs: {100 * student['accuracy']:.2f}, recorded in {stages['record']['seconds']:.0f} s"


if __name__ == "__main__":
    main()
