"""The table of a campaign, in Markdown."""

import os
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

import secateur

HEAD = """# The campaigns: kills and malformed input

`make campaign` writes this page (`python -m tests.campaign --report benchmarks/campaign.md`,
[tests/campaign/](../tests/campaign)). It kills every command and runs it again, and feeds the command line malformed
options, images, folders, tables, id lists, models and edited OUT folders. One seed determines all of it.
`campaign.jsonl` has one line per case, and `python -m tests.campaign --only CASE` repeats a case. The slow tests run a
tenth.

A kill is a SIGKILL: half of them just before a random file operation, the rest at a random moment. The same command
then runs to completion, and its output is compared byte for byte with that of an uninterrupted run. A fuzz case is *ok*
(it succeeded with the right result), *refused* (exit code 2 and one line `error: ...`), or a failure.

Two commands that compete for one object store are in [races.md](races.md).
"""
KINDS = ("traceback", "hang", "wrong success", "foreign file touched", "differing bytes")
"""Failures that have a column; the others share one."""


def told(found: Sequence[dict[str, Any]], seed: int, share: float, minutes: float) -> str:
    """The tables of both campaigns, and the failures by name."""
    kills = [line for line in found if "kills" in line]
    fuzz = [line for line in found if "kills" not in line]
    about = f"Seed {seed}" + (f", {share:.0%} of the cases" if share < 1 else "")
    machine = f"{os.cpu_count()} cores, {os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2**30:.0f} GiB"
    parts = [HEAD, f"{about}; version {secateur.__version__}, {date.today()}; {minutes:.0f} minutes on {machine}.\n"]
    if kills:
        parts += [f"## Kills: {sum(line['kills'] for line in kills)}\n", _table("command", kills, _command)]
    if fuzz:
        parts += [f"## Fuzz: {len(fuzz)} cases\n", _table("family", fuzz, _family)]
    if failures := [line for line in found if line["verdict"].startswith("FAIL")]:
        listed = "\n".join(f"- `{line['case']!a}`: {line['verdict']}: {_plain(line['told'])}" for line in failures)
        parts += [f"## Failures: {len(failures)}\n", listed + "\n"]
    return "\n".join(parts)


def _plain(text: str) -> str:
    return ascii(text)[1:-1].replace("|", "\\|")[:300]


def _family(line: dict[str, Any]) -> str:
    return str(line["case"]).split("/")[0]


def _command(line: dict[str, Any]) -> str:
    return str(line["case"]).removeprefix("kills/").rpartition(" ")[0]


def _table(first: str, lines: Sequence[dict[str, Any]], group: Any) -> str:
    sums: dict[str, Counter[str]] = {}
    for line in lines:
        row = sums.setdefault(group(line), Counter())
        row["cases"] += line.get("kills", 1)
        row[_kind(line["verdict"])] += 1
    total: Counter[str] = Counter()
    for row in sums.values():
        total.update(row)
    done = ("ok",) if first == "command" else ("ok", "refused")
    counted = ("kills", "runs ok") if first == "command" else ("cases", *done)  # a run is killed once or more
    heads = (first, *counted, *KINDS, "other failures")
    rows = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for name, row in [*sums.items(), ("all", total)]:
        numbers = (row["cases"], *(row[kind] for kind in (*done, *KINDS, "other failures")))
        rows.append(f"| {name} | " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(rows) + "\n"


def _kind(verdict: str) -> str:
    kind = verdict.removeprefix("FAIL ").replace("internal error", "traceback")
    return kind if kind in ("ok", "refused", *KINDS) else "other failures"
