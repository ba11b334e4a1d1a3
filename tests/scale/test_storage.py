"""Files here and on an object store are one: written whole, read in part, never as they were before."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from secateur.errors import DataError, StoreError
from secateur.scale.engines import Local
from secateur.scale.storage import Place, expand
from tests.scale.running import pruned, write_shards


@pytest.fixture(params=["here", "s3"])
def folder(request, tmp_path):
    if request.param == "here":
        return Place(str(tmp_path / "folder"))
    return Place(request.getfixturevalue("bucket")) / tmp_path.name


def test_what_is_written_is_there_and_is_gone_when_removed(folder):
    assert not folder.exists()
    assert folder.names() == []
    (folder / "b.json").write_json({"a": 1})
    (folder / "inner" / "a.json").write_json([2])
    assert folder.names() == ["b.json", "inner"]
    assert (folder / "inner").exists()
    assert (folder / "b.json").read_json() == {"a": 1}
    (folder / "inner").remove()
    (folder / "never").remove()
    assert folder.names() == ["b.json"]
    assert not (folder / "inner" / "a.json").exists()


def test_a_file_is_whole_or_not_there(folder):
    with pytest.raises(KeyError), (folder / "a.bin").writing() as file:
        file.write(b"half of it")
        raise KeyError
    assert not (folder / "a.bin").exists()


@pytest.mark.parametrize("rows", [40, 4000])  # all of it beside its header, and not
def test_slices_of_an_array_are_read_as_they_were_written(folder, rows):
    array = np.arange(3 * rows, dtype=np.float32).reshape(rows, 3)
    place = folder / "array.npy"
    place.write_array(array)
    np.testing.assert_array_equal(place.read_array(), array)
    for start, stop in ((0, 5), (rows - 7, rows), (rows - 7, rows + 100), (13, 14), (9, 9), (rows, rows)):
        np.testing.assert_array_equal(place.read_rows(start, stop), array[start:stop])
    assert place.read_rows(2, 4).dtype == np.float32


@pytest.mark.parametrize("left", [135, 5000])
def test_an_array_that_is_cut_off_is_an_error_that_names_it(folder, left):
    (folder / "array.npy").write_array(np.arange(2000))
    with (folder / "array.npy").open() as file:
        start = file.read(left)
    with (folder / "array.npy").writing() as file:
        file.write(start)
    with pytest.raises(StoreError, match=r"array\.npy: cut off; delete it and run again$"):
        (folder / "array.npy").read_array()


def test_a_file_that_is_not_there_is_an_error_that_names_it(folder):
    for read in (Place.read_array, Place.read_json, Place.open):
        with pytest.raises(StoreError, match=r"missing\.npy: cannot be read \("):
            read(folder / "missing.npy")


def test_what_another_process_writes_meanwhile_is_seen(folder):
    place = folder / "a.json"
    place.write_json("short")
    assert folder.names() == ["a.json"]
    if folder.local is None:
        import boto3

        name = folder.url.removeprefix("s3://bucket/")
        client = boto3.client("s3", region_name="us-east-1")
        for file in ("a.json", "b.json"):
            client.put_object(Bucket="bucket", Key=f"{name}/{file}", Body=b'"what is longer than before"')
    else:
        for file in ("a.json", "b.json"):
            (folder.local / file).write_text('"what is longer than before"')
    assert (folder / "b.json").exists()
    assert folder.names() == ["a.json", "b.json"]
    with place.open() as file:
        assert file.read() == b'"what is longer than before"'


def test_files_are_found_by_glob_folder_and_name(folder):
    for name in ("b.parquet", "a.parquet", "c.txt"):
        (folder / name).write_json(0)
    both = [folder / "a.parquet", folder / "b.parquet"]
    assert expand(f"{folder.url}/*.parquet") == expand(folder.url) == both
    assert expand([both[1].url, both[0].url]) == both[::-1]
    with pytest.raises(DataError, match=r"shards: .*/none\.parquet matches no file"):
        expand([both[1].url, f"{folder.url}/none.parquet"])


def test_an_unknown_kind_of_place_is_an_error_that_names_it():
    with pytest.raises(StoreError, match="^nowhere://a: cannot be reached"):
        Place("nowhere://a").exists()


@pytest.mark.slow
def test_shards_and_out_on_an_object_store_give_what_they_give_here(bucket, tmp_path):
    found = []
    for where in (str(tmp_path), f"{bucket}/whole"):
        shards = write_shards(f"{where}/shards")
        result = pruned(shards, f"{where}/out", Local(1))
        again = pruned(shards, f"{where}/out", Local(1))
        assert again == result
        tables = []
        for name in ("manifest.parquet", "kept_ids.parquet", "kept"):
            for part in (Place(result.files) / name).names():
                with (Place(result.files) / name / part).open() as file:
                    tables.append((name, part, pq.read_table(file)))
        found.append(tables)
    assert found[0] == found[1]
    assert sum(len(table) for name, _, table in found[1] if name == "kept_ids.parquet") == result.kept > 0


def test_a_pipe_in_place_of_a_file_is_an_error_and_not_waited_for(tmp_path):
    import os

    os.mkfifo(tmp_path / "run.json")
    place = Place(str(tmp_path / "run.json"))
    with pytest.raises(StoreError, match="run.json: expected a regular file"):
        place.read_json()
    with pytest.raises(StoreError, match="run.json: expected a regular file"):
        place.open()
