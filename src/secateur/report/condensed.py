"""What a report says of condensed sets: their images, how nets do that are trained on them, and what it took."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.errors import SecateurError, StoreError, WrongData
from secateur.report import charts
from secateur.store.files import read_json

Row = dict[str, Any]


@dataclass(frozen=True)
class Condensed:
    """One OUT folder of `secateur condense`: what run.json says of each set, condense.json or None, its pictures."""

    stages: tuple[dict[str, Any], ...]
    found: dict[str, Any] | None
    sheet: str | None  # a data URL

    @classmethod
    def gather(cls, out: Path) -> "Condensed | None":
        """Read it; None where nothing was condensed."""
        stages = read_json(out / "run.json")["stages"]
        own = tuple(stage for name, stage in stages.items() if name.partition("-")[0] == "condense")
        if not own:
            return None
        judged, sheet = out / "condense.json", out / "contact.png"
        picture = base64.b64encode(sheet.read_bytes()).decode() if sheet.exists() else None
        return cls(own, read_json(judged) if judged.exists() else None, picture and f"data:image/png;base64,{picture}")

    @property
    def name(self) -> str:
        """For people."""
        asked = self.stages[0]["asked"]
        return f"{asked['method']}, {asked['per_class']} a class"

    @property
    def rows(self) -> list[Row]:
        """A line a net and kind of rows; none before it was judged."""
        return [] if self.found is None else list(self.found["rows"])

    @property
    def table(self) -> dict[str, Any]:
        """Nets across, kinds of rows down: a heading a column, and for each kind its cells, the best marked."""
        heads = list(dict.fromkeys(row["net"] for row in self.rows))
        cells = {(row["rows"], row["net"]): row for row in self.rows}
        best = {head: max(row["accuracy"] for row in self.rows if row["net"] == head) for head in heads}
        kinds = dict.fromkeys(row["rows"] for row in self.rows)
        return {
            "heads": heads,
            "lines": {
                kind: [(cells[kind, head], cells[kind, head]["accuracy"] == best[head]) for head in heads]
                for kind in kinds
            },
        }

    @property
    def learning(self) -> list[dict[str, Any]]:
        """What each set took; seconds are those of the steps since the run was last taken up, and None under way."""
        lines = []
        for k, stage in enumerate(self.stages):
            now = stage.get("steps_now") or None
            lines.append(
                {
                    "name": self.name + (f", set {k + 1}" if len(self.stages) > 1 else ""),
                    "steps": stage.get("step"),
                    "timed": now,
                    "seconds": stage.get("seconds"),
                    "each": stage["seconds"] / now if now else None,
                }
            )
        return lines

    @property
    def judging(self) -> list[dict[str, Any]]:
        """What the nets of each spec took that were trained on any rows."""
        lines = []
        for net in dict.fromkeys(row["net"] for row in self.rows):
            own = [row for row in self.rows if row["net"] == net]
            count, seconds = sum(len(row["accuracies"]) for row in own), sum(row["seconds"] for row in own)
            lines.append({"name": f"{self.name}, {net}", "nets": count, "seconds": seconds, "each": seconds / count})
        return lines


def gather_all(out: Path, beside: Sequence[Path]) -> tuple[Condensed, ...]:
    """Those of OUT, where it holds any, and of the folders beside it.

    Raises SecateurError for folders beside an OUT without a condensed set, StoreError for one of them without, and
    WrongData for one that was made from other data.
    """
    first = Condensed.gather(out)
    if first is None and beside:
        raise SecateurError(f"out: several folders are put beside each other for condensed sets, and {out} holds none")
    data, more = read_json(out / "run.json")["data"], []
    for folder in beside:
        theirs = read_json(folder / "run.json").get("data", {})
        if theirs.get("fingerprint") != data["fingerprint"]:
            raise WrongData(
                f"out: {folder} was made from other data ({theirs.get('name')}, fingerprint "
                f"{theirs.get('fingerprint')}, not {data['fingerprint']} of {out}); leave it out"
            )
        if (one := Condensed.gather(folder)) is None:
            raise StoreError(f"out: {folder} holds no condensed set; `secateur condense` learns one, or leave it out")
        more.append(one)
    return () if first is None else (first, *more)


def drawings(sets: Sequence[Condensed]) -> list[tuple[str, str, dict[str, Any]]]:
    """Title, explanation and specification of the chart of accuracy against rows a class, of the first net judged."""
    judged = [one for one in sets if one.rows]
    if not judged:
        return []
    net = judged[0].rows[0]["net"]
    points: dict[tuple[str, int], Row] = {}
    for one in judged:
        count = one.stages[0]["asked"]["per_class"]
        for row in one.rows:
            if row["net"] == net:
                points.setdefault((row["rows"], count), row | {"per_class": count})
    text = f"Test accuracy of {net} trained on so many rows of each class alone; a bar is one standard deviation."
    if len(sets) == 1:
        text += " Name the folders of other counts behind this one for curves: secateur report OUT OUT2."
    return [("Accuracy against rows a class", text, charts.accuracy_against_count(list(points.values())))]
