"""The tables of cifar10-cpu.md and cifar100-cpu.md: every cell is trained once and kept, a stopped run goes on.

    SECATEUR_DATA=DIR python benchmarks/cifar10_cpu.py OUT PART [--data cifar10] [--methods NAMES] [--json FILE]

rows:       the methods asked for, trained with `fast`, a line each as it is done; --taught for the lines with the
            recorded net as teacher, --seeds for several, --adversary for runs on attacked images, recording included.
rivals:     full, full cut short, and the recorded net.
sgd:        `rows` and `rivals` trained with `sgd`.
lengths:    dual at keep 0.1 from the first 4 and 8 and from all 16 epochs of the recording.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import secateur as sc
from secateur.methods import method
from secateur.registry import resolve_keep
from secateur.select.limits import Limits
from secateur.study.compare import Plan
from secateur.study.prepare import Needs
from secateur.study.proxy import proxy_in
from secateur.study.record import RecordingPlan
from secateur.study.repeats import Start
from secateur.study.row import Row
from secateur.study.session import Session, session
from secateur.study.teachers import PROXY


def line(row: Row) -> str:
    """One row of a table, without its bar."""
    found = row.as_json()
    spread = "" if row.spread is None else f" ± {100 * row.spread:.2f}"
    taught = " + teacher" if row.teacher else ""
    kept = "all" if row.keep is None else row.keep
    return (
        f"{row.method}{taught}, keep {kept}: {100 * row.mean:.2f}{spread}, worst class "
        f"{100 * found['worst_class']:.1f}, {found['steps']} steps, {found['seconds']:.0f} s"
        + ("" if row.robust is None else f", robust {100 * row.robust:.2f}")
    )


def prepared(
    work: Session, names: Sequence[str], keep: Sequence[float], recipe: str, asked: argparse.Namespace
) -> Plan:
    """Record and probe what the methods need; the plan of their cells."""
    record = RecordingPlan.make(work, epochs=None, net=None, recipe="sgd", seed=0, adversary=asked.adversary)
    counts = [resolve_keep(k, len(work.source.train.usable)) for k in keep]
    needs = Needs.of(work, record, [method(n) for n in names], counts, None)
    each = dict.fromkeys(range(asked.seeds), Start.of(work, record, needs, ("auto",), (PROXY,)))
    return Plan(work, each, None, recipe, None, "balanced", asked.student or asked.adversary, Limits(), needs)


def rows(asked: argparse.Namespace, recipe: str) -> None:
    """Train and print one method after the other."""
    keep = [float(k) for k in asked.keep.split(",")]
    names = asked.methods.split(",")
    with session(asked.data, asked.out / ("main" if asked.adversary is None else "attacked")) as work:
        for name in names:
            plan = prepared(work, [name], keep, recipe, asked)
            for row in plan.pruned([method(name)], keep, teachers=(asked.taught,)):
                print(line(row), flush=True)
                store(asked.json, row)


def rivals(asked: argparse.Namespace, recipe: str) -> None:
    """All of the data, in full and cut short, and the recorded net."""
    keep = [float(k) for k in asked.keep.split(",")]
    with session(asked.data, asked.out / ("main" if asked.adversary is None else "attacked")) as work:
        plan = prepared(work, ["random"], keep, recipe, asked)
        for row in plan.rivals(keep):
            print(line(row), flush=True)
            store(asked.json, row)
        record = RecordingPlan.make(work, epochs=None, net=None, recipe="sgd", seed=0, adversary=asked.adversary)
        print(line(Row("proxy", False, None, None, (proxy_in(work, record),))), flush=True)


def store(path: Path | None, row: Row) -> None:
    """Merge a row into the file that the pages of the methods read."""
    if path is None:
        return
    known = json.loads(path.read_text()) if path.exists() else []
    entry = next((r for r in known if (r["method"], r["keep"]) == (row.method, row.keep)), None)
    if entry is None:
        entry = {"method": row.method, "keep": row.keep}
        known.append(entry)
    suffix, found = "_taught" if row.teacher else "", row.as_json()
    for name in ("accuracy", "spread", "worst_class", "seconds", "steps"):
        entry[f"{name}{suffix}"] = found[name]
    path.write_text(json.dumps(known, indent=1) + "\n")


def main() -> None:
    """Run the part asked for and print its lines."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("part", choices=["rows", "rivals", "sgd", "lengths"])
    parser.add_argument("--data", default="cifar10")
    parser.add_argument("--keep", default="0.1,0.3")
    parser.add_argument("--methods", default="random,el2n,forgetting,dual,ccs,tdds")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--taught", action="store_true")
    parser.add_argument("--adversary", help="as l2:eps=0.25,steps=1")
    parser.add_argument("--student", help="another adversary for what is trained on the subset")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    asked.data = str(Path(os.environ["SECATEUR_DATA"]) / asked.data)
    if asked.part == "rows":
        rows(asked, "fast")
    elif asked.part == "rivals":
        rivals(asked, "fast")
    elif asked.part == "sgd":
        rivals(asked, "sgd")
        rows(asked, "sgd")
    else:
        first = [f"dual:epochs={n},window=3" for n in (4, 8)]
        for row in sc.compare(
            asked.data,
            methods=["dual", *first],
            keep=[0.1],
            distill="off",
            out=asked.out / ("main" if asked.adversary is None else "attacked"),
        ).rows:
            print(line(row), flush=True)


if __name__ == "__main__":
    main()
