"""The report of a scale run: what became of the rows, cluster by cluster, and what it took."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from secateur.report import charts
from secateur.report.page import environment, script_json, script_text
from secateur.store.files import read_json, replacing

_MOST = 3000
"""Points of a chart; of more clusters, as many are drawn at random."""


def is_scale(out: Path) -> bool:
    """Is this the folder of a scale run that has ended?"""
    return (out / "clusters.parquet").exists()


def write_scale_report(out: Path) -> Path:
    """Write OUT/report.html and return its path."""
    run, bill = read_json(out / "run.json"), read_json(out / "bill.json")
    found = pq.read_table(out / "clusters.parquet").to_pydict()
    clusters = {name: np.array(values, dtype=float) for name, values in found.items()}
    drawings = drawn(clusters)
    page = environment().get_template("scale.html.j2")
    text = page.render(
        result=run["result"],
        asked=run["asked"],
        bill=bill,
        groups=read_json(out / "groups.json") if (out / "groups.json").exists() else [],
        charts=[{"id": k, "title": t, "about": a} for k, (t, a, _) in enumerate(drawings)],
        specs=script_json([spec for _, _, spec in drawings]),
        details=json.dumps(run, indent=2, ensure_ascii=False),
        library=script_text(charts.library()),
    )
    with replacing(out / "report.html") as beside:
        beside.write_text(text, encoding="utf-8")
    return out / "report.html"


def drawn(clusters: dict[str, np.ndarray]) -> list[tuple[str, str, dict[str, Any]]]:
    """Title, explanation and specification of each chart."""
    count = len(clusters["rows"])
    chosen = np.arange(count)
    some = ""
    if count > _MOST:
        chosen = np.sort(np.random.default_rng(0).permutation(count)[:_MOST])
        some = f" {_MOST:,} of {count:,} clusters, drawn at random."
    part = {name: values[chosen] for name, values in clusters.items()}
    sizes = "Every cluster, the largest first: its rows, what filter and dedup leave, and what is kept."
    quota = (
        "How far a cluster spreads times how far its neighbours are, and the part of what is left of it that is kept."
    )
    where = "Centroids on the plane of their two directions of largest spread; darker ones keep more of what is left."
    return [
        ("Cluster sizes before and after", sizes + some, charts.cluster_sizes(part)),
        ("Complexity and what is kept", quota + some, charts.complexity(part)),
        ("A map of the clusters", where + some, charts.cluster_map(part)),
    ]
