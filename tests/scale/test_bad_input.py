"""Bad input stops with a sentence: what was expected, what came, where, and the way out."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from secateur.errors import DataError, SecateurError, WrongData
from secateur.scale import Choice, Clustering, Columns, Dedup, Filter
from tests.scale.made import kept_ids, lists, made, manifest, prune, table

pytestmark = pytest.mark.usefixtures("our_own_errors")
FEW = Clustering(clusters=3, unit_rows=16)
DROP = Clustering(clusters=3, unit_rows=16, on_bad="drop")


@pytest.fixture
def shards(tmp_path):
    """Write shards of 20 rows each, as many as are given; {} is as it should be, other columns come instead."""

    def of(*several, strings=False):
        (tmp_path / "shards").mkdir()
        data = made(20 * len(several), planted=0, strings=strings)
        for number, columns in enumerate(several):
            rows = slice(20 * number, 20 * number + 20)
            shard = table(data, rows, **columns) if isinstance(columns, dict) else columns
            pq.write_table(shard, tmp_path / "shards" / f"{number}.parquet")
        return tmp_path / "shards"

    return of


@pytest.fixture
def stops(tmp_path):
    """That a pruning stops with this sentence."""

    def with_sentence(shards, said, *, kind=SecateurError, **options):
        with pytest.raises(kind, match=said):
            prune(shards, tmp_path / "out", **{"clustering": FEW} | options)

    return with_sentence


def vectors(rows=20, dims=16, **changed):
    """A column of embeddings in which single rows are changed, as r3=None."""
    found = np.random.default_rng(0).normal(size=(rows, dims)).tolist()
    for name, value in changed.items():
        found[int(name[1:])] = value
    return lists(found)


GOOD = {"embedding": vectors()}


# shards that are none, or not like the others


def test_no_file_matches(tmp_path, stops):
    stops(tmp_path / "*.parquet", r"shards: no file matches .*\*\.parquet; expected parquet files", kind=DataError)


def test_one_of_two_patterns_matches_nothing(shards, tmp_path, stops):
    from secateur.scale import prune as whole

    paths = [str(shards({}) / "0.parquet"), str(tmp_path / "misspelt.parquet")]
    with pytest.raises(DataError, match=r"shards: no file matches .*misspelt\.parquet"):
        whole(paths, keep=0.3, out=str(tmp_path / "out"), quiet=True)


def test_a_folder_without_parquet_files(tmp_path, stops):
    (tmp_path / "empty").mkdir()
    stops(tmp_path / "empty", "shards: no file matches .*empty; expected parquet files", kind=DataError)


def test_a_truncated_shard(shards, stops):
    place = shards({}, {})
    whole = (place / "1.parquet").read_bytes()
    (place / "1.parquet").write_bytes(whole[: len(whole) // 2])
    stops(
        place, r"shards: .*1\.parquet is no whole parquet file \(.*\); write it again, or leave it out", kind=DataError
    )


def test_a_shard_damaged_inside(shards, stops):
    place = shards({}, {})
    whole = bytearray((place / "1.parquet").read_bytes())
    whole[40 : len(whole) // 2] = b"\xff" * (len(whole) // 2 - 40)
    (place / "1.parquet").write_bytes(bytes(whole))
    stops(place, r"shards: .*1\.parquet is damaged \(.*\); write it again, or leave it out", kind=DataError)


def test_a_missing_column(shards, stops):
    said = r"shards: .*0\.parquet has no column 'vector', only id, embedding, clip, caption; name the columns with"
    stops(shards({}), said, kind=DataError, columns=Columns(embedding="vector"))


def test_a_missing_score_column_is_told_before_any_work(shards, stops, tmp_path):
    stops(shards({}), r"has no column 'reward', only id, ", kind=DataError, filter=Filter("reward", min=0))
    assert not (tmp_path / "out" / "stages").exists()


def test_a_score_column_of_strings_is_told_before_any_work(shards, stops, tmp_path):
    said = r"column 'caption' of .*0\.parquet holds string; expected numbers to filter by"
    stops(shards({}), said, kind=DataError, filter=Filter("caption", min=0))
    assert not (tmp_path / "out" / "stages").exists()


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"id": [str(i) for i in range(20)]}, r"1\.parquet has ids of string, but .*0\.parquet of int64"),
        ({"embedding": vectors().cast(pa.list_(pa.float16()))}, r"has embeddings of halffloat, but .* of float;"),
        ({"embedding": vectors(dims=12)}, r"1\.parquet has dimensions of 12, but .*0\.parquet of 16; all shards must"),
        ({"embedding": np.arange(20.0)}, r"column 'embedding' of .*1\.parquet holds double; expected lists of floats"),
        ({"embedding": pa.array([[1, 2]] * 20)}, r"holds list<.*int64>; expected lists of floats"),
        ({"id": np.arange(20.0)}, r"column 'id' of .*1\.parquet holds double; expected whole numbers or strings"),
        ({"embedding": vectors(r7=[1.0, 2.0])}, r"row 7 of .*1\.parquet has an embedding of 2 numbers, .* have 16"),
        ({"embedding": vectors(r0=[])}, r"row 0 of .*1\.parquet has an embedding of 0 numbers, .* have 16"),
        ({"id": pa.array([1, 2, None, *range(10, 27)])}, r"row 2 of .*1\.parquet has no id; give each row one"),
        ({"id": pa.array([2**63] + list(range(19)), pa.uint64())}, r"1\.parquet: .*9223372036854775808.* as strings"),
    ],
)
def test_shards_that_differ_or_hold_something_else(shards, stops, columns, said):
    stops(shards(GOOD, columns), said, kind=DataError)


# embeddings that are no good


BAD = {
    "r0": None,
    "r3": [0.0] * 16,
    "r4": [float("nan")] * 16,
    "r9": [float("inf")] + [0.5] * 15,
    "r12": [None] + [0.5] * 15,
}


@pytest.mark.parametrize("first", [True, False])
def test_bad_embeddings_stop_with_their_ids(shards, stops, first):
    several = [{"embedding": vectors(**BAD), "id": np.arange(20)}, {"embedding": vectors(), "id": 100 + np.arange(20)}]
    said = (
        r"embeddings: \d of \d+ rows of .*[01]\.parquet are zeros, null, nan or inf \(ids 0, 3, 4, 9, 12\); "
        r"embed them again, or leave them out with --on-bad drop"
    )
    how = Clustering(clusters=3)
    stops(shards(*several) if first else shards(*several[::-1]), said, kind=DataError, clustering=how)


def test_many_bad_embeddings_are_told_in_part(shards, stops):
    data = {"embedding": vectors(rows=30, **{f"r{i}": None for i in range(25)}), "id": np.arange(30)}
    said = r"25 of 30 rows .*\(ids 0, 1, .* 19, \.\.\.\)"
    shard = pa.table(data)
    stops(shards(shard), said, kind=DataError, clustering=Clustering(clusters=3))


@pytest.mark.parametrize("strings", [True, False])
def test_bad_embeddings_that_are_dropped_are_listed_in_the_manifest(shards, tmp_path, strings):
    place = shards({"embedding": vectors(**BAD)}, GOOD, strings=strings)
    result = prune(place, tmp_path / "out", clustering=DROP, dedup=None)
    found = manifest(tmp_path / "out")
    bad = found["reason"] == "bad embedding"
    expected = made(40, planted=0, strings=strings).ids[[0, 3, 4, 9, 12]]
    assert result.bad == 5
    assert found["id"][bad].tolist() == sorted(expected.tolist())
    assert (found["cluster"][bad] == -1).all()
    assert not found["kept"][bad].any()
    assert len(found["id"]) == 40
    assert len(kept_ids(tmp_path / "out")) == 12


@pytest.mark.parametrize("fixed", [True, False])
def test_null_embeddings_are_no_good_in_lists_of_fixed_and_of_any_size(shards, tmp_path, fixed):
    rows = vectors(r0=None, r7=None)
    rows = rows.cast(pa.list_(pa.float32(), 16)) if fixed else rows.cast(pa.list_(pa.float16()))
    assert prune(shards({"embedding": rows}), tmp_path / "out", clustering=DROP, dedup=None).bad == 2


def test_shards_without_any_embedding(shards, stops):
    none = {"embedding": lists([None] * 20)}
    stops(shards(none, none), r"shards: none of the 2 has an embedding", kind=DataError, clustering=DROP)


def test_a_shard_of_nulls_beside_good_ones(shards, tmp_path):
    assert prune(shards({"embedding": lists([None] * 20)}, GOOD), tmp_path / "out", clustering=DROP).bad == 20


# ids that are there twice


@pytest.mark.parametrize("strings", [True, False])
def test_an_id_in_two_shards(shards, stops, strings):
    data = made(60, planted=0, strings=strings)
    again = data.ids[40:60].copy()
    again[5] = data.ids[3]
    said = (
        rf"ids: '{data.ids[3]}' is there twice, in .*0\.parquet and in .*2\.parquet \(rows 3 and 45 of all\); give each"
    )
    stops(shards({}, {}, {"id": again}, strings=strings), said, kind=DataError)


def test_an_id_twice_in_one_shard(shards, stops):
    ids = np.arange(20)
    ids[17] = 4
    stops(
        shards({"id": ids}),
        r"ids: '4' is there twice, in .*0\.parquet and in .*0\.parquet \(rows 4 and 17",
        kind=DataError,
    )


def test_an_id_of_a_row_that_is_dropped_counts_as_well(shards, stops):
    ids = np.arange(20)
    ids[4] = 17
    stops(
        shards({"embedding": vectors(**BAD), "id": ids}), r"ids: '17' is there twice", kind=DataError, clustering=DROP
    )


# shards without rows


def test_an_empty_shard_is_told_and_skipped(shards, tmp_path, capfd):
    place = shards({}, table(made(20, planted=0), slice(0, 0)), {})
    result = prune(place, tmp_path / "out", clustering=FEW, quiet=False)
    assert [url.rpartition("/")[2] for url in result.empty] == ["1.parquet"]
    assert result.rows == 40
    assert "1 of 3 shards are empty" in "".join(capfd.readouterr())


def test_an_empty_shard_is_skipped_whatever_types_it_says_it_has(shards, tmp_path):
    """pandas writes a table without rows with columns of type null."""
    nothing = pa.table({"id": pa.nulls(0), "embedding": pa.nulls(0)})
    assert prune(shards(nothing, {}), tmp_path / "out", clustering=FEW).rows == 20


def test_empty_shards_alone(shards, stops):
    nothing = table(made(20, planted=0), slice(0, 0))
    stops(shards(nothing, nothing), "shards: none of the 2 has a row", kind=DataError)


# numbers that make no sense


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"clustering": Clustering(clusters=41)}, "clusters: expected at most the 40 rows there are, got 41"),
        (
            {"clustering": Clustering(clusters=20, sample=10)},
            "sample: expected at least as many rows as the 20 clusters, got 10",
        ),
        ({"keep": 0}, "keep: expected to keep a row at least, but 0 of 40 rows are 0"),
        ({"keep": -3}, "keep: expected to keep a row at least"),
        ({"keep": 0.01}, "keep: expected to keep a row at least, but 0.01 of 40 rows are 0"),
        ({"keep": 0.0}, r"keep: expected a fraction in \(0, 1\] or a count, got 0.0"),
        ({"keep": 1.5}, r"keep: expected a fraction in \(0, 1\] or a count, got 1.5"),
        ({"keep": float("nan")}, r"keep: expected a fraction in \(0, 1\] or a count, got nan"),
        ({"keep": 41}, "keep: expected at most the 40 rows there are, got 41"),
        ({"write": ["csv"]}, "write: expected shards, uids or keys, got 'csv'"),
        ({"engine": "spark"}, "engine: expected local or ray, got 'spark'"),
        ({"workers": 0}, "workers: expected 1 or more, got 0"),
    ],
)
def test_options_without_sense_are_told_before_any_work(shards, stops, tmp_path, options, said):
    stops(shards({}, {}), said, **options)
    assert not (tmp_path / "out" / "stages").exists()


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (Choice, {"by": "loss"}, "by: expected density, prototypes, random, got 'loss'"),
        (Choice, {"prefer": "soft"}, "prefer: expected hard, easy, random, got 'soft'"),
        (
            Choice,
            {"by": "prototypes", "prefer": "random"},
            "prefer: prototypes go by distance, so expected hard or easy",
        ),
        (Choice, {"floor": 1.5}, r"floor: expected a part of an even share, in \[0, 1\], got 1.5"),
        (Choice, {"temperature": 0.0}, "temperature: expected one above 0, got 0.0"),
        (Choice, {"neighbours": 0}, "neighbours: expected 1 or more, got 0"),
        (Clustering, {"clusters": 0}, "clusters: expected 1 or more, got 0"),
        (Clustering, {"unit_rows": 0}, "unit_rows: expected 1 or more, got 0"),
        (Clustering, {"on_bad": "keep"}, "on_bad: expected stop or drop, got 'keep'"),
        (Dedup, {"threshold": 1.5}, "threshold: expected a cosine from -1 to 1, got 1.5"),
        (Dedup, {"threshold": None}, "dedup: expected a threshold or a target fraction, got both or neither"),
        (Dedup, {"target": 0.5}, "dedup: expected a threshold or a target fraction, got both or neither"),
        (Dedup, {"threshold": None, "target": 0.0}, r"target: expected a fraction in \(0, 1\], got 0.0"),
        (Dedup, {"prefer": "soft"}, "prefer: expected hard, easy, random, got 'soft'"),
    ],
)
def test_settings_without_sense_are_told_when_they_are_made(kind, options, said):
    with pytest.raises(SecateurError, match=said):
        kind(**options)


def test_more_clusters_than_good_rows_in_the_sample(shards, stops):
    """Of 20 rows 15 are good."""
    how = Clustering(clusters=18, on_bad="drop")
    said = "clusters: expected at most the 15 good rows of the sample, got 18; ask for fewer, or for a larger --sample"
    stops(shards({"embedding": vectors(**BAD)}), said, clustering=how)


def test_more_is_asked_for_than_dedup_leaves(shards, stops):
    copies = {"embedding": lists([[1.0, 2.0]] * 10 + [[-2.0, 1.0]] * 10)}
    said = r"keep: 10 of 20 rows are asked for, but filter and dedup leave 2: keep at most 0\.1000, or filter less; or take fewer rows for duplicates"
    stops(shards(copies), said, keep=0.5, clustering=Clustering(clusters=2))


def test_a_target_that_one_row_of_each_cluster_exceeds(shards, stops):
    said = r"target: 0\.05 of 20 rows are 1, but of each cluster one stays, 3 in all; ask for 0\.1500 or more"
    stops(shards({}), said, keep=1, dedup=Dedup(threshold=None, target=0.05))


# folders that are taken


def test_out_of_other_shards(tmp_path, shards, stops):
    place = shards({}, {})
    prune(place, tmp_path / "out", clustering=FEW)
    (place / "1.parquet").unlink()
    said = r"out: .*out was made from other shards \(fingerprint \w+, not \w+\); name another --out, or --force"
    stops(place, said, kind=WrongData)
    assert prune(place, tmp_path / "out", clustering=FEW, force=True).rows == 20
    assert len(manifest(tmp_path / "out")["id"]) == 20


@pytest.mark.parametrize("force", [False, True])
def test_out_that_holds_something_else_is_never_touched(tmp_path, shards, stops, force):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    said = r"out: .*out holds something else \(thesis\.tex\); name another --out"
    stops(shards({}), said, kind=WrongData, force=force)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_ids_that_are_no_uids(shards, stops):
    said = r"uids: expected ids of 32 hexadecimal digits, got '?\d+'?; for other ids take kept_ids\.parquet or keys"
    stops(shards({}), said, write=["uids"])


def test_the_uid_that_is_none_is_the_one_that_is_named(shards, stops):
    ids = [f"{i:032x}" for i in range(19)] + ["0x" + "0" * 30]
    stops(shards({"id": ids}), r"uids: expected ids .*, got '0x0+';", write=["uids"], keep=20, dedup=None)
