"""Examples to look at: which were kept or dropped and why, with each one's trajectory as a sparkline."""

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from secateur.data.source import Source
from secateur.store.recording import Recording

_THUMBNAIL = 96
SHOWN = 12
"""Examples a gallery."""


@dataclass(frozen=True)
class Card:
    """One example."""

    id: int
    label: str
    fate: str
    score: float | None
    image: str | None  # a data URL
    line: str  # an SVG path of p_target against epochs


@dataclass(frozen=True)
class Gallery:
    """Some examples that have a fate in common."""

    title: str
    about: str
    cards: list[Card]


def choose(table: Any, confidence: np.ndarray | None) -> list[tuple[str, str, np.ndarray]]:
    """Title, explanation and ids of each gallery.

    confidence (examples,): mean probability of the label over the recording, nan where there is none.
    """
    kept, score = np.asarray(table["kept"]), np.asarray(table["score"], dtype=float)
    usable = np.asarray(table["reason"]) != "bad"
    out = []
    if np.isfinite(score).any():
        order = np.argsort(-np.where(np.isfinite(score), score, -np.inf), kind="stable")
        out.append(("Kept, hardest", "The highest scores among the kept.", _first(order, kept)))
        if _mean(score, ~kept) > _mean(score, kept):  # the easy end is kept
            order = np.argsort(np.where(np.isfinite(score), score, np.inf), kind="stable")
        around = order[max(0, int(kept.sum()) - SHOWN // 2) :][:SHOWN]
        out.append(("At the threshold", "Ranks around the number kept: above and below the cut.", around))
    if confidence is not None:
        easy = np.argsort(-np.where(usable, confidence, -1.0), kind="stable")
        out.append(
            ("Dropped, easy", "Right from early on: the net learns them from others.", _first(easy, ~kept & usable))
        )
        hopeless = np.argsort(np.where(usable, confidence, 2.0), kind="stable")
        text = "The lowest mean probability of the label: wrong labels, broken images, or simply hard. Worth a look."
        out.append(("Dropped, hopeless", text, _first(hopeless, ~kept & usable)))
    return [(title, text, ids) for title, text, ids in out if len(ids)]


def _mean(score: np.ndarray, chosen: np.ndarray) -> float:
    """Of the finite scores among the chosen; minus infinity where there are none."""
    finite = chosen & np.isfinite(score)
    return float(score[finite].mean()) if finite.any() else -np.inf


def _first(order: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    return order[allowed[order]][:SHOWN]


def galleries(
    table: Any, confidence: np.ndarray | None, recording: Recording | None, source: Source | None, classes: list[str]
) -> list[Gallery]:
    """The galleries with pictures, where the data is at hand, and sparklines, where a run was recorded."""
    chosen = choose(table, confidence)
    wanted = np.unique(np.concatenate([ids for _, _, ids in chosen])) if chosen else np.empty(0, dtype=np.int64)
    lines = _lines(recording, wanted)
    out = []
    for title, text, ids in chosen:
        cards = [_card(int(i), table, classes, source, lines.get(int(i), "")) for i in ids]
        out.append(Gallery(title, text, cards))
    return out


def _card(i: int, table: Any, classes: list[str], source: Source | None, line: str) -> Card:
    score = float(table["score"][i])
    return Card(
        id=i,
        label=classes[int(table["label"][i])] if len(classes) > 1 else "",
        fate="kept" if table["kept"][i] else "dropped",
        score=None if np.isnan(score) else score,
        image=None if source is None or not source.train.is_image else _thumbnail(source.train.decoded(i)),
        line=line,
    )


def _lines(recording: Recording | None, ids: np.ndarray) -> dict[int, str]:
    """The trajectory of the label's probability as an SVG path in a box of 100 x 24, top is 1."""
    if recording is None or "p_target" not in recording or recording.epochs < 2:
        return {}
    paths = {}
    for examples, arrays in recording.blocks(["p_target"]):
        for i in ids[(ids >= examples.start) & (ids < examples.stop)]:
            values = arrays["p_target"][:, i - examples.start]
            if np.isfinite(values).all():
                x = np.linspace(0, 100, len(values))
                paths[int(i)] = "M" + "L".join(f"{a:.1f},{23 - 22 * b:.1f}" for a, b in zip(x, values, strict=True))
    return paths


def _thumbnail(pixels: np.ndarray) -> str:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
