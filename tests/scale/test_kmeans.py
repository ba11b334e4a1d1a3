"""Centroids in one level and in two, and the nearest of them."""

import numpy as np

from secateur.scale import kmeans
from secateur.scale.kmeans import Centroids, fit, nearest
from secateur.scale.storage import Place
from tests.scale.made import made, unit


def rows_of(seed=0, rows=1500, **options):
    return unit(made(rows, planted=0, seed=seed, **options).embeddings).astype(np.float32)


def plainly(rows, centroids):
    """The nearest by a loop over both."""
    best = []
    for row in rows:
        cosines = [float(np.dot(row, c)) for c in centroids]
        best.append(int(np.argmax(cosines)))
    return best


def objective(rows, centroids):
    return float((1 - (rows @ centroids.T).max(axis=1)).sum())


def test_the_nearest_centroid_is_that_of_a_plain_loop():
    rows = rows_of(rows=300)
    found = fit(rows, 20, seed=0)
    of, distances = (each[:, 0] for each in nearest(rows, found))
    assert of.tolist() == plainly(rows, found.fine)
    np.testing.assert_allclose(distances, 1 - (rows * found.fine[of]).sum(axis=1), atol=1e-6)


def test_of_two_centroids_as_near_the_lower_is_taken():
    fine = np.array([[0, 1], [1, 0], [1, 0], [0, 1]], dtype=np.float32)
    one = Centroids(fine, fine.mean(axis=0, keepdims=True), np.array([0, 4]))
    two = Centroids(fine[[1, 0, 0, 1]], np.array([[0.8, 0.6], [0.6, 0.8]], dtype=np.float32), np.array([0, 2, 4]))
    rows = np.array([[1, 0], [0, 1]], dtype=np.float32)
    assert nearest(rows, one)[0][:, 0].tolist() == [1, 0]
    assert nearest(rows, two)[0][:, 0].tolist() == [0, 1]


def test_distances_are_never_below_zero():
    rows = rows_of(rows=300)
    assert (nearest(rows, Centroids(rows, rows[:1], np.array([0, 300])))[1] >= 0).all()


def test_rows_beyond_a_block_are_compared_as_well(monkeypatch):
    rows = rows_of(rows=300)
    found = fit(rows, 20, seed=0)
    whole = nearest(rows, found)[0][:, 0].tolist()
    monkeypatch.setattr(kmeans, "_ROWS", 7)
    assert nearest(rows, found)[0][:, 0].tolist() == whole


def test_centroids_have_length_one_in_one_level_and_in_two(monkeypatch):
    rows = rows_of()
    np.testing.assert_allclose(np.linalg.norm(fit(rows, 30, seed=0).fine, axis=1), 1, atol=1e-5)
    monkeypatch.setattr(kmeans, "ONE_LEVEL", 10)
    found = fit(rows, 30, seed=0)
    np.testing.assert_allclose(np.linalg.norm(found.fine, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found.coarse, axis=1), 1, atol=1e-5)


def test_two_levels_give_exactly_as_many_centroids_and_each_group_its_own(monkeypatch):
    monkeypatch.setattr(kmeans, "ONE_LEVEL", 10)
    for clusters in (11, 37, 100):
        found = fit(rows_of(), clusters, seed=0)
        assert len(found) == clusters
        assert found.firsts[0] == 0
        assert found.firsts[-1] == clusters
        assert (np.diff(found.firsts) > 0).all()
        assert len(found.firsts) == len(found.coarse) + 1


def test_two_levels_that_probe_every_group_give_the_plain_nearest(monkeypatch):
    monkeypatch.setattr(kmeans, "ONE_LEVEL", 10)
    monkeypatch.setattr(kmeans, "PROBES", 1000)
    rows = rows_of()
    found = fit(rows, 60, seed=0)
    assert nearest(rows, found)[0][:, 0].tolist() == plainly(rows, found.fine)


def test_two_levels_with_four_probes_miss_the_nearest_of_few_rows_and_cost_little(monkeypatch):
    monkeypatch.setattr(kmeans, "ONE_LEVEL", 10)
    rows = rows_of(rows=1000, blobs=16, spread=0.2)
    found = fit(rows, 64, seed=0)
    of, distances = (each[:, 0] for each in nearest(rows, found))
    assert (of == plainly(rows, found.fine)).mean() > 0.97
    assert distances.sum() < 1.01 * objective(rows, found.fine)


def test_centroids_of_a_sample_are_within_a_hundredth_of_those_of_a_full_run_of_faiss():
    """250 rows of the sample to a centroid; over three seeds, since each run ends where its start leads it."""
    import faiss

    rows = rows_of(rows=20_000, spread=0.15)
    ours, theirs = [], []
    for seed in range(3):
        model = faiss.Kmeans(16, 40, niter=25, seed=10 + seed, spherical=True, max_points_per_centroid=len(rows))
        model.train(rows)
        theirs.append(objective(rows, model.centroids))
        sample = rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:10_000])]
        ours.append(objective(rows, fit(sample, 40, seed=seed).fine))
    assert np.mean(ours) < 1.01 * np.mean(theirs)


def test_as_many_clusters_as_rows_are_the_rows_themselves():
    rows = rows_of(rows=30)
    np.testing.assert_array_equal(fit(rows, 30, seed=0).fine, rows)


def test_fewer_places_than_clusters_give_finite_centroids_and_lose_no_row():
    """Every row has a cluster, even where faiss has to split what cannot be split."""
    rows = np.repeat(np.eye(4, dtype=np.float32), 25, axis=0)
    found = fit(rows, 10, seed=0)
    assert np.isfinite(found.fine).all()
    np.testing.assert_allclose(nearest(rows, found)[1], 0, atol=1e-6)


def test_the_same_seed_gives_the_same_centroids_and_another_seed_others():
    rows = rows_of()
    np.testing.assert_array_equal(fit(rows, 30, seed=0).fine, fit(rows, 30, seed=0).fine)
    assert not np.array_equal(fit(rows, 30, seed=0).fine, fit(rows, 30, seed=1).fine)


def test_centroids_are_read_as_they_were_written(tmp_path, monkeypatch):
    monkeypatch.setattr(kmeans, "ONE_LEVEL", 10)
    found = fit(rows_of(), 30, seed=0)
    found.save(Place(str(tmp_path)))
    again = Centroids.open(Place(str(tmp_path)))
    for one, other in zip(
        (found.fine, found.coarse, found.firsts), (again.fine, again.coarse, again.firsts), strict=True
    ):
        np.testing.assert_array_equal(one, other)
