"""Put real bugs of the field into the code, one at a time; the tests named for each must notice (`make mutate`).

`python -m tests.mutate WORD ...` takes the bugs whose names hold one of the words.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mutations import BUGS
from tests.mutations.bug import Bug

REPO = Path(__file__).parents[1]
SNAPSHOT = "src/secateur/scores/snapshot.py"
IMPORTS = "a score imports torch"


def failures(folder: Path, tests: tuple[str, ...]) -> set[str]:
    """The tests that fail in a copy of the project, without the last part of their parameters where that is longer.

    Slow tests are run where they are named.
    """
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header", "-rfE", "--tb=no"]
    quick = [] if any("::" in test for test in tests) else ["-m", "not slow"]
    with tempfile.TemporaryDirectory() as home:
        environment = {"PYTHONPATH": str(folder / "src"), "PATH": "/usr/bin:/bin", "HOME": home}
        done = subprocess.run(
            [*command, "--doctest-modules", *quick, *tests], cwd=folder, capture_output=True, text=True, env=environment
        )
    return {m.group(1) for m in re.finditer(r"^(?:FAILED|ERROR) \S+?::(\S.*?)(?: - .*)?$", done.stdout, re.MULTILINE)}


def copied(folder: Path) -> Path:
    """The project's code, tests and pages, to be spoiled."""
    for name in ("src", "tests", "docs", "benchmarks"):
        shutil.copytree(REPO / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "_build"))
    for file in REPO.iterdir():
        if file.suffix in (".py", ".toml", ".md", ".txt") or file.name == "Makefile":
            shutil.copy(file, folder)
    return folder


@contextmanager
def spoilt(path: Path, old: str, new: str) -> Iterator[None]:
    """A file with other words in it, for the time of the block."""
    text = path.read_text(encoding="utf-8")
    assert text.count(old) >= 1, f"{old!r} is not in {path.name}"
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")


def silent(bug: Bug, folder: Path) -> list[str]:
    """The tests that should notice a bug, and do not."""
    with spoilt(folder / bug.home / bug.file, bug.old, bug.new):
        failed = failures(folder, bug.tests)
    return [test for test in bug.caught_by if not any(test in name for name in failed)]


def import_contract(folder: Path) -> bool:
    """Is a score that imports torch refused?"""
    lint = Path(sys.executable).with_name("lint-imports")
    environment = {"PYTHONPATH": str(folder / "src"), "PATH": "/usr/bin:/bin"}
    with spoilt(folder / SNAPSHOT, '"""', 'import torch\n"""'):
        done = subprocess.run([lint, "--no-cache"], cwd=folder, capture_output=True, text=True, env=environment)
    return "Scores, selectors and rules need numpy alone BROKEN" in done.stdout


def main(words: list[str]) -> None:
    """Try the bugs whose names hold one of the words; all of them where there are none."""

    def asked(name: str) -> bool:
        return not words or any(word in name for word in words)

    missed = 0
    with tempfile.TemporaryDirectory() as workplace:
        folder = copied(Path(workplace))
        for bug in filter(lambda bug: asked(bug.name), BUGS):
            passed = silent(bug, folder)
            missed += bool(passed)
            told = f"MISSED  {bug.name}: {', '.join(passed)} passed" if passed else f"caught  {bug.name}"
            print(told, flush=True)
        if asked(IMPORTS):
            caught = import_contract(folder)
            missed += not caught
            print(f"{'caught' if caught else 'MISSED'}  {IMPORTS}")
    sys.exit(f"{missed} bugs went unnoticed" if missed else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
