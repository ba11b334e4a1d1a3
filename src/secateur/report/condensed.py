"""What a report says of condensed sets: their images, how nets do that are trained on them, and what it took."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.errors import SecateurError, StoreError, WrongData
from secateur.report import charts
from secateur.store.files import read_json
from secateur.store.schemas import runs
from secateur.store.schemas.condensed import CondenseFile

Row = dict[str, Any]
Head = tuple[str, str, str]
"""A net, an augmentation, and hard or soft labels."""
Drawing = tuple[str, str, dict[str, Any]]
"""Title, explanation and specification of a chart."""
_SOFT = {"accuracy": "soft"} | {n: f"soft_{n}" for n in ("spread", "above_random", "seconds", "accuracies")}


def head_of(row: Row) -> Head:
    """The column that a line of the result belongs to."""
    return row["net"], row["augment"], row["labels"]


@dataclass(frozen=True)
class Condensed:
    """One OUT folder of `secateur condense`: what run.json says of each set, condense.json or None, its pictures."""

    stages: tuple[dict[str, Any], ...]
    found: dict[str, Any] | None
    sheet: str | None  # a data URL

    @classmethod
    def gather(cls, out: Path) -> "Condensed | None":
        """Read it; None where nothing was condensed."""
        stages = read_json(out / "run.json", runs.RunFile)["stages"]
        own = tuple(stage for name, stage in stages.items() if name.partition("-")[0] == "condense")
        if not own:
            return None
        judged, sheet = out / "condense.json", out / "contact.png"
        picture = base64.b64encode(sheet.read_bytes()).decode() if sheet.exists() else None
        found = read_json(judged, CondenseFile) if judged.exists() else None
        return cls(own, found, picture and f"data:image/png;base64,{picture}")

    @property
    def per_class(self) -> int:
        """Rows of each class."""
        return int(self.stages[0]["asked"]["per_class"])

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.stages[0]['asked']['method']}, {self.per_class} a class"

    @property
    def soft(self) -> bool:
        """Whether nets were trained with soft labels too."""
        return any(row["labels"] == "soft" for row in self.rows)

    @property
    def rows(self) -> list[Row]:
        """A line a net, augmentation, kind of rows and kind of labels, hard or soft; none before it was judged."""
        told = [] if self.found is None else list(self.found["rows"])
        soft = [row | {name: row[_SOFT[name]] for name in _SOFT} for row in told if row["soft"] is not None]
        return [row | {"labels": "hard"} for row in told] + [row | {"labels": "soft"} for row in soft]

    @property
    def heads(self) -> list[Head]:
        """The columns of its table: each net with each augmentation, and with soft labels beside the hard ones."""
        rank = {net: k for k, net in enumerate(dict.fromkeys(row["net"] for row in self.rows))}
        return sorted(dict.fromkeys(map(head_of, self.rows)), key=lambda head: rank[head[0]])

    @property
    def table(self) -> dict[str, list[tuple[Row, bool]]]:
        """Of each kind of rows its cell in each column, and whether that is the best of the column."""
        cells = {(row["rows"], *head_of(row)): row for row in self.rows}
        best = {head: max(row["accuracy"] for row in self.rows if head_of(row) == head) for head in self.heads}
        lines: dict[str, list[tuple[Row, bool]]] = {}
        for kind in dict.fromkeys(row["rows"] for row in self.rows):
            lines[kind] = [(cells[kind, *h], cells[kind, *h]["accuracy"] == best[h]) for h in self.heads]
        return lines

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
    data, more = read_json(out / "run.json", runs.RunFile)["data"], []
    for folder in beside:
        theirs = read_json(folder / "run.json", runs.RunFile)["data"]
        if theirs.get("fingerprint") != data["fingerprint"]:
            raise WrongData(
                f"out: {folder} was made from other data ({theirs.get('name')}, fingerprint "
                f"{theirs.get('fingerprint')}, not {data['fingerprint']} of {out}); leave it out"
            )
        if (one := Condensed.gather(folder)) is None:
            raise StoreError(f"out: {folder} holds no condensed set; `secateur condense` learns one, or leave it out")
        more.append(one)
    return () if first is None else (first, *more)


def drawings(sets: Sequence[Condensed]) -> list[Drawing]:
    """Accuracy against rows a class, where there are several counts: of the net that was judged first, a chart an
    augmentation and kind of labels.
    """
    judged = [one for one in sets if one.rows]
    if len({one.per_class for one in judged}) < 2:
        return []
    net = judged[0].rows[0]["net"]
    return [_against_count(judged, head) for head in judged[0].heads if head[0] == net]


def _against_count(judged: Sequence[Condensed], head: Head) -> Drawing:
    points: dict[tuple[str, int], Row] = {}
    for one in judged:
        for row in one.rows:
            if head_of(row) == head:
                points.setdefault((row["rows"], one.per_class), row | {"per_class": one.per_class})
    net, augment, labels = head
    how = f"augmentation {augment}, {labels} labels"
    text = f"Test accuracy of {net} trained on so many rows of each class alone; a bar is one standard deviation."
    return f"Accuracy against rows a class, {how}", text, charts.accuracy_against_count(list(points.values()))
