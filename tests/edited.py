"""Every way in which a file of an OUT folder may be damaged or edited, and the commands that then read it."""

import copy
import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

VALUES = (None, -1, 10**9, 1e308, "x", [], {})
Edit = tuple[str, bytes | None]
"""What was done, and the bytes that then are in the file; None: it is gone."""


def files_of(out: Path) -> list[Path]:
    """The files that commands read: all but the data set that was kept, and the report."""
    read = (".json", ".parquet", ".safetensors", "")
    found = [p for p in sorted(out.rglob("*")) if p.is_file() and p.suffix in read and p.name != ".lock"]
    return [p for p in found if p.relative_to(out).parts[0] != "kept"]


def edits_of(file: Path) -> Iterator[Edit]:
    """All that may happen to one file, in the same order each time."""
    raw = file.read_bytes()
    yield from _bytes(raw)
    if file.suffix == ".json":
        for what, value in _values(json.loads(raw)):
            yield what, json.dumps(value).encode()
    if file.suffix == ".parquet":
        yield from _tables(file)
    if file.suffix == ".safetensors":
        yield from _tensors(file)


def _bytes(raw: bytes) -> Iterator[Edit]:
    draw = np.random.default_rng(0)
    yield "cut in half", raw[: len(raw) // 2]
    for text in ("", "[]", "null", '"x"', "{}", "[" * 100_000):
        yield f"replaced by {text[:5]!r}", text.encode()
    yield "deleted", None
    for k in range(4):
        noisy = bytearray(raw)
        for _ in range(1 + 19 * (k % 2)):
            noisy[draw.integers(len(noisy))] ^= 1 << int(draw.integers(8))
        yield f"bits flipped {k}", bytes(noisy)


def _values(value: object) -> Iterator[tuple[str, object]]:
    """Every key left out, every leaf and branch replaced; of lists the first two."""
    for path in _paths(value):
        if path:
            yield f"without {path}", _changed(value, path, drop=True)
        for new in VALUES:
            yield f"{path} = {new!r}", _changed(value, path, new)


def _paths(value: object, path: tuple = ()) -> Iterator[tuple]:
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, below in inside:
        yield from _paths(below, (*path, key))


def _changed(value, path, new=None, *, drop=False):
    if not path:
        return new
    value = at = copy.deepcopy(value)
    for key in path[:-1]:
        at = at[key]
    if drop:
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return value


def _tables(file: Path) -> Iterator[Edit]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    def written(changed):
        buffer = io.BytesIO()
        pq.write_table(changed, buffer)
        return buffer.getvalue()

    table = pq.read_table(file)
    for k, name in enumerate(table.column_names):
        yield f"without {name}", written(table.drop_columns([name]))
        for new in (None, -1, 10**9, 1e308, float("nan"), "x", [1], 0):
            column = pa.array([new] * len(table))
            yield f"{name} = {new!r}", written(table.set_column(k, name, column))
            try:
                yield f"{name} = {new!r} of its type", written(table.set_column(k, name, column.cast(table[name].type)))
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                continue
    yield "no rows", written(table[:0])
    yield "fewer rows", written(table[:100])
    yield "rows twice", written(pa.concat_tables([table, table]))
    for what, value in _values(json.loads(table.schema.metadata[b"secateur"])):
        yield f"provenance {what}", written(table.replace_schema_metadata({b"secateur": json.dumps(value)}))


def _tensors(file: Path) -> Iterator[Edit]:
    from safetensors import safe_open
    from safetensors.torch import load_file, save

    tensors = load_file(file)
    with safe_open(file, framework="pt") as opened:
        told = opened.metadata()
    for name in list(tensors)[:3]:
        yield f"without {name}", save({n: v for n, v in tensors.items() if n != name}, metadata=told)
        yield f"{name} empty", save({**tensors, name: tensors[name].flatten()[:0].clone()}, metadata=told)
    for what, value in _values(json.loads(told["secateur"])):
        yield f"metadata {what}", save(tensors, metadata={"secateur": json.dumps(value)})


def put(out: Path, folder: Path, file: Path, content: bytes | None) -> Path:
    """A copy of OUT in `folder` in which one file is edited."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(out, folder, ignore=shutil.ignore_patterns("kept", "report.html"))
    target = folder / file.relative_to(out)
    target.unlink()
    if content is not None:
        target.write_bytes(content)
    return folder


def readers(out: Path) -> dict[str, Callable[[], object]]:
    """What reads OUT and needs no data."""
    import secateur as sc
    from secateur.report import write_report

    return {
        "report": lambda: write_report(out),
        "score": lambda: sc.score(out, method=["dual", "el2n"]),
        "select": lambda: sc.select_from(out, method="dual", keep=0.2),
    }


def cases(out: Path, count: int, *, seed: int) -> list[tuple[Path, str, bytes | None]]:
    """Some edits, as many of one kind of file as of another; `labels`, `p_target` stand for all arrays."""
    draw = np.random.default_rng(seed)
    arrays = {"labels", "p_target"}
    kinds: dict[str, list[Path]] = {}
    for file in files_of(out):
        parts = file.relative_to(out).parts
        if parts[0] != "recording.zarr" or len(parts) == 2 or parts[1] in arrays:
            kinds.setdefault(file.name if len(parts) < 3 else parts[-3] + file.name, []).append(file)
    chosen = []
    for k in range(count):
        of_kind = list(kinds.values())[k % len(kinds)]
        file = of_kind[draw.integers(len(of_kind))]
        edits = list(edits_of(file))
        chosen.append((file, *edits[draw.integers(len(edits))]))
    return chosen
