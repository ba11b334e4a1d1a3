"""Everything a user can name, as rows: for `secateur methods` and the documentation."""

from typing import Any

from secateur.methods.model import Setting
from secateur.methods.rows import METHODS
from secateur.registry import ENTRIES


def listing() -> list[dict[str, Any]]:
    """Methods, then scores, then selectors: name, kind, needs, source, summary.

    >>> next(row["needs"] for row in listing() if row["name"] == "dual")
    ['p_target']
    """
    setting = Setting(0.3, 30, 10)
    rows: list[dict[str, Any]] = []
    for row in METHODS.values():
        score = "" if row.score is None else f"{row.score} + "
        rows.append(
            {
                "name": row.name,
                "kind": "method",
                "needs": [*row.fields(setting), *(["recall"] if row.recall else [])],
                "source": "; ".join(row.cite),
                "summary": row.summary,
                "how": score + row.selector,
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
                    "knobs": [k for k in entry.knobs if k not in ("keep", "rng")],
                }
            )
    return rows
