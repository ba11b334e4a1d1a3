"""What may be done to a file of a finished folder."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Edit = Callable[[Path, np.random.Generator], None]


def cut(path: Path, rng: np.random.Generator) -> None:
    """A part of it is there."""
    whole = path.read_bytes()
    path.write_bytes(whole[: int(rng.integers(0, max(1, len(whole))))])


def flip(path: Path, rng: np.random.Generator) -> None:
    """One bit is another."""
    whole = bytearray(path.read_bytes())
    if whole:
        whole[int(rng.integers(len(whole)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(bytes(whole))


def gone(path: Path, rng: np.random.Generator) -> None:
    """It is not there."""
    path.unlink()


def folder(path: Path, rng: np.random.Generator) -> None:
    """A folder stands there."""
    path.unlink()
    path.mkdir()


def link(path: Path, rng: np.random.Generator) -> None:
    """A link to a file of somebody else stands there."""
    path.unlink()
    os.symlink(Path.cwd() / "stranger.txt", path)


def pipe(path: Path, rng: np.random.Generator) -> None:
    """A pipe that nobody writes to."""
    path.unlink()
    os.mkfifo(path)


def empty(path: Path, rng: np.random.Generator) -> None:
    """Nothing is in it."""
    path.write_bytes(b"")


ODD: tuple[Any, ...] = (
    None, True, -1, 0, 10**9, 10**30, 1e308, float("nan"), 0.5, "", "x", "\x1b[31mred", "../../evil", "/etc/hostname",
    [], {}, [None], {"a": 1}, "<script>evil()</script>", "os:mkdir", "a" * 5000,
)  # fmt: skip


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The ways to everything inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, each in inside for place in places(each, (*at, key)))]


def changed(path: Path, rng: np.random.Generator) -> None:
    """One value in a JSON file is another, or one key has gone."""
    whole = json.loads(path.read_text())
    found = places(whole)
    place = found[int(rng.integers(1, len(found)))] if len(found) > 1 else ()
    odd = ODD[int(rng.integers(len(ODD)))]
    if not place:
        whole = odd
    else:
        inner = whole
        for key in place[:-1]:
            inner = inner[key]
        if rng.random() < 0.2 and isinstance(inner, dict):
            del inner[place[-1]]
        else:
            inner[place[-1]] = odd
    path.write_text(json.dumps(whole))


def other_json(path: Path, rng: np.random.Generator) -> None:
    """Another value altogether."""
    texts = ("{}", "[]", "null", "3", '"x"', "{", '{"a": 1, "a": 2}', "[" * 5000, '{"stages": []}', "\ufeff{}", "NaN")
    path.write_text(texts[int(rng.integers(len(texts)))])


def recolumned(path: Path, rng: np.random.Generator) -> None:
    """A column of a table has another kind, nulls, other numbers, or is not there; or rows are."""
    table = pq.read_table(path)
    at = int(rng.integers(table.num_columns))
    name, rows = table.column_names[at], table.num_rows
    values: list[Any] = [
        None, pa.array(["x"] * rows), pa.nulls(rows), pa.array([[1]] * rows), pa.array([10**12] * rows),
        pa.array([-1] * rows),
        pa.array([float("nan")] * rows), pa.array([0] * rows), "half", "twice", "reversed", pa.array([b"\xff"] * rows),
    ]  # fmt: skip
    new = values[int(rng.integers(len(values)))]
    if new is None:
        table = table.drop_columns([name])
    elif isinstance(new, str):
        order = {"half": range(rows // 2), "twice": [*range(rows)] * 2, "reversed": range(rows)[::-1]}[new]
        table = table.take(pa.array(list(order), pa.int64()))
    else:
        table = table.set_column(at, name, new)
    pq.write_table(table, path)


ANY: dict[str, Edit] = {
    "cut": cut,
    "flipped": flip,
    "gone": gone,
    "a folder": folder,
    "a link": link,
    "empty": empty,
    "a pipe": pipe,
}
JSON: dict[str, Edit] = {"changed": changed, "changed again": changed, "other": other_json}
TABLE: dict[str, Edit] = {"recolumned": recolumned, "recolumned again": recolumned}


def edits(name: str) -> dict[str, Edit]:
    """What may be done to a file of that name."""
    return ANY | (JSON if name.endswith(".json") else TABLE if name.endswith(".parquet") else {})
