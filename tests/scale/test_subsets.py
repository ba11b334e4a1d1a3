"""Subsets of one size, what a selector sees of rows, and who is kept of each cluster, against plain loops."""

import numpy as np
import pytest
from scipy.stats import rankdata

from secateur.errors import SecateurError
from secateur.scale import features, spectral
from secateur.scale import subsets as subsets_module
from secateur.scale.chosen import chosen
from secateur.scale.indicators import length
from secateur.scale.subsets import alike, apart, evened


def plain_principal(rows, components):
    """Column by column of a singular value decomposition."""
    around = rows - rows.mean(axis=0)
    _, _, directions = np.linalg.svd(around, full_matrices=False)
    out = np.empty((len(rows), components))
    for k in range(components):
        longest = max(range(rows.shape[1]), key=lambda j: abs(directions[k, j]))
        for i in range(len(rows)):
            out[i, k] = around[i] @ directions[k] * (1 if directions[k, longest] > 0 else -1)
    return out


@pytest.mark.parametrize("shape", [(40, 7), (9, 30), (12, 12)])
def test_principal_components_are_those_of_a_decomposition(shape):
    rows = np.random.default_rng(0).normal(size=shape) * np.linspace(3, 1, shape[1]) + 5
    np.testing.assert_allclose(features.principal(rows, 5), plain_principal(rows, 5), atol=1e-8)


def test_directions_that_are_not_there_are_of_no_length():
    rows = np.outer(np.arange(4.0), np.ones(9))
    found = features.principal(rows, 3)
    np.testing.assert_allclose(np.abs(found[:, 0]), 3 * np.array([1.5, 0.5, 0.5, 1.5]))
    np.testing.assert_allclose(found[:, 1:], 0, atol=1e-6)


@pytest.mark.parametrize("components", [0, 8, 41])
def test_no_more_components_than_rows_and_numbers(components):
    with pytest.raises(SecateurError, match=f"components: expected 1 to 7, .*got {components}"):
        features.principal(np.ones((40, 7)), components)


def test_what_is_seen_is_in_the_order_of_the_paper():
    rng = np.random.default_rng(0)
    image, text, indicators = rng.normal(size=(30, 8)), rng.normal(size=(30, 5)), rng.normal(size=(30, 4))
    found = features.joined([image, text], indicators, components=3)
    np.testing.assert_allclose(found[:, :3], plain_principal(image, 3), atol=1e-8)
    np.testing.assert_allclose(found[:, 3:6], plain_principal(text, 3), atol=1e-8)
    assert (found[:, 6:] == indicators).all()
    members = np.array([[0, 3, 5, 7], [1, 2, 4, 6]])
    for one, part in zip(members, features.of_subsets([image], indicators, members, components=3), strict=True):
        np.testing.assert_allclose(part[:, :3], plain_principal(image[one], 3), atol=1e-8)
        assert (part[:, 3:] == indicators[one]).all()


def test_standard_columns_have_mean_0_and_spread_1_and_flat_ones_are_0():
    rows = np.random.default_rng(0).normal(size=(50, 3)) * [1, 1e4, 0] + [5, -3, 0.1]
    found = features.standard(rows, rows)
    np.testing.assert_allclose(found.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(found.std(axis=0), [1, 1, 0], atol=1e-9)
    assert features.standard(rows[None, :4], rows).shape == (1, 4, 3)


def plain_evened(distances, of):
    """Rows are moved one at a time, the nearest pair first."""
    count, groups = distances.shape
    size, found = count // groups, list(of)
    for group in range(groups):
        members = sorted((distances[i, group], i) for i in range(count) if of[i] == group)
        for _, i in members[size:]:
            found[i] = -1
    while any(found.count(g) < size for g in range(groups)):
        pairs = [
            (distances[i, g], i, g)
            for i in range(count)
            if found[i] < 0
            for g in range(groups)
            if found.count(g) < size
        ]
        _, row, group = min(pairs)
        found[row] = group
    return found


@pytest.mark.parametrize("count", [40, 43])
def test_subsets_are_evened_as_by_a_plain_loop(count):
    rng = np.random.default_rng(count)
    distances = rng.integers(0, 6, size=(count, 4)).astype(float)  # with ties
    of = rng.choice(4, count, p=[0.6, 0.3, 0.1, 0.0])
    found = evened(distances, of)
    assert found.tolist() == plain_evened(distances, of.tolist())
    assert np.bincount(found[found >= 0]).tolist() == [10] * 4
    assert (found < 0).sum() == count % 4


def test_rows_that_are_alike_are_in_one_subset_where_there_is_room():
    centres = np.array([[0.0, 0], [10, 0], [0, 10]])
    rows = np.repeat(centres, [8, 5, 5], axis=0) + np.random.default_rng(0).normal(size=(18, 2)) * 0.1
    found = alike(rows, 3, seed=0)
    assert np.bincount(found).tolist() == [6, 6, 6]
    for start, stop, most in ((0, 8, 6), (8, 13, 5), (13, 18, 5)):
        assert np.bincount(found[start:stop]).max() == most
    assert (alike(rows, 3, seed=0) == found).all()


def test_distances_to_every_centre():
    rng = np.random.default_rng(0)
    rows, centres = rng.normal(size=(9, 4)), rng.normal(size=(3, 4))
    np.testing.assert_allclose(apart(rows, centres), np.linalg.norm(rows[:, None] - centres, axis=2), atol=1e-12)


def test_lengths_are_tenths_of_the_longest():
    assert length(["a" * 1009, "é" * 100, ""]).tolist() == [10, 1000 / 1009, 0]
    assert length(["", ""]).tolist() == [0, 0]


@pytest.mark.parametrize("count", [1, 3, 7, 31, 59, 60])
def test_shares_are_exact_and_of_each_cluster_the_best_are_kept(count):
    rng = np.random.default_rng(count)
    clusters = rng.choice(5, 60, p=[0.5, 0.3, 0.1, 0.06, 0.04])
    scores, ids = rng.integers(0, 5, 60).astype(float), rng.permutation(60)
    kept = chosen(ids, scores, clusters, count)
    assert kept.sum() == count
    for cluster in np.unique(clusters):
        here = np.flatnonzero(clusters == cluster)
        best = sorted(here, key=lambda i: (-scores[i], ids[i]))
        assert kept[best].tolist() == sorted(kept[best].tolist(), reverse=True)
        if count >= 5:
            assert kept[here].any()


def test_shares_go_to_the_largest_remainders():
    clusters = np.repeat([0, 1, 2], [5, 3, 2])  # of 5: 2.5, 1.5 and 1
    kept = chosen(np.arange(10), rankdata(np.arange(10.0)), clusters, 5)
    assert [int(kept[clusters == k].sum()) for k in range(3)] == [3, 1, 1]
    strings = np.array([b"b", b"a", b"c"])
    assert chosen(strings, np.zeros(3), np.zeros(3, dtype=int), 1).tolist() == [False, True, False]


@pytest.mark.parametrize("by", ["spectral", "k-means"])
def test_groups_that_lie_apart_are_clusters(by):
    rng = np.random.default_rng(0)
    of = np.repeat([0, 1, 2], 20)
    rows = (8 * np.eye(3))[of] + rng.normal(size=(60, 3))
    found = spectral.clustered(rows, 3, by=by, seed=0)
    for group in range(3):
        assert len(set(found[of == group].tolist())) == 1
    assert len(set(found.tolist())) == 3
    assert (spectral.clustered(rows, 3, by=by, seed=0) == found).all()


def test_a_ring_around_a_lump_is_a_cluster_of_its_own():
    rng = np.random.default_rng(0)
    turns = np.linspace(0, 2 * np.pi, 80, endpoint=False)
    rows = np.concatenate([4 * np.stack([np.cos(turns), np.sin(turns)], axis=1), 0.3 * rng.normal(size=(40, 2))])
    found = spectral.clustered(rows, 2, seed=0)
    assert len(set(found[:80].tolist())) == len(set(found[80:].tolist())) == 1
    assert found[0] != found[-1]


def test_too_many_rows_for_spectral_clustering_are_refused(monkeypatch):
    monkeypatch.setattr(spectral, "LIMIT", 20)
    rows = np.random.default_rng(0).normal(size=(21, 3))
    with pytest.raises(SecateurError, match="for 20 rows at most, there are 21; take cluster_by=k-means"):
        spectral.clustered(rows, 2, seed=0)
    assert len(spectral.clustered(rows, 2, by="k-means", seed=0)) == 21


@pytest.mark.parametrize("name", ["9" * 5000, "\u0663", "\u00b2"])
def test_a_quality_table_numbers_subsets_in_plain_short_digits(name):
    with pytest.raises(SecateurError, match="^quality: here has subset"):
        subsets_module._whole(name, 8, "here")
