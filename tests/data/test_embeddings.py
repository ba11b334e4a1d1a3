"""Embeddings made before come in from every file that is understood, row by row the same, and no other way."""

import os
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from secateur.data import embeddings
from secateur.data.embeddings import read_embeddings
from secateur.errors import DataError

N, DIMS = 30, 7
HALF = np.random.default_rng(0).normal(size=(N, DIMS)).astype(np.float16)
FLOATS = HALF.astype(np.float32)
ORDER = np.random.default_rng(1).permutation(N)
WIDTHS = {np.float16: pa.float16(), np.float32: pa.float32(), np.float64: pa.float64()}


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    """Several batches and blocks of each file."""
    monkeypatch.setattr(embeddings, "_BATCH", 8)
    monkeypatch.setattr(embeddings, "_BLOCK", 4 * DIMS)


def write_npy(path, values=FLOATS):
    np.save(path / "x.npy", values)
    return path / "x.npy"


def write_parquet(path, values=FLOATS, ids=None, column="embedding", kind=None):
    """Row k is of example ids[k]; in row groups of 9."""
    kind = kind or pa.list_(WIDTHS[np.asarray(values).dtype.type])
    columns = {column: pa.array(list(values), type=kind), "other": pa.array(["x"] * len(values))}
    if ids is not None:
        columns["id"] = pa.array(ids)
    pq.write_table(pa.table(columns), path / "x.parquet", row_group_size=9)
    return path / "x.parquet"


FILES = {
    "npy float16": lambda path: write_npy(path, HALF),
    "npy float32": write_npy,
    "npy float64": lambda path: write_npy(path, FLOATS.astype(np.float64)),
    "npy in Fortran's order": lambda path: write_npy(path, np.asfortranarray(FLOATS)),
    "parquet float16": lambda path: write_parquet(path, HALF),
    "parquet float32": write_parquet,
    "parquet float64": lambda path: write_parquet(path, FLOATS.astype(np.float64)),
    "large lists": lambda path: write_parquet(path, kind=pa.large_list(pa.float32())),
    "lists of one size": lambda path: write_parquet(path, kind=pa.list_(pa.float32(), DIMS)),
    "in order by id": lambda path: write_parquet(path, ids=np.arange(N)),
    "shuffled with ids": lambda path: write_parquet(path, FLOATS[ORDER], ids=ORDER),
    "small ids": lambda path: write_parquet(path, HALF[ORDER], ids=ORDER.astype(np.uint8)),
    "big ids": lambda path: write_parquet(path, HALF[ORDER], ids=ORDER.astype(np.uint64)),
    "another column": lambda path: f"{write_parquet(path, column='clip')}:clip",
}


@pytest.mark.parametrize("form", FILES)
def test_every_file_gives_the_same_rows_dims_and_digest(form, tmp_path):
    found = read_embeddings(FILES[form](tmp_path), examples=N)
    assert (len(found), found.dims) == (N, DIMS)
    np.testing.assert_array_equal(found.rows(slice(None)), FLOATS)
    np.testing.assert_array_equal(found.rows(slice(5, 23)), FLOATS[5:23])
    np.testing.assert_array_equal(found.rows(np.array([29, 0, 3])), FLOATS[[29, 0, 3]])
    (tmp_path / "again").mkdir()
    assert found.digest == read_embeddings(write_npy(tmp_path / "again"), examples=N).digest


def test_rows_are_copies_of_float32(tmp_path):
    found = read_embeddings(write_npy(tmp_path), examples=N)
    part = found.rows(slice(0, 4))
    part += 1
    assert (type(part), part.dtype) == (np.ndarray, np.float32)
    np.testing.assert_array_equal(found.rows(slice(0, 4)), FLOATS[:4])


def test_the_digest_tells_numbers_order_and_shape_apart(tmp_path):
    changed = FLOATS.copy()
    changed[17, 3] += 1e-3
    kinds = [FLOATS, changed, FLOATS[::-1], FLOATS.reshape(N * DIMS // 6, 6), FLOATS[:-1]]
    digests = {read_embeddings(write_npy(tmp_path, x), examples=len(x)).digest for x in kinds}
    assert len(digests) == len(kinds)


def test_a_file_that_is_not_needed_in_memory_stays_on_disk(tmp_path):
    assert isinstance(read_embeddings(write_npy(tmp_path), examples=N)._values, np.memmap)
    assert isinstance(read_embeddings(write_parquet(tmp_path), examples=N)._values, np.memmap)


def test_a_path_in_the_home_folder_and_one_with_a_colon(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_parquet(tmp_path, column="clip")
    assert read_embeddings("~/x.parquet:clip", examples=N).dims == DIMS
    odd = write_parquet(tmp_path).rename(tmp_path / "y.parquet:z.parquet")
    assert read_embeddings(odd, examples=N).dims == DIMS


class TestRowsThatCannotBeRead:
    """`ids` are those that count: of the others there is nothing to embed."""

    IDS = np.delete(np.arange(N), [4, 11])

    def test_they_may_hold_nan(self, tmp_path):
        values = FLOATS.copy()
        values[[4, 11]] = np.nan
        found = read_embeddings(write_npy(tmp_path, values), examples=N, ids=self.IDS)
        np.testing.assert_array_equal(found.rows(self.IDS), FLOATS[self.IDS])
        with pytest.raises(DataError, match="example 4 "):
            read_embeddings(tmp_path / "x.npy", examples=N)

    def test_they_may_be_missing_where_there_are_ids(self, tmp_path):
        order = ORDER[(ORDER != 4) & (ORDER != 11)]
        path = write_parquet(tmp_path, FLOATS[order], ids=order)
        found = read_embeddings(path, examples=N, ids=self.IDS)
        np.testing.assert_array_equal(found.rows(self.IDS), FLOATS[self.IDS])
        assert np.isnan(found.rows(np.array([4, 11]))).all()
        with pytest.raises(DataError, match="has 28 rows for 30 examples: example 4 has none, nor have 1 others"):
            read_embeddings(path, examples=N)


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    @pytest.mark.parametrize("write", [write_npy, write_parquet])
    def test_a_wrong_count_names_both_numbers_and_the_way_out(self, write, tmp_path):
        with pytest.raises(DataError, match="has 30 rows, but the data have 31 examples .* a column `id`"):
            read_embeddings(write(tmp_path), examples=31)

    @pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 1e300])
    @pytest.mark.parametrize("form", ["npy", "parquet"])
    def test_what_is_not_finite_names_the_first_example(self, wrong, form, tmp_path):
        values = FLOATS.astype(np.float64)
        values[[21, 26], 3] = wrong
        path = write_npy(tmp_path, values) if form == "npy" else write_parquet(tmp_path, values[ORDER], ids=ORDER)
        with pytest.raises(DataError, match=r"embeddings: example 21 in .* holds nan, inf or a number beyond float32"):
            read_embeddings(path, examples=N)

    def test_a_missing_number_is_not_finite(self, tmp_path):
        values = [row.tolist() for row in FLOATS]
        values[12][2] = None
        with pytest.raises(DataError, match="example 12 in"):
            read_embeddings(write_parquet(tmp_path, values, kind=pa.list_(pa.float32())), examples=N)

    def test_rows_of_two_widths(self, tmp_path):
        values = [row.tolist() for row in FLOATS]
        values[19] = values[19][:-2]
        path = write_parquet(tmp_path, values, kind=pa.list_(pa.float32()))
        with pytest.raises(DataError, match="row 19 holds 5 numbers, but the rows before hold 7; .* one width"):
            read_embeddings(path, examples=N)

    @pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float32(), DIMS)], ids=str)
    def test_a_row_without_embedding(self, kind, tmp_path):
        values = [None if i == 19 else row.tolist() for i, row in enumerate(FLOATS)]
        with pytest.raises(DataError, match="row 19 holds 0 numbers"):
            read_embeddings(write_parquet(tmp_path, values, kind=kind), examples=N)

    def test_empty_embeddings(self, tmp_path):
        with pytest.raises(DataError, match="row 0 holds 0 numbers: no embedding"):
            read_embeddings(write_parquet(tmp_path, [[]] * N, kind=pa.list_(pa.float32())), examples=N)

    @pytest.mark.parametrize(
        ("ids", "message"),
        [
            (np.arange(N) + 1, "has id 30 at row 29, but ids go to 29; number the examples from 0, or leave the col"),
            (np.arange(N) - 1, "has id -1 at row 0"),
            (np.r_[3, np.arange(1, N)], "has 2 rows of id 3, expected one"),
            ([f"{i}" for i in range(N)], "column id of .* must number the examples from 0, but holds string"),
            ([None, *range(1, N)], "must number the examples from 0, but holds int64, 1 of them null"),
        ],
        ids=["from 1", "from -1", "twice", "text", "null"],
    )
    def test_ids_that_are_no_permutation(self, ids, message, tmp_path):
        with pytest.raises(DataError, match=message):
            read_embeddings(write_parquet(tmp_path, ids=ids), examples=N)

    def test_an_example_without_row(self, tmp_path):
        path = write_parquet(tmp_path, FLOATS[1:], ids=np.arange(1, N))
        with pytest.raises(DataError, match=r"has 29 rows for 30 examples: example 0 has none; number"):
            read_embeddings(path, examples=N)

    def test_a_column_that_is_not_there_or_holds_no_lists(self, tmp_path):
        path = write_parquet(tmp_path, column="clip")
        with pytest.raises(DataError, match="has the columns clip, other, but no 'embedding'; name the .*parquet:COL"):
            read_embeddings(path, examples=N)
        with pytest.raises(DataError, match=r"column 'other' of .* holds string; expected FILE.npy"):
            read_embeddings(f"{path}:other", examples=N)

    def test_what_is_no_file_of_embeddings_lists_what_is_understood(self, tmp_path):
        listed = "expected FILE.npy of floats of shape .*, or FILE.parquet with a column `embedding`"
        (tmp_path / "x.csv").write_text("1,2")
        for name in ("x.csv", "nowhere.npy", "."):
            with pytest.raises(DataError, match=f"embeddings: .*{listed}"):
                read_embeddings(tmp_path / name, examples=N)

    @pytest.mark.parametrize("values", [np.arange(6), np.zeros((3, 2, 2)), np.zeros((3, 2), int), np.zeros((3, 0))])
    def test_arrays_that_are_no_embeddings(self, values, tmp_path):
        with pytest.raises(DataError, match=r"x.npy (holds .* of shape .*; expected|is not a complete .npy file)"):
            read_embeddings(write_npy(tmp_path, values), examples=3)

    def test_files_cut_off_and_pickles(self, tmp_path):
        for write in (write_npy, write_parquet):
            path = write(tmp_path)
            path.write_bytes(path.read_bytes()[:-40])
            with pytest.raises(DataError, match=r"is not a complete .npy file|could not be read as parquet"):
                read_embeddings(path, examples=N)
        with pytest.raises(DataError, match=r"is not a complete .npy file"):
            read_embeddings(write_npy(tmp_path, np.array([{}], dtype=object)), examples=1)

    @pytest.mark.parametrize("name", ["x.npy", "x.parquet"])
    def test_a_file_that_is_a_pickle_runs_nothing(self, name, tmp_path):
        (tmp_path / name).write_bytes(pickle.dumps(Bomb(tmp_path / "PWNED")))
        with pytest.raises(DataError, match=r"is not a complete .npy file|could not be read as parquet"):
            read_embeddings(tmp_path / name, examples=1)
        assert not (tmp_path / "PWNED").exists()


class Bomb:
    """Makes a folder where it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return os.mkdir, (self.mark,)
