"""The runs whose numbers are held: each gives a name and the digests of what came of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import secateur as sc
from secateur.dynamic.rules import RULES
from secateur.methods import METHODS
from secateur.methods.condensers import CONDENSERS
from secateur.training.aims import AIMS
from tests.golden.digests import Digests, columns, digest, tensors

Held = Iterator[tuple[str, Digests]]
DATA = "digits"
NET = {"net": "resnet9:0.25", "quiet": True, "threads": 1, "seed": 3}
SHORT = {**NET, "epochs": 2}
ADVERSARY = "l2:eps=0.5,steps=1"
SPELLED = {"memorization": "memorization:runs=4"}
"""Methods that take long unless told otherwise."""
VARIED = ("dual:per_class=1", "el2n:epochs=2", "herding:per_class=0", "dual:c_d=3,window=3")


def recorded(out: Path) -> Held:
    """The recording, and the net that was recorded."""
    recording = sc.record(DATA, epochs=4, out=out, **NET)
    names = sorted(recording.fields)
    yield "recording", {name: digest(np.asarray(recording[name])) for name in names}
    yield "recording/model", {"weights": tensors(out / "model.safetensors")}


def _subset(subset: Any) -> Digests:
    about = {"ids": digest(subset.ids), "weights": digest(subset.weights)}
    table = {name: digest(subset.table[name]) for name in ("score", "rank")}
    return about | table


def selected(out: Path) -> Held:
    """Every method on the one recording, and some of them otherwise; then all columns of scores."""
    for name in METHODS:
        if METHODS[name].adversarial:
            continue
        yield f"method/{name}", _subset(sc.prune(DATA, method=SPELLED.get(name, name), keep=0.3, out=out, **NET))
    for spec in (v for v in VARIED if v.partition(":")[0] in METHODS):
        yield f"method/{spec}", _subset(sc.prune(DATA, method=spec, keep=0.1, out=out, **NET))
    chosen = sc.select_from(out, method="el2n", keep=200, seed=1, min_per_class=15, must_keep=[5, 7], exclude=[11])
    yield "method/el2n with limits", _subset(chosen)
    for name, found in columns(out / "scores.parquet").items():
        yield f"score/{name}", {"values": found}


def attacked(out: Path) -> Held:
    """Methods of adversarial training, on a recording of one."""
    for name in (n for n in METHODS if METHODS[n].adversarial):
        how = {**NET, "record_epochs": 2, "adversary": ADVERSARY}
        yield f"method/{name}", _subset(sc.prune(DATA, method=name, keep=0.3, out=out, **how))


def _trained(out: Path, **how: Any) -> Digests:
    result = sc.train(DATA, out=out, **SHORT | how)
    folder = out / "cells" / result.folder
    found = {"weights": tensors(folder / "model.safetensors"), "accuracy": digest([result.accuracy, result.ece or 0])}
    if (folder / "learned.parquet").exists():
        found |= columns(folder / "learned.parquet")
    return found


def trained(out: Path, teacher: Path) -> Held:
    """Every rule, every objective, and training on a subset with a teacher."""
    yield "train", _trained(out)
    sc.select_from(teacher, method="el2n", keep=0.3, seed=3)
    for name in RULES:
        yield f"rule/{name}", _trained(out, rule=name, subset=teacher if name == "esps" else None)
    for name in AIMS:
        spec = "filtered:by=mlp:0.1" if name == "filtered" else name
        yield f"objective/{name}", _trained(out, objective=spec, teacher=teacher if name == "imitate" else None)
    regular = {"objective": "supervised:entropy=0.2,curvature=0.1", "difficulty": np.linspace(0, 1, 1437)}
    yield "objective/supervised with both regularisers", _trained(out, **regular)
    yield "train/with a teacher", _trained(out, subset=teacher, teacher=teacher, distill="a=0.7,t=2")
    yield "train/against an adversary", _trained(out, adversary=f"{ADVERSARY},rule=constant", epochs=1)
    yield "train/sgd", _trained(out, recipe="sgd", subset=teacher, budget="epochs")


def condensed(folder: Path) -> Held:
    """Every condenser, for a few steps."""
    for name in CONDENSERS:
        out, how = folder / name, {"quiet": True, "threads": 1, "seed": 3}
        schedule = (1, 1) if "schedule" in CONDENSERS[name].knobs else None
        sc.condense(
            DATA, per_class=2, method=name, steps=3, batch=16, evaluate=False, schedule=schedule, out=out, **how
        )
        yield f"condenser/{name}", {"rows": tensors(out / "synthetic.safetensors")}


def studied(folder: Path) -> Held:
    """The jobs that take another way: mining, slimming, comparing."""
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(200, 16)).astype(np.float32), np.arange(200) % 4
    rows += 2 * np.eye(16, dtype=np.float32)[labels]
    how = {**SHORT, "net": "mlp:0.1", "test": (rows[150:], labels[150:])}
    mined = sc.mine((rows[:50], labels[:50]), rows[50:150], top=5, out=folder / "mined", **how)
    yield "mine", {"ids": digest(mined.ids), "labels": digest(mined.labels)}
    sc.record((rows[:150], labels[:150]), out=folder / "vectors", **how)
    how.pop("epochs"), how.pop("net")
    sc.slim(folder / "vectors", (rows[:150], labels[:150]), flops=0.5, out=folder / "slim", **how)
    yield "slim", {"weights": tensors(folder / "slim" / "model.safetensors")}
    how = {**SHORT, "record_epochs": 2}
    table = sc.compare(DATA, methods=["el2n"], rules=["infobatch"], keep=[0.1], seeds=2, out=folder / "compared", **how)
    for row in table.rows:
        yield f"compare/{row.name}", {"accuracy": digest([r.accuracy for r in row.results])}


def everything(folder: Path) -> Held:
    """All of it, in folders below `folder`."""
    from tests.golden.shards import scaled

    out = folder / "recorded"
    yield from recorded(out)
    yield from selected(out)
    yield from attacked(folder / "attacked")
    yield from trained(folder / "trained", out)
    yield from condensed(folder / "condensed")
    yield from studied(folder)
    yield from scaled(folder / "scale")
