"""Parquet data that lack columns, hold nulls, other kinds, paths to devices, or are damaged."""

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tests.campaign.cases import Argv, Case, Expect, Ground, Plan, drawn, numbered
from tests.campaign.families.images import encoded
from tests.campaign.families.layouts import HOSTILE, PRUNE, _calm
from tests.campaign.ground import picture, table, vectors

Columns = dict[str, Any]
ROWS = 18


def x(**changed: Any) -> pa.Array:
    """The vectors, with single rows changed, as r3=None."""
    rows: list[Any] = vectors(ROWS)[0].tolist()
    for name, value in changed.items():
        rows[int(name[1:])] = value
    return pa.array(rows, pa.list_(pa.float32()))


def labels(*given: Any) -> list[Any]:
    """Labels in turn."""
    return [given[i % len(given)] for i in range(ROWS)]


GOOD = labels(0, 1, 2)
NAN, INF = float("nan"), float("inf")
MADE: dict[str, tuple[Expect, Callable[[], Columns]]] = {
    "plain": ("ok", lambda: {"x": x(), "label": GOOD}),
    "strings": ("ok", lambda: {"x": x(), "label": labels("a", "b")}),
    "bytes": ("either", lambda: {"x": x(), "label": labels(b"a", b"b")}),
    "bools": ("either", lambda: {"x": x(), "label": labels(True, False)}),
    "whole floats": ("either", lambda: {"x": x(), "label": labels(0.0, 1.0)}),
    "fractions": ("refused", lambda: {"x": x(), "label": labels(0.5, 1.25)}),
    "nan labels": ("refused", lambda: {"x": x(), "label": labels(0.0, 1.0, NAN)}),
    "inf labels": ("refused", lambda: {"x": x(), "label": labels(0.0, 1.0, INF)}),
    "null labels": ("refused", lambda: {"x": x(), "label": labels(0, 1, None)}),
    "only null labels": ("refused", lambda: {"x": x(), "label": pa.nulls(ROWS)}),
    "negative labels": ("either", lambda: {"x": x(), "label": labels(-1, 0, 1)}),
    "large labels": ("either", lambda: {"x": x(), "label": labels(2**62, 1)}),
    "unsigned labels": ("either", lambda: {"x": x(), "label": pa.array(labels(2**64 - 1, 1), pa.uint64())}),
    "lists for labels": ("refused", lambda: {"x": x(), "label": labels([0], [1])}),
    "structs for labels": ("refused", lambda: {"x": x(), "label": labels({"a": 0}, {"a": 1})}),
    "dates for labels": ("either", lambda: {"x": x(), "label": pa.array(labels(1, 2), pa.date32())}),
    "decimals for labels": ("either", lambda: {"x": x(), "label": pa.array(labels(1, 2), pa.decimal128(5))}),
    "dictionary": ("either", lambda: {"x": x(), "label": pa.array(labels("a", "b")).dictionary_encode()}),
    "one class": ("refused", lambda: {"x": x(), "label": labels(0)}),
    "a class each": ("either", lambda: {"x": x(), "label": list(range(ROWS))}),
    "lonely classes": ("either", lambda: {"x": x(), "label": [*labels(0, 1)[:-2], 7, 8]}),
    "no label": ("refused", lambda: {"x": x()}),
    "no x": ("refused", lambda: {"label": GOOD}),
    "no columns": ("refused", dict),
    "no rows": ("refused", lambda: {"x": x()[:0], "label": pa.array([], pa.int64())}),
    "two inputs": ("either", lambda: {"x": x(), "y": x(), "label": GOOD}),
    "two labels": ("either", lambda: {"x": x(), "label": GOOD, "labels": GOOD}),
    "label and class": ("either", lambda: {"x": x(), "label": GOOD, "class": GOOD, "target": GOOD}),
    "null row": ("refused", lambda: {"x": x(r3=None), "label": GOOD}),
    "short row": ("refused", lambda: {"x": x(r3=[1.0]), "label": GOOD}),
    "long first row": ("refused", lambda: {"x": x(r0=[1.0] * 9), "label": GOOD}),
    "empty row": ("refused", lambda: {"x": x(r3=[]), "label": GOOD}),
    "nan": ("refused", lambda: {"x": x(r3=[NAN] * 6), "label": GOOD}),
    "inf": ("refused", lambda: {"x": x(r3=[INF] * 6), "label": GOOD}),
    "null number": ("refused", lambda: {"x": x(r3=[None] * 6), "label": GOOD}),
    "empty rows": ("refused", lambda: {"x": pa.array([[]] * ROWS, pa.list_(pa.float32())), "label": GOOD}),
    "words for x": ("refused", lambda: {"x": labels("a", "b"), "label": GOOD}),
    "lists of words": ("refused", lambda: {"x": [["a"]] * ROWS, "label": GOOD}),
    "lists of bools": ("either", lambda: {"x": [[True, False]] * ROWS, "label": GOOD}),
    "scalars": ("either", lambda: {"x": np.arange(ROWS) * 1.0, "label": GOOD}),
    "integers": ("either", lambda: {"x": [[i, 1, 2] for i in range(ROWS)], "label": GOOD}),
    "float16": (
        "either",
        lambda: {"x": pa.array(list(vectors(ROWS)[0].astype(np.float16)), pa.list_(pa.float16())), "label": GOOD},
    ),
    "float64 too large": ("refused", lambda: {"x": [[1e300] * 6] * ROWS, "label": GOOD}),
    "nested lists": ("either", lambda: {"x": [[[1.0, 2.0], [3.0, float(i)]] for i in range(ROWS)], "label": GOOD}),
    "ragged lists": ("refused", lambda: {"x": [[[1.0], [2.0, 3.0]]] * ROWS, "label": GOOD}),
    "structs": ("refused", lambda: {"x": [{"a": 1.0}] * ROWS, "label": GOOD}),
    "maps": (
        "refused",
        lambda: {"x": pa.array([[("a", 1.0)]] * ROWS, pa.map_(pa.string(), pa.float32())), "label": GOOD},
    ),
    "very wide": ("either", lambda: {"x": [[0.1] * 20000] * ROWS, "label": GOOD}),
    "constant": ("either", lambda: {"x": [[0.0] * 6] * ROWS, "label": GOOD}),
}
CELLS = (
    "/dev/zero",
    "/dev/stdin",
    "pipe",
    "/etc/hostname",
    "stranger.txt",
    "../../x.png",
    "",
    "loop",
    "folder",
    "\x1b[31m",
    "a\0b",
    "http://localhost:9/x.png",
    "file:///etc/hostname",
    "zip://a.png::b.zip",
)


def _special(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    os.symlink("loop", folder / "loop")
    (folder / "folder").mkdir()


def _make(columns: Callable[[], Columns], command: Argv, more: Argv) -> Callable[[Path, Ground], list[Argv]]:
    def make(folder: Path, ground: Ground) -> list[Argv]:
        _special(folder)
        (folder / "data").mkdir()
        pq.write_table(pa.table(columns()), folder / "data" / "train.parquet")
        few = ["--net", "mlp:0.1", "--threads", "1", "--json", "--out", "out"]
        return [[command[0], "data/train.parquet", *command[1:], *few, *more]]

    return make


def _bytes(content: Callable[[], bytes], *more: str) -> Callable[[Path, Ground], list[Argv]]:
    def make(folder: Path, ground: Ground) -> list[Argv]:
        (folder / "train.parquet").write_bytes(content())
        few = ["--epochs", "1", "--net", "mlp:0.1", "--threads", "1", "--json", "--out", "out"]
        return [["record", "train.parquet", *few, *more]]

    return make


def written(made: pa.Table) -> bytes:
    """A table as the bytes of a file."""
    held = io.BytesIO()
    pq.write_table(made, held)
    return held.getvalue()


def _images(r3: Any) -> Columns:
    cells: list[Any] = [{"bytes": encoded(picture(i)), "path": f"{i}.png"} for i in range(ROWS)]
    cells[3] = r3
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    return {"image": pa.array(cells, kind), "label": GOOD}


def cases(plan: Plan) -> list[Case]:
    """Columns, cells of images, hostile labels, damaged files, and tables that hypothesis draws."""
    return numbered(_cases(plan))


RECORD = ["record", "--epochs", "1"]


def _cases(plan: Plan) -> Iterator[Case]:
    for name, (expect, columns) in MADE.items():
        yield Case(name, _make(columns, RECORD, []), expect)
        yield Case(
            f"{name}, skipped", _make(columns, RECORD, ["--on-bad", "skip"]), "ok" if expect == "ok" else "either"
        )
        yield Case(
            f"{name}, unlabelled",
            _make(columns, ["prune", "--keep", "0.5", "--features", "input"], ["--label", "none"]),
        )
    for path in CELLS:
        for given in ({"bytes": None, "path": path}, {"bytes": b"", "path": path}):
            said = f"image at {path!r}" + (", no bytes" if given["bytes"] is None else ", empty bytes")
            columns = lambda given=given: _images(given)
            yield Case(said, _make(columns, RECORD, []), "refused")
            yield Case(f"{said}, skipped", _make(columns, RECORD, ["--on-bad", "skip"]), "ok")
    for cell in (None, {"bytes": None, "path": None}, {"bytes": encoded(picture(1)), "path": "/dev/zero"}):
        said, columns = f"image {str(cell)[:20]}", lambda cell=cell: _images(cell)
        yield Case(said, _make(columns, RECORD, []), "refused" if cell is None or cell["bytes"] is None else "either")
    for label in (h for h in HOSTILE if "\ud83d" not in h):
        columns = lambda label=label: {"x": x(), "label": labels(label, "good")}
        yield Case(f"label {label[:30]!r}", _make(columns, PRUNE, []), "either", _calm)
        columns = lambda label=label: (
            _images({"bytes": encoded(picture(1)), "path": label}) | {"label": labels(label, "g")}
        )
        yield Case(f"image of {label[:30]!r}", _make(columns, PRUNE, []), "either", _calm)
        columns = lambda label=label: {label: x(), "label": GOOD}
        yield Case(f"column {label[:30]!r}", _make(columns, PRUNE, []), "either", _calm)
    rng, whole = plan.rng("tables"), written(table(60))
    for k in range(30):
        cut = whole[: int(rng.integers(0, len(whole) - 1))]
        yield Case(f"cut {k}", _bytes(lambda cut=cut: cut), "refused")
    for k in range(30):
        flipped = bytearray(whole)
        flipped[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
        yield Case(f"flipped {k}", _bytes(lambda flipped=flipped: bytes(flipped)))
    cell = st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=5), st.booleans())
    cells = drawn(cell, 200, plan.seed)
    for k in range(25):
        one = [cells[i] for i in rng.choice(len(cells), ROWS)]
        if _fits(one):
            yield Case(f"drawn labels {k}", _make(lambda one=one: {"x": x(), "label": one}, RECORD, []))
    for k in range(25):  # of one kind, as far as the table takes them
        kind = type(cells[int(rng.integers(len(cells)))])
        alike = [c for c in cells if isinstance(c, kind)]
        one = [alike[i] for i in rng.choice(len(alike), ROWS)]
        if _fits(one):
            yield Case(f"drawn {kind.__name__} labels {k}", _make(lambda one=one: {"x": x(), "label": one}, RECORD, []))


def _fits(column: list[Any]) -> bool:
    try:
        pa.array(column)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return False
    return True
