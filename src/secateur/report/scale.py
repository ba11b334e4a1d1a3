"""The report of a scale run: what became of the rows, cluster by cluster, and what it took."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from secateur.errors import StoreError, reason, refused
from secateur.report import charts, cluster_charts
from secateur.report.page import environment, script_json, script_text
from secateur.store.files import read_json, replacing
from secateur.store.schemas import scale as schemas

_MOST = 3000
"""Points of a chart; of more clusters, as many are drawn at random."""


def is_scale(out: Path) -> bool:
    """Is this the folder of a scale run that has ended?"""
    return (out / "clusters.parquet").exists()


def write_scale_report(out: Path) -> Path:
    """Write OUT/report.html and return its path."""
    run = read_json(out / "run.json", schemas.RunFile)
    bill = read_json(out / "bill.json", schemas.BillFile)
    if "result" not in run:
        raise StoreError(f"{out / 'run.json'}: says nothing of a result, the run is not finished; run it again")
    clusters = _clusters(out / "clusters.parquet")
    drawings = drawn(clusters)
    page = environment().get_template("scale.html.j2")
    text = page.render(
        result=run["result"],
        asked=run["asked"],
        bill=bill,
        groups=read_json(out / "groups.json", list[schemas.Group]) if (out / "groups.json").exists() else [],
        charts=[{"id": k, "title": t, "about": a} for k, (t, a, _) in enumerate(drawings)],
        specs=script_json([spec for _, _, spec in drawings]),
        details=json.dumps(run, indent=2, ensure_ascii=False),
        library=script_text(charts.library()),
    )
    with replacing(out / "report.html") as beside:
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")
    return out / "report.html"


_COLUMNS = ("cluster", "rows", "left", "kept", "d_intra", "d_inter", "share", "x", "y")


def _clusters(path: Path) -> dict[str, np.ndarray]:
    """The columns as floats; raises StoreError where they are not all there, or are no numbers."""
    try:
        with pq.ParquetFile(path) as file:
            if not 0 < file.metadata.num_rows <= path.stat().st_size:
                raise ValueError(f"{file.metadata.num_rows} rows in {path.stat().st_size} bytes")
            found = file.read(columns=list(_COLUMNS)).to_pydict()
        return {name: np.array(found[name], dtype=float) for name in _COLUMNS}
    except Exception as error:
        told = StoreError(f"{path}: not a whole table written by secateur ({reason(error)}); run `scale prune` again")
        raise refused(error, f"reading {path}") or told from None


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
        ("Cluster sizes before and after", sizes + some, cluster_charts.cluster_sizes(part)),
        ("Complexity and what is kept", quota + some, cluster_charts.complexity(part)),
        ("A map of the clusters", where + some, cluster_charts.cluster_map(part)),
    ]
