"""Files of an OUT folder that were damaged or edited: refused in a sentence, never believed, never a traceback."""

import json
import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import secateur as sc
from secateur.errors import SecateurError, StoreError
from secateur.report import write_report
from tests import edited

SRC = Path(sc.__file__).parent
pytestmark = pytest.mark.usefixtures("our_own_errors")


@pytest.fixture
def out(pruned, tmp_path):
    """A copy of the OUT folder, to be spoilt."""
    run = json.loads((pruned / "run.json").read_text())
    run["digests"] = {}  # whoever edits a file may take out its digest, too
    return edited.put(pruned, tmp_path / "out", pruned / "run.json", json.dumps(run).encode())


def change(path, *keys, to):
    """Set one value in a JSON file."""
    value = at = json.loads(path.read_text())
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = to
    path.write_text(json.dumps(value))


def tried(call) -> str:
    """`ok`, or what our own error says; anything else is raised."""
    began, said = time.monotonic(), "ok"
    try:
        call()
    except SecateurError as error:
        said = str(error)
    assert time.monotonic() - began < 60  # no hang; a second or two where nothing else runs
    assert "(None)" not in said
    return said


def test_a_sample_of_all_edits_ends_in_success_or_a_sentence(pruned, tmp_path):
    refused = 0
    for k, (file, what, content) in enumerate(edited.cases(pruned, 30, seed=5)):
        folder = edited.put(pruned, tmp_path / "out", file, content)
        command, call = list(edited.readers(folder).items())[k % 3]
        try:
            refused += tried(call) != "ok"
        except Exception as error:
            raise AssertionError(f"{command} with {file.relative_to(pruned)} {what}") from error
    assert refused > 8


def test_nothing_reads_json_but_through_a_schema():
    """Apart from what holds data, not what a run wrote, and from the little that is asked of every folder."""
    for path in SRC.rglob("*.py"):
        text = path.read_text()
        if path.name not in ("base.py", "metadata.py", "disk.py", "owned.py"):
            assert "json.load" not in text, path
        if path.name == "owned.py":  # asks whose a run.json is, before anything is believed of it
            continue
        calls = [part.split(")")[0] for part in text.split("read_json(")[1:]]
        for call in calls:
            assert "," in call or (path.parent.name == "scale" and call) or call.startswith("self"), (path, call)


class TestSizes:
    def test_more_examples_than_the_arrays_have_are_refused_at_once(self, out):
        change(out / "recording.zarr" / "zarr.json", "attributes", "examples", to=10**9)
        began = time.monotonic()
        for call in edited.readers(out).values():
            assert "expected 1000000000 examples, got 512" in tried(call)
        assert time.monotonic() - began < 30

    def test_an_array_that_claims_rows_whose_chunks_are_not_there(self, out):
        for name in json.loads((out / "recording.zarr" / "zarr.json").read_text())["attributes"]["fields"]:
            about = json.loads((out / "recording.zarr" / name / "zarr.json").read_text())
            at = about["dimension_names"].index("examples")
            change(out / "recording.zarr" / name / "zarr.json", "shape", at, to=10**9)
        change(out / "recording.zarr" / "zarr.json", "attributes", "examples", to=10**9)
        assert "expected 1,953,125 chunks, found 1" in tried(lambda: sc.score(out))

    def test_chunks_larger_than_the_array(self, out):
        grid = ("chunk_grid", "configuration", "chunk_shape")
        change(out / "recording.zarr" / "labels" / "zarr.json", *grid, to=[10**12])
        assert "expected chunks no larger than the shape [512], got [1000000000000]" in tried(lambda: sc.score(out))

    def test_more_epochs_than_the_arrays_have(self, out):
        change(out / "recording.zarr" / "zarr.json", "attributes", "epochs", to=10**5)
        assert "has 4 epochs of 100000" in tried(lambda: sc.score(out, method="el2n"))

    def test_a_table_that_claims_more_rows_than_fit_into_its_bytes(self, out):
        alike = pa.table({"id": pa.nulls(10**7, pa.int64()), "label": pa.nulls(10**7, pa.int64())})
        pq.write_table(alike.replace_schema_metadata({b"secateur": b"{}"}), out / "scores.parquet")
        assert "not a complete table written by secateur (10000000 rows" in tried(lambda: sc.score(out))


class TestNames:
    @pytest.mark.parametrize("cell", ["../../x", "/etc", "", "A29158F02E45A525", 7])
    def test_a_cell_is_a_digest_and_nothing_else(self, out, cell):
        change(out / "run.json", "stages", "train", "asked", "cell", to=cell)
        assert "run.json: damaged or edited (stages: train.asked.cell" in tried(lambda: write_report(out))

    @pytest.mark.parametrize("field", ["../labels", "/tmp", "nonsense"])
    def test_a_field_is_one_of_the_vocabulary(self, out, field):
        change(out / "recording.zarr" / "zarr.json", "attributes", "fields", 0, to=field)
        assert "field" in tried(lambda: sc.score(out))

    def test_an_option_of_a_later_version_is_named(self, out):
        from secateur.study.out import Out
        from secateur.study.reopen import reopen

        change(out / "run.json", "data", "reading", to={"telescope": "on"})
        change(out / "run.json", "data", "form", to="folder")
        assert "was read with telescope, which this version does not know" in tried(lambda: reopen(Out(out)))


class TestBelieved:
    """Values of the right type that cannot be."""

    @pytest.mark.parametrize(
        "file, keys, to, said",
        [
            ("run.json", ("data", "usable"), 600, "at most 512 usable"),
            ("run.json", ("stages", "record", "done"), 1, "stages.record.done: expected a valid boolean, got 1"),
            ("run.json", ("stages", "record", "seconds"), -1, "stages.record.seconds"),
            ("run.json", ("data", "classes"), ["a"], "has label 9 of 1 classes"),
            ("run.json", ("data", "examples"), 1000, "512 examples, but run.json says 1,000"),
            ("bill.json", ("bills", 0, "once_seconds"), "3", "once_seconds: expected a valid number"),
            ("bill.json", ("bills",), [], "bills"),
            ("cells/*/result.json", ("accuracy",), 1.5, "accuracy: expected less than or equal to 1, got 1.5"),
            ("cells/*/result.json", ("per_class",), [0.5], "1 recalls of classes, but run.json says 10"),
            ("cells/*/result.json", ("kept",), 600, "at most 512 kept"),
        ],
    )
    def test_a_value_out_of_range(self, out, file, keys, to, said):
        change(next(out.glob(file)), *keys, to=to)
        assert said in tried(lambda: write_report(out))

    @pytest.mark.parametrize(
        "column, to, said",
        [
            ("id", 7, "ids that count up from 0"),
            ("kept", False, "no weight unless kept"),
            ("kept", True, "expected 154 rows kept"),
            ("weight", -1.0, "a weight of 0 or more"),
            ("weight", float("nan"), "a weight of 0 or more"),
            ("rank", 3, "every rank once"),
            ("label", 10, "has label 10 of 10 classes"),
            ("kept", None, "column kept has 512 nulls"),
        ],
    )
    def test_a_column_of_a_subset(self, out, column, to, said):
        table = pq.read_table(out / "subset.parquet")
        values = pa.array([to] * len(table), table[column].type)
        pq.write_table(table.set_column(table.column_names.index(column), column, values), out / "subset.parquet")
        assert said in tried(lambda: write_report(out))

    def test_what_a_later_version_adds_is_passed_over(self, out):
        for path in (out / "run.json", out / "bill.json", next(out.glob("cells/*/result.json"))):
            change(path, "later", to={"version": 9})
        assert tried(lambda: write_report(out)) == "ok"


class TestFiles:
    def test_a_pipe_is_not_waited_for(self, out):
        (out / "run.json").unlink()
        os.mkfifo(out / "run.json")
        assert "expected a regular file, found a pipe" in tried(lambda: write_report(out))

    @pytest.mark.parametrize("text", ['{"a": NaN}', "[" * 100_000, "\ufeff{", '{"a": 1e999', "\udcff"])
    def test_what_is_not_json_names_the_file(self, out, text):
        (out / "bill.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        assert "bill.json: damaged" in tried(lambda: write_report(out))

    def test_a_damaged_probe_is_told_not_taken_for_one_that_is_not_there(self, tmp_path):
        from secateur.store.probed import Probed, ProbeWriter

        writer = ProbeWriter(tmp_path / "probes.zarr", "margins", {"steps": 3}, examples=4)
        writer.write(0, slice(0, 4), np.arange(4), {"margin_l2": np.ones(4, np.float32)}, 0.1)
        assert Probed(tmp_path / "probes.zarr").fields == ("margin_l2",)
        change(tmp_path / "probes.zarr" / "margins" / "zarr.json", "attributes", "done", to=5)
        with pytest.raises(StoreError, match="margins: damaged or edited, it has 5 rows filled; delete the folder"):
            _ = Probed(tmp_path / "probes.zarr").fields

    def test_memory_that_ran_out_is_not_told_as_damage(self, out, monkeypatch):
        import zarr

        def none_left(array, index):
            raise MemoryError("Unable to allocate 8.00 GiB")

        monkeypatch.setattr(zarr.Array, "__getitem__", none_left)
        told = tried(lambda: sc.score(out))
        assert "out of memory (Unable to allocate 8.00 GiB)" in told
        assert "record again" not in told

    def test_a_mined_table_whose_confidence_is_none(self, tmp_path):
        from secateur.store.tables import Mined

        columns = {"id": [3, 1], "label": [0, 1], "class": ["a", "b"], "confidence": [0.5, 0.6], "kept": [True, True]}
        about = {b"secateur": b"{}"}
        pq.write_table(pa.table(columns).replace_schema_metadata(about), tmp_path / "mined.parquet")
        with pytest.raises(StoreError, match=r"row 1: id 1, .* expected increasing ids"):
            Mined.open(tmp_path)
