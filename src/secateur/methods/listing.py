"""Everything a user can name, as rows: for `secateur methods` and the documentation."""

import dataclasses
import inspect
from typing import Any

from secateur.dynamic.plans import Rule
from secateur.dynamic.rules import RULES
from secateur.methods.condensers import CONDENSERS
from secateur.methods.model import Method, Setting
from secateur.methods.rows import METHODS
from secateur.methods.spec import knobs_of
from secateur.ranges import Range
from secateur.registry import ENTRIES


def _needs(row: Method, setting: Setting) -> list[str]:
    """Fields, the recall of each class, and labels where nothing can be done without."""
    fields = [n for n in row.fields(setting) if n != "labels"]
    return [*fields, *(["recall"] if row.recall else []), *(["labels"] if row.needs_labels else [])]


def listing() -> list[dict[str, Any]]:
    """Methods, then scores and selectors, then rules, then condensers: name, kind, needs, source, summary.

    >>> next(row["needs"] for row in listing() if row["name"] == "dual")
    ['p_target', 'labels']
    """
    setting = Setting(0.3, 30, 10)
    rows: list[dict[str, Any]] = []
    for row in METHODS.values():
        score = "" if row.score is None else f"{row.score} + "
        rows.append(
            {
                "name": row.name,
                "kind": "method",
                "needs": _needs(row, setting),
                "source": "; ".join(row.cite),
                "summary": row.summary,
                "how": score + row.selector,
                "ranges": {n: str(k) if isinstance(k, Range) else " or ".join(k) for n, k in knobs_of(row).items()},
            }
        )
    for (kind, name), entry in sorted(ENTRIES.items()):
        if kind != "summary":
            rows.append(
                {
                    "name": name,
                    "kind": kind,
                    "needs": list(entry.needs),
                    "source": entry.source,
                    "summary": entry.summary,
                    "knobs": [k for k in entry.knobs if k not in ("keep", "rng", "initial")],
                }
            )
    rows += [_of_rule(name, rule) for name, rule in RULES.items()]
    return rows + [
        {"name": name, "kind": "condenser", "needs": ["labels"], "source": row.source, "summary": row.summary}
        | {"knobs": list(row.knobs)}
        for name, row in CONDENSERS.items()
    ]


def _of_rule(name: str, rule: type[Rule]) -> dict[str, Any]:
    return {
        "name": name,
        "kind": "rule",
        "needs": list(rule.needs),
        "source": rule.source,
        "summary": (inspect.getdoc(rule) or "").split("\n")[0],
        "knobs": [f.name for f in dataclasses.fields(rule) if not isinstance(f.default, tuple)],
    }
