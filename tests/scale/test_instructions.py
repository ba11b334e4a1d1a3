"""`scale instructions`: subsets to measure, a selector that learns from what was measured, exact shares of clusters."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import spearmanr
from typer.testing import CliRunner

from secateur.cli import app
from secateur.errors import DataError, SecateurError, WrongData
from secateur.scale import Columns, Selecting, instructions
from tests.scale import made
from tests.scale.test_prune import files, times

ROWS, SUBSETS = 150, 12
FAST = Selecting(components=3, clusters=4)
INDICATORS = ("clip", "reward*10", "length:caption")


def planted(rows=ROWS, *, strings=True, seed=0):
    """Image embeddings in blobs; the reward of a blob has a level of its own, and is what quality is made of."""
    data = made.made(rows, planted=0, strings=strings, seed=seed)
    rng = np.random.default_rng(seed)
    reward = rng.normal(size=rows) + rng.normal(size=8)[data.blob]
    text = rng.normal(size=(rows, 5)).astype(np.float32)
    return data, reward, text


def write(folder, data, reward, text, **changed):
    folder.mkdir()
    for number, rows in enumerate((slice(0, 70), slice(70, None))):
        columns = {"reward": reward[rows], "text": made.lists(text[rows].tolist())}
        columns |= {name: values[rows] for name, values in changed.items()}
        pq.write_table(made.table(data, rows, **columns), folder / f"{number}.parquet", row_group_size=30)
    return str(folder)


def choose(shards, out, **options):
    given = {"indicators": INDICATORS, "text": "text", "how": FAST, "quiet": True}
    return instructions(shards, out=str(out), **given | options)


def read(out, name):
    return pq.read_table(out / name).to_pydict()


def measured(out, data, reward):
    """The mean reward of each subset, as a model that was fine-tuned on it would show."""
    by_id = dict(zip(data.ids.tolist(), reward, strict=True))
    names = sorted((out / "subsets").glob("*.parquet"))
    return {int(p.stem): float(np.mean([by_id[i] for i in pq.read_table(p)["id"].to_pylist()])) for p in names}


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    folder = tmp_path_factory.mktemp("instructions")
    data, reward, text = planted()
    return folder, write(folder / "shards", data, reward, text), data, reward


@pytest.fixture(scope="module")
def selected(made_up):
    """Both runs."""
    folder, shards, data, reward = made_up
    out = folder / "out"
    first = choose(shards, out, subsets=SUBSETS)
    quality = measured(out, data, reward)
    second = choose(shards, out, quality=quality, keep=40, write=("shards", "keys", "uids"))
    return out, quality, first, second


def test_the_first_run_writes_subsets_of_one_size_and_nothing_else(made_up, tmp_path):
    _, shards, data, _ = made_up
    found = choose(shards, tmp_path / "out", subsets=SUBSETS)
    assert (found.rows, found.subsets, found.size, found.left_over, found.kept) == (ROWS, SUBSETS, 12, 6, None)
    each = [pq.read_table(p)["id"].to_pylist() for p in sorted((tmp_path / "out" / "subsets").iterdir())]
    assert [len(ids) for ids in each] == [12] * SUBSETS
    assert len({one for ids in each for one in ids}) == 144
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"run.json", "subsets", "subsets.parquet", ".lock"}
    found = read(tmp_path / "out", "subsets.parquet")
    assert found["id"] == data.ids.tolist()
    assert [i for i, s in zip(found["id"], found["subset"], strict=True) if s == 3] == each[3]


def test_kept_rows_have_more_of_what_made_subsets_good(selected, made_up):
    out, _, _, second = selected
    reward = made_up[3]
    kept = np.array(read(out, "manifest.parquet")["kept"])
    assert second.kept == kept.sum() == 40
    assert reward[kept].mean() > reward.mean() + 0.5 * reward.std()
    score = np.array(read(out, "manifest.parquet")["score"])
    assert np.corrcoef(score, reward)[0, 1] > 0.5
    assert second.correlation > second.chance
    assert second.score_kept == pytest.approx(score[kept].mean())
    assert second.score_all == pytest.approx(score.mean())
    assert list(second.leanings) == list(INDICATORS)
    assert second.leanings["reward*10"] == pytest.approx(spearmanr(score, reward).statistic)


def test_the_best_of_each_cluster_are_kept(selected):
    out, *_ = selected
    found = {name: np.array(values) for name, values in read(out, "manifest.parquet").items() if name != "subset"}
    for cluster in range(4):
        here = found["cluster"] == cluster
        share = 40 * here.sum() / ROWS
        assert abs(found["kept"][here].sum() - share) < 1
        if 0 < found["kept"][here].sum() < here.sum():
            assert found["score"][here & found["kept"]].min() >= found["score"][here & ~found["kept"]].max()


def test_what_is_kept_is_written_in_the_forms_of_the_other_commands(selected):
    out, *_ = selected
    found = read(out, "manifest.parquet")
    ids = [one for one, kept in zip(found["id"], found["kept"], strict=True) if kept]
    assert read(out, "kept_ids.parquet")["id"] == ids
    assert (out / "kept_keys.txt").read_text().split() == sorted(ids)
    assert len(np.load(out / "kept_uids.npy")) == 40
    table = pq.read_table(out / "kept")
    assert table["id"].to_pylist() == ids
    assert table.column_names == ["id", "embedding", "clip", "caption", "reward", "text"]


def test_what_was_learned_is_told_subset_by_subset(selected):
    out, quality, _, second = selected
    found = read(out, "selector.parquet")
    assert found["subset"] == list(range(SUBSETS))
    assert found["quality"] == [quality[k] for k in range(SUBSETS)]
    ranks = [np.argsort(np.argsort(found[name])) for name in ("quality", "expected", "gain")]
    assert second.fit == pytest.approx(np.corrcoef(ranks[0], ranks[1])[0, 1])
    assert second.correlation == pytest.approx(np.corrcoef(ranks[0], ranks[2])[0, 1])
    assert json.loads((out / "run.json").read_text())["result"] == second.as_json()


def test_a_second_run_finds_what_was_done_and_a_new_one_makes_the_same(selected, made_up, tmp_path):
    out, quality, first, second = selected
    shards = made_up[1]
    before = times(out / "stages") | times(out / "subsets")
    again = choose(shards, out, quality=quality, keep=40, write=("shards", "keys", "uids"))
    assert again == second
    now = times(out / "stages") | times(out / "subsets")
    assert {k: v for k, v in now.items() if "selected" not in k} == {
        k: v for k, v in before.items() if "selected" not in k
    }
    assert choose(shards, out, subsets=SUBSETS) == first
    choose(shards, tmp_path / "new", subsets=SUBSETS)
    choose(shards, tmp_path / "new", quality=quality, keep=40, write=("shards", "keys", "uids"))
    assert files(tmp_path / "new") == files(out)


def test_another_selection_takes_the_place_of_the_one_before(selected, made_up):
    out, quality, _, second = selected
    shards = made_up[1]
    fewer = choose(shards, out, quality=quality, keep=0.1)
    assert fewer.kept == 15
    assert sum(read(out, "manifest.parquet")["kept"]) == 15
    assert not (out / "kept").exists()
    assert not (out / "kept_keys.txt").exists()
    assert choose(shards, out, quality=quality, keep=40, write=("shards", "keys", "uids")) == second


def test_a_killed_first_run_is_done_again(made_up, tmp_path):
    shards = made_up[1]
    choose(shards, tmp_path / "out", subsets=SUBSETS)
    whole = files(tmp_path / "out")
    (tmp_path / "out" / "subsets.parquet").unlink()
    (tmp_path / "out" / "subsets" / "03.parquet").unlink()
    with pytest.raises(SecateurError, match="quality: there are no subsets in .* yet"):
        choose(shards, tmp_path / "out", quality={}, keep=3)
    choose(shards, tmp_path / "out", subsets=SUBSETS)
    assert files(tmp_path / "out") == whole


QUIRKS = [{"pca": "subset"}, {"attention": "across"}, {"features": "given"}, {"labels": "given"}]


@pytest.mark.parametrize("quirk", QUIRKS, ids=str)
def test_what_the_official_code_does_can_be_asked_for_and_differs(selected, made_up, quirk):
    out, quality, *_ = selected
    scores = {}
    for name, how in (("mended", {}), ("quirk", quirk)):
        choose(made_up[1], out, quality=quality, keep=40, how=Selecting(components=3, clusters=4, **how))
        scores[name] = np.array(read(out, "manifest.parquet")["score"])
    assert np.isfinite(scores["quirk"]).all()
    assert not np.allclose(scores["mended"], scores["quirk"], rtol=1e-3)


def test_embeddings_alone_ids_as_numbers_and_one_embedding(tmp_path):
    data, reward, text = planted(60, strings=False)
    shards = write(tmp_path / "shards", data, reward, text)
    out = tmp_path / "out"
    choose(shards, out, subsets=5, text=None, indicators=())
    quality = measured(out, data, reward)
    found = choose(shards, out, quality=quality, keep=60, text=None, indicators=())
    assert found.kept == 60
    assert read(out, "kept_ids.parquet")["id"] == data.ids.tolist()


def test_another_seed_learns_otherwise_from_the_same_subsets(selected, made_up):
    out, quality, *_ = selected
    subsets = (out / "subsets.parquet").read_bytes()
    choose(made_up[1], out, quality=quality, keep=40, seed=1)
    one = read(out, "manifest.parquet")["score"]
    choose(made_up[1], out, quality=quality, keep=40)
    assert read(out, "manifest.parquet")["score"] != one
    assert (out / "subsets.parquet").read_bytes() == subsets


def test_other_measurements_are_learned_anew(selected, made_up):
    out, quality, *_ = selected
    reward = made_up[3]
    choose(made_up[1], out, quality={k: -value for k, value in quality.items()}, keep=40)
    assert np.corrcoef(read(out, "manifest.parquet")["score"], reward)[0, 1] < -0.5
    choose(made_up[1], out, quality=quality, keep=40)
    assert np.corrcoef(read(out, "manifest.parquet")["score"], reward)[0, 1] > 0.5


def by_caption(table):
    """What a user's model might say."""
    return [len(text) for text in table["caption"].to_pylist()]


def too_few(table):
    return np.zeros(3)


def no_numbers(table):
    return table["caption"].to_pylist()


def test_a_function_of_the_users_makes_an_indicator(made_up, tmp_path):
    from secateur.scale.indicators import Indicator
    from secateur.scale.indicators import read as reads
    from secateur.scale.storage import expand

    _, shards, data, reward = made_up
    asked = ["tests.scale.test_instructions:by_caption*2", "reward*-1", "length:caption"]
    _, rows = reads(expand(shards), Columns(), "text", [Indicator.parse(one) for one in asked])
    lengths = np.array([len(f"caption of {i}") for i in data.ids.tolist()])
    np.testing.assert_allclose(rows.indicators[:, 0], 2 * lengths)
    np.testing.assert_allclose(rows.indicators[:, 1], -reward)
    np.testing.assert_allclose(rows.indicators[:, 2], 10 * lengths / lengths.max())
    assert rows.text.shape == (ROWS, 5)


def stop(said, kind=SecateurError):
    return pytest.raises(kind, match=said)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"indicators": ["none"]}, "indicators: .*0.parquet has no column 'none', only id, embedding"),
        (
            {"indicators": ["caption"]},
            "indicators: column 'caption' holds string; expected numbers, or .*length:caption",
        ),
        ({"indicators": ["length:clip"]}, "indicators: column 'clip' of .* holds double; expected texts"),
        ({"indicators": ["clip*x"]}, r"indicators: expected a column.*got 'clip\*x'"),
        ({"indicators": ["clip*0"]}, "indicators: expected a column"),
        ({"indicators": ["no.such:thing"]}, "indicators: no.such:thing cannot be imported"),
        ({"indicators": ["tests.scale.test_instructions:too_few"]}, r"must give a number a row, \(70,\), got"),
        ({"indicators": ["tests.scale.test_instructions:no_numbers"]}, "must give a number a row"),
        ({"text": "none"}, "has no column 'none'"),
        ({"subsets": 151}, "subsets: expected 3 to 150, the rows there are, got 151"),
        ({"subsets": 2}, "subsets: expected 3 to 150"),
        ({"write": ["lists"]}, "write: expected shards, uids or keys, got 'lists'"),
        ({"keep": 3}, "keep: expected it together with the quality"),
        ({"quality": {0: 1.0}}, "keep: expected it together with the quality"),
        ({"quality": {0: 1.0}, "keep": 3}, "quality: there are no subsets in"),
    ],
)
def test_a_first_run_that_cannot_be_stops_before_anything_is_written(made_up, tmp_path, options, said):
    with stop(said):
        choose(made_up[1], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


GOOD = {k: float(k) for k in range(SUBSETS)}


@pytest.mark.parametrize(
    ("quality", "options", "said"),
    [
        (GOOD | {12: 1.0}, {}, "quality: .* has subset 12; expected the numbers 0 to 11 of subsets/"),
        (GOOD | {"one": 1.0}, {}, "quality: .* has subset 'one'"),
        ({k: v for k, v in GOOD.items() if k not in (3, 7)}, {}, "quality: .* lacks subset 3, 7 of 0 to 11"),
        (GOOD | {"03": 1.0}, {}, "quality: .* has subset 3 more than once"),
        (GOOD | {5: np.nan}, {}, "quality: .* has no finite number for subset 5"),
        (GOOD | {5: None, 6: "much"}, {}, "quality: .* has no finite number for subset 5, 6"),
        (dict.fromkeys(GOOD, 0.5), {}, "quality: all 12 subsets have 0.5, so there is nothing to learn"),
        ("nowhere.csv", {}, "quality: there is no file nowhere.csv"),
        (GOOD, {"keep": 151}, "keep: expected at most the 150 rows there are, got 151"),
        (GOOD, {"how": Selecting(components=20)}, "components: expected 1 to 16, .*got 20"),
        (GOOD, {"how": Selecting(components=13, pca="subset"), "text": None}, "components: expected 1 to 12,"),
        (GOOD, {"how": Selecting(clusters=150, components=3)}, "clusters: expected 1 to 149"),
        (
            GOOD,
            {"how": Selecting(cluster_by="hand", components=3)},
            "cluster_by: expected spectral or k-means, got 'hand'",
        ),
        (GOOD, {"how": Selecting(attention="none", components=3)}, "attention: expected inside or across, got 'none'"),
        (GOOD, {"how": Selecting(labels="none", components=3)}, "labels: expected standard or given"),
        (GOOD, {"how": Selecting(lr=1e30, components=3)}, "lr: training with 1e.30 left the finite numbers"),
        (GOOD, {"subsets": 13}, r"subsets in .* were made with other options \(subsets was 12, now 13\)"),
        (GOOD, {"columns": Columns("id", "text"), "text": None}, "made with other options .*columns was"),
    ],
)
def test_a_second_run_that_cannot_be_leaves_the_subsets_and_the_selection(selected, made_up, quality, options, said):
    out = selected[0]
    before = files(out)
    with stop(said):
        choose(made_up[1], out, **{"quality": quality, "keep": 40} | options)
    assert files(out) == before


def test_options_are_checked_when_they_are_made():
    with stop("pca: expected all or subset, got 'both'"):
        Selecting(pca="both")
    with stop("features: expected standard or given"):
        Selecting(features="raw")
    for lr in (float("nan"), float("inf"), 0.0, -1.0):
        with stop("lr: expected a number above 0, got"):
            Selecting(lr=lr)
    for name in ("epochs", "components", "clusters"):
        with stop(f"{name}: expected"):
            Selecting(**{name: 0})


def test_an_out_of_something_else_is_left_alone(made_up, tmp_path):
    _, shards, data, _ = made_up
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("")
    with stop("out: .* contains other files .notes.txt", WrongData):
        choose(shards, tmp_path / "mine")
    pruned = made.write(tmp_path / "pruned-shards", data)
    made.prune(pruned, tmp_path / "pruned", clustering=made.FEW)
    before = files(tmp_path / "pruned")
    for force in (False, True):
        with stop("out: .* contains other files", WrongData):
            choose(shards, tmp_path / "pruned", force=force)
    assert files(tmp_path / "pruned") == before
    choose(shards, tmp_path / "ours", subsets=SUBSETS)
    with stop("out: .* contains other files", WrongData):
        made.prune(pruned, tmp_path / "ours", clustering=made.FEW)
    with stop(r"made with other options \(fingerprint was", WrongData):
        choose(pruned, tmp_path / "ours", text=None, indicators=())
    with stop(r"made with other options \(seed was 0, now 1\)", WrongData):
        choose(shards, tmp_path / "ours", seed=1)
    choose(shards, tmp_path / "ours", subsets=5, seed=1, force=True)
    assert len(list((tmp_path / "ours" / "subsets").iterdir())) == 5


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        (
            {"clip": np.array([0.5, np.nan, 1, np.inf] + [0.0] * 16)},
            {},
            "clip has no finite number for id 9993, 9979; fill",
        ),
        ({"clip": pa.array([None] * 20, pa.float64())}, {}, "for id 10000, 9993, 9986, 9979, 9972 and 15 more"),
        ({"caption": pa.array(["a"] * 19 + [None])}, {"indicators": ["length:caption"]}, "is null for id 9867"),
        ({"embedding": made.vectors(r3=[0.0] * 16)}, {}, "the embedding of id 9979 is zeros, nan or null"),
        ({"embedding": made.vectors(r3=None)}, {}, "the embedding of id 9979 is zeros, nan or null"),
        ({"embedding": made.lists([[]] * 20)}, {}, "has an embedding"),
        ({"embedding": made.vectors(r3=[])}, {}, "row 3 of .* has an embedding of 0 numbers"),
        ({"id": pa.array([1, 1, *range(3, 21)])}, {}, "'?1'? is there twice"),
        ({"other": made.vectors(r5=[np.nan] * 16)}, {"text": "other"}, "the other of id 9965 is zeros, nan or null"),
    ],
)
def test_bad_rows_are_named(shards, tmp_path, columns, options, said):
    folder = shards(columns)
    with stop(said, DataError):
        instructions(
            str(folder), **{"indicators": ["clip"], "subsets": 4} | options, out=str(tmp_path / "o"), quiet=True
        )


FORMS = {
    "spreadsheet.csv": "\ufeffsubset, quality\r\n" + "".join(f"{k}, {v}\r\n" for k, v in GOOD.items()),
    "csv": "subset,quality\n" + "".join(f"{k:02d},{v}\n" for k, v in GOOD.items()),
    "json": json.dumps(GOOD),
    "rows.json": json.dumps([{"subset": k, "quality": v} for k, v in GOOD.items()]),
}


def test_quality_is_read_from_any_form(tmp_path):
    from secateur.scale.subsets import quality_of

    for name, text in FORMS.items():
        (tmp_path / f"q.{name}").write_text(text)
        assert quality_of(tmp_path / f"q.{name}", SUBSETS).tolist() == list(GOOD.values())
    pq.write_table(pa.table({"subset": list(GOOD), "quality": list(GOOD.values())}), tmp_path / "q.parquet")
    assert quality_of(str(tmp_path / "q.parquet"), SUBSETS).tolist() == list(GOOD.values())
    for name, text in {"a.csv": "0,1\n", "b.json": "3", "c.parquet": "no"}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match="quality: .*(must have the columns subset and quality|is no parquet file)"):
            quality_of(str(tmp_path / name), SUBSETS)


def run(*words, code=0):
    done = CliRunner().invoke(app, ["scale", "instructions", *map(str, words)])
    assert done.exit_code == code, done.output
    return done.output


def test_two_commands_from_shards_to_what_is_kept(made_up, tmp_path):
    _, shards, data, reward = made_up
    out = tmp_path / "out"
    said = run(shards, "--out", out, "--subsets", SUBSETS)
    assert "12 of 12 rows" in said
    assert "6 rows are in no subset" in said
    assert "--quality FILE" in said
    labels = measured(out, data, reward)
    (tmp_path / "q.csv").write_text("subset,quality\n" + "".join(f"{k},{v}\n" for k, v in labels.items()))
    common = (shards, "--out", out, "--quality", tmp_path / "q.csv", "--indicators", ",".join(INDICATORS))
    common += ("--text-embedding", "text", "--clusters", 4, "--components", 3)
    said = run(*common, "--keep", "0.2")
    assert "30 of 150 (20.0%), the best of 4 clusters" in said
    assert "better than chance" in said
    assert re.search(r"score +by ranks goes with clip .\d\.\d\d, reward\*10 \+0\.\d\d, length:caption", said)
    found = json.loads(run(*common, "--keep", 30, "--json"))
    assert found["kept"] == 30
    assert "error: keep: expected at most" in run(*common, "--keep", 500, code=2)


def test_a_quality_of_chance_is_told_as_such(made_up, tmp_path):
    shards = made_up[1]
    run(shards, "--out", tmp_path / "o", "--subsets", SUBSETS)
    noise = np.random.default_rng(1).normal(size=SUBSETS)
    (tmp_path / "q.json").write_text(json.dumps(dict(enumerate(noise.tolist()))))
    said = run(shards, "--out", tmp_path / "o", "--quality", tmp_path / "q.json", "--keep", "9", "--clusters", 3)
    assert "no better than chance: do not trust it" in said
