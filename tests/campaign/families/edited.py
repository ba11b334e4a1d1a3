"""Finished OUT folders in which one file was cut, changed, or replaced by something else."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.campaign.cases import Argv, Case, Expect, Ground, Plan, numbered

Edit = Callable[[Path, np.random.Generator], None]
FEW = ["--net", "mlp:0.1", "--threads", "1", "--json"]
WATCHED = ["--record-epochs", "2", "--epochs", "1", *FEW]
SCALED = ["--keep", "0.5", "--clusters", "4", "--workers", "1", "--json"]
USES: dict[str, tuple[str, Callable[[Ground], Argv]]] = {
    "report": ("run", lambda g: ["report", "out"]),
    "score": ("run", lambda g: ["score", "out", "--method", "el2n,aum", "--json"]),
    "select": ("run", lambda g: ["select", "out", "--keep", "0.4", "--method", "el2n", "--json"]),
    "prune": ("run", lambda g: ["prune", g.at("vec"), "--keep", "0.5", "--method", "el2n", "--train", *WATCHED, "--out", "out"]),  # noqa: E501
    "prune otherwise": ("run", lambda g: ["prune", g.at("vec"), "--keep", "0.3", "--method", "dual", *WATCHED, "--out", "out"]),  # noqa: E501
    "record": ("run-pics", lambda g: ["record", g.at("pics"), "--epochs", "1", *FEW, "--out", "out"]),
    "subset": ("run", lambda g: ["train", g.at("vec"), "--subset", "out", "--epochs", "1", *FEW, "--out", "secateur-out"]),
    "teacher": ("run", lambda g: ["train", g.at("vec"), "--teacher", "out", "--epochs", "1", *FEW, "--out", "secateur-out"]),  # noqa: E501
    "start": ("run", lambda g: ["train", g.at("vec"), "--start", "out", "--epochs", "1", "--json", "--out", "secateur-out"]),
    "slim": ("run", lambda g: ["slim", "out", g.at("vec"), "--flops", "0.5", "--json", "--out", "secateur-out"]),
    "plan": ("run", lambda g: ["plan", g.at("vec"), "--out", "out", *WATCHED]),
    "embed": ("run", lambda g: ["scale", "embed", g.at("vec"), "--by", "out", "--json"]),
    "kept": ("pruned-pics", lambda g: ["record", "out/kept", "--epochs", "1", *FEW, "--out", "secateur-out"]),
    "report of pictures": ("pruned-pics", lambda g: ["report", "out"]),
    "compare": ("compared", lambda g: ["compare", g.at("vec"), "--methods", "el2n", "--keep", "0.5", *WATCHED, "--out", "out"]),  # noqa: E501
    "report of compare": ("compared", lambda g: ["report", "out"]),
    "condense": ("condensed", lambda g: ["condense", g.at("vec"), "--per-class", "1", "--steps", "3", "--no-evaluate", "--json", "--out", "out"]),  # noqa: E501
    "report of condense": ("condensed", lambda g: ["report", "out"]),
    "train on synthetic": ("condensed", lambda g: ["train", "out/synthetic", "--epochs", "1", *FEW, "--out", "secateur-out"]),  # noqa: E501
    "mine": ("mined", lambda g: ["mine", g.at("vec"), g.at("pool.parquet"), "--top", "2", "--epochs", "1", *FEW, "--out", "out"]),  # noqa: E501
    "scale prune": ("scaled", lambda g: ["scale", "prune", g.at("shards"), *SCALED, "--out", "out"]),
    "scale prune otherwise": ("scaled", lambda g: ["scale", "prune", g.at("shards"), *SCALED, "--by", "random", "--out", "out"]),  # noqa: E501
    "scale select": ("scaled", lambda g: ["scale", "select", "out", "--keep", "0.2", "--json", "--out", "secateur-out"]),
    "report of scale": ("scaled", lambda g: ["report", "out"]),
    "instructions": ("instructed", lambda g: ["scale", "instructions", g.at("shards"), "--quality", g.at("quality.csv"), "--keep", "0.3", "--indicators", "clip", "--components", "3", "--json", "--out", "out"]),  # noqa: E501
}  # fmt: skip


def cut(path: Path, rng: np.random.Generator) -> None:
    """A part of it is there."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(rng.integers(0, max(1, len(whole))))])


def flip(path: Path, rng: np.random.Generator) -> None:
    """One bit is another."""
    whole = bytearray(path.read_bytes())
    if whole:
        whole[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(whole))


def gone(path: Path, rng: np.random.Generator) -> None:
    """It is not there."""
    path.unlink()


def folder(path: Path, rng: np.random.Generator) -> None:
    """A folder stands there."""
    path.unlink()
    path.mkdir()


def link(path: Path, rng: np.random.Generator) -> None:
    """A link to a file of somebody else stands there."""
    path.unlink()
    os.symlink(Path.cwd() / "stranger.txt", path)


def pipe(path: Path, rng: np.random.Generator) -> None:
    """A pipe that nobody writes to."""
    path.unlink()
    os.mkfifo(path)


def empty(path: Path, rng: np.random.Generator) -> None:
    """Nothing is in it."""
    path.write_bytes(b"")


ODD: tuple[Any, ...] = (
    None, True, -1, 0, 10**9, 10**30, 1e308, float("nan"), 0.5, "", "x", "\x1b[31mred", "../../evil", "/etc/hostname", [], {},
    [None], {"a": 1}, "<script>evil()</script>", "os:mkdir", "a" * 5000,
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to everything inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, each in inside for place in places(each, (*at, key)))]


def changed(path: Path, rng: np.random.Generator) -> None:
    """One value in a JSON file is another, or one key has gone."""
    whole = json.loads(path.read_text())
    found = places(whole)
    place = found[int(rng.integers(1, len(found)))] if len(found) > 1 else ()
    odd = ODD[int(rng.integers(len(ODD)))]
    if not place:
        whole = odd
    else:
        inner = whole
        for key in place[:-1]:
            inner = inner[key]
        if rng.random() < 0.2 and isinstance(inner, dict):
            del inner[place[-1]]
        else:
            inner[place[-1]] = odd
    path.write_text(json.dumps(whole))


def other_json(path: Path, rng: np.random.Generator) -> None:
    """Another value altogether."""
    texts = ("{}", "[]", "null", "3", '"x"', "{", '{"a": 1, "a": 2}', "[" * 5000, '{"stages": []}', "\ufeff{}", "NaN")
    path.write_text(texts[int(rng.integers(len(texts)))])


def recolumned(path: Path, rng: np.random.Generator) -> None:
    """A column of a table has another kind, nulls, other numbers, or is not there; or rows are."""
    table = pq.read_table(path)
    at = int(rng.integers(table.num_columns))
    name, rows = table.column_names[at], table.num_rows
    values: list[Any] = [
        None, pa.array(["x"] * rows), pa.nulls(rows), pa.array([[1]] * rows), pa.array([10**12] * rows), pa.array([-1] * rows),
        pa.array([float("nan")] * rows), pa.array([0] * rows), "half", "twice", "reversed", pa.array([b"\xff"] * rows),
    ]  # fmt: skip
    new = values[int(rng.integers(len(values)))]
    if new is None:
        table = table.drop_columns([name])
    elif isinstance(new, str):
        order = {"half": range(rows // 2), "twice": [*range(rows)] * 2, "reversed": range(rows)[::-1]}[new]
        table = table.take(pa.array(list(order), pa.int64()))
    else:
        table = table.set_column(at, name, new)
    pq.write_table(table, path)


ANY: dict[str, Edit] = {
    "cut": cut, "flipped": flip, "gone": gone, "a folder": folder, "a link": link, "empty": empty, "a pipe": pipe
}  # fmt: skip
JSON: dict[str, Edit] = {"changed": changed, "changed again": changed, "other": other_json}
TABLE: dict[str, Edit] = {"recolumned": recolumned, "recolumned again": recolumned}


def edits(name: str) -> dict[str, Edit]:
    """What may be done to a file of that name."""
    return ANY | (JSON if name.endswith(".json") else TABLE if name.endswith(".parquet") else {})


def _make(out: str, name: str, edit: Edit, seed: list[int], argv: Callable[[Ground], Argv]) -> Any:
    def make(at: Path, ground: Ground) -> list[Argv]:
        copied = ground.copy(out, at)
        path = _found(copied, name)
        if path is not None:
            edit(path, np.random.default_rng(seed))
        (copied / "stranger.txt").write_text("not ours") if "stranger" in name else None
        return [argv(ground)]

    return make


def _found(out: Path, pattern: str) -> Path | None:
    """The first of what a pattern names."""
    found = sorted(p for p in out.glob(pattern) if p.is_file())
    return found[0] if found else None


PATTERNS: dict[str, tuple[str, ...]] = {
    "run": (
        "run.json", "bill.json", "proxy.json", "scores.parquet", "subset.parquet", "model.safetensors", "log.jsonl",
        "report.html", "recording.zarr/zarr.json", "recording.zarr/error_norm/zarr.json", "recording.zarr/error_norm/c/**/*",
        "recording.zarr/labels/**/zarr.json", "recording.zarr/labels/c/**/*", "subsets/*/subset.parquet", "kept/*",
        "cells/*/result.json", "cells/*/model.safetensors", "recording.zarr/correct/zarr.json",
    ),
    "run-pics": ("run.json", "model.safetensors", "recording.zarr/zarr.json", "recording.zarr/loss/c/**/*"),
    "pruned-pics": ("run.json", "bill.json", "subset.parquet", "kept/**/*.png", "scores.parquet"),
    "compared": ("run.json", "compare.json", "bill.json", "cells/*/result.json", "proxy.json", "cells/*/model.safetensors"),
    "condensed": (
        "run.json", "synthetic.safetensors", "condense.json", "synthetic/*", "state/*", "synthetic/**/*.parquet",
    ),
    "mined": ("run.json", "mined.parquet", "mined/**/*", "model.safetensors", "state/*"),
    "scaled": (
        "run.json", "bill.json", "manifest.parquet/*", "kept_ids.parquet/*", "clusters.parquet", "groups.json",
        "stages/*/done/*", "stages/**/*.npy", "stages/**/*.json", "stages/selected.json", "stages/**/*.parquet",
    ),
    "instructed": ("run.json", "subsets/00.parquet", "subsets.parquet", "bill.json", "stages/**/*.npy", "stages/**/done/*"),
}  # fmt: skip
NOTICED = {
    ("subset", "subset.parquet"), ("teacher", "model.safetensors"), ("start", "model.safetensors"),
    ("report", "subset.parquet"), ("report", "model.safetensors"), ("plan", "model.safetensors"), ("plan", "subset.parquet"),
    ("slim", "model.safetensors"),
}  # fmt: skip
"""Where one bit that is another must be noticed."""


def cases(plan: Plan) -> list[Case]:
    """Every file of every folder, edited in some ways, under the commands that read the folder."""
    return numbered(_cases(plan))


def _cases(plan: Plan) -> Iterator[Case]:
    rng = plan.rng("edited")
    for use, (out, argv) in USES.items():
        for pattern in PATTERNS[out]:
            known = edits(pattern.replace("/*", ".json") if pattern.endswith("done/*") else pattern)
            chosen = rng.choice(list(known), min(len(known), 3), replace=False).tolist()
            if (use, pattern) in NOTICED and "flipped" not in chosen:
                chosen.append("flipped")
            for edit in chosen:
                seed = [plan.seed, int(rng.integers(2**31))]
                expect: Expect = "refused" if edit == "flipped" and (use, pattern) in NOTICED else "either"
                yield Case(f"{use}: {pattern} {edit}", _make(out, pattern, known[edit], seed, argv), expect)
    for use, (out, argv) in USES.items():
        yield Case(f"{use}: as it was", _make(out, "none", gone, [0], argv), "ok")


