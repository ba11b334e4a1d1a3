"""`python -m tests.campaign`: kill and fuzz; `--report FILE` writes the table, `--only TEXT` runs some cases again."""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.campaign.cases import Plan

QUIET = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "200", "TERM": "dumb"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--part", choices=("all", "fuzz", "kills"), default="all")
    parser.add_argument("--seed", type=int, default=0, help="where every random choice starts")
    parser.add_argument("--share", type=float, default=1.0, help="of all cases")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name holds it")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--patience", type=float, default=60.0, help="seconds after which a command hangs")
    parser.add_argument("--lines", type=Path, default=Path("campaign.jsonl"), help="a line of JSON a case")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the table there")
    given = parser.parse_args()
    return campaign(given)


def campaign(given: argparse.Namespace) -> int:
    """All parts that are asked for; 1 where anything failed."""
    from tests.campaign.fuzz import fuzz
    from tests.campaign.ground import ground
    from tests.campaign.kills import kills
    from tests.campaign.report import told

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    started = time.monotonic()
    plan = Plan(given.seed, given.share)
    given.lines.unlink(missing_ok=True)
    found = []
    with tempfile.TemporaryDirectory(prefix="campaign-ground-") as folder:
        os.environ |= QUIET | {"HF_HOME": f"{folder}/hub", "CAMPAIGN_PLAN": json.dumps([plan.seed, plan.share])}
        say("making the data and folders that cases start from")
        made = ground(Path(folder) / "ground")
        how = {"only": given.only, "workers": given.workers, "say": say}
        if given.part in ("all", "kills"):
            found += kills(made.path, given.lines, seed=plan.seed, share=plan.share, **how)
        if given.part in ("all", "fuzz"):
            found += fuzz(plan, made.path, given.lines, patience=given.patience, **how)
    minutes = (time.monotonic() - started) / 60
    text = told(found, given.seed, given.share, minutes)
    print(text)
    if given.report is not None:
        given.report.write_text(text)
    return 1 if any(line["verdict"].startswith("FAIL") for line in found) else 0


if __name__ == "__main__":
    sys.exit(main())
