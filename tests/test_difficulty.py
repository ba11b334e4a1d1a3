"""How hard a whole set is, by features: against the plain formulas, and on sets made so that the answer is known."""

import numpy as np
import pytest

from secateur.difficulty import contradicted, near_duplicates, spread, spread_of
from secateur.errors import SecateurError


def blobs(seed=0, each=40):
    """Three far blobs and their labels."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 1, 2], each)
    return rng.normal(size=(3 * each, 4)) + 20 * np.eye(4)[labels], labels


class TestSpread:
    def test_the_tail_is_the_published_codes_number_by_plain_loop(self):
        distances = np.random.default_rng(0).gamma(2, size=1400)
        order = sorted(distances)
        cut = np.percentile(distances, 99.9)
        top = [d for d in order if d >= cut]
        assert len(top) == 2
        expected = np.log10(sum(10**d for d in top) / len(top))
        assert spread_of(distances).tail == pytest.approx(expected)

    def test_up_to_a_thousand_the_tail_is_the_largest_distance_and_not_the_mean(self):
        distances = np.random.default_rng(1).random(500)
        found = spread_of(distances)
        assert found.tail == pytest.approx(distances.max())
        assert found.mean == pytest.approx(distances.mean())

    def test_large_distances_do_not_overflow(self):
        assert spread_of(np.array([1000.0, 2000.0])).tail == pytest.approx(2000)

    def test_distances_run_from_each_test_example_to_its_nearest_train_example(self):
        rng = np.random.default_rng(0)
        train, test = rng.normal(size=(50, 3)), rng.normal(size=(20, 3))
        plain = [min(np.sqrt(((t - s) ** 2).sum()) for s in train) for t in test]
        assert spread(train, test).mean == pytest.approx(np.mean(plain), rel=1e-5)

    def test_no_test_examples_are_an_error(self):
        with pytest.raises(SecateurError, match="test: spread needs test examples, got none"):
            spread_of(np.empty(0))


def test_planted_near_duplicates_are_counted_and_others_are_not():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(100, 16))
    rows[60:80] = rows[:20] * 2 + rng.normal(size=(20, 16)) * 1e-3  # 20 pairs: as long again, in the same direction
    assert near_duplicates(rows, rows) == pytest.approx(0.4)


def test_labels_that_all_neighbours_contradict_are_found():
    rows, labels = blobs()
    labels = labels.copy()
    labels[[3, 50, 110]] = [1, 2, 0]
    np.testing.assert_array_equal(np.flatnonzero(contradicted(rows, labels, np.arange(120))), [3, 50, 110])


def test_neighbours_that_disagree_among_each_other_contradict_nothing():
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(120, 4)), rng.integers(3, size=120)
    assert contradicted(rows, labels, np.arange(120), agree=1.0).mean() < 0.05
