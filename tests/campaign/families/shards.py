"""Embedding shards, scores and quality files for `scale` that are not as they should be."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.campaign.cases import Argv, Case, Expect, Ground, Outcome, Plan, numbered

ROWS, DIMS = 40, 8
NAN, INF = float("nan"), float("inf")
Columns = dict[str, Any]


def vectors(**changed: Any) -> pa.Array:
    """Embeddings, with single rows changed."""
    rng = np.random.default_rng(4)
    rows: list[Any] = (rng.normal(size=(ROWS, DIMS)) + 3 * np.eye(4, DIMS)[np.arange(ROWS) % 4]).tolist()
    for name, value in changed.items():
        rows[int(name[1:])] = value
    return pa.array(rows, pa.list_(pa.float32()))


def good(**other: Any) -> Columns:
    """A shard, with other columns."""
    made: Columns = {"id": list(range(ROWS)), "embedding": vectors(), "clip": np.linspace(0, 1, ROWS)}
    return {name: value for name, value in (made | other).items() if value is not None}


HOSTILE_IDS = ["../../evil", "/x", "\x1b[31mred", "<script>evil()</script>", "a\0b", "", " "]
MADE: dict[str, tuple[Expect, Callable[[], Columns]]] = {
    "plain": ("ok", good),
    "words for ids": ("ok", lambda: good(id=[f"x{i}" for i in range(ROWS)])),
    "hostile ids": ("either", lambda: good(id=HOSTILE_IDS + [f"x{i}" for i in range(ROWS - 7)])),
    "ids twice": ("refused", lambda: good(id=[0, 0, *range(2, ROWS)])),
    "null ids": ("refused", lambda: good(id=[None, *range(1, ROWS)])),
    "float ids": ("refused", lambda: good(id=np.arange(ROWS) * 1.0)),
    "bool ids": ("refused", lambda: good(id=[True, False] * (ROWS // 2))),
    "negative ids": ("either", lambda: good(id=[-i for i in range(ROWS)])),
    "unsigned ids": ("either", lambda: good(id=pa.array([2**64 - 1 - i for i in range(ROWS)], pa.uint64()))),
    "bytes for ids": ("either", lambda: good(id=[str(i).encode() for i in range(ROWS)])),
    "lists for ids": ("refused", lambda: good(id=[[i] for i in range(ROWS)])),
    "no ids": ("refused", lambda: good(id=None)),
    "no embeddings": ("refused", lambda: good(embedding=None)),
    "no rows": ("refused", lambda: {name: pa.array(value)[:0] for name, value in good().items()}),
    "null row": ("refused", lambda: good(embedding=vectors(r3=None))),
    "zero row": ("refused", lambda: good(embedding=vectors(r3=[0.0] * DIMS))),
    "nan": ("refused", lambda: good(embedding=vectors(r3=[NAN] * DIMS))),
    "inf": ("refused", lambda: good(embedding=vectors(r3=[INF] * DIMS))),
    "null number": ("refused", lambda: good(embedding=vectors(r3=[None] * DIMS))),
    "short row": ("refused", lambda: good(embedding=vectors(r3=[1.0]))),
    "all short": ("either", lambda: good(embedding=[[1.0 + i] for i in range(ROWS)])),
    "empty rows": ("refused", lambda: good(embedding=pa.array([[]] * ROWS, pa.list_(pa.float32())))),
    "words": ("refused", lambda: good(embedding=["a"] * ROWS)),
    "lists of words": ("refused", lambda: good(embedding=[["a"] * DIMS] * ROWS)),
    "whole numbers": ("either", lambda: good(embedding=[[i + 1, 2, 3] for i in range(ROWS)])),
    "bools": ("refused", lambda: good(embedding=[[True, False]] * ROWS)),
    "nested": ("refused", lambda: good(embedding=[[[1.0, 2.0]]] * ROWS)),
    "scalars": ("refused", lambda: good(embedding=np.arange(ROWS) * 1.0)),
    "bytes": ("refused", lambda: good(embedding=[b"\0" * 32] * ROWS)),
    "float64 too large": ("either", lambda: good(embedding=[[1e300 * (1 + i)] * DIMS for i in range(ROWS)])),
    "tiny": ("either", lambda: good(embedding=[[1e-300] * DIMS] * ROWS)),
    "all alike": ("either", lambda: good(embedding=[[1.0] * DIMS] * ROWS)),
    "nan score": ("either", lambda: good(clip=[NAN] * ROWS)),
    "null score": ("either", lambda: good(clip=[None, *[0.5] * (ROWS - 1)])),
    "words for scores": ("either", lambda: good(clip=["a"] * ROWS)),
    "no score": ("either", lambda: good(clip=None)),
    "bools for scores": ("either", lambda: good(clip=[True, False] * (ROWS // 2))),
}
TAIL = ["--clusters", "4", "--workers", "1", "--json"]
JOBS = {
    "prune": ["scale", "prune", "shards", "--keep", "0.5", *TAIL],
    "filter": ["scale", "filter", "shards", "--score", "clip", "--score-top", "0.5", *TAIL],
    "instructions": ["scale", "instructions", "shards", "--subsets", "6", "--indicators", "clip", "--json"],
}
FILTERED = {"nan score", "null score", "words for scores", "no score", "bools for scores"}


def _make(columns: Callable[[], Columns], argv: Argv, extra: Callable[[Path], None] | None = None) -> Any:
    def make(folder: Path, ground: Ground) -> list[Argv]:
        (folder / "shards").mkdir()
        pq.write_table(pa.table(columns()), folder / "shards" / "0.parquet", row_group_size=16)
        if extra is not None:
            extra(folder / "shards")
        return [argv]

    return make


def _second(change: Callable[[Columns], Columns]) -> Callable[[Path], None]:
    def extra(shards: Path) -> None:
        made = good(id=[1000 + i for i in range(ROWS)])
        pq.write_table(pa.table(change(made)), shards / "1.parquet")

    return extra


SECOND: dict[str, tuple[Expect, Callable[[Path], None]]] = {
    "another width": ("refused", _second(lambda c: c | {"embedding": [[1.0, 2.0]] * ROWS})),
    "ids of words": ("refused", _second(lambda c: c | {"id": [f"x{i}" for i in c["id"]]})),
    "the same ids": ("refused", _second(lambda c: c | {"id": list(range(ROWS))})),
    "no embeddings": ("refused", _second(lambda c: {k: v for k, v in c.items() if k != "embedding"})),
    "float16": (
        "either",
        _second(lambda c: c | {"embedding": pa.array(list(np.ones((ROWS, DIMS), np.float16)), pa.list_(pa.float16()))}),
    ),
    "more columns": ("either", _second(lambda c: c | {"more": ["x"] * ROWS})),
    "no rows": ("ok", _second(lambda c: {k: pa.array(v)[:0] if k != "embedding" else v[:0] for k, v in c.items()})),
    "cut": ("refused", lambda s: (s / "1.parquet").write_bytes((s / "0.parquet").read_bytes()[:-20]) and None),
    "empty": ("refused", lambda s: (s / "1.parquet").write_bytes(b"") and None),
    "a pipe": ("either", lambda s: __import__("os").mkfifo(s / "1.parquet")),
    "a link to nothing": ("either", lambda s: __import__("os").symlink("none", s / "1.parquet")),
    "a folder": ("either", lambda s: (s / "1.parquet").mkdir()),
    "hidden": ("ok", lambda s: (s / ".1.parquet.crc").write_bytes(b"x") and None),
    "_SUCCESS": ("ok", lambda s: (s / "_SUCCESS").write_bytes(b"") and None),
}
QUALITY: dict[str, tuple[Expect, str, str]] = {
    "good": ("ok", "q.csv", "subset,quality\n" + "".join(f"{k},{k * k % 5}.5\n" for k in range(6))),
    "nan": ("refused", "q.csv", "subset,quality\n" + "".join(f"{k},nan\n" for k in range(6))),
    "inf": ("refused", "q.csv", "subset,quality\n0,inf\n" + "".join(f"{k},1\n" for k in range(1, 6))),
    "twice": ("refused", "q.csv", "subset,quality\n" + "".join(f"{k // 2},{k}\n" for k in range(6))),
    "unknown": ("refused", "q.csv", "subset,quality\n" + "".join(f"{k + 4},{k}\n" for k in range(6))),
    "negative": ("refused", "q.csv", "subset,quality\n" + "".join(f"{k - 1},{k}\n" for k in range(6))),
    "few": ("either", "q.csv", "subset,quality\n0,1\n"),
    "none": ("refused", "q.csv", "subset,quality\n"),
    "empty": ("refused", "q.csv", ""),
    "other columns": ("refused", "q.csv", "a,b\n1,2\n"),
    "words": ("refused", "q.csv", "subset,quality\nx,y\n"),
    "fractions": ("refused", "q.csv", "subset,quality\n0.5,1\n1.5,2\n"),
    "constant": ("either", "q.csv", "subset,quality\n" + "".join(f"{k},1\n" for k in range(6))),
    "escape": ("refused", "q.csv", "subset,quality\n\x1b[31m,1\n"),
    "json": ("refused", "q.json", "{}"),
    "json list": ("refused", "q.json", "[1, 2]"),
    "json cut": ("refused", "q.json", '[{"subset": 0'),
    "json nan": ("refused", "q.json", '[{"subset": 0, "quality": NaN}]'),
    "json deep": ("refused", "q.json", "[" * 100000),
    "parquet none": ("refused", "q.parquet", "PAR1"),
    "suffix": ("either", "q.xls", "subset,quality\n0,1\n"),
    "binary": ("refused", "q.csv", "\0\0\0"),
    "huge": ("refused", "q.csv", "subset,quality\n" + "9" * 30 + ",1\n"),
}


def _judged(name: str, text: str) -> Callable[[Path, Ground], list[Argv]]:
    def make(folder: Path, ground: Ground) -> list[Argv]:
        ground.copy("instructed", folder)
        (folder / name).write_text(text)
        argv = [
            "scale",
            "instructions",
            ground.at("shards"),
            "--quality",
            name,
            "--keep",
            "0.3",
            "--indicators",
            "clip",
        ]
        return [[*argv, "--components", "3", "--clusters", "3", "--json", "--out", "out"]]

    return make


def _whole(folder: Path, outcomes: list[Outcome]) -> str | None:
    """Every row is in the manifest once, and what it says is kept is what kept_ids holds."""
    out = folder / "secateur-scale"
    table = pq.read_table(out / "manifest.parquet").to_pydict()
    kept = sorted(map(str, pq.read_table(out / "kept_ids.parquet")["id"].to_pylist()))
    if sorted(str(i) for i, k in zip(table["id"], table["kept"], strict=True) if k) != kept:
        return "the manifest and kept_ids disagree"
    return None if len(set(map(str, table["id"]))) == len(table["id"]) else "an id is there twice"


def cases(plan: Plan) -> list[Case]:
    """Columns, a second shard that does not fit, files of quality, and damage."""
    return numbered(_cases(plan))


def _cases(plan: Plan) -> Iterator[Case]:
    for name, (expect, columns) in MADE.items():
        for job, argv in JOBS.items():
            told: Expect = "either" if name in FILTERED or (expect == "ok" and job != "prune") else expect
            check = None if job == "instructions" else _whole
            yield Case(f"{job}: {name}", _make(columns, argv), told, check)
        drop = [*JOBS["prune"], "--on-bad", "drop"]
        yield Case(f"prune, dropping: {name}", _make(columns, drop), "ok" if expect == "ok" else "either", _whole)
    for name, (expect, extra) in SECOND.items():
        for job in ("prune", "instructions"):
            told = expect if job == "prune" else "either"
            yield Case(f"{job}: second shard of {name}", _make(good, JOBS[job], extra), told)
    for name, (expect, file, text) in QUALITY.items():
        yield Case(f"quality: {name}", _judged(file, text), expect)
    rng = plan.rng("shards")
    for k in range(30):
        seed = int(rng.integers(2**31))
        yield Case(f"prune: damaged {k}", _make(good, JOBS["prune"], _damage(seed)))


def _damage(seed: int) -> Callable[[Path], None]:
    def extra(shards: Path) -> None:
        rng, path = np.random.default_rng(seed), shards / "0.parquet"
        whole = bytearray(path.read_bytes())
        for at in rng.integers(0, len(whole), 1 + seed % 4):
            whole[int(at)] = int(rng.integers(256))
        path.write_bytes(bytes(whole[: int(rng.integers(1, len(whole)))] if seed % 3 == 0 else whole))

    return extra
