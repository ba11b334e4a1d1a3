"""From a method to ids: ties, class-wise choosing, weights."""

import dataclasses

import numpy as np
import pytest

import secateur as sc
from secateur import registry
from secateur.methods import METHODS, Method, Setting
from secateur.registry import Weighted, selector
from secateur.store.tables import Scores
from secateur.study.pick import NO_CHECK, Picker
from secateur.study.pool import Pool
from tests.conftest import SMALL
from tests.data.made import image_table, pixels, png

LABELS = np.repeat([0, 1, 2], [60, 30, 10])


@pytest.fixture
def first_ones():
    """A selector, registered for the time of a test, that takes the first rows and weighs them 1, 2, 3, ..."""

    @selector(source="a test")
    def first_ones(scores: np.ndarray, *, keep: int | float, rng: np.random.Generator) -> Weighted:
        return Weighted(np.arange(int(keep)), np.arange(1.0, keep + 1))

    yield Method("first-ones", "first-ones", "", (), "el2n")
    registry.ENTRIES.pop(("selector", "first-ones"))


def picker(method, scores, *, seed=0, labelled=True):
    column = {"el2n": scores, "forgetting": scores}
    pool = Pool(LABELS, "abc", labelled=labelled)
    draw = np.random.default_rng(seed)
    return Picker(pool, method, Setting(0.1, 5, 3), Scores(LABELS, column, {}), NO_CHECK, draw)


def by_rank(**changes):
    return dataclasses.replace(METHODS["forgetting"], **changes)


def test_ties_are_broken_at_random_by_the_seed():
    ties = np.zeros(100)
    first, again, other = (picker(by_rank(), ties, seed=s).pick(np.arange(100), 10) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)
    assert (np.diff(first) > 0).all()


def test_a_data_set_sorted_by_class_loses_no_class_to_ties():
    kept = picker(by_rank(), np.zeros(100)).pick(np.arange(100), 50)
    assert set(LABELS[kept]) == {0, 1, 2}


def test_what_is_no_tie_is_ranked_as_ever():
    scores = np.random.default_rng(0).permutation(100).astype(float)
    kept = picker(by_rank(), scores).pick(np.arange(100), 10)
    np.testing.assert_array_equal(kept, np.flatnonzero(scores >= 90))


def test_inside_each_class_classes_keep_their_shares():
    scores = np.arange(100.0)  # the last class is the hardest
    over_all, inside = (picker(by_rank(per_class=p), scores).pick(np.arange(100), 10) for p in (False, True))
    np.testing.assert_array_equal(over_all, np.arange(90, 100))
    np.testing.assert_array_equal(inside, [54, 55, 56, 57, 58, 59, 87, 88, 89, 99])


def test_the_users_word_decides_about_classes():
    scores = np.arange(100.0)
    kept = picker(by_rank(per_class=True, own={"per_class": 0}), scores).pick(np.arange(100), 10)
    np.testing.assert_array_equal(kept, np.arange(90, 100))


def test_without_labels_nothing_is_chosen_by_class():
    kept = picker(by_rank(per_class=True), np.arange(100.0), labelled=False).pick(np.arange(100), 10)
    np.testing.assert_array_equal(kept, np.arange(90, 100))


def test_weights_are_one_on_average_and_those_that_were_not_chosen_count_one(first_ones):
    chooser = picker(first_ones, np.zeros(100))
    kept = chooser.pick(np.arange(10, 100), 3)
    np.testing.assert_array_equal(kept, [10, 11, 12])
    np.testing.assert_allclose(chooser.weights(kept), [0.5, 1.0, 1.5])
    np.testing.assert_allclose(chooser.weights(np.array([0, 10, 11, 12])), [1.0, 0.5, 1.0, 1.5])


def test_a_method_without_weights_gives_none():
    chooser = picker(by_rank(), np.zeros(100))
    assert chooser.weights(chooser.pick(np.arange(100), 3)) is None


def test_a_row_that_cannot_be_read_is_never_drawn_even_without_a_recording(tmp_path):
    encoded = [png(pixels(i, size=16)) for i in range(40)]
    encoded[11] = b"not an image"
    table = image_table(40, encoded=encoded)
    subset = sc.prune(table, keep=39, method="random", on_bad="skip", out=tmp_path / "out", **SMALL)
    assert 11 not in subset.ids
    assert np.asarray(subset.table["reason"])[11] == "bad"
