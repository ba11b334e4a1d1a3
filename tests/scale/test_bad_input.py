"""Bad input stops with a sentence: what was expected, what came, where, and the way out."""

import numpy as np
import pyarrow as pa
import pytest

from secateur.errors import DataError
from secateur.scale import Clustering, Columns, Filter
from tests.scale.made import BAD, FEW, kept_ids, lists, made, manifest, prune, table, vectors

pytestmark = pytest.mark.usefixtures("our_own_errors")
DROP = Clustering(clusters=3, unit_rows=16, on_bad="drop")


GOOD = {"embedding": vectors()}


# shards that are none, or not like the others


def test_no_file_matches(tmp_path, stops):
    stops(tmp_path / "*.parquet", r"shards: .*\*\.parquet matches no file; expected parquet files", kind=DataError)


def test_one_of_two_patterns_matches_nothing(shards, tmp_path, stops):
    from secateur.scale import prune as whole

    paths = [str(shards({}) / "0.parquet"), str(tmp_path / "misspelt.parquet")]
    with pytest.raises(DataError, match=r"shards: .*misspelt\.parquet matches no file"):
        whole(paths, keep=0.3, out=str(tmp_path / "out"), quiet=True)


def test_a_folder_without_parquet_files(tmp_path, stops):
    (tmp_path / "empty").mkdir()
    stops(tmp_path / "empty", "shards: .*empty has no .parquet file in it; expected parquet files", kind=DataError)


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
