"""Finished OUT folders in which one file was cut, changed, or replaced by something else."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.campaign.cases import Argv, Case, Expect, Ground, Plan, numbered
from tests.campaign.families.edits import Edit, edits, gone
from tests.campaign.families.folders import NOTICED, PATTERNS, USES


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
