"""Running all of it, the file of digests, and what differs between two of them."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("digests.json")
ROOT = Path(__file__).parents[2]
_K_MEANS = "k-means starts from k-means++ and keeps the best of several starts"
_SCALE = ("density", "density, no dedup", "prototypes", "random", "easy", "filtered", "dedup", "cluster", "select")
CHANGED: dict[str, str] = {
    "method/ssp": _K_MEANS,
    "score/ssp": _K_MEANS,
    **{f"scale/{name}": f"{_K_MEANS}; fractions are rounded half up" for name in _SCALE},
    "scale/subsets": _K_MEANS,
    "scale/instructions": f"{_K_MEANS}; fractions are rounded half up",
}
"""Numbers that were changed on purpose since digests.json was written: the name of the run, and why."""


def run(say: Callable[[str], None]) -> dict[str, Any]:
    """All runs of the code at hand: their digests, and the machine's signature."""
    import torch

    from tests.golden.digests import signature
    from tests.golden.jobs import everything

    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for name, digests in everything(Path(folder)):
            found[name] = digests
            say(f"{time.perf_counter() - started:6.1f} s  {name}")
    return {"commit": commit(), "signature": signature(), "runs": found}


def commit() -> str | None:
    """The commit of the checkout that the package is imported from."""
    import secateur

    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=Path(secateur.__file__).parent, capture_output=True, text=True
    )
    return done.stdout.strip() if done.returncode == 0 else None


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Names of runs that differ, each with what of them does."""
    old, new = before["runs"], now["runs"]
    found = [(name, "is gone") for name in old if name not in new]
    found += [(name, "is new") for name in new if name not in old]
    for name in (n for n in old if n in new):
        parts = [part for part in {**old[name], **new[name]} if old[name].get(part) != new[name].get(part)]
        if parts:
            found.append((name, ", ".join(sorted(parts))))
    return found


def write(path: Path, found: Mapping[str, Any]) -> None:
    """As a file that diffs well."""
    path.write_text(json.dumps(found, indent=1) + "\n")


def read(path: Path = FILE) -> dict[str, Any]:
    """A file of digests."""
    return dict(json.loads(path.read_text()))


def of_source(source: Path, target: Path) -> dict[str, Any]:
    """The same runs by the code in another checkout's `source`, in a process of their own."""
    import os

    env = {**os.environ, "PYTHONPATH": str(source)}
    subprocess.run([sys.executable, "-m", "tests.golden", "--write", str(target)], cwd=ROOT, env=env, check=True)
    return read(target)
