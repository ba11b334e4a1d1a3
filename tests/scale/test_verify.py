"""Before a run is called done: the manifest keeps its quotas, says the same as the kept ids, and adds up."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from secateur.errors import SecateurError, StoreError
from secateur.scale.storage import Place
from secateur.scale.verify import Looking, agreed, alone, look

FILES = ("manifest.parquet", "kept_ids.parquet")


@pytest.fixture
def looked(tmp_path):
    """What is said of a part of the manifest: clusters 3 and 4, of which two rows and one are to be kept."""

    def at(kept=(True, True, False, True, False), ids=("a", "b", "d")):
        columns = {"id": list("abcde"), "cluster": [3, 3, 3, 4, 4], "kept": list(kept)}
        pq.write_table(pa.table(columns), tmp_path / FILES[0])
        pq.write_table(pa.table({"id": list(ids)}), tmp_path / FILES[1])
        root = Place(str(tmp_path))
        return look(Looking(root, {name: (root / name).digest() for name in FILES}, np.array([2, 1]), first=3))

    return at


def test_a_part_of_the_manifest_as_it_should_be(looked):
    assert looked() == ""


@pytest.mark.parametrize("kept", [(True, True, True, True, False), (True, False, False, True, True), (True,) * 5])
def test_a_part_of_the_manifest_keeps_the_quota_of_each_cluster(looked, kept):
    ids = [name for name, stays in zip("abcde", kept, strict=True) if stays]
    assert looked(kept, ids) == f"manifest.parquet keeps {sum(kept)} rows, but the quotas of its clusters add up to 3"


@pytest.mark.parametrize("ids", [("a", "b", "e"), ("a", "b"), ("b", "a", "d"), ("a", "b", "d", "d")])
def test_kept_ids_are_those_that_the_manifest_keeps(looked, ids):
    assert looked(ids=ids) == "the ids in kept_ids.parquet differ from those kept in manifest.parquet"


@pytest.mark.parametrize(("rows", "kept"), [(10, 4), (11, 3), (9, 3)])
def test_a_manifest_adds_up_to_the_rows_there_are_and_those_kept(rows, kept):
    parts = [{"rows": 5, "kept": 2}, {"rows": 4, "kept": 1}]
    agreed(10, 3, parts, 1)  # one row is bad
    with pytest.raises(StoreError, match=f"has 10 rows and keeps 3, expected {rows} and {kept}; delete stages/"):
        agreed(rows, kept, parts, 1)


def test_a_folder_that_is_read_as_one_table_has_its_parts_and_no_others(tmp_path):
    for name in ("a.parquet", "b.parquet", ".hidden"):
        (tmp_path / name).touch()
    alone(Place(str(tmp_path)), ["a.parquet", "b.parquet"])
    with pytest.raises(SecateurError, match=r"contains 'b.parquet', which this selection did not write"):
        alone(Place(str(tmp_path)), ["a.parquet"])
    with pytest.raises(StoreError, match=r"c.parquet is missing right after it was written"):
        alone(Place(str(tmp_path)), ["a.parquet", "b.parquet", "c.parquet"])
