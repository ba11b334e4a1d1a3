"""`scale select`, and the choices alone: the bytes of a fresh pruning, from a run that stays as it is."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import secateur.scale
from secateur.cli import app
from secateur.errors import DataError, SecateurError, WrongData
from secateur.scale import Choice, Clustering, Dedup, Filter
from tests.scale.made import ALONE, kept_ids, made, manifest, prune, table, write

HOW = Clustering(clusters=6, unit_rows=64, on_bad="drop", seed=3)
EARLIER = {"filter": Filter("clip", quantiles=(0.1, 0.95)), "dedup": Dedup(0.99), "clustering": HOW}
MADE = ("manifest.parquet", "kept_ids.parquet", "clusters.parquet", "kept", "kept_uids.npy", "kept_keys.txt")


def results(out):
    """Every byte of what users read."""
    return {
        str(p.relative_to(out)): p.read_bytes() for n in MADE for p in [out / n, *(out / n).rglob("*")] if p.is_file()
    }


def whole(out):
    """Every file of a folder, and when it was written."""
    return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in out.rglob("*") if p.is_file()}


@pytest.fixture
def source(tmp_path):
    """A finished run by density over 300 rows, one of which has an embedding of nan."""
    data = made(300, strings=True)
    data.embeddings[7] = np.nan
    shards = write(tmp_path / "shards", data)
    prune(shards, tmp_path / "run", keep=0.5, choice=Choice("density", "easy", floor=0.2), **EARLIER)
    return tmp_path / "run"


def slow(*values):
    return pytest.param(*values, marks=pytest.mark.slow)


def select(source, name, **options):
    out = source.parent / name
    secateur.scale.select(str(source), out=str(out), **ALONE | options)
    return out


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ({"keep": 0.2}, {"keep": 0.2, "choice": Choice("density", "easy", floor=0.2)}),
        ({"choice": {"by": "prototypes"}}, {"keep": 0.5, "choice": Choice("prototypes")}),
        slow({"keep": 30, "choice": {"floor": 0.9}}, {"keep": 30, "choice": Choice("density", "easy", floor=0.9)}),
        slow({"keep": 0.1, "choice": Choice("random")}, {"keep": 0.1, "choice": Choice("random")}),
        slow({"keep": None}, {"keep": None, "choice": Choice("density", "easy", floor=0.2)}),
    ],
)
def test_another_choice_has_the_bytes_of_a_fresh_pruning_and_leaves_the_run_as_it_was(source, given, same):
    before, forms = whole(source), ["shards", "uids", "keys"]
    found = results(select(source, "new", write=forms, **given))
    assert whole(source) == before
    prune(source.parent / "shards", source.parent / "fresh", write=forms, **EARLIER | same)
    assert found == results(source.parent / "fresh")
    assert {name.partition("/")[0] for name in found} == set(MADE)


def test_nothing_before_the_choice_is_done_again(source):
    stages = {p.name.partition("-")[0] for p in (select(source, "new", keep=0.2) / "stages").iterdir()}
    assert not stages & {"sample", "fit", "assign", "ids", "scores", "filter", "count", "dedup", "left"}
    assert "select" in stages


def test_columns_of_other_names_are_remembered(tmp_path):
    data = made(60, planted=5)
    shard = table(data).rename_columns(["key", "vector", "clip", "caption"])
    pq.write_table(shard, tmp_path / "it.parquet")
    columns = secateur.scale.Columns("key", "vector")
    how = {"clustering": Clustering(clusters=3), "columns": columns}
    prune(tmp_path / "it.parquet", tmp_path / "run", keep=30, **how)
    prune(tmp_path / "it.parquet", tmp_path / "fresh", keep=20, **how)
    assert results(select(tmp_path / "run", "new", keep=20)) == results(tmp_path / "fresh")


def test_a_keep_above_what_dedup_left_says_how_many_those_are_and_writes_nothing(source):
    reasons = manifest(source)["reason"].tolist()
    left = reasons.count("kept") + reasons.count("pruned")
    with pytest.raises(SecateurError, match=f"keep: 299 of 300 rows .* dedup leave {left}; keep at most"):
        select(source, "new", keep=299)
    assert not (source.parent / "new").exists()


def test_a_run_that_is_not_finished_is_told(source):
    about = json.loads((source / "run.json").read_text())
    del about["result"], about["asked"]
    (source / "run.json").write_text(json.dumps(about))
    with pytest.raises(WrongData, match=r"run: .*run is not finished; run its `secateur scale prune` again"):
        select(source, "new")


def test_a_run_without_its_stages_is_told_which_one_is_missing(source):
    (stage,) = (source / "stages").glob("assign-*")
    shutil.rmtree(stage)
    with pytest.raises(WrongData, match=r"has not all of its stages \(.*assign-.* lacks task 000000\)"):
        select(source, "new")
    assert not stage.exists()


@pytest.mark.parametrize(("content", "said"), [(None, "it has no run.json"), ({"method": "el2n"}, "another command")])
def test_the_folder_of_another_command_is_told(tmp_path, content, said):
    (tmp_path / "run").mkdir()
    if content:
        (tmp_path / "run" / "run.json").write_text(json.dumps(content))
    with pytest.raises(WrongData, match=f"run: expected the OUT of a finished `secateur scale prune`.*{said}"):
        select(tmp_path / "run", "new")


def test_a_choice_of_a_choice_names_the_run_to_choose_from(source):
    with pytest.raises(WrongData, match=r"new was chosen from .*/run; choose from that one"):
        select(select(source, "new", keep=0.2), "newer")


def test_shards_that_have_changed_or_gone_since_are_told(source):
    shard = source.parent / "shards" / "001.parquet"
    rows = pq.read_table(shard)
    pq.write_table(rows.slice(1), shard)
    with pytest.raises(WrongData, match=r"run: the shards of .* have changed since \(fingerprint"):
        select(source, "new")
    shard.unlink()
    with pytest.raises(DataError, match=r"run: a shard of .* is gone .*001\.parquet"):
        select(source, "new")


def test_the_result_of_the_run_itself_is_never_replaced(source):
    before = whole(source)
    for force in (False, True):
        with pytest.raises(WrongData, match="out: expected a folder other than"):
            secateur.scale.select(str(source), out=f"{source}/../run/", keep=0.1, force=force, **ALONE)
    assert whole(source) == before


def run(*words, code=0):
    done = CliRunner().invoke(app, ["scale", *map(str, words)])
    assert done.exit_code == code, done.output
    return done.output


@pytest.mark.parametrize("by", ["density", "prototypes"])
def test_a_choice_alone_takes_nothing_for_a_duplicate_and_is_that_of_prune(tmp_path, by):
    shards = write(tmp_path / "shards", made(120, planted=20))
    common = ("--keep", 40, "--floor", 0.1, "--prefer", "easy", "--clusters", 4, "--workers", 1)
    alone = json.loads(run(by, shards, *common, "--out", tmp_path / by, "--json"))
    assert (alone["kept"], alone["duplicates"], alone["filtered"], alone["pruned"]) == (40, 0, 0, 80)
    run("prune", shards, "--by", by, "--no-dedup", *common, "--out", tmp_path / "whole", "--json")
    assert results(tmp_path / by) == results(tmp_path / "whole")


def test_temperature_reaches_the_density_and_prototypes_have_none(tmp_path):
    shards = write(tmp_path / "shards", made(120, planted=0))
    common = (shards, "--keep", 40, "--clusters", 4, "--workers", 1, "--floor", 0, "--out", tmp_path / "o", "--json")
    run("density", *common, "--temperature", 0.001)
    cold = kept_ids(tmp_path / "o")
    run("density", *common, "--temperature", 100)
    assert kept_ids(tmp_path / "o") != cold
    assert "No such option" in run("prototypes", *common, "--temperature", 1, code=2)


def test_a_choice_from_the_command_line_takes_what_is_not_said_from_the_run(source):
    said = json.loads(run("select", source, "--out", source.parent / "a", "--keep", 0.1, "--workers", 1, "--json"))
    assert said["kept"] == 30
    asked = json.loads((source.parent / "a" / "run.json").read_text())["asked"]
    assert (asked["choice"]["floor"], asked["choice"]["prefer"]) == (0.2, "easy")
    assert (source.parent / "a" / "report.html").exists()
    run("select", source, "--out", source.parent / "b", "--write", "keys", "--workers", 1, "--json")
    assert (source.parent / "b" / "kept_keys.txt").read_text().splitlines() == kept_ids(source)
