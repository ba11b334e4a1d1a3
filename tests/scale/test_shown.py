"""What the report shows of duplicates: pictures or words of the rows themselves, and of no others."""

import base64
import io
import json
import re
import uuid
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from secateur.cli.scaled import _report
from secateur.report import write_scale_report
from secateur.scale import Columns, Dedup
from secateur.scale import shown as module
from secateur.scale.embed import embed
from secateur.scale.storage import Place
from secateur.store.files import read_json
from tests.scale.made import FEW, made, prune, table

ROWS, SHADE = 60, 4


def picture(row, size=(200, 100)):
    """A flat image whose shade says which row it is."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (SHADE * row, 0, 0)).save(buffer, format="PNG")
    return buffer.getvalue()


def row_of(uri):
    """The row whose image a data URI is, and its size."""
    image = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    return round(np.asarray(image)[..., 0].mean() / SHADE), image.size


@pytest.fixture
def data():
    return made(ROWS, planted=6)


def shards(tmp_path, data, group=7, **columns):
    """Two shards of 30 rows in row groups of so many; columns: a list each, of all rows."""
    (tmp_path / "shards").mkdir()
    for number in range(2):
        rows = slice(30 * number, 30 * number + 30)
        own = {name: values[rows] for name, values in columns.items()}
        pq.write_table(table(data, rows, **own), tmp_path / "shards" / f"{number}.parquet", row_group_size=group)
    return tmp_path / "shards"


def looked_at(where, tmp_path, **how):
    prune(where, tmp_path / "out", keep=0.2, dedup=Dedup(0.99), clustering=FEW, **how)
    return read_json(tmp_path / "out" / "groups.json")


def rows_by_id(data):
    return {str(id): row for row, id in enumerate(data.ids)}


@pytest.mark.parametrize(
    ("form", "group"), [("bytes", 7), ("struct", 30)]
)  # row groups smaller than a unit, and larger
def test_each_picture_is_that_of_its_row_and_small(tmp_path, data, monkeypatch, form, group):
    monkeypatch.setattr(module, "_AT_ONCE", 4)
    images = [picture(row) for row in range(ROWS)]
    column = pa.array(images) if form == "bytes" else pa.array([{"bytes": b, "path": "x.png"} for b in images])
    groups = looked_at(shards(tmp_path, data, group, jpg=column), tmp_path)
    rows = rows_by_id(data)
    assert len(groups) >= 3
    pairs = {frozenset(pair) for pair in data.planted.tolist()}
    for group in groups:
        found = [(one["id"], *row_of(one["image"])) for one in group["shown"]]
        assert [id for id, _, _ in found] == group["ids"][: module.SHOWN]
        assert [row for _, row, _ in found] == [rows[id] for id, _, _ in found]
        assert {size for _, _, size in found} == {(64, 32)}
        assert any(pair <= {row for _, row, _ in found} for pair in pairs)
    assert len(groups) <= 10


def test_words_where_there_is_no_picture_and_nothing_where_there_are_no_words(tmp_path, data):
    said = pa.array([f"row {row}, " + "so it goes " * 20 for row in range(ROWS)])
    groups = looked_at(shards(tmp_path, data, caption=said), tmp_path)
    rows = rows_by_id(data)
    for group in groups:
        for one in group["shown"]:
            assert one["image"] is None
            assert one["text"].startswith(f"row {rows[one['id']]}, so it")
            assert len(one["text"]) == 80
    page = write_scale_report(tmp_path / "out").read_text()
    assert len(re.findall(r"<q>row \d+, so it", page)) == sum(len(g["shown"]) for g in groups)


def test_what_is_no_picture_is_not_shown_and_stops_nothing(tmp_path, data):
    broken = picture(3).replace(b"IDAT", b"I\xffAT")  # opens, and fails as it is read
    groups = looked_at(
        shards(tmp_path, data, caption=pa.nulls(ROWS, pa.string()), jpg=pa.array([b"no", broken] * (ROWS // 2))),
        tmp_path,
    )
    assert groups
    assert all(group["shown"] == [] for group in groups)


def test_of_a_folder_that_was_embedded_the_files_are_shown(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), dtype=np.uint8)
    for row in range(24):  # four of each, in both classes
        (tmp_path / "photos" / "ab"[row % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise[row // 4]).save(tmp_path / "photos" / "ab"[row % 2] / f"{row:02d}.png")
    embed(str(tmp_path / "photos"), by="input", out=str(tmp_path / "shards"), quiet=True)
    prune(tmp_path / "shards", tmp_path / "out", keep=2, dedup=Dedup(0.999), clustering=FEW)
    groups = read_json(tmp_path / "out" / "groups.json")
    shards = pq.read_table(tmp_path / "shards" / "part-000000.parquet").to_pydict()
    files = dict(zip(map(str, shards["id"]), shards["file"], strict=True))
    assert groups[0]["shown"]
    for one in groups[0]["shown"]:
        seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(one["image"].partition(",")[2])))).astype(int)
        assert np.abs(noise.astype(int) - seen).mean(axis=(1, 2, 3)).argmin() == int(files[one["id"]][2:4]) // 4
    page = write_scale_report(tmp_path / "out").read_text()
    assert page.count("data:image/jpeg;base64,") == sum(len(group["shown"]) for group in groups)


def test_of_the_shards_only_the_batches_with_those_rows_are_read(tmp_path, data, monkeypatch):
    images = pa.array([picture(row) for row in range(ROWS)])
    where, read, original = shards(tmp_path, data, jpg=images), [], module._row
    monkeypatch.setattr(
        module, "_row", lambda file, group, place, names: read.append(place) or original(file, group, place, names)
    )
    groups = looked_at(where, tmp_path)
    assert len(read) == sum(len(group["shown"]) for group in groups)
    assert max(read) < 7  # counted from its own row group


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"id": pa.string(), "url": pa.string(), "label": pa.string()}, (None, None)),
        ({"key": pa.string(), "txt": pa.large_string(), "url": pa.string()}, (None, "txt")),
        ({"id": pa.int64(), "image": pa.struct({"bytes": pa.binary(), "path": pa.string()})}, ("image", None)),
        ({"id": pa.int64(), "label": pa.string(), "file": pa.string()}, ("file", None)),
        ({"id": pa.int64(), "file": pa.string(), "png": pa.large_binary(), "alt": pa.string()}, ("png", "alt")),
    ],
)
def test_which_columns_are_looked_at(schema, expected):
    assert module.looks(pa.schema(schema), Columns("key" if "key" in schema else "id")) == expected


@pytest.fixture
def stored(pruned):
    """The same run, as it lies on a store."""
    out = Place(f"memory://{uuid.uuid4().hex}/out")
    files = out / "generation" / "00000001-a"
    for name in ("bill.json", "groups.json", "clusters.parquet"):
        with (files / name).writing() as file:
            file.write((pruned.out / name).read_bytes())
    about = json.loads((pruned.out / "run.json").read_text())
    (out / "run.json").write_json(about | {"epoch": 1, "floor": 1, "generation": "generation/00000001-a"})
    return out, files


def test_on_a_store_the_report_lies_beside_the_result(stored):
    out, files = stored
    assert _report(SimpleNamespace(out=out.url, files=files.url)) == f"{files.url}/report.html"
    with (files / "report.html").open() as page:
        assert b"Cluster sizes before and after" in page.read()


def test_a_report_of_a_result_that_was_replaced_is_said_to_be_missing(stored):
    out, _ = stored
    told = _report(SimpleNamespace(out=out.url, files=(out / "generation" / "00000000-b").url))
    assert told == "not written: another command has replaced this result"
