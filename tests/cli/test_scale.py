"""`secateur scale`: shards from a data set and from elsewhere, pruned from the command line."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

import secateur as sc
from secateur.cli import app
from secateur.errors import DataError, SecateurError, WrongData
from secateur.scale.embed import embed
from secateur.scale.tell import plane
from tests.scale.made import made, write


def run(*words, code=0):
    done = CliRunner().invoke(app, ["scale", *map(str, words)])
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture
def shards(tmp_path):
    return write(tmp_path / "shards", made(120, planted=10))


def test_single_stages_share_their_work_and_keep_all_that_is_left(tmp_path, shards):
    out = tmp_path / "out"
    common = (shards, "--out", out, "--clusters", 4, "--workers", 1)
    clustered = json.loads(run("cluster", *common, "--json"))
    assert (clustered["kept"], clustered["duplicates"], clustered["threshold"]) == (120, 0, None)
    before = sorted((out / "stages").glob("assign-*"))
    filtered = json.loads(run("filter", *common, "--score", "clip", "--score-top", 0.5, "--json"))
    assert (filtered["kept"], filtered["filtered"]) == (60, 60)
    unique = json.loads(run("dedup", *common, "--threshold", 0.99, "--json"))
    assert unique["kept"] == 120 - unique["duplicates"]
    assert unique["duplicates"] >= 10
    pruned = json.loads(run("prune", *common, "--keep", 30, "--by", "prototypes", "--threshold", 0.99, "--json"))
    assert (pruned["kept"], pruned["duplicates"]) == (30, unique["duplicates"])
    assert sorted((out / "stages").glob("assign-*")) == before
    assert (out / "report.html").exists()  # as JSON too


def test_density_and_prototypes_alone_are_prune_without_dedup(tmp_path, shards):
    common = ("--clusters", 4, "--workers", 1, "--keep", 30, "--json")
    for by, knobs in (("density", ("--temperature", 0.3, "--floor", 0.2)), ("prototypes", ("--prefer", "easy"))):
        alone = json.loads(run(by, shards, "--out", tmp_path / by, *common, *knobs))
        assert (alone["kept"], alone["duplicates"]) == (30, 0)
        whole = tmp_path / f"{by} by prune"
        run("prune", shards, "--out", whole, "--no-dedup", "--by", by, *common, *knobs)
        assert kept_in(tmp_path / by) == kept_in(whole)


def kept_in(out):
    """The ids that are kept."""
    return pq.read_table(out / "kept_ids.parquet")["id"].to_pylist()


def test_what_became_of_all_rows_is_told_and_a_report_is_written(tmp_path, shards):
    said = run(
        "prune", shards, "--keep", 0.25, "--threshold", 0.99, "--clusters", 4, "--workers", 1, "--out", tmp_path / "o"
    )
    assert "kept        30 (25.0%)" in said
    assert "rows        120 in 4 clusters" in said
    page = (tmp_path / "o" / "report.html").read_text()
    assert "Cluster sizes before and after" in page
    assert "The largest groups of duplicates" in page
    assert sum(pq.read_table(tmp_path / "o" / "clusters.parquet")["kept"].to_pylist()) == 30
    again = CliRunner().invoke(app, ["report", str(tmp_path / "o")])
    assert again.exit_code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--keep", "0.3", "--score-min", "0.5"], "score: expected the column"),
        (["--keep", "0.3", "--score", "clip", "--score-quantiles", "0.5"], "score_quantiles: expected two numbers"),
        (["--keep", "0.3", "--score", "clip"], "filter: expected min, max, top or quantiles"),
        (["--keep", "much"], "keep: expected a fraction"),
        (["--keep", "0.3", "--dedup-to", "2"], "target: expected a fraction"),
        (
            ["--keep", "0.3", "--dedup-to", "0.9", "--threshold", "0.9"],
            "dedup_to: expected it or --threshold, got both",
        ),
        (["--keep", "0.3", "--no-dedup", "--threshold", "0.9"], "no_dedup: expected it without --threshold"),
    ],
)
def test_options_without_sense_are_one_line(tmp_path, shards, words, said):
    assert said in run("prune", shards, "--out", tmp_path / "out", *words, code=2)
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    out = tmp_path_factory.mktemp("recorded")
    sc.record("digits", epochs=1, net="mlp:0.25", out=out, quiet=True)
    return out


def test_a_data_set_is_embedded_by_the_net_of_a_run_and_pruned(tmp_path, recorded):
    run("embed", "digits", "--by", recorded, "--out", tmp_path / "shards", "--rows", 600)
    names = sorted(p.name for p in (tmp_path / "shards").glob("*.parquet"))
    assert names == ["part-000000.parquet", "part-000001.parquet", "part-000002.parquet"]
    table = pq.read_table(tmp_path / "shards")
    source = sc.open_data("digits")
    assert table["id"].to_pylist() == source.train.usable.tolist()
    assert table["label"].to_pylist() == [source.classes[k] for k in source.train.labels]
    run("prune", tmp_path / "shards", "--keep", 0.1, "--dedup-to", 0.9, "--workers", 1, "--out", tmp_path / "o")
    assert len(pq.read_table(tmp_path / "o" / "kept_ids.parquet")) == 144


def test_a_shard_says_where_in_the_folder_each_image_lies(tmp_path):
    names = [f"{kind}/{part}{k}.png" for kind in ("cat", "dog") for part in ("x", "y") for k in range(3)]
    for k, name in enumerate(names):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), 10 * k, dtype=np.uint8)).save(tmp_path / "photos" / name)
    (place,) = embed(str(tmp_path / "photos"), by="input", out=str(tmp_path / "shards"), quiet=True)
    table = pq.read_table(place.url)
    found = {
        name: rows[0] for name, rows in zip(table["file"].to_pylist(), table["embedding"].to_pylist(), strict=True)
    }
    assert set(found) == set(names)
    for k, name in enumerate(names):
        assert abs(found[name] - 10 * k / 255) < 1e-3


def test_embedding_goes_on_after_its_last_whole_shard(tmp_path, recorded):
    out = tmp_path / "shards"
    first = embed("digits", by="input", out=str(out), rows=500, quiet=True)
    whole = {place.name: (out / place.name).read_bytes() for place in first}
    (out / "part-000001.parquet").unlink()
    kept = (out / "part-000000.parquet").stat().st_mtime_ns
    embed("digits", by="input", out=str(out), rows=500, quiet=True)
    assert {name: (out / name).read_bytes() for name in whole} == whole
    assert (out / "part-000000.parquet").stat().st_mtime_ns == kept
    with pytest.raises(WrongData, match="contains other embeddings .*by was 'input'"):
        embed("digits", by=str(recorded), out=str(out), rows=500, quiet=True)
    with pytest.raises(WrongData, match="contains other files"):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "notes.txt").write_text("")
        embed("digits", by="input", out=str(tmp_path / "mine"), quiet=True)


def test_embeddings_beyond_float16_and_rows_that_are_not_there(tmp_path):
    rows = np.full((40, 3), 1e6, dtype=np.float32)
    with pytest.raises(SecateurError, match="embedding: row 0 has a number that is nan or beyond float16"):
        embed(rows, by="input", out=str(tmp_path / "a"), quiet=True)
    with pytest.raises(SecateurError, match="rows, batch: expected 1 or more, got 0"):
        embed(rows, by="input", out=str(tmp_path / "b"), rows=0, quiet=True)
    with pytest.raises(DataError):
        embed(str(tmp_path / "nothing"), by="input", out=str(tmp_path / "c"), quiet=True)


def test_a_plane_keeps_the_distances_of_points_that_lie_in_one():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(20, 2)) * [3, 1]
    turned = flat @ np.linalg.qr(rng.normal(size=(5, 5)))[0][:2] + 7
    found = plane(turned)
    apart = np.linalg.norm(turned[:, None] - turned[None], axis=2)
    np.testing.assert_allclose(np.linalg.norm(found[:, None] - found[None], axis=2), apart, atol=1e-9)
    assert found[:, 0].var() > found[:, 1].var()
