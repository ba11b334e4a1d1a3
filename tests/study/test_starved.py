"""Small classes: a floor by default, and a warning that recommends only what is off and can be done."""

import numpy as np
import pytest

import secateur as sc
from secateur.methods import method
from secateur.study.starved import starved_warning
from tests.conftest import SMALL

VECTORS = SMALL | {"net": "mlp:0.1"}

TWO = (np.array([100, 100]), np.array([60, 10]))  # 70 of 200 are kept, so half of an even share is 17.5


def warned(before, after, name="el2n", floor=0, classes="abcdefghij"):
    return starved_warning(list(classes), np.asarray(before), np.asarray(after), method(name), floor)


def test_even_shares_are_not_warned_of():
    assert warned([10, 20], [1, 2]) is None


def test_the_class_is_named_with_what_helps():
    told = warned(*TWO)
    assert "1 of 2 classes keep less than half of their share: b 10 of 100" in told
    assert "--min-per-class 18 keeps as many of every class, or --method el2n:per_class=1 chooses inside" in told


def test_what_is_on_already_is_not_recommended():
    assert "per_class=1" not in warned(*TWO, name="dual:per_class=1")
    assert "per_class=1" not in warned(*TWO, name="drop")


def test_a_floor_that_does_not_fit_is_not_recommended():
    before, after = [300, 40, 40, 40], [10, 0, 0, 0]  # half a share is 0.48 of each: a floor of 1 fits in 10 rows
    assert "--min-per-class 1 keeps" in warned(before, after)
    assert "--min-per-class" not in warned(before, after, floor=1)
    assert warned(before, after, name="dual:per_class=1", floor=1).endswith("the only way to keep more of them")


def test_fewer_rows_than_classes_are_told_apart_from_a_bad_choice():
    told = warned([5] * 10, [1, 1] + [0] * 8)
    assert "(8 of them nothing)" in told
    assert told.endswith("2 rows cannot hold one of each: keep 10 rows or more, or merge small classes")


@pytest.fixture(scope="module")
def tailed():
    """Ten common classes of 60 rows and forty rare ones of 4, in two clear dimensions each."""
    labels = np.repeat(np.arange(50), [60] * 10 + [4] * 40)
    rows = (
        np.random.default_rng(0).normal(size=(len(labels), 8))
        + np.random.default_rng(1).normal(size=(50, 8))[labels] * 4
    )
    return rows.astype(np.float32), labels


@pytest.mark.parametrize("name", ["dual:per_class=1", "random"])
def test_every_class_keeps_a_row_by_default_where_there_is_room(tailed, tmp_path, name):
    subset = sc.prune(tailed, keep=0.1, method=name, out=tmp_path / "out", **VECTORS)
    assert len(subset) == 76
    assert np.bincount(tailed[1][subset.ids], minlength=50).min() == 1
    assert subset.provenance["min_per_class"] == 1


def test_there_is_no_floor_by_default_where_it_does_not_fit_or_the_method_ranks_over_all(tailed, tmp_path):
    few = sc.prune(tailed, keep=20, out=tmp_path / "out", **VECTORS)
    over_all = sc.prune(tailed, keep=0.1, method="el2n", out=tmp_path / "out", **VECTORS)
    assert few.provenance["min_per_class"] == over_all.provenance["min_per_class"] == 0


def test_a_floor_of_none_that_is_asked_for_stays(tailed, tmp_path):
    subset = sc.prune(tailed, keep=0.1, min_per_class=0, out=tmp_path / "out", **VECTORS)
    assert np.bincount(tailed[1][subset.ids], minlength=50).min() == 0
