"""The kill campaign: every command is killed, run again, and must end with the bytes of a run that was left alone."""

import json
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np

from tests.campaign.cases import Ground
from tests.campaign.forks import Ended, forked
from tests.campaign.jobs import FEWER, JOBS
from tests.campaign.verdict import Tree, tree

EACH = 5
"""Kills a command: the odd ones before a file operation, the others at a moment."""
TIMES = ("run.json", "log.jsonl", "bill.json", "report.html", ".lock")
CRITICAL = (".safetensors", ".parquet", ".npy", "/c/")
"""Files that must have the same bytes in every run; of others, those that differ between two whole runs hold times."""


@dataclass(frozen=True)
class Whole:
    """Two runs that were left alone: files and digests, those that hold times, seconds, and operations on files."""

    files: Tree
    loose: frozenset[str]
    seconds: float
    operations: int
    wrong: str = ""


def setting(folder: Path, name: str, ground: Ground) -> Path:
    """A folder to run a job in, with files of others around."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "stranger.txt").write_text("not ours")
    if JOBS[name].copied is not None:
        ground.copy(str(JOBS[name].copied), folder)
        (folder / "out" / "stranger.txt").write_text("not ours")
    return folder


def files(folder: Path) -> Tree:
    """What a job left in OUT, but for what holds times by its name."""
    found = tree(folder / "out") if (folder / "out").exists() else {}
    return {name: held for name, held in found.items() if Path(name).name not in TIMES and name != "stranger.txt"}


def whole(folder: Path, name: str, ground: Ground) -> Whole:
    """Run a job twice."""
    runs: list[tuple[Tree, Ended]] = []
    for _ in range(2):
        at = setting(folder, name, ground)
        ended = forked(JOBS[name].argv(ground), at)
        if ended.code != 0:
            return Whole({}, frozenset(), 0, 0, f"a whole run ended with {ended.code}: {ended.stderr}")
        runs.append((files(at), ended))
    (first, _), (second, ended) = runs
    loose = frozenset(n for n in {**first, **second} if first.get(n) != second.get(n))
    wrong = next((n for n in loose if any(part in n for part in CRITICAL)), "")
    seconds = min(e.seconds for _, e in runs)
    return Whole(second, loose, seconds, ended.operations, wrong and f"two whole runs differ in {wrong}")


def kill(folder: Path, name: str, ground: Ground, known: Whole, number: int, seed: int) -> tuple[int, str, str]:
    """Kill a job once or twice and run it again: kills, where, and what is wrong."""
    rng = np.random.default_rng([seed, *name.encode(), number])
    at, argv = setting(folder, name, ground), JOBS[name].argv(ground)
    done, where = 0, []
    for _ in range(1 + (rng.random() < 0.3)):
        ended, point = _struck(argv, at, known, number, rng, again=bool(done))
        if ended.code != -9:
            if ended.code != 0:
                return done, "; ".join([*where, point]), f"ended with {ended.code}: {ended.stderr}"
            break
        done, where = done + 1, [*where, point]
        if ended.left:
            return done, "; ".join(where), ended.left
        if (at / "out" / "run.json").exists():
            (at / "out" / "stranger.txt").write_text("not ours")
    last = forked(argv, at)
    return done, "; ".join(where), _wrong(at, known, last)


def _struck(argv: list[str], at: Path, known: Whole, number: int, rng: Any, *, again: bool) -> tuple[Ended, str]:
    """One attempt, before an operation or at a moment; a command that is nearly done has less of both."""
    if number % 2 and known.operations:
        place = int(rng.integers(1, known.operations + 1))
        place = int(rng.integers(1, place + 1)) if again else place
        return forked(argv, at, at=place), f"before operation {place} of {known.operations}"
    moment = float(rng.uniform(0.02, 0.6 if again else 0.95)) * known.seconds
    return forked(argv, at, after=moment), f"after {moment:.2f} of {known.seconds:.2f} s"


def _wrong(at: Path, known: Whole, last: Ended) -> str:
    """What differs from the whole run."""
    if last.code != 0:
        return f"run again, it ended with {last.code}: {last.stderr}"
    for path in (at / "stranger.txt", at / "out" / "stranger.txt"):
        if path.parent == at and (not path.exists() or path.read_text() != "not ours"):
            return "a file beside OUT was touched"
        if path.exists() and path.read_text() != "not ours":
            return "a file of somebody else in OUT was touched"
    if extra := {p.name for p in at.iterdir()} - {"out", "stranger.txt"}:
        return f"left beside OUT: {sorted(extra)[0]}"
    found = files(at)
    for name in sorted({**found, **known.files}):
        if name not in known.loose and found.get(name) != known.files.get(name):
            change = "missing" if name not in found else "left over" if name not in known.files else "differs"
            return f"{name} {change}"
    return ""


def work(pipe: Connection, ground: str, folder: str, seed: int) -> None:
    """Jobs that come through the pipe, with how often each is to be killed."""
    base = Ground(Path(ground))
    while (given := pipe.recv()) is not None:
        name, count = given
        known = whole(Path(folder) / "job", name, base)
        for number in range(0 if known.wrong else count):
            started = time.monotonic()
            found = kill(Path(folder) / "job", name, base, known, number, seed)
            pipe.send((name, number, *found, time.monotonic() - started))
        pipe.send((name, None, 0, "", known.wrong, 0.0))


def _wanted(share: float, only: str) -> Iterator[tuple[str, int]]:
    """Jobs and how often each is killed; a small share kills some of the commands once."""
    chosen = [name for name in JOBS if only in f"kills/{name}"]
    step = 1 if share * EACH >= 1 else max(1, round(1 / (share * EACH)))
    for name in chosen[::step]:
        count = max(1, round(share * EACH))
        yield name, min(count, 2) if name in FEWER else count


def kills(
    ground: Path, lines: Path, *, seed: int, share: float, only: str, workers: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Every command, killed `EACH` times; a line of JSON each goes to `lines`."""
    left = list(_wanted(share, only))
    context, found = multiprocessing.get_context("forkserver"), []
    context.set_forkserver_preload(["tests.campaign.warm"])
    with tempfile.TemporaryDirectory(prefix="campaign-kills-") as folder, lines.open("a") as file:
        crew: dict[Any, Any] = {}
        for k in range(min(workers, len(left))):
            ours, theirs = context.Pipe()
            Path(folder, str(k)).mkdir()
            crew[ours] = context.Process(target=work, args=(theirs, str(ground), f"{folder}/{k}", seed))
            crew[ours].start()
            theirs.close()
            ours.send(left.pop(0))
        while crew:
            for pipe in wait(list(crew)):
                line, last = _line(pipe.recv())  # type: ignore[union-attr]
                if last and left:
                    pipe.send(left.pop(0))  # type: ignore[union-attr]
                elif last:
                    pipe.send(None)  # type: ignore[union-attr]
                    crew.pop(pipe).join()
                if line["kills"] or line["verdict"] != "ok":
                    found.append(line)
                    file.write(json.dumps(line) + "\n")
                    file.flush()
                    say(f"{line['verdict']}: {line['case']}: {line['told'][:300]}")
    return found


def _line(given: Any) -> tuple[dict[str, Any], bool]:
    """A line of the report, and was it the last of its job?"""
    name, number, done, where, wrong, seconds = given
    case = f"kills/{name} {'alone' if number is None else number}"
    kind = "FAIL " + _kind(wrong) if wrong else "ok"
    told = " ".join(f"{where}: {wrong}".split())[:500] if wrong else where
    return {"case": case, "verdict": kind, "told": told, "seconds": round(seconds, 2), "kills": done}, number is None


def _kind(wrong: str) -> str:
    if "Traceback" in wrong or "internal error" in wrong:
        return "traceback"
    if "live on" in wrong or "/dev/shm" in wrong:
        return "left running"
    if "ended with" in wrong:
        return "no going on"
    return "foreign file touched" if "touched" in wrong else "differing bytes"
