"""`metadata.csv`, `.jsonl` or `.parquet` next to images: the image and label of each row."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from secateur.data.columns import LABEL_NAMES
from secateur.data.decoding.labels import NO_LABELS, class_name
from secateur.data.layouts.kinds import is_metadata
from secateur.data.layouts.rules import Described
from secateur.errors import DataError, reason
from secateur.untrusted import read_regular

FILE = "file_name"
MOST_BYTES = 1 << 30
"""The largest metadata file, in bytes."""

Row = Mapping[str, Any]


def describe(files: Sequence[str], root: Path, label: str | None) -> Described:
    """Read the metadata among `files`, which are relative to `root`.

    `file_name` is relative to the folder of the metadata, as in `datasets`. label: the column the user named. Raises
    DataError, with the row, for names that are missing, absolute, repeated, or outside the folder.
    """
    found = [f for f in files if is_metadata(f)]
    if not found:
        return Described()
    there, rows = set(files), dict[str, Row]()
    columns: dict[str, None] = {}
    for file in found:
        for number, row in _rows(root / file):
            where = f"{root / file} row {number}"
            image = _image(row, file, where, there)
            if image in rows:
                raise DataError(f"label: {where} names {image} again; keep one row per image")
            rows[image] = row
            columns |= dict.fromkeys(c for c in row if c != FILE)
    column = None if label == NO_LABELS else _label_column(list(columns), label, str(root / found[0]))
    if column is None:
        return Described(tuple(found), tuple(columns), rows=rows)
    return Described(tuple(found), tuple(columns), _labels(rows, column, root), column, label is not None, rows)


def _label_column(columns: Sequence[str], asked: str | None, where: str) -> str | None:
    """The column the user named, or the one with a usual name; never another, which may hold captions."""
    if asked in columns:
        return asked
    usual = [name for name in columns if name in LABEL_NAMES]
    if len(usual) > 1:
        raise DataError(
            f"label: the columns {', '.join(usual)} of {where} could all hold the labels; choose one with --label"
        )
    return usual[0] if usual else None


def _labels(rows: Mapping[str, Row], column: str, root: Path) -> dict[str, str | None]:
    labels = {}
    values = _numbers([row.get(column) for row in rows.values()])
    for image, value in zip(rows, values, strict=True):
        try:
            labels[image] = class_name(value)
        except DataError as error:
            raise DataError(f"{error} for {root / image}, in the column {column!r} of its metadata") from None
    return labels


def _numbers(values: list[Any]) -> list[Any]:
    """A text column of a CSV as numbers, if all are numbers, some with a decimal point: 1.0 is class 1, 0.5 is refused.

    >>> _numbers(["1.0", "2", ""]), _numbers(["01", "2"]), _numbers(["1.0", "cat"])
    ([1.0, 2.0, None], ['01', '2'], ['1.0', 'cat'])
    """
    texts = [v for v in values if isinstance(v, str) and v.strip()]
    if len(texts) < sum(v not in (None, "") for v in values) or all(t.strip().isdecimal() for t in texts):
        return values
    try:
        return [float(v) if isinstance(v, str) and v.strip() else None for v in values]
    except ValueError:
        return values


def _image(row: Row, file: str, where: str, there: set[str]) -> str:
    """The path of a row's image."""
    name = row.get(FILE)
    if not isinstance(name, str) or not name:
        raise DataError(f"label: {where} has no {FILE}; each row must name its image, relative to that file")
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise DataError(f"label: {where} has the {FILE} {name!r}; expected a name below the folder of that file")
    image = str(PurePosixPath(file).parent / name)
    if image not in there:
        raise DataError(f"label: {where} names {name!r}, but there is no such image; correct the name, or drop the row")
    return image


def _rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows of one file, numbered from 0."""
    try:
        raw = read_regular(path, limit=MOST_BYTES)
        if path.suffix == ".parquet":
            import pyarrow.parquet as pq

            table = pq.read_table(io.BytesIO(raw))
            _refuse_twice(table.column_names, path)
            rows: list[Any] = table.to_pylist()
        elif path.suffix == ".jsonl":

            def pairs(row: list[tuple[str, Any]]) -> dict[str, Any]:
                _refuse_twice([name for name, _ in row], path)
                return dict(row)

            lines = raw.decode("utf-8-sig").split("\n")
            rows = [json.loads(line, object_pairs_hook=pairs) for line in lines if line.strip()]
        else:
            reader = csv.DictReader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
            _refuse_twice(reader.fieldnames or (), path)
            rows = list(reader)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"label: {path} could not be read ({reason(error)})") from None
    for number, row in enumerate(rows):
        if not isinstance(row, dict) or None in row or any(not isinstance(key, str) for key in row):
            raise DataError(f"label: {path} row {number} does not have one field per column; fix the row")
        yield number, row


def _refuse_twice(columns: Sequence[str], path: Path) -> None:
    if twice := [name for k, name in enumerate(columns) if name in columns[:k]]:
        raise DataError(f"label: {path} has the column {twice[0]!r} twice; rename one")
