"""The table of a campaign, in Markdown."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

HEAD = """# Campaigns

Commands that are killed and run again, and commands that are given everything but what they expect. Written by
`make campaign` (`python -m tests.campaign --report benchmarks/campaign.md`); a line a case is in `campaign.jsonl`, and
`--only CASE` runs one again.

A kill is a SIGKILL, every other one before a random operation on files and the rest at a random moment; then the same
command runs to its end, and what it wrote is compared byte for byte with a run that was left alone. A case of the fuzz
campaign is *ok* (it succeeded, and what came of it is right), *refused* (exit code 2 and one line `error: ...`), or a
failure: a traceback, a hang, a success that is wrong, a file touched that is not ours, or something else than a line.
"""
KINDS = ("traceback", "hang", "wrong success", "foreign file touched", "differing bytes")
"""Failures that have a column; the others share one."""


def told(found: Sequence[dict[str, Any]], seed: int, share: float, minutes: float) -> str:
    """The tables of both campaigns, and the failures by name."""
    kills = [line for line in found if "kills" in line]
    fuzz = [line for line in found if "kills" not in line]
    about = f"Seed {seed}" + (f", {share:.0%} of the cases" if share < 1 else "")
    parts = [HEAD, f"{about}; {minutes:.0f} minutes, of which the machine may have had other work.\n"]
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
    heads = (first, "kills" if first == "command" else "cases", *done, *KINDS, "other failures")
    rows = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for name, row in [*sums.items(), ("all", total)]:
        numbers = (row["cases"], *(row[kind] for kind in (*done, *KINDS, "other failures")))
        rows.append(f"| {name} | " + " | ".join(map(str, numbers)) + " |")
    return "\n".join(rows) + "\n"


def _kind(verdict: str) -> str:
    kind = verdict.removeprefix("FAIL ").replace("internal error", "traceback")
    return kind if kind in ("ok", "refused", *KINDS) else "other failures"
