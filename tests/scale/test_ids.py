"""Every id once: keys that tell ids apart, looked through range by range."""

import numpy as np
import pytest

from secateur.errors import DataError
from secateur.scale import Clustering, ids
from secateur.scale.ids import keys, ranges, write_keys
from secateur.scale.shards import Columns, Unit
from secateur.scale.storage import Folders, Place, expand
from tests.scale.made import made, prune, write


def test_whole_numbers_have_keys_of_their_own_spread_over_all_ranges():
    found = keys(np.concatenate([np.arange(5000), -np.arange(1, 5000), 2**62 + np.arange(5000)]))
    assert len(np.unique(found)) == 14_999
    counts = np.histogram(found.astype(float), bins=8, range=(0, 2.0**64))[0]
    assert counts.min() > 14_999 / 8 * 0.9


def test_strings_have_the_same_key_wherever_they_are():
    one, other = keys(np.array([b"a", b"bc"])), keys(np.array([b"bc", b"a", b"a longer one"]))
    assert one.tolist() == other[[1, 0]].tolist()
    assert len(set(other.tolist())) == 3


def test_ranges_take_all_keys_apart_and_say_which_row_each_is(tmp_path):
    numbers = np.random.default_rng(0).permutation(1000)
    write_keys(numbers, 500, 7, Place(str(tmp_path)))
    found, rows, firsts = (np.load(tmp_path / f"{n}.npy") for n in ("keys", "key_rows", "key_firsts"))
    assert (np.diff(found.astype(float)) > 0).all()
    assert found.tolist() == keys(numbers)[rows - 500].tolist()
    assert (firsts[0], firsts[-1], len(firsts)) == (0, 1000, 8)
    for part in range(7):
        mine = found[firsts[part] : firsts[part + 1]].tolist()
        assert all(part * 2**64 // 7 <= key < (part + 1) * 2**64 // 7 for key in mine)


def test_about_four_million_ids_are_a_range():
    assert (ranges(1), ranges(1 << 22), ranges((1 << 22) + 1), ranges(5 * 10**9)) == (1, 1, 2, 1193)


@pytest.mark.parametrize("strings", [True, False])
def test_an_id_is_found_twice_in_whatever_range_it_is(tmp_path, monkeypatch, strings):
    monkeypatch.setattr(ids, "_RANGE", 20)
    data = made(90, planted=0, strings=strings)
    for turn, (one, other) in enumerate([(3, 88), (10, 50)]):
        again = data.ids.copy()
        again[other] = again[one]
        shards = write(
            tmp_path / f"shards{turn}", type(data)(again, data.embeddings, data.clip, data.blob, data.planted)
        )
        with pytest.raises(
            DataError, match=rf"ids: '{again[one]}' is there twice, .* \(rows {one} and {other} of all\)"
        ):
            prune(shards, tmp_path / f"out{turn}", clustering=Clustering(clusters=3, unit_rows=20))


def test_two_ids_that_have_one_key_by_chance_are_no_error(tmp_path):
    shards = write(tmp_path / "shards", made(30, planted=0), shards=1)
    unit = Unit(expand(shards)[0], (0,), 0, 30, 0)
    ids.tell([unit], Columns(), [(0, 1)])
    with pytest.raises(DataError, match="twice"):
        ids.tell([unit], Columns(), [(0, 1), (2, 2)])


def test_folders_are_named_by_their_number_and_come_to_an_end():
    found = Folders(Place("/a"), 3)
    assert [place.url for place in found] == ["/a/000000", "/a/000001", "/a/000002"]
    with pytest.raises(IndexError):
        found[3]
