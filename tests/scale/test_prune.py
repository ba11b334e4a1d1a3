"""`scale prune` from shards to what is kept: complete, consistent, the same for any workers, and never done twice."""

import dataclasses
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from secateur.scale import Choice, Clustering, Dedup, Filter
from secateur.scale.shards import Columns, survey
from secateur.scale.storage import expand
from tests.scale.made import kept_ids, made, manifest, prune, stage, table, unit, write

FEW = Clustering(clusters=12, unit_rows=140)


def files(folder, *, but=("run.json", "clusters.parquet", "bill.json", ".lock")):
    """Every file and its bytes."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name not in but
    }


def times(folder, *, but=("run.json", "clusters.parquet", "bill.json", ".lock")):
    """When every file was written."""
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name not in but}


def test_every_row_is_in_the_manifest_once_with_a_reason(pruned):
    found = manifest(pruned.out)
    assert found["id"].tolist() == sorted(pruned.data.ids.tolist())
    assert set(found["reason"]) == {"kept", "pruned", "duplicate"}
    assert (found["kept"] == (found["reason"] == "kept")).all()


def test_exactly_the_fraction_is_kept_and_what_is_told_adds_up(pruned):
    result, reasons = pruned.result, manifest(pruned.out)["reason"]
    assert result.kept == 120
    assert (result.rows, result.clusters, result.bad, result.filtered, result.empty) == (400, 12, 0, 0, ())
    for name in ("kept", "pruned", "duplicate"):
        assert (reasons == name).sum() == {"duplicate": result.duplicates}.get(name, getattr(result, name, None))
    assert json.loads((pruned.out / "run.json").read_text())["result"]["kept"] == 120


def test_clusters_and_distances_are_those_of_the_nearest_centroid(pruned):
    found = manifest(pruned.out)
    place = {one: i for i, one in enumerate(pruned.data.ids.tolist())}
    rows = unit(pruned.data.embeddings)[[place[one] for one in found["id"].tolist()]]
    cosines = rows @ np.load(stage(pruned.out, "fit") / "centroids.npy").T
    assert found["cluster"].tolist() == cosines.argmax(axis=1).tolist()
    np.testing.assert_allclose(found["distance"], 1 - cosines.max(axis=1), atol=1e-6)


def test_duplicates_are_those_of_a_plain_loop_and_name_a_row_that_stays(pruned):
    found, data = manifest(pruned.out), pruned.data
    rows = dict(zip(data.ids.tolist(), unit(data.embeddings), strict=True))
    by_id = {one: i for i, one in enumerate(found["id"].tolist())}
    for cluster in range(12):
        mine = np.flatnonzero(found["cluster"] == cluster)
        order = found["id"][mine[np.argsort(-found["distance"][mine], kind="stable")]].tolist()
        for place, one in enumerate(order):
            alike = [float(rows[one] @ rows[other]) for other in order[:place]]
            assert (found["reason"][by_id[one]] == "duplicate") == (max(alike, default=-1) > 0.95)
    for one, other, reason in zip(found["id"], found["duplicate_of"], found["reason"], strict=True):
        assert (other is not None) == (reason == "duplicate")
        if other is not None:
            assert found["reason"][by_id[other]] in ("kept", "pruned")
            assert found["cluster"][by_id[other]] == found["cluster"][by_id[one]]


def test_of_planted_near_duplicates_one_of_each_pair_goes_at_least(pruned):
    reasons = dict(zip(*(manifest(pruned.out)[name].tolist() for name in ("id", "reason")), strict=True))
    pairs = pruned.data.ids[pruned.data.planted].tolist()
    gone = [any(reasons[one] == "duplicate" for one in pair) for pair in pairs]
    assert np.mean(gone) > 0.95


def check_shards(out, whole):
    """The kept shards one after the other are the rows kept, all columns, in the order they had."""
    written = pa.concat_tables([pq.read_table(p) for p in sorted((out / "kept").iterdir())])
    kept = set(kept_ids(out))
    expected = whole.filter(pa.array([one in kept for one in whole["id"].to_pylist()]))
    assert written.equals(expected.combine_chunks()) or written.combine_chunks().equals(expected.combine_chunks())
    assert written.schema.equals(whole.schema)


def test_kept_shards_hold_the_kept_rows_with_all_columns_in_their_order(pruned):
    check_shards(pruned.out, table(pruned.data))


@pytest.mark.parametrize(("group", "unit_rows"), [(1000, 50), (20, 64), (7, 1000), (100, 100)])
def test_row_groups_of_any_size_come_out_whole(tmp_path, group, unit_rows):
    """One row group in several units, several in one, all of a shard in one, and one to one."""
    data = made()
    shards = write(tmp_path / "shards", data, group=group)
    how = Clustering(clusters=5, unit_rows=unit_rows)
    prune(shards, tmp_path / "out", clustering=how, dedup=None, write=["shards"])
    units = survey(expand(shards), Columns(), unit_rows=unit_rows).units
    assert max(u.rows for u in units) <= unit_rows
    assert [u.start for u in units] == np.cumsum([0, *(u.rows for u in units)])[:-1].tolist()
    assert manifest(tmp_path / "out")["id"].tolist() == sorted(data.ids.tolist())
    check_shards(tmp_path / "out", table(data))


def test_ids_as_whole_numbers_are_written_as_whole_numbers(tmp_path):
    prune(write(tmp_path / "shards", made()), tmp_path / "out", clustering=FEW)
    for name in ("manifest", "kept_ids"):
        assert pq.read_table(tmp_path / "out" / f"{name}.parquet").schema.field("id").type == pa.int64()


def test_lists_for_datacomp_and_webdataset_are_the_kept_ids_sorted(pruned):
    ids = kept_ids(pruned.out)
    uids = np.load(pruned.out / "kept_uids.npy")
    assert uids.dtype == np.dtype("u8,u8")
    assert [f"{high:016x}{low:016x}" for high, low in uids.tolist()] == ids
    assert (pruned.out / "kept_keys.txt").read_text().splitlines() == ids


def test_two_workers_write_the_same_bytes_as_this_process(pruned, tmp_path):
    again = tmp_path / "out"
    options = {"clustering": pruned.clustering, "write": ["shards", "uids", "keys"], "workers": 2}
    result = prune(pruned.shards, again, keep=0.3, **options)
    assert result.kept == pruned.result.kept
    for name in ("manifest.parquet", "kept_ids.parquet", "kept"):
        assert files(again / name) == files(pruned.out / name)
    assert (again / "kept_uids.npy").read_bytes() == (pruned.out / "kept_uids.npy").read_bytes()


@pytest.fixture
def fresh(tmp_path):
    """Prune 300 rows with a null embedding; again with other options."""
    data = made(300)
    rows = [None if i == 5 else row.tolist() for i, row in enumerate(data.embeddings)]
    (tmp_path / "shards").mkdir()
    vectors = pa.array(rows, pa.list_(pa.float32()))
    pq.write_table(table(data, embedding=vectors), tmp_path / "shards" / "a.parquet")
    how = Clustering(clusters=8, unit_rows=64, on_bad="drop")
    out = tmp_path / "out"

    def again(**options):
        return prune(tmp_path / "shards", out, **{"clustering": how, "write": ["shards"]} | options)

    again.out = out
    return again


def test_the_same_run_again_writes_nothing_anew(fresh):
    first = fresh()
    before = times(fresh.out)
    assert fresh() == first
    assert times(fresh.out) == before


def test_another_keep_goes_on_from_the_same_clusters_and_duplicates_and_replaces_the_manifest(fresh):
    fresh(keep=0.5)
    before, kept = times(fresh.out / "stages"), kept_ids(fresh.out)
    fresh(keep=0.2)
    after = times(fresh.out / "stages")
    reused = [p for p in before if any(f"/{s}-" in p for s in ("sample", "fit", "assign", "ids", "dedup", "left"))]
    assert len(reused) > 30
    assert all(after[p] == before[p] for p in reused)
    assert len(kept_ids(fresh.out)) == manifest(fresh.out)["kept"].sum() == 60
    assert set(kept_ids(fresh.out)) < set(kept)


def test_who_goes_back_to_a_former_keep_has_all_of_it_again(fresh):
    """Kept shards and the rows without an embedding too, which other stages write."""
    fresh(keep=0.5)
    before = {name: files(fresh.out / name) for name in ("manifest.parquet", "kept_ids.parquet", "kept")}
    fresh(keep=0.2)
    fresh(keep=0.5)
    assert {name: files(fresh.out / name) for name in before} == before


def test_rows_that_a_filter_removes_are_told_and_stand_for_no_other(tmp_path):
    data = made()
    shards = write(tmp_path / "shards", data)
    result = prune(shards, tmp_path / "out", keep=80, clustering=FEW, filter=Filter("clip", min=0.5))
    found = manifest(tmp_path / "out")
    clip = dict(zip(data.ids.tolist(), data.clip.tolist(), strict=True))
    out = np.array([clip[one] < 0.5 for one in found["id"].tolist()])
    assert ((found["reason"] == "filtered") == out).all()
    assert result.filtered == out.sum()
    stands = [other for other in found["duplicate_of"] if other is not None]
    assert stands
    assert all(clip[other] >= 0.5 for other in stands)


@pytest.mark.parametrize("filter", [None, Filter("clip", min=0.3)])
@pytest.mark.parametrize("target", [0.9, 0.5, 0.15])
def test_a_target_leaves_exactly_that_part_of_the_rows_that_are_compared(tmp_path, target, filter):
    data = made(planted=0)
    shards = write(tmp_path / "shards", data)
    how = {"dedup": Dedup(threshold=None, target=target), "filter": filter, "clustering": Clustering(clusters=4)}
    result = prune(shards, tmp_path / "out", keep=1, **how)
    compared = 400 if filter is None else int((data.clip >= 0.3).sum())
    assert result.kept + result.pruned == int(target * compared + 0.5)


def test_a_target_of_everything_removes_nothing_not_even_copies(tmp_path):
    shards = write(tmp_path / "shards", made(planted=150))
    result = prune(shards, tmp_path / "out", dedup=Dedup(threshold=None, target=1.0), clustering=FEW)
    assert result.duplicates == 0


def test_a_threshold_of_minus_one_leaves_one_row_of_each_cluster(tmp_path):
    shards = write(tmp_path / "shards", made())
    alone = dataclasses.replace(FEW, border=0.0)  # else a row is compared with guests of other clusters, too
    result = prune(shards, tmp_path / "out", keep=1, dedup=Dedup(threshold=-1.0), clustering=alone)
    assert result.kept + result.pruned == 12


def test_a_cluster_for_every_row_and_a_single_cluster_work(tmp_path):
    shards = write(tmp_path / "shards", made(60, planted=5))
    for clusters in (60, 1):
        out = tmp_path / f"out{clusters}"
        result = prune(shards, out, keep=12, clustering=Clustering(clusters=clusters), dedup=None)
        assert (result.kept, result.clusters) == (12, clusters)


def test_without_dedup_there_are_no_duplicates(tmp_path):
    result = prune(write(tmp_path / "shards", made()), tmp_path / "out", dedup=None, clustering=FEW)
    assert (result.duplicates, result.threshold) == (0, None)


def test_shards_in_half_precision_and_lists_of_any_kind_are_read_alike(tmp_path):
    data = made(60, planted=0)
    rows = data.embeddings.astype(np.float16)
    data = type(data)(data.ids, rows.astype(np.float32), data.clip, data.blob, data.planted)
    kinds = {
        "list": pa.array(list(rows), pa.list_(pa.float16())),
        "large": pa.array(list(rows), pa.large_list(pa.float16())),
        "fixed": pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), 16),
    }
    found = []
    for name, vectors in kinds.items():
        pq.write_table(table(data, embedding=vectors), tmp_path / f"{name}.parquet")
        prune(tmp_path / f"{name}.parquet", tmp_path / name, clustering=Clustering(clusters=4))
        found.append(files(tmp_path / name / "manifest.parquet"))
    assert found[0] == found[1] == found[2]


def test_the_threads_of_this_process_are_left_as_they_were(tmp_path):
    import faiss
    from threadpoolctl import threadpool_info

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    threads = [pool["num_threads"] for pool in threadpool_info()]
    try:
        prune(write(tmp_path / "shards", made(60, planted=2)), tmp_path / "out", clustering=Clustering(clusters=3))
        assert faiss.omp_get_max_threads() == 3
        assert [pool["num_threads"] for pool in threadpool_info()] == threads
    finally:
        faiss.omp_set_num_threads(before)


def test_seeds_choose_other_clusters_and_other_random_rows(tmp_path):
    shards = write(tmp_path / "shards", made())
    kept = []
    for seed in (0, 1):
        how = Clustering(clusters=1, seed=seed)
        prune(shards, tmp_path / f"out{seed}", clustering=how, choice=Choice(by="random"), dedup=None)
        kept.append(set(kept_ids(tmp_path / f"out{seed}")))
    assert 10 < len(kept[0] & kept[1]) < 70
