"""Commands in a child of a process that has imported everything, killed at a moment or before a file operation."""

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
OPERATIONS = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree")
GRACE = 10.0
"""Seconds in which what a killed command had started must have ended."""


@dataclass(frozen=True)
class Ended:
    """code: below 0 for a signal; operations: on files, as far as they were counted; left: what lived on."""

    code: int
    seconds: float
    operations: int
    stderr: str
    left: str = ""


def forked(
    argv: list[str], cwd: Path, *, at: int | None = None, after: float | None = None, limit: float = 120
) -> Ended:
    """`secateur ARGV` in `cwd`, killed before its `at`-th operation on files, or `after` so many seconds."""
    told, count = cwd.parent / f"{cwd.name}.err", cwd.parent / f"{cwd.name}.count"
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(argv, cwd, at, told, count)
    code = None
    while code is None:
        spent = time.monotonic() - started
        if (after is not None and spent >= after) or spent > limit:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        done, status = os.waitpid(pid, os.WNOHANG)
        code = os.waitstatus_to_exitcode(status) if done else None
        time.sleep(0.002 if code is None else 0)
    seconds = time.monotonic() - started
    left = _left(pid) if code < 0 else ""
    operations = int(count.read_text() or 0) if count.exists() else 0
    return Ended(code, seconds, operations, told.read_text(errors="replace")[-600:], left)


def _child(argv: list[str], cwd: Path, at: int | None, told: Path, count: Path) -> None:
    """Never comes back."""
    code = 1
    try:
        os.setsid()
        os.chdir(cwd)
        for number in (1, 2):
            os.dup2(os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        seen = _counting(cwd, at)
        sys.argv = ["secateur", *argv]
        import secateur.cli

        try:
            secateur.cli.main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        sys.stdout.flush()
        sys.stderr.flush()
        count.write_text(str(seen[0]))
    except BaseException:
        import traceback

        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)


def _counting(cwd: Path, at: int | None) -> list[int]:
    """Count the operations that change files below `cwd`, and die before the `at`-th."""
    seen, here, me = [0], str(cwd), os.getpid()

    def hear(event: str, given: tuple[Any, ...]) -> None:
        if event == "open":
            if not isinstance(given[2], int) or not given[2] & WRITES:
                return
        elif event not in OPERATIONS:
            return
        path = os.fsdecode(given[0]) if isinstance(given[0], str | bytes | os.PathLike) else ""
        if os.getpid() != me or (os.path.isabs(path) and not path.startswith(here)):
            return
        seen[0] += 1
        if seen[0] == at:
            os.kill(me, signal.SIGKILL)

    sys.addaudithook(hear)
    return seen


def _left(session: int) -> str:
    """Processes of a session that live on, or folders in /dev/shm, once there was time to end; those are ended."""
    until = time.monotonic() + GRACE
    while (alive := _of(session)) and time.monotonic() < until:
        time.sleep(0.1)
    for pid in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    shared = (
        [p.name for p in Path("/dev/shm").iterdir() if f"_{session}_" in p.name] if Path("/dev/shm").is_dir() else []
    )
    parts = [f"{len(alive)} processes live on"] if alive else []
    return ", ".join(parts + ([f"/dev/shm keeps {shared[0]}"] if shared else []))


def _of(session: int) -> list[int]:
    """The processes of a session, but for those that have ended."""
    found = []
    for entry in Path("/proc").iterdir() if Path("/proc").is_dir() else ():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                words = (entry / "stat").read_text().rpartition(")")[2].split()
                if int(words[3]) == session and words[0] != "Z":
                    found.append(int(entry.name))
    return found
