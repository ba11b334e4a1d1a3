"""The charts of a scale run: its clusters by size, by complexity, and on a map."""

from typing import Any

import numpy as np

from secateur.report.charts import DROPPED, KEPT, finished


def cluster_sizes(clusters: dict[str, np.ndarray]) -> dict[str, Any]:
    """Rows of each cluster (clusters,), what is left of them and what is kept, from the largest to the smallest."""
    import altair as alt

    order = np.argsort(-clusters["rows"], kind="stable")
    rows = [
        {"rank": int(place + 1), "rows": float(clusters[name][k]), "which": name}
        for name in ("rows", "left", "kept")
        for place, k in enumerate(order)
    ]
    colours = alt.Scale(domain=["rows", "left", "kept"], range=[DROPPED, "#8fb9a8", KEPT])
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_area(interpolate="step")
        .encode(
            x=alt.X("rank:Q", title="clusters, the largest first"),
            y=alt.Y("rows:Q", title="rows", stack=None),
            color=alt.Color("which:N", scale=colours, title=None),
            tooltip=["rank:Q", "which:N", "rows:Q"],
        )
    )
    return finished(chart, height=240)


def complexity(clusters: dict[str, np.ndarray]) -> dict[str, Any]:
    """Of each cluster d_intra * d_inter, and the fraction of what is left that is kept."""
    import altair as alt

    chart = (
        alt.Chart(alt.Data(values=_points(clusters)))
        .mark_circle(opacity=0.6, color=KEPT)
        .encode(
            x=alt.X("complexity:Q", title="complexity: d_intra times d_inter", scale=alt.Scale(zero=False)),
            y=alt.Y("part:Q", title="kept of what is left", axis=alt.Axis(format="%")),
            size=alt.Size("rows:Q", title="rows", scale=alt.Scale(range=[10, 300])),
            tooltip=["cluster:Q", "rows:Q", "left:Q", "kept:Q", "complexity:Q"],
        )
    )
    return finished(chart, height=260)


def cluster_map(clusters: dict[str, np.ndarray]) -> dict[str, Any]:
    """Centroids on a plane, by their places x and y (clusters,)."""
    import altair as alt

    none = alt.Axis(labels=False, ticks=False, grid=False)
    chart = (
        alt.Chart(alt.Data(values=_points(clusters)))
        .mark_circle(opacity=0.75)
        .encode(
            x=alt.X("x:Q", title=None, axis=none, scale=alt.Scale(zero=False)),
            y=alt.Y("y:Q", title=None, axis=none, scale=alt.Scale(zero=False)),
            size=alt.Size("rows:Q", title="rows", scale=alt.Scale(range=[10, 400])),
            color=alt.Color("part:Q", title="kept", scale=alt.Scale(range=["#d7e3dd", "#0d4a35"]), legend=None),
            tooltip=["cluster:Q", "rows:Q", "left:Q", "kept:Q"],
        )
    )
    return finished(chart, height=380)


def _points(clusters: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """A row a cluster, for a chart; what is nan, of an empty one, is left out."""
    left = np.maximum(clusters["left"], 1)
    columns = clusters | {"complexity": clusters["d_intra"] * clusters["d_inter"], "part": clusters["kept"] / left}
    names = ("cluster", "rows", "left", "kept", "complexity", "part", "x", "y")
    return [
        {name: float(columns[name][k]) for name in names if np.isfinite(columns[name][k])}
        for k in range(len(clusters["rows"]))
    ]
