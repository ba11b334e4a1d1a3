"""Files of ids that stay or go: read strictly, and refused in a sentence that names the file."""

import os
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from secateur.errors import SecateurError
from secateur.study.held import read_limits

pytestmark = pytest.mark.usefixtures("our_own_errors")


def read(path):
    return read_limits(0, path, None, 10).must_keep


@pytest.mark.parametrize("text", ["3\n1\n", "id,name\n3,a\n1,b\n", "\ufeff3\n1", "3\n\n1\n1\n", "row\n1\n3"])
def test_text_with_an_id_first_on_each_line(tmp_path, text):
    (tmp_path / "ids.txt").write_text(text, encoding="utf-8")
    assert read(tmp_path / "ids.txt") == (1, 3)


def test_arrays_and_tables(tmp_path):
    np.save(tmp_path / "a.npy", np.array([3, 1], dtype=np.uint8))
    pq.write_table(pa.table({"x": [0, 0], "id": [3, 1]}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.npy") == read(tmp_path / "a.parquet") == (1, 3)


@pytest.mark.parametrize(
    "text, said",
    [
        ("", "contains no ids; give a file that does, or leave the option out"),
        ("id\n", "contains no ids"),
        ("-3\n1\n", "expected one id per line in .*, got '-3'"),  # is no header
        ("1.5\n1\n", "got '1.5'"),
        ("1\nx\n", "got 'x'"),
        ("name,id\na,3\n", "got 'a'"),
        ("9" * 5000, "expected one id per line"),
        ("10", "ids.txt: expected ids from 0 to 9, got 10"),
    ],
)
def test_text_that_is_no_list_of_ids(tmp_path, text, said):
    (tmp_path / "ids.txt").write_text(text)
    with pytest.raises(SecateurError, match=rf"must_keep: .*ids.txt.*{said}|{said}"):
        read(tmp_path / "ids.txt")


@pytest.mark.parametrize(
    "array, said",
    [
        (np.array([0.0, 1.0]), "expected whole numbers, got float64"),
        (np.array([[0, 1]]), r"got int64 of shape \(1, 2\)"),
        (np.array(3), r"got int64 of shape \(\)"),
        (np.ones(10, bool), "expected ids, got a mask; np.flatnonzero"),
        (np.array([1, -1]), "expected ids from 0 to 9, got -1"),
        (np.array([2**63], np.uint64), "expected ids from 0 to 9, got 9223372036854775808"),
        (np.array([]), "contains no ids"),
        (np.array([{"a": 1}], object), "could not be read as ids .*Python objects"),
        (np.array([(1, 2)], [("a", "i4"), ("b", "i4")]), "expected whole numbers"),
    ],
)
def test_arrays_that_are_no_list_of_ids(tmp_path, array, said):
    np.save(tmp_path / "ids.npy", array)
    with pytest.raises(SecateurError, match=f"must_keep: .*ids.npy.*{said}"):
        read(tmp_path / "ids.npy")


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x04K\x01.", b"\x93NUMPY\x01\x00v\x00{'descr': '<i8', 'shape': (1", "cut"]
)
@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_files_that_are_damaged(tmp_path, content, suffix):
    if content == "cut":
        np.save(tmp_path / "ids.npy", np.arange(10))
        pq.write_table(pa.table({"id": [3, 1]}), tmp_path / "ids.parquet")
        content = (tmp_path / f"ids{suffix}").read_bytes()[:-9]
    (tmp_path / f"ids{suffix}").write_bytes(content)
    with pytest.raises(
        SecateurError, match=rf"must_keep: .*ids{suffix} could not be read as ids \(.*\); expected whole"
    ):
        read(tmp_path / f"ids{suffix}")


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)


@pytest.mark.parametrize("name", ["ids.npy", "ids.txt", "ids.parquet"])
def test_a_file_of_ids_that_is_a_pickle_runs_nothing(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "PWNED")))
    with pytest.raises(SecateurError, match=f"must_keep: .*{name}.*expected"):
        read(tmp_path / name)
    assert not (tmp_path / "PWNED").exists()


def test_a_header_that_claims_more_than_the_file_has(tmp_path):
    np.save(tmp_path / "ids.npy", np.arange(10))
    content = (tmp_path / "ids.npy").read_bytes().replace(b"(10,), }      ", b"(10000000000,)", 1)
    (tmp_path / "ids.npy").write_bytes(content)
    with pytest.raises(SecateurError, match="could not be read as ids"):
        read(tmp_path / "ids.npy")


@pytest.mark.parametrize(
    "columns, said",
    [
        ({"row": [1]}, "its columns are row"),
        ({"id": [1.0]}, "column id holds double"),
        ({"id": [1, None]}, "1 ids are null"),
        ({"id": list(range(200))}, "it has 200 rows, but the data have 10 examples"),
    ],
)
def test_tables_that_are_no_list_of_ids(tmp_path, columns, said):
    pq.write_table(pa.table(columns), tmp_path / "ids.parquet")
    with pytest.raises(SecateurError, match=f"must_keep: .*ids.parquet could not be read as ids .{said}"):
        read(tmp_path / "ids.parquet")


def test_folders_and_what_is_no_text(tmp_path):
    with pytest.raises(SecateurError, match="must_keep: .* cannot be read .Is a directory"):
        read(tmp_path)
    (tmp_path / "ids.txt").write_bytes(b"\xff\xfe1\x00")
    with pytest.raises(SecateurError, match="could not be read as ids"):
        read(tmp_path / "ids.txt")


@pytest.mark.parametrize("given", [[[1], [2, 3]], [1.5], ["a"], [True, False], (x for x in (1, 2))])
def test_values_from_python(given):
    with pytest.raises(SecateurError, match="must_keep: expected (ids|whole numbers)"):
        read(given)
