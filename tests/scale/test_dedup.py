"""SemDeDup: of rows nearly alike one stays, whichever is preferred, however large the cluster."""

import numpy as np
import pytest

from secateur.scale import dedup, storage
from secateur.scale.dedup import Comparing, compare, most_alike, preferred, removed, roots
from secateur.scale.exchange import Bucket, Slices, buckets, part
from secateur.scale.split import split
from secateur.scale.storage import Place
from tests.scale.made import made, unit


def plainly(rows, order):
    """The highest cosine to a row before in the order, and its place there, by two loops."""
    best, where = [], []
    for place, row in enumerate(order):
        cosines = [float(rows[row] @ rows[other]) for other in order[:place]]
        where.append(int(np.argmax(cosines)) if cosines else -1)
        best.append(cosines[where[-1]] if cosines else -1.0)
    return best, where


def laid(folder, embeddings, cluster, *, units=3, seed=0, distances=None, passed=None):
    """Units laid out by cluster as the exchange does it, and of each row its place there: (folders, places)."""
    rng = np.random.default_rng(seed)
    distances = rng.random(len(cluster)).astype(np.float32) if distances is None else distances
    of = np.sort(rng.integers(0, units, len(cluster)))
    clusters, folders, rows = int(cluster.max()) + 1, [], []
    for number in range(units):
        mine = np.flatnonzero(of == number)
        mine = mine[np.argsort(cluster[mine], kind="stable")]
        folders.append(Place(str(folder / f"unit{number}")))
        parts = {"embeddings": embeddings[mine], "rows": mine, "distances": distances[mine]}
        parts |= {"firsts": np.searchsorted(cluster[mine], np.arange(clusters + 1))}
        parts |= {} if passed is None else {"passed": passed[mine]}
        for name, values in parts.items():
            (folders[-1] / f"{name}.npy").write_array(values)
            (folders[-1] / f"guest_{name}.npy").write_array(values[:0] if name != "firsts" else 0 * values)
        rows.append(mine)
    rows = np.concatenate(rows)
    return folders, rows[np.argsort(cluster[rows], kind="stable")]


def compared(folder, folders, bucket, *, passed=False, prefer="hard"):
    """Similarity and the row most alike of each row of a bucket, by number of the row."""
    task = Comparing(bucket, prefer, 0, tuple(folders) if passed else None, "it")
    compare(task, Place(str(folder)))
    rows = part(bucket, Slices.of(bucket), "rows")
    alike = np.load(folder / "it" / "alike.npy")
    similarity = np.load(folder / "it" / "similarity.npy")
    return dict(zip(rows.tolist(), similarity.tolist(), strict=True)), {
        int(r): int(rows[a]) if a >= 0 else -1 for r, a in zip(rows, alike, strict=True)
    }


def one_cluster(folder, embeddings, **options):
    folders, _ = laid(folder, embeddings, np.zeros(len(embeddings), dtype=int), **options)
    (bucket,) = buckets(folders, 1, rows=10)
    return folders, bucket


@pytest.mark.parametrize("block", [1024, 16, 7, 1])
def test_the_row_most_alike_among_those_before_is_that_of_two_plain_loops(block, monkeypatch):
    monkeypatch.setattr(dedup, "BLOCK", block)
    rows = unit(made(70, blobs=3).embeddings).astype(np.float32)
    order = np.random.default_rng(1).permutation(70)
    best, where = most_alike(5 * rows, order)
    expected, places = plainly(rows, order)
    np.testing.assert_allclose(best, expected, atol=1e-6)
    assert where.tolist() == places


@pytest.mark.parametrize("block", [1024, 2])
def test_of_rows_as_alike_the_first_in_the_order_counts(block, monkeypatch):
    monkeypatch.setattr(dedup, "BLOCK", block)
    rows = np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0]], dtype=np.float32)
    best, where = most_alike(rows, np.array([4, 3, 2, 1, 0]))
    assert best.tolist() == [-1, 0, 1, 1, 1]
    assert where.tolist() == [-1, 0, 0, 1, 0]


def test_a_cosine_is_never_above_one_so_that_a_threshold_of_one_removes_nothing():
    rows = np.repeat(np.random.default_rng(0).normal(size=(40, 24)).astype(np.float32), 3, axis=0)
    best, _ = most_alike(rows, np.arange(120))
    assert best.max() <= 1
    assert not removed(best, 1.0).any()


def test_hard_prefers_the_farthest_easy_the_nearest_and_of_ties_the_first_row():
    distances, rows = np.array([0.1, 0.3, 0.3, 0.2]), np.array([7, 9, 8, 1])
    assert preferred(distances, rows, "hard", 0).tolist() == [2, 1, 3, 0]
    assert preferred(distances, rows, "easy", 0).tolist() == [0, 3, 2, 1]


def test_at_random_any_row_comes_first_and_the_order_of_the_rows_given_does_not_matter():
    distances, rows = np.arange(5.0), np.array([3, 0, 4, 1, 2])
    firsts = {int(rows[preferred(distances, rows, "random", s)[0]]) for s in range(60)}
    assert firsts == set(range(5))
    turned = rows[::-1]
    one = rows[preferred(distances, rows, "random", 1)]
    assert turned[preferred(distances, turned, "random", 1)].tolist() == one.tolist()


def test_a_row_exactly_as_alike_as_the_threshold_stays():
    similarity = np.array([-1, 0.95, np.nextafter(np.float32(0.95), np.float32(1))], dtype=np.float32)
    assert removed(similarity, 0.95).tolist() == [False, False, True]


def test_a_removed_row_still_makes_others_duplicates_as_in_semdedup():
    """10 degrees apart each, cosines 0.985 and 0.940: the second goes for the first, the third for the second."""
    angles = np.deg2rad([0, 10, 20])
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    best, where = most_alike(rows, np.arange(3))
    gone = removed(best, 0.95)
    assert gone.tolist() == [False, True, True]
    assert where.tolist() == [-1, 0, 1]
    assert roots(where, gone).tolist() == [0, 0, 0]


def test_a_chain_ends_at_the_row_that_stays_however_long_it_is():
    alike = np.concatenate([[-1], np.arange(100), [0]])
    gone = np.ones(102, dtype=bool)
    gone[[0, 50, 101]] = False
    assert roots(alike, gone).tolist() == [0] * 50 + [50] * 51 + [101]


def test_rows_are_compared_inside_their_cluster_alone(tmp_path):
    embeddings = np.tile(np.array([[1.0, 0.2]], dtype=np.float32), (6, 1))
    folders, _ = laid(tmp_path, embeddings, np.array([0, 1, 0, 1, 0, 2]))
    (bucket,) = buckets(folders, 3, rows=100)
    similarity, alike = compared(tmp_path, folders, bucket)
    assert alike[5] == -1
    assert sorted(similarity.values()) == pytest.approx([-1, -1, -1, 1, 1, 1])
    assert all(other % 2 == row % 2 for row, other in alike.items() if other >= 0)


@pytest.mark.parametrize("prefer", ["hard", "easy"])
def test_a_bucket_of_several_clusters_comes_out_as_plain_loops_over_each_say(tmp_path, prefer):
    m = made(120, blobs=5)
    rows, cluster = unit(m.embeddings).astype(np.float32), m.blob
    distances = np.random.default_rng(3).random(120).astype(np.float32)
    folders, _ = laid(tmp_path, m.embeddings, cluster, distances=distances)
    (bucket,) = buckets(folders, 5, rows=1000)
    similarity, alike = compared(tmp_path, folders, bucket, prefer=prefer)
    for number in range(5):
        members = np.flatnonzero(cluster == number)
        order = members[np.argsort(-distances[members] if prefer == "hard" else distances[members])]
        best, where = plainly(rows, order)
        np.testing.assert_allclose([similarity[r] for r in order], best, atol=1e-6)
        assert [alike[r] for r in order] == [order[w] if w >= 0 else -1 for w in where]


def test_rows_that_a_filter_removed_neither_make_others_duplicates_nor_stand_for_them(tmp_path):
    """All the same; the two farthest did not pass, so the third farthest stands for the rest."""
    embeddings = np.ones((6, 4), dtype=np.float32)
    distances = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], dtype=np.float32)
    passed = np.array([False, False, True, True, False, True])
    folders, bucket = one_cluster(tmp_path, embeddings, distances=distances, passed=passed)
    similarity, alike = compared(tmp_path, folders, bucket, passed=True)
    assert alike == {0: -1, 1: -1, 2: -1, 3: 2, 4: -1, 5: 2}
    assert [row for row, value in sorted(similarity.items()) if value > 0.9] == [3, 5]


def apart(copies=4, seed=0):
    """Three blobs far apart, each row there some times, to the bit: (embeddings, number of the original)."""
    rng = np.random.default_rng(seed)
    rows = np.repeat(np.eye(3), 30, axis=0) @ np.eye(3, 12) + 0.03 * rng.normal(size=(90, 12))
    of = rng.permutation(np.repeat(np.arange(90), copies))
    return rows.astype(np.float32)[of], of


def gone_of(tmp_path, embeddings, threshold, *, clusters=1, passed=None):
    """Which rows are removed of a single cluster; or of two, where another is in the same bucket."""
    cluster = np.zeros(len(embeddings), dtype=int)
    cluster[-1] = clusters - 1
    distances = np.random.default_rng(5).random(len(embeddings)).astype(np.float32)
    folders, _ = laid(tmp_path, embeddings, cluster, distances=distances, passed=passed)
    (bucket,) = buckets(folders, clusters, rows=10_000)
    similarity, alike = compared(tmp_path, folders, bucket, passed=passed is not None)
    return {row for row, value in similarity.items() if value > np.float32(threshold)}, alike


@pytest.mark.parametrize("clusters", [1, 2])
def test_a_cluster_that_is_split_loses_the_same_rows_where_its_parts_lie_well_apart(tmp_path, monkeypatch, clusters):
    """clusters: one, read in pieces; or in a bucket with another, which is read whole."""
    embeddings, _ = apart()
    whole, _ = gone_of(tmp_path / "whole", embeddings, 0.97, clusters=clusters)
    monkeypatch.setattr(dedup, "LARGEST", 240)  # three parts, of 120 rows
    parts, alike = gone_of(tmp_path / "parts", embeddings, 0.97, clusters=clusters)
    assert 0 < len(whole) < len(embeddings)
    assert parts == whole
    assert all(alike[row] >= 0 for row in parts)


@pytest.mark.parametrize("clusters", [1, 2])
@pytest.mark.parametrize("largest", [300, 64, 10])
def test_however_a_cluster_is_split_rows_that_are_the_same_to_the_bit_are_found(
    tmp_path, monkeypatch, largest, clusters
):
    monkeypatch.setattr(dedup, "LARGEST", largest)
    embeddings, of = apart()
    gone, alike = gone_of(tmp_path, embeddings, 0.99999, clusters=clusters)
    distinct = np.unique(of[:-1] if clusters == 2 else of)
    assert len(gone) == len(of) - len(distinct) - (clusters == 2)
    assert all(of[row] == of[alike[row]] for row in gone)


def test_a_large_cluster_is_read_in_pieces_and_never_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(dedup, "LARGEST", 50)
    read = []
    plain = Place.read_rows
    monkeypatch.setattr(Place, "read_rows", lambda *args: read.append((args, plain(*args))) or read[-1][1])
    embeddings, _ = apart()
    gone_of(tmp_path, embeddings, 0.97)
    sizes = [len(found) for (place, *_), found in read if place.name == "embeddings.npy"]
    assert max(sizes) <= 50
    assert sum(sizes) % len(embeddings) == 0


def test_a_large_cluster_of_which_a_filter_leaves_some_rows_or_none_is_compared_as_a_small_one(tmp_path, monkeypatch):
    embeddings, _ = apart()
    some = np.random.default_rng(1).random(len(embeddings)) < 0.3
    whole, _ = gone_of(tmp_path / "whole", embeddings, 0.97, passed=some)
    assert some.sum() < 150 < len(embeddings)
    monkeypatch.setattr(dedup, "LARGEST", 150)
    found, _ = gone_of(tmp_path / "parts", embeddings, 0.97, passed=some)
    assert found == whole
    assert gone_of(tmp_path / "none", embeddings, 0.97, passed=np.zeros_like(some))[0] == set()


def test_parts_are_all_rows_that_count_once_with_their_embeddings():
    embeddings, _ = apart()
    taken = np.random.default_rng(1).random(len(embeddings)) < 0.5
    pieces = lambda: iter(np.array_split(embeddings, 4))
    groups = [(places.copy(), np.array(rows)) for places, rows in split(pieces, taken, 40, 0)]
    assert len(groups) > 3
    np.testing.assert_array_equal(np.sort(np.concatenate([g[0] for g in groups])), np.flatnonzero(taken))
    for places, rows in groups:
        np.testing.assert_array_equal(rows, embeddings[places])


def test_buckets_are_neighbouring_clusters_up_to_so_many_rows_and_a_larger_one_alone(tmp_path):
    """Clusters of 3, 2, 5, 12, 0, 1 and 4 rows; at most 10 together."""
    cluster = np.repeat(np.arange(7), [3, 2, 5, 12, 0, 1, 4])
    folders, places = laid(tmp_path, np.zeros((27, 2), dtype=np.float32), np.random.default_rng(0).permutation(cluster))
    found = buckets(folders, 7, rows=10)
    assert [(b.first, b.end, b.rows) for b in found] == [(0, 3, 10), (3, 4, 12), (4, 7, 5)]
    rows = np.concatenate([part(b, Slices.of(b), "rows") for b in found])
    assert rows.tolist() == places.tolist()
    assert all(isinstance(b, Bucket) for b in found)


def test_what_lies_far_away_is_read_in_the_order_it_is_asked_for(monkeypatch):
    """More places than are read at a time."""
    monkeypatch.setattr(storage, "_READERS", 2)
    places = [Place(f"memory://far/{n}.npy") for n in range(300)]
    for n, place in enumerate(places):
        place.write_array(np.arange(n, n + 3))
    assert [rows.tolist() for rows in storage.together(Place.read_array, places)] == [
        [n, n + 1, n + 2] for n in range(300)
    ]
    found = storage.together(lambda place, low, high: place.read_rows(low, high).tolist(), places, [1] * 300, [2] * 300)
    assert list(found) == [[n + 1] for n in range(300)]
    places[0].remove()
