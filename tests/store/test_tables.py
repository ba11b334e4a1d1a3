"""Scores and subsets on disk, and files that are whole or not there."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from secateur.errors import SecateurError, StoreError, WrongData
from secateur.store.files import read_json, replacing, write_json
from secateur.store.tables import Scores, Subset


def subset():
    return Subset.build(
        labels=np.array([0, 1, 1, -1]),
        scores=np.array([0.5, 0.9, 0.1, np.nan]),
        ids=np.array([0, 1]),
        reasons=np.array(["selected", "must keep", "not selected", "bad"], dtype=object),
        provenance={"fingerprint": "abc", "method": "dual"},
    )


def test_a_subset_is_a_table_a_person_can_open(tmp_path):
    subset().save(tmp_path / "subset.parquet")
    table = pq.read_table(tmp_path / "subset.parquet").to_pydict()
    assert list(table) == ["id", "label", "score", "rank", "kept", "weight", "reason"]
    assert table["label"] == [0, 1, 1, None]
    assert table["rank"] == [2, 1, 3, None]
    assert table["kept"] == [True, True, False, False]
    assert table["weight"] == [1.0, 1.0, 0.0, 0.0]


def test_a_subset_is_the_same_again_after_reading(tmp_path):
    subset().save(tmp_path / "subset.parquet")
    again = Subset.open(tmp_path)
    np.testing.assert_array_equal(again.ids, [0, 1])
    assert again.ids.dtype == np.int64
    assert {n: again.table[n].dtype.kind for n in ("label", "rank")} == {"label": "i", "rank": "i"}
    np.testing.assert_array_equal(again.table["label"], [0, 1, 1, -1])
    np.testing.assert_array_equal(again.table["rank"], [2, 1, 3, 0])
    assert again.digest == subset().digest
    assert again.provenance == {"fingerprint": "abc", "method": "dual"}
    assert len(again) == 2


def test_a_subset_of_other_data_is_refused():
    subset().check_data("abc")
    with pytest.raises(WrongData, match="chosen from data with fingerprint abc, but this data has xyz"):
        subset().check_data("xyz")


def test_scores_are_the_same_again_after_reading(tmp_path):
    scores = Scores(np.array([0, 1]), {"dual": np.array([0.1, np.nan])}, {"epochs": 3})
    scores.save(tmp_path / "scores.parquet")
    again = Scores.open(tmp_path / "scores.parquet")
    np.testing.assert_array_equal(again["dual"], [0.1, np.nan])
    assert again.provenance == {"epochs": 3}
    with pytest.raises(SecateurError, match="el2n: expected one of the scores dual"):
        again["el2n"]


def test_a_table_cut_off_is_noticed(tmp_path):
    subset().save(tmp_path / "subset.parquet")
    content = (tmp_path / "subset.parquet").read_bytes()
    (tmp_path / "subset.parquet").write_bytes(content[:-20])
    with pytest.raises(StoreError, match="not a complete table"):
        Subset.open(tmp_path)


def test_a_table_of_someone_else_is_refused(tmp_path):
    import pyarrow as pa

    pq.write_table(pa.table({"id": [1]}), tmp_path / "subset.parquet")
    with pytest.raises(StoreError, match="not a complete table written by secateur"):
        Subset.open(tmp_path)


def test_a_failing_write_leaves_the_old_file(tmp_path):
    write_json(tmp_path / "a.json", {"old": True})
    with pytest.raises(RuntimeError), replacing(tmp_path / "a.json") as beside:
        beside.write_text("half of someth")
        raise RuntimeError
    assert read_json(tmp_path / "a.json") == {"old": True}


def test_a_folder_replaces_a_folder(tmp_path):
    for content in ("old", "new"):
        with replacing(tmp_path / "kept") as beside:
            beside.mkdir()
            (beside / content).touch()
    assert [p.name for p in (tmp_path / "kept").iterdir()] == ["new"]


def test_damaged_json_is_named(tmp_path):
    (tmp_path / "run.json").write_text('{"a": ')
    with pytest.raises(StoreError, match=r"run.json: damaged"):
        read_json(tmp_path / "run.json")


def test_files_have_the_usual_permissions(tmp_path):
    import os

    write_json(tmp_path / "a.json", {})
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "a.json").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_subset_chosen_elsewhere_is_of_its_data_and_in_order(tmp_path):
    given = Subset.given(np.array([2, 0]), labels=np.array([0, 1, 1]), fingerprint="abc")
    given.save(tmp_path / "subset.parquet")
    again = Subset.open(tmp_path)
    assert given.ids.tolist() == again.ids.tolist() == [0, 2]
    assert again.weights.tolist() == [1.0, 1.0]
    assert np.asarray(again.table["kept"]).tolist() == [True, False, True]
    again.check_data("abc")
    with pytest.raises(WrongData):
        again.check_data("abd")
