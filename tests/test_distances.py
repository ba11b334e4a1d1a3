"""Nearest neighbours in the order they promise."""

import numpy as np
import pytest

from secateur.geometry import BLOCK, blocks, centroids, class_means, class_medians, k_means, nearest


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("own", [True, False])
def test_neighbours_come_nearest_first_and_equal_the_plain_loop(metric, own):
    rng = np.random.default_rng(0)
    rows, asked = rng.normal(size=(40, 3)), rng.normal(size=(9, 3))
    found = nearest(rows, 5, metric=metric) if own else nearest(rows, 5, queries=asked, metric=metric)
    for i, query in enumerate(rows if own else asked):
        if metric == "cosine":
            far = [1 - r @ query / np.sqrt((r @ r) * (query @ query)) for r in rows]
        else:
            far = [np.sqrt(((r - query) ** 2).sum()) for r in rows]
        order = [j for j in np.argsort(far, kind="stable") if not (own and j == i)][:5]
        np.testing.assert_array_equal(found.ids[i], order)
        np.testing.assert_allclose(found.distances[i], np.array(far)[order], atol=1e-6)


def test_neighbours_as_near_come_by_lowest_id():
    rows = np.array([[1.0], [0.0], [1.0], [-1.0]])
    np.testing.assert_array_equal(nearest(rows, 3).ids, [[2, 1, 3], [0, 2, 3], [0, 1, 3], [1, 0, 2]])


@pytest.mark.usefixtures("our_own_errors")
def test_whole_numbers_are_rows_too():
    rows = np.array([[0], [200], [255]], dtype=np.uint8)
    assert nearest(rows, 1).distances.ravel().tolist() == [200, 55, 55]


def test_class_numbers_without_examples_have_no_centre():
    rows, labels = np.array([[0.0], [1.0], [5.0], [7.0]]), np.array([2, 2, 2, 0])
    np.testing.assert_array_equal(class_means(rows, labels), [[7], [np.nan], [2]])
    np.testing.assert_array_equal(class_medians(rows, labels), [[7], [np.nan], [1]])


def test_blocks_cover_everything_once_however_wide():
    for width in (0, 1, BLOCK // 3, BLOCK, 5 * BLOCK):
        assert [i for part in blocks(7, width) for i in range(7)[part]] == list(range(7))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_k_means_of_clear_blobs_is_the_same_for_every_seed(metric):
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(10, 8)) * 10
    blob = np.repeat(np.arange(10), 50)
    rows = middles[blob] + rng.normal(size=(500, 8)) * 0.1
    for seed in range(10):
        of = k_means(rows, 10, seed=seed, metric=metric).of
        assert len(set(zip(blob.tolist(), of.tolist(), strict=True))) == 10  # one cluster a blob, one blob a cluster


def test_centroids_of_clear_blobs_are_the_same_for_every_seed_where_rows_are_too_many_for_one_look():
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(10, 8)) * 10
    rows = np.repeat(middles, 400, axis=0) + rng.normal(size=(4000, 8)) * 0.1  # k-means++ looks at 2,560 of these
    for seed in range(5):
        found = centroids(rows, 10, seed=seed)
        assert np.abs(found[:, None] - middles[None]).max(axis=2).min(axis=0).max() < 0.1
