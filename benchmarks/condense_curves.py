"""The tables of condense.md as curves: accuracy against seconds, beside what coresets and the papers reach.

    python benchmarks/condense_curves.py [--table benchmarks/condense.md] [--out benchmarks/condense.svg]

A curve joins the lines of a table that have the method, its settings, the rows a class and the augmentation in common.
Rules are the rows without steps, and the published accuracies.
"""

import argparse
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import altair as alt

WANTED = {"rows", "a class", "seconds", "accuracy"}
SIZE = {"width": 330, "height": 260}


def tables(text: str) -> Iterator[dict[str, str]]:
    """The lines of every table with the wanted columns, by column, with the section they stand in."""
    section, names = "", None
    for line in text.splitlines():
        if line.startswith("## "):
            section = line[3:]
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else None
        if cells is None:
            names = None
        elif names is None:
            names = cells
        elif set(names) >= WANTED and not set(cells[0]) <= {"-"}:
            yield {"section": section} | dict(zip(names, cells, strict=True))


def point(line: dict[str, str]) -> dict[str, Any]:
    """A line of a table with its numbers as numbers; seconds None for what takes no steps."""
    accuracy, _, spread = line["accuracy"].partition(" ± ")
    published = re.match(r"[\d.]+", line.get("published, all steps", ""))
    return {
        "panel": f"{line['section']}, {line['a class']} a class",
        "run": line["rows"],
        "rows": re.sub(r"`|, rate [\d.]+", "", line["rows"]),
        "augmentation": line.get("augmentation", "auto"),
        "seconds": float(line["seconds"]) if line["seconds"] else None,
        "accuracy": float(accuracy),
        "low": float(accuracy) - float(spread),
        "high": float(accuracy) + float(spread),
        "published": float(published[0]) if published else None,
    }


def merged(points: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those with the same augmentation and accuracy as one."""
    by: dict[tuple[str, float], list[str]] = {}
    for p in points:
        by.setdefault((p["augmentation"], p["accuracy"]), []).append(p["rows"])
    for (augmentation, accuracy), names in by.items():
        yield {"augmentation": augmentation, "accuracy": accuracy, "rows": ", ".join(names)}


def panel(title: str, points: list[dict[str, Any]]) -> Any:
    """One chart: curves of what was learned, rules of what it stands beside."""
    learned = [p for p in points if p["seconds"] is not None]
    beside = list(merged(p for p in points if p["seconds"] is None))
    ends = [{"accuracy": p["published"], "rows": p["rows"]} for p in learned if p["published"] is not None]
    y = alt.Y("accuracy:Q", title="accuracy, %", scale=alt.Scale(zero=False))
    colour = alt.Color(
        "rows:N", title=None, legend=alt.Legend(symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1)
    )
    dash = alt.StrokeDash("augmentation:N", scale=alt.Scale(domain=["auto", "off"], range=[[1, 0], [5, 3]]))
    base = alt.Chart(alt.Data(values=learned)).encode(
        x=alt.X(
            "seconds:Q",
            scale=alt.Scale(type="log"),
            axis=alt.Axis(grid=False, tickCount=4),
            title="seconds of condensing",
        ),
        color=colour,
        detail="run:N",
    )
    bars = base.mark_rule(opacity=0.4).encode(y=alt.Y("low:Q", scale=alt.Scale(zero=False)), y2="high:Q")
    curves = base.mark_line(point=True).encode(y=y, strokeDash=dash)
    rules = alt.Chart(alt.Data(values=beside)).encode(y=y)
    drawn = rules.mark_rule(color="#7a7f87").encode(strokeDash=dash)
    names = [
        rules.mark_text(align=side, x=x, dy=-5, color="#57606a", fontSize=9)
        .encode(text="rows:N")
        .transform_filter(alt.datum.augmentation == augmentation)
        for augmentation, side, x in (("auto", "left", 2), ("off", "right", SIZE["width"] - 2))
    ]
    far = alt.Chart(alt.Data(values=ends)).mark_rule(strokeDash=[1, 3], strokeWidth=2).encode(y=y, color=colour)
    layers = [drawn, *names, bars, curves, *([far] if ends else [])]
    return alt.layer(*layers).properties(title=title, **SIZE)


def main() -> None:
    """Read, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).parent
    parser.add_argument("--table", type=Path, default=here / "condense.md")
    parser.add_argument("--out", type=Path, default=here / "condense.svg")
    asked = parser.parse_args()
    points = [point(line) for line in tables(asked.table.read_text()) if " ± " in line["accuracy"]]
    by = sorted(points, key=lambda p: p["panel"])
    panels = [panel(title, list(group)) for title, group in groupby(by, key=lambda p: p["panel"])]
    rows = [alt.hconcat(*panels[k : k + 2]) for k in range(0, len(panels), 2)]
    alt.vconcat(*rows).configure_axis(gridColor="#eceff2").save(asked.out)


if __name__ == "__main__":
    main()
