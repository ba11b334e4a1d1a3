"""Runs commands inside this process, which has imported everything once, and judges cases."""

import contextlib
import io
import os
import resource
import shutil
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.campaign.cases import Argv, Case, Ground, Outcome, Plan
from tests.campaign.verdict import Verdict, fail, judge, touched, tree

MEMORY = 10 * 1024**3
"""Bytes of address space; what asks for more has to say so."""


def work(pipe: Connection, ground: str, folder: str, plan: Plan) -> None:
    """Judge the cases whose (family, number) comes through the pipe, one at a time."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    import torch

    from tests.campaign.families import enumerated

    torch.set_num_threads(1)
    cases = enumerated(plan)
    listen()
    pipe.send("ready")
    while (number := pipe.recv()) is not None:
        started = time.perf_counter()
        verdict = settle(cases[number], Ground(Path(ground)), Path(folder) / "case")
        torch.set_num_threads(1)
        pipe.send((verdict.kind, verdict.told, time.perf_counter() - started))


FOREIGN = ("this", "antigravity", "dateutil.zoneinfo.rebuild", "tests.golden")
"""Modules that files of ours name and nothing imports."""
SEEN: list[str] = []
"""What code that is not ours was about to do."""


def listen() -> None:
    """Note every import of such a module, and every program that is started but git."""

    def hear(event: str, given: tuple[Any, ...]) -> None:
        if event == "import" and given[0] in FOREIGN:
            SEEN.append(f"import of {given[0]}")
        elif event == "os.system" or (event == "subprocess.Popen" and "git" not in str(given[:2])):
            SEEN.append(f"{event} of {given[:2]}")

    sys.addaudithook(hear)


def settle(case: Case, ground: Ground, folder: Path) -> Verdict:
    """Run one case in a fresh folder."""
    _clear(folder)
    folder.mkdir(parents=True)
    (folder / "stranger.txt").write_text("not ours")
    marks = _marks(ground)
    SEEN.clear()
    for name in FOREIGN:
        sys.modules.pop(name, None)
    here = os.getcwd()
    os.chdir(folder)
    try:
        commands = case.make(folder, ground)
        before = tree(folder)
        outcomes: list[Outcome] = []
        for argv in commands:
            outcomes.append(run(argv))
            if outcomes[-1].code != 0:
                break
        if len(outcomes) < len(commands) and outcomes[-1].code != 0:
            found = judge(case, folder, [outcomes[-1]]) if case.expect != "ok" else judge(case, folder, outcomes)
        else:
            found = judge(case, folder, outcomes)
        foreign = touched(case, before, tree(folder))
        if foreign is None and _marks(ground) != marks:
            foreign = "changed the data it was given"
    finally:
        os.chdir(here)
    if SEEN and case.name.startswith(("models", "edited", "ids")):
        return fail("code from a file ran", f"{SEEN[0]} by {' '.join(outcomes[-1].argv)}")
    if foreign and not found.kind.startswith(("FAIL traceback", "FAIL internal")):
        return fail("foreign file touched", f"{foreign} by {' '.join(outcomes[-1].argv)}")
    return found


def run(argv: Argv) -> Outcome:
    """`secateur ARGV` in this process."""
    import secateur.cli

    out, err = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["secateur", *argv]
    code: int | None = 0
    crash = ""
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            secateur.cli.main()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
    except BaseException as error:
        code, crash = None, told(error)
    finally:
        sys.argv = before
    return Outcome(argv, code, out.getvalue(), err.getvalue(), crash)


def told(error: BaseException) -> str:
    """The type of an exception, the last line of ours that it came through, and what it says."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/secateur/" in f.filename and "/cli/__init__" not in f.filename]
    place = f"{ours[-1].filename.rpartition('/secateur/')[2]}:{ours[-1].name}" if ours else "the parser"
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__} in {place}: {first}"


def _clear(folder: Path) -> None:
    """Remove a folder, whatever its modes."""
    if folder.exists():
        for path, _, _ in os.walk(folder):
            with contextlib.suppress(OSError):
                os.chmod(path, 0o755)
        shutil.rmtree(folder, ignore_errors=True)


def _marks(ground: Ground) -> list[Any]:
    """Sizes and times of all that cases share."""
    found = []
    for folder, _, files in os.walk(ground.path):
        for name in files:
            status = os.lstat(f"{folder}/{name}")
            found.append((folder, name, status.st_size, status.st_mtime_ns))
    return found
