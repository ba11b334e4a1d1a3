"""What a class claims of a pool."""

import numpy as np
import pytest

from secateur.errors import SecateurError
from secateur.select.prototypes import judge, omni, prototypes, surest

FEATURES, LABELS = np.array([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0]]), np.array([0, 0, 1])
POOL = np.array([[3.0, 4.0], [4.0, 3.0], [0.0, 1.0], [1.0, 0.0], [5.0, 12.0]])
"""Cosines to class 0: 0.6, 0.8, 0, 1, 5/13; to class 1: 0.8, 0.6, 1, 0, 12/13."""


def test_a_row_is_claimed_by_the_class_whose_mean_it_points_to():
    taken = omni(FEATURES, LABELS, POOL, at_least=-1.0)
    assert taken.ids.tolist() == [0, 1, 2, 3, 4]
    assert taken.labels.tolist() == [1, 0, 1, 0, 1]
    np.testing.assert_allclose(taken.confidence, [0.8, 0.8, 1.0, 1.0, 12 / 13])


def test_top_takes_the_surest_of_each_class_and_at_least_those_that_are_sure():
    assert omni(FEATURES, LABELS, POOL, top=2).ids.tolist() == [1, 2, 3, 4]
    assert omni(FEATURES, LABELS, POOL, at_least=0.9).ids.tolist() == [2, 3, 4]
    assert omni(FEATURES, LABELS, POOL, top=1, at_least=0.9).ids.tolist() == [2, 3]
    assert omni(FEATURES, LABELS, POOL, top=9).ids.tolist() == [0, 1, 2, 3, 4]


def test_a_mean_is_of_the_features_as_they_are():
    """Of (1, 0) and (5, 8) the mean is (3, 4); of their directions it would be another."""
    np.testing.assert_allclose(prototypes(np.array([[1.0, 0.0], [5.0, 8.0]]), np.array([0, 0])), [[0.6, 0.8]])


def test_it_equals_the_plain_loop():
    rng = np.random.default_rng(0)
    features, labels, pool = rng.normal(size=(40, 6)), np.arange(40) % 4, rng.normal(size=(100, 6)).astype(np.float32)
    claims = []
    for i, row in enumerate(pool.astype(float)):
        means = [features[labels == k].mean(axis=0) for k in range(4)]
        cosines = [row @ m / np.linalg.norm(row) / np.linalg.norm(m) for m in means]
        claims.append((max(cosines), int(np.argmax(cosines)), i))
    expected = [i for k in range(4) for _, _, i in sorted((c for c in claims if c[1] == k), reverse=True)[:5]]
    taken = omni(features, labels, pool, top=5)
    assert taken.ids.tolist() == sorted(expected)
    np.testing.assert_allclose(taken.confidence, [claims[i][0] for i in taken.ids])


def test_the_pool_is_judged_the_same_in_parts():
    rng = np.random.default_rng(0)
    means, pool = prototypes(rng.normal(size=(9, 4)), np.arange(9) % 3), rng.normal(size=(50, 4))
    whole, parts = judge(means, pool), [judge(means, pool[k : k + 7]) for k in range(0, 50, 7)]
    np.testing.assert_array_equal(whole[0], np.concatenate([p[0] for p in parts]))
    np.testing.assert_allclose(whole[1], np.concatenate([p[1] for p in parts]), rtol=1e-12)


def test_of_rows_as_sure_the_lower_id_is_taken():
    assert surest(np.zeros(4, dtype=np.int64), np.array([0.5, 0.9, 0.9, 0.9]), top=2, at_least=None).tolist() == [1, 2]


def test_a_row_of_zeros_is_like_none():
    claims, confidence = judge(prototypes(FEATURES, LABELS), np.zeros((1, 2)))
    assert (claims.tolist(), confidence.tolist()) == ([0], [0.0])


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    @pytest.mark.parametrize(
        ("limits", "said"),
        [
            ({}, "top: expected it or at_least, got neither; pass top=500, at_least=0.9, or both"),
            ({"top": 0}, "top: expected 1 or more rows of each class, got 0"),
            ({"at_least": 1.5}, "at_least: expected a cosine from -1 to 1, got 1.5"),
        ],
    )
    def test_limits_that_say_nothing(self, limits, said):
        with pytest.raises(SecateurError, match=said):
            omni(FEATURES, LABELS, POOL, **limits)

    def test_nothing_sure_enough(self):
        with pytest.raises(
            SecateurError, match="no row of the pool reaches 0.99, the highest confidence is 0.8000; ask"
        ):
            omni(FEATURES, LABELS, POOL[:2], at_least=0.99)

    def test_a_class_number_without_rows(self):
        with pytest.raises(SecateurError, match="labels: class 1 has no rows, so it has no prototype"):
            omni(FEATURES, np.array([0, 0, 2]), POOL, top=1)

    def test_a_class_that_points_nowhere(self):
        with pytest.raises(SecateurError, match="features: the mean of class 0 is all zeros"):
            omni(np.array([[1.0, 0.0], [-1.0, 0.0]]), np.array([0, 0]), POOL, top=1)
