"""OUT folders that are somebody else's, or hold what is: a refused run changes nothing, and no run touches theirs."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.campaign.cases import Argv, Case, Expect, Ground, Outcome, Plan, numbered
from tests.campaign.ground import pictures

Build = Callable[[Path, Ground], None]
NAMES = (
    "kept", "state", "model.safetensors", "subsets", "cells", "recording.zarr", "report.html", "bill.json", "log.jsonl",
    "scores.parquet", "soft", "stages", "manifest.parquet", "synthetic", ".replaced", ".replaced~", ".lock", "mined",
    "kept_ids.parquet", "slim.json", "subset.parquet", ".kept.partial", "run.json",
)  # fmt: skip
"""That we use, and others may."""


def _theirs(name: str, *, folder: bool, ours: str | None = None) -> Build:
    def build(at: Path, ground: Ground) -> None:
        if ours is not None:
            ground.copy(ours, at)
        out = at / "out"
        out.mkdir(exist_ok=True)
        if (out / name).exists():
            return
        if folder:
            (out / name).mkdir()
            (out / name / "stranger.txt").write_text("not ours")
        else:
            (out / name).write_text("not ours")

    return build


def _same(name: str) -> Callable[[Path, list[Outcome]], str | None]:
    """Where OUT was not ours, what was in it is there still."""

    def check(at: Path, outcomes: list[Outcome]) -> str | None:
        path = at / "out" / name
        if path.is_dir():
            return None  # told by the name of the file in it
        return None if path.exists() and path.read_text(errors="replace") == "not ours" else f"{name} was lost"

    return check


LINKED = "elsewhere"
JOBS: dict[str, Callable[[Ground], Argv]] = {
    "record": lambda g: ["record", g.at("vec"), "--epochs", "1", "--net", "mlp:0.1", "--threads", "1", "--json"],
    "prune": lambda g: [
        "prune",
        g.at("vec"),
        "--keep",
        "0.5",
        "--method",
        "el2n",
        "--record-epochs",
        "1",
        "--net",
        "mlp:0.1",
        "--threads",
        "1",
        "--json",
    ],
    "condense": lambda g: ["condense", g.at("vec"), "--per-class", "1", "--steps", "1", "--no-evaluate", "--json"],
    "scale prune": lambda g: [
        "scale",
        "prune",
        g.at("shards"),
        "--keep",
        "0.5",
        "--clusters",
        "4",
        "--workers",
        "1",
        "--json",
    ],
    "scale embed": lambda g: ["scale", "embed", g.at("vec"), "--by", "input", "--json"],
    "scale instructions": lambda g: [
        "scale",
        "instructions",
        g.at("shards"),
        "--subsets",
        "6",
        "--indicators",
        "clip",
        "--json",
    ],
}


def _make(build: Build, job: str, more: Argv) -> Callable[[Path, Ground], list[Argv]]:
    def make(at: Path, ground: Ground) -> list[Argv]:
        build(at, ground)
        return [[*JOBS[job](ground), "--out", "out", *more]]

    return make


def _file(at: Path, ground: Ground) -> None:
    (at / "out").write_text("not ours")


def _link_to_theirs(at: Path, ground: Ground) -> None:
    """A link that the user typed is the folder it points to; --force writes there, beside what is not ours."""
    (at / LINKED).mkdir()
    (at / LINKED / "stranger.txt").write_text("not ours")
    os.symlink(LINKED, at / "out")


def _lock(target: str) -> Build:
    def build(at: Path, ground: Ground) -> None:
        (at / "out").mkdir()
        os.symlink(at / target, at / "out" / ".lock")

    return build


def _lock_pipe(at: Path, ground: Ground) -> None:
    (at / "out").mkdir()
    os.mkfifo(at / "out" / ".lock")


def _other_run(text: str) -> Build:
    def build(at: Path, ground: Ground) -> None:
        (at / "out").mkdir()
        (at / "out" / "run.json").write_text(text)
        (at / "out" / "stranger.txt").write_text("not ours")

    return build


def _other(name: str) -> Build:
    return lambda at, ground: ground.copy(name, at) and None


def _loop(at: Path, ground: Ground) -> None:
    os.symlink("out", at / "out")


SPECIAL: dict[str, tuple[Build, Expect]] = {
    "a file": (_file, "refused"),
    "a link to another's": (_link_to_theirs, "refused"),
    "a loop": (_loop, "refused"),
    "a lock that links": (_lock("stranger.txt"), "either"),
    "a lock that links to nothing": (_lock("none"), "either"),
    "a lock that is a pipe": (_lock_pipe, "either"),
    "their run.json": (_other_run('{"name": "my run"}'), "refused"),
    "a list": (_other_run("[]"), "refused"),
    "no JSON": (_other_run("hello"), "refused"),
    "a run of slim": (_other_run('{"data": {}, "stages": {}, "versions": {}}'), "refused"),
    "of condense": (_other("condensed"), "either"),
    "of scale": (_other("scaled"), "either"),
    "of pictures": (_other("run-pics"), "either"),
}


def cases(plan: Plan) -> list[Case]:
    """Every name of ours as a stranger's, with and without --force; special files; OUT in and around the data."""
    return numbered(_cases(plan))


def _cases(plan: Plan) -> Iterator[Case]:
    rng = plan.rng("strangers")
    for name in NAMES:
        for more in ([], ["--force"]):
            for folder in (False, True):
                job = str(rng.choice(list(JOBS)))
                told = f"{job}{' --force' if more else ''}: their {name}{'/' if folder else ''}"
                expect: Expect = "either" if more or name.startswith(".") else "refused"
                yield Case(told, _make(_theirs(name, folder=folder), job, more), expect, _same(name))
        for more in ([], ["--force"]):
            told = f"prune{' --force' if more else ''}: their {name}/ in ours"
            made = _make(_theirs(name, folder=True, ours="run"), "prune", more)
            yield Case(told, made, "either")
    for said, (build, expect) in SPECIAL.items():
        for job in JOBS:
            for more in ([], ["--force"]):
                yield Case(
                    f"{job}{' --force' if more else ''}: {said}",
                    _make(build, job, more),
                    expect if not more else "either",
                    outs=("out", LINKED),
                )
    yield from _nested()


def _nested() -> Iterator[Case]:
    few = ["--net", "mlp:0.1", "--threads", "1", "--json"]
    job = ["prune", ".", "--keep", "0.5", "--method", "el2n", "--record-epochs", "1", *few]

    def inside(at: Path, ground: Ground) -> list[Argv]:
        pictures(at / "train")
        pictures(at / "test", 3, 100)
        (at / "stranger.txt").unlink()
        return [job, job]

    def flat(at: Path, ground: Ground) -> list[Argv]:
        pictures(at)
        (at / "stranger.txt").unlink()
        return [job, job, [*job, "--keep", "0.3"]]

    def tables(at: Path, ground: Ground) -> list[Argv]:
        import shutil

        for name in ("train.parquet", "test.parquet"):
            shutil.copy(ground / "vec" / name, at / name)
        return [job, job]

    def same(at: Path, ground: Ground) -> list[Argv]:
        pictures(at / "train")
        return [[*job, "--out", "."]]

    def above(at: Path, ground: Ground) -> list[Argv]:
        pictures(at / "out" / "data" / "train")
        return [["prune", "out/data", *job[2:], "--out", "out"]]

    yield Case("OUT inside DATA, twice", inside, "ok")
    yield Case("OUT beside classes, twice and otherwise", flat, "ok")
    yield Case("OUT beside tables, twice", tables, "ok")
    yield Case("OUT is DATA", same, "refused")
    yield Case("DATA inside OUT", above, "refused")
    for odd in (
        'a"b',
        "a'b",
        "a b",
        "a\nb",
        "é",
        "\x1b[31mred",
        "a%20b",
        "-",
        "a;b",
        "$(x)",
        "a\\b",
        "~",
        "#a",
        "a?b",
        "*",
    ):
        named = lambda at, ground, odd=odd: [["prune", ground.at("vec"), *job[2:], f"--out={odd}"]]
        yield Case(f"OUT named {odd!r}", named, "either", _loadable, (odd.split("/")[0],))


def _loadable(at: Path, outcomes: list[Outcome]) -> str | None:
    """The line that loads kept/ is one expression: a call of one string."""
    import ast
    import json

    for found in at.glob("*/run.json"):
        load = json.loads(found.read_text())["stages"].get("kept", {}).get("asked", {}).get("load", "")
        try:
            ast.parse(load)
        except SyntaxError:
            return f"the line that loads it is none: {load}"
    return None
