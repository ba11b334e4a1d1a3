"""The fuzz campaign: the cases that a plan has, what became of each, and the sums."""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.campaign.cases import Case, Plan
from tests.campaign.families import enumerated
from tests.campaign.pool import judged
from tests.campaign.verdict import Verdict

Say = Callable[[str], None]


def fuzz(
    plan: Plan, ground: Path, lines: Path, *, only: str = "", workers: int = 2, patience: float = 60, say: Say
) -> list[dict[str, Any]]:
    """Settle all cases whose name holds `only`; a line of JSON each goes to `lines`."""
    cases = enumerated(plan)
    order = plan.rng("order").permutation(len(cases)).tolist()  # so that the slow ones are spread
    chosen = [k for k in order if only in cases[k].name]
    found: list[dict[str, Any]] = []
    started = time.monotonic()
    with lines.open("a") as file:

        def tell(case: Case, verdict: Verdict, seconds: float) -> None:
            line = {"case": case.name, "verdict": verdict.kind, "told": verdict.told, "seconds": round(seconds, 2)}
            found.append(line)
            file.write(json.dumps(line) + "\n")
            file.flush()
            if verdict.failed or len(found) % 50 == 0:
                spent = time.monotonic() - started
                say(f"{len(found)}/{len(chosen)} {spent:.0f} s  {verdict.kind}: {case.name!r}: {verdict.told[:200]!r}")

        judged(cases, chosen, ground, plan, workers=workers, patience=patience, tell=tell)
    return found


def summed(found: Sequence[dict[str, Any]]) -> dict[str, Counter[str]]:
    """How often each verdict came, a family."""
    sums: dict[str, Counter[str]] = {}
    for line in found:
        sums.setdefault(line["case"].split("/")[0], Counter())[line["verdict"]] += 1
    return sums
