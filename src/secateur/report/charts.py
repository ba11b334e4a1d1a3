"""The charts of the report, as Vega-Lite specifications with their data inside."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

KEPT, DROPPED = "#1b7f5c", "#c9ced6"
_INK = "#24292f"
_AS_GIVEN = None
"""Sort as the rows stand: a list of names would end up inside an expression, where some characters break it."""
_CONFIG = {
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {"labelColor": _INK, "titleColor": _INK, "titleFontWeight": 500, "gridColor": "#eceff2", "domain": False},
    "legend": {"labelColor": _INK, "titleColor": _INK},
    "range": {"category": ["#1b7f5c", "#b4552d", "#3565a8", "#8a5fa8", "#a88a1d", "#4d9aa0", "#7a7f87", "#c2497a"]},
}


def score_histogram(scores: np.ndarray, kept: np.ndarray, *, title: str, bins: int = 60) -> dict[str, Any]:
    """How many examples were kept and dropped at each score."""
    import altair as alt

    finite = np.isfinite(scores)
    edges = _edges(scores[finite], bins)
    rows = []
    for name, part in (("kept", kept & finite), ("dropped", ~kept & finite)):
        counts, _ = np.histogram(scores[part], edges)
        rows += [
            {"low": float(a), "high": float(b), "examples": int(n), "fate": name}
            for a, b, n in zip(edges[:-1], edges[1:], counts, strict=True)
            if n
        ]
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(binSpacing=0.5)
        .encode(
            x=alt.X("low:Q", bin="binned", title=f"{title} (harder to the right)"),
            x2="high:Q",
            y=alt.Y("examples:Q", title="examples", stack="zero"),
            color=alt.Color("fate:N", scale=alt.Scale(domain=["kept", "dropped"], range=[KEPT, DROPPED]), title=None),
            order=alt.Order("fate:N", sort="descending"),
            tooltip=["low:Q", "high:Q", "fate:N", "examples:Q"],
        )
    )
    return finished(chart, height=220)


def _edges(values: np.ndarray, bins: int) -> np.ndarray:
    """The edges of the bins; of a single one where numbers are so large that no more can be told apart."""
    try:
        return np.histogram_bin_edges(values, bins)
    except ValueError:
        return np.nextafter([values.min(), values.max()], [-np.inf, np.inf])


def accuracy_against_keep(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Test accuracy of each method at each keep, with a band of one standard deviation where there are seeds."""
    import altair as alt

    full = next((r for r in rows if r["keep"] is None), None)
    values = [
        {
            "keep": r["fraction"],
            "accuracy": r["accuracy"],
            "low": r["accuracy"] - (r["spread"] or 0.0),
            "high": r["accuracy"] + (r["spread"] or 0.0),
            "method": r["method"],
            "teacher": "with teacher" if r["teacher"] else "plain",
        }
        for r in best_heard(rows)
        if r["keep"] is not None
    ]
    base = alt.Chart(alt.Data(values=values)).encode(
        x=alt.X("keep:Q", title="fraction kept", axis=alt.Axis(format="%")),
        color=alt.Color("method:N", title=None),
        detail="teacher:N",
    )
    dash = alt.StrokeDash("teacher:N", title=None, sort=["plain", "with teacher"])
    y = alt.Y("accuracy:Q", title="test accuracy", axis=alt.Axis(format=".1%"), scale=alt.Scale(zero=False))
    band = base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q", scale=alt.Scale(zero=False)), y2="high:Q")
    line = base.mark_line(point=True).encode(
        y=y, strokeDash=dash, tooltip=["method:N", "teacher:N", "keep:Q", "accuracy:Q"]
    )
    chart: Any = band + line
    if full is not None:
        rule = alt.Chart(alt.Data(values=[{"accuracy": full["accuracy"]}])).mark_rule(color=_INK, opacity=0.6)
        chart = chart + rule.encode(y="accuracy:Q")
    return finished(chart, height=300)


def best_heard(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of the lines that differ in how the teacher is heard alone, the most accurate."""
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = (row["method"], row["keep"], row["teacher"])
        if key not in best or row["accuracy"] > best[key]["accuracy"]:
            best[key] = row
    return list(best.values())


def best_weight_against_keep(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The weight `a` of the teacher that is best for each method at each keep; a plain run counts as 0."""
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = (row["method"], row["keep"])
        if row["keep"] is not None and (key not in best or row["accuracy"] > best[key]["accuracy"]):
            best[key] = row
    values = [
        {"keep": r["fraction"], "a": r["distill"]["a"] if r["distill"] else 0.0, "method": r["method"]}
        for r in best.values()
    ]
    return _lines(values, "a", "method", "best weight a of the teacher", ".2f")


def accuracy_by_teacher(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Accuracy at each keep with each teacher, of the best method and weight of each."""
    best: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in rows:
        key = (row["teacher_net"], row["keep"], row["method"])
        if row["teacher"] and (key not in best or row["accuracy"] > best[key]["accuracy"]):
            best[key] = row
    values = [
        {"keep": r["fraction"], "accuracy": r["accuracy"], "line": f"{r['method']}, taught by {r['teacher_net']}"}
        for r in best.values()
    ]
    return _lines(values, "accuracy", "line", "test accuracy", ".1%")


def _lines(values: list[dict[str, Any]], y: str, colour: str, title: str, form: str) -> dict[str, Any]:
    """Lines over the fraction kept."""
    import altair as alt

    chart = alt.Chart(alt.Data(values=values)).mark_line(point=True)
    return finished(
        chart.encode(
            x=alt.X("keep:Q", title="fraction kept", axis=alt.Axis(format="%")),
            y=alt.Y(f"{y}:Q", title=title, axis=alt.Axis(format=form), scale=alt.Scale(zero=False)),
            color=alt.Color(f"{colour}:N", title=None, legend=alt.Legend(labelLimit=300)),
            tooltip=["keep:Q", f"{y}:Q", f"{colour}:N"],
        ),
        height=260,
    )


def accuracy_against_count(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Accuracy of what was trained on so many rows a class, a line a kind of rows."""
    import altair as alt

    values = [
        {n: r[n] for n in ("per_class", "accuracy", "rows")}
        | {"low": r["accuracy"] - (r["spread"] or 0.0), "high": r["accuracy"] + (r["spread"] or 0.0)}
        for r in rows
    ]
    counts = sorted({r["per_class"] for r in rows})
    base = alt.Chart(alt.Data(values=values)).encode(
        x=alt.X("per_class:Q", title="rows a class", scale=alt.Scale(type="log"), axis=alt.Axis(values=counts)),
        color=alt.Color("rows:N", title=None, sort=_AS_GIVEN, legend=alt.Legend(symbolOpacity=1)),
    )
    y = alt.Y("accuracy:Q", title="test accuracy", axis=alt.Axis(format=".0%"), scale=alt.Scale(zero=False))
    bars = base.mark_rule(opacity=0.5).encode(y=alt.Y("low:Q", scale=alt.Scale(zero=False)), y2="high:Q")
    return finished(
        bars + base.mark_line(point={"size": 70}).encode(y=y, tooltip=["rows:N", "per_class:Q", "accuracy:Q"]),
        height=300,
    )


def class_shares(names: Sequence[str], before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    """Share of each class in the data and in what is kept."""
    import altair as alt

    rows = [
        {"class": name, "part": part, "share": float(share)}
        for part, counts in (("all data", before), ("kept", after))
        for name, share in zip(names, counts / counts.sum(), strict=True)
    ]
    colours = alt.Scale(domain=["all data", "kept"], range=[DROPPED, KEPT])
    return finished(_bars(rows, "share", names, colours, "share of the data", "part"), height=max(120, 22 * len(names)))


def class_accuracies(names: Sequence[str], runs: dict[str, Sequence[float | None]]) -> dict[str, Any]:
    """Test accuracy of each class under each run."""
    import altair as alt

    rows = [
        {"class": name, "run": run, "accuracy": None if value is None else float(value)}
        for run, values in runs.items()
        for name, value in zip(names, values, strict=True)
    ]
    colours = alt.Scale(domain=list(runs))
    points = (
        alt.Chart(alt.Data(values=rows))
        .mark_point(filled=True, size=70, opacity=0.85)
        .encode(
            y=alt.Y("class:N", sort=_AS_GIVEN, title=None),
            x=alt.X("accuracy:Q", title="test accuracy", axis=alt.Axis(format="%"), scale=alt.Scale(zero=False)),
            color=alt.Color("run:N", scale=colours, title=None),
            tooltip=["class:N", "run:N", "accuracy:Q"],
        )
    )
    return finished(points, height=max(120, 20 * len(names)))


def _bars(rows: list[dict[str, Any]], value: str, names: Sequence[str], colours: Any, title: str, part: str) -> Any:
    import altair as alt

    return (
        alt.Chart(alt.Data(values=rows))
        .mark_bar()
        .encode(
            y=alt.Y("class:N", sort=_AS_GIVEN, title=None),
            yOffset=alt.YOffset(f"{part}:N"),
            x=alt.X(f"{value}:Q", title=title, axis=alt.Axis(format="%")),
            color=alt.Color(f"{part}:N", scale=colours, title=None),
            tooltip=["class:N", f"{part}:N", f"{value}:Q"],
        )
    )


def finished(chart: Any, *, height: int) -> dict[str, Any]:
    """A chart's specification, in the width of the page."""
    return dict(chart.properties(width="container", height=height, autosize="fit-x").configure(**_CONFIG).to_dict())


@cache
def library() -> str:
    """The JavaScript that draws them: Vega, Vega-Lite and Vega-Embed in one bundle, which takes a second to make."""
    import altair as alt
    import vl_convert

    wanted = ".".join(alt.SCHEMA_VERSION.lstrip("v").split(".")[:2])
    known = [v for v in vl_convert.get_vegalite_versions() if v == wanted]
    return str(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", known[0] if known else None))
