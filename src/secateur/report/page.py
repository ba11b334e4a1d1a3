"""The report: one HTML file that opens without a network, made from what is on disk in OUT."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur.data.source import Source
from secateur.errors import StoreError
from secateur.methods import Use
from secateur.report import charts, condensed
from secateur.report.condensed import Condensed
from secateur.report.gallery import Gallery, galleries
from secateur.select import limits
from secateur.store.digests import verify_all
from secateur.store.files import foreseen, read_json, replacing
from secateur.store.gate import writing_into
from secateur.store.recording import Recording
from secateur.store.schemas import runs
from secateur.store.scoring import compute
from secateur.store.tables import Subset

_WAY = "restore the file that was damaged or edited, or start over in another --out"


@dataclass(frozen=True)
class Material:
    """What OUT holds, as far as a report needs it; None for what was not made."""

    out: Path
    run: dict[str, Any]
    subset: Subset | None
    recording: Recording | None
    comparison: dict[str, Any] | None
    bill: dict[str, Any] | None
    student: dict[str, Any] | None
    condensed: tuple[Condensed, ...]

    @classmethod
    def gather(cls, out: Path, beside: Sequence[Path] = ()) -> "Material":
        """Read it; beside: folders of other condensed sets of the same data."""
        run = read_json(out / "run.json", runs.RunFile)
        trained = run["stages"].get("train")
        subset = next(iter([*([out / "subset.parquet"]), *sorted(out.glob("subsets/*/subset.parquet"))]), None)
        student = out / "cells" / trained["asked"]["cell"] / "result.json" if trained else None
        found = cls(
            out,
            run,
            Subset.open(subset) if subset is not None and subset.exists() else None,
            Recording.open(out) if (out / "recording.zarr").exists() else None,
            read_json(out / "compare.json", runs.CompareFile) if (out / "compare.json").exists() else None,
            read_json(out / "bill.json", runs.BillFile) if (out / "bill.json").exists() else None,
            read_json(student, runs.ResultFile) if student else None,
            condensed.gather_all(out, beside),
        )
        found.check()
        return found

    def check(self) -> None:
        """Raise StoreError where the files of the folder do not belong together: other sizes, other classes."""
        data, classes = self.run["data"], len(self.classes)
        if self.recording is not None:
            self._fits("recording.zarr", "examples", self.recording.examples, data["examples"])
        if self.subset is not None:
            labels = np.asarray(self.subset.table["label"])
            self._fits("subset.parquet", "rows", len(labels), data["examples"])
            if self.labelled and len(labels) and labels.max() >= classes:
                raise StoreError(
                    f"{self.out / 'subset.parquet'}: has label {labels.max()} of {classes} classes; {_WAY}"
                )
        rows = [] if self.comparison is None else self.comparison["rows"]
        for name, row in [("compare.json", r) for r in rows] + (
            [("result.json", self.student)] if self.student else []
        ):
            if row["per_class"]:
                self._fits(name, "recalls of classes", len(row["per_class"]), classes)

    def _fits(self, name: str, what: str, got: int, expected: int) -> None:
        if got != expected:
            raise StoreError(f"{self.out}: {name} has {got:,} {what}, but run.json says {expected:,}; {_WAY}")

    @property
    def classes(self) -> list[str]:
        """The class names."""
        return list(self.run["data"]["classes"])

    @property
    def labelled(self) -> bool:
        """Do the data have labels?"""
        return bool(self.run["data"].get("labelled", True))


@foreseen("the report")
def write_report(
    out: str | Path,
    source: Source | None = None,
    *,
    beside: Sequence[str | Path] = (),
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Write OUT/report.html and return its path.

    source: the data, for pictures of examples. beside: folders of other condensed sets, to show with that of OUT.
    Raises WrongData where they are of other data.
    """
    verify_all(Path(out))
    material = Material.gather(Path(out), [Path(folder) for folder in beside])
    path = Path(out) / "report.html"
    with writing_into(Path(out), "report.html"), replacing(path) as file:
        file.write_text(render(material, source), encoding="utf-8", errors="backslashreplace")
    if progress is not None:
        progress(f"report: {path}")
    return path


def render(material: Material, source: Source | None) -> str:
    """The page as text. Nothing from the data reaches it unescaped."""
    subset = material.subset
    drawings = _drawings(material)
    noted = material.run["stages"].get("kept", {}).get("asked", {})
    return (
        environment()
        .get_template("template.html.j2")
        .render(
            run=material.run,
            data=material.run["data"],
            provenance={} if subset is None else subset.provenance,
            kept=None if subset is None else len(subset),
            starved=starved(subset, material.classes) if subset is not None and material.labelled else [],
            galleries=_galleries(material, source),
            bad={} if source is None else dict(sorted(source.train.bad.items())[:200]),
            bad_count=0 if source is None else len(source.train.bad),
            comparison=material.comparison,
            condensed=material.condensed,
            bill=material.bill,
            student=material.student,
            stale=subset is not None and bool(noted) and noted.get("subset") != subset.digest,
            load=noted.get("load") if subset is not None and noted.get("subset") == subset.digest else None,
            charts=[{"id": k, "title": t, "about": a} for k, (t, a, _) in enumerate(drawings)],
            specs=script_json([spec for _, _, spec in drawings]),
            details=json.dumps(material.run, indent=2, ensure_ascii=False),
            library=script_text(charts.library()),
        )
    )


def environment() -> Any:
    """Where the templates are. Nothing that is put into them reaches a page unescaped."""
    import jinja2

    return jinja2.Environment(loader=jinja2.PackageLoader("secateur.report", "."), autoescape=True)


def _drawings(material: Material) -> list[tuple[str, str, dict[str, Any]]]:
    """Title, explanation and specification of each chart."""
    out = []
    if material.comparison is not None:
        budget = material.comparison["about"]["budget"]
        text = f"Budget: {budget}. The rule is full training; dashed lines learn from the recorded proxy."
        out.append(("Accuracy against keep", text, charts.accuracy_against_keep(material.comparison["rows"])))
        out += _heard(material.comparison)
    out += condensed.drawings(material.condensed)
    subset = material.subset
    if subset is not None:
        table, kept = subset.table, np.asarray(subset.table["kept"])
        scores = np.asarray(table["score"], dtype=float)
        if np.isfinite(scores).any():
            name = str(subset.provenance.get("score") or "score")
            text = "Every example by its score; green ones are kept."
            out.append(("Scores and the cut", text, charts.score_histogram(scores, kept, title=name)))
        if material.labelled:
            before, after = class_counts(subset, len(material.classes))
            text = "The share of each class before and after."
            out.append(("Class balance", text, charts.class_shares(material.classes, before, after)))
    runs = _per_class_runs(material)
    if runs:
        text = "Of the last step, on the test split."
        out.append(("Accuracy by class", text, charts.class_accuracies(material.classes, runs)))
    return out


def _heard(comparison: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    """How much of which teacher is best, where the comparison has several."""
    taught = [r for r in comparison["rows"] if r["teacher"] and r.get("distill")]
    one = [r for r in taught if (r["method"], r["keep"]) == (taught[0]["method"], taught[0]["keep"])]
    out = []
    if len({r["distill"]["a"] for r in one}) > 1:
        text = f"The best of those compared, by accuracy on {comparison['about']['test']}; 0 is without a teacher."
        out.append(("How much of the teacher", text, charts.best_weight_against_keep(comparison["rows"])))
    if len({r["teacher_net"] for r in one}) > 1:
        text = "With the best weight of each; proxy is the net that was recorded."
        out.append(("Which teacher", text, charts.accuracy_by_teacher(comparison["rows"])))
    return out


def class_counts(subset: Subset, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Examples of each class in the data and in the subset."""
    labels, kept = np.asarray(subset.table["label"]), np.asarray(subset.table["kept"])
    known = labels >= 0
    return np.bincount(labels[known], minlength=classes), np.bincount(labels[known & kept], minlength=classes)


def starved(subset: Subset, classes: Sequence[str]) -> list[tuple[str, int, int]]:
    """Classes that keep less than half of their even share: name, kept, of."""
    before, after = class_counts(subset, len(classes))
    return [(classes[k], int(after[k]), int(before[k])) for k in limits.starved(before, after).tolist()]


def _per_class_runs(material: Material) -> dict[str, Sequence[float | None]]:
    """Recall of each class under the student, or under each row of a comparison."""
    if material.comparison is not None:
        return {
            r["method"] + (f" {r['keep']}" if r["keep"] else "") + (" + teacher" if r["teacher"] else ""): r[
                "per_class"
            ]
            for r in charts.best_heard(material.comparison["rows"])
        }
    return {} if material.student is None else {"student": material.student["per_class"]}


def _galleries(material: Material, source: Source | None) -> list[Gallery]:
    if material.subset is None:
        return []
    recording = material.recording
    confidence = None
    if recording is not None and "p_target" in recording:
        confidence = compute(recording, Use("p-mean"))
    return galleries(material.subset.table, confidence, recording, source, material.classes)


def script_json(value: Any) -> str:
    """JSON that is safe inside a script element: `<` cannot open or close anything."""
    return json.dumps(value, ensure_ascii=False).replace("<", "\\u003c").replace("\u2028", "\\u2028")


def script_text(code: str) -> str:
    """JavaScript that is safe inside a script element."""
    return code.replace("</script", "<\\/script").replace("<!--", "<\\!--")
