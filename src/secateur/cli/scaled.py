"""What `secateur scale` tells of a run that has ended."""

from pathlib import Path
from typing import Any

from secateur.cli import show


def tell(found: Any, *, as_json: bool) -> None:
    """What became of all rows, and where the report is."""
    report = _report(found)
    if as_json:
        show.as_json(found.as_json())
        return
    rows = [["rows", f"{found.rows:,} in {found.clusters:,} clusters"]]
    parts = {"bad": found.bad, "filtered": found.filtered, "duplicates": found.duplicates, "pruned": found.pruned}
    rows += [[name, f"{count:,} ({count / found.rows:.1%})"] for name, count in parts.items() if count]
    rows.append(["kept", f"{found.kept:,} ({found.kept / found.rows:.1%})"])
    if found.threshold is not None:
        rows.append(["duplicate", f"above a cosine of {found.threshold:.4f}"])
    rows.append(["in", f"{found.files}/manifest.parquet, kept_ids.parquet"])
    rows.append(["report", report])
    show.pairs(rows)


def _report(found: Any) -> str:
    """Write report.html beside the result; on a store, by way of a folder here."""
    import tempfile

    from secateur.report import write_scale_report
    from secateur.scale.claim import results, told
    from secateur.scale.storage import Place

    out, files = Place(found.out), Place(found.files)
    if out.local is not None:
        return str(write_scale_report(out.local))
    if results(out, told(out)) != files:
        return "not written: another command has replaced this result"
    with tempfile.TemporaryDirectory() as folder:
        for name in ("run.json", "bill.json", "groups.json", "clusters.parquet"):
            with ((out if name == "run.json" else files) / name).open() as there:
                (Path(folder) / name).write_bytes(there.read())
        page = write_scale_report(Path(folder)).read_bytes()
    with (files / "report.html").writing() as file:
        file.write(page)
    return f"{found.files}/report.html"
