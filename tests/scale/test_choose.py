"""How much of each cluster is kept, and which rows: against plain versions of the same, row by row."""

import numpy as np
import pytest

from secateur.errors import SecateurError
from secateur.scale import Choice, Clustering
from secateur.scale.choose import d_inter
from secateur.scale.quotas import count_of, floors
from tests.scale.made import kept_ids, made, manifest, prune, stage, unit, write

FEW = Clustering(clusters=12, unit_rows=140)


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """Prune the same shards again, each time choosing otherwise: the manifest, sorted by id."""
    folder = tmp_path_factory.mktemp("choose")
    shards = write(folder / "shards", made())

    def of(keep, **choice):
        prune(shards, folder / "out", keep=keep, choice=Choice(**choice), clustering=FEW)
        found = manifest(folder / "out")
        assert found["id"][found["kept"]].tolist() == kept_ids(folder / "out")
        return found

    of.out = folder / "out"
    return of


def left_of(found):
    """Rows that no filter and no dedup took, cluster by cluster, the farthest first."""
    left = np.isin(found["reason"], ["kept", "pruned"])
    places = [np.flatnonzero(left & (found["cluster"] == c)) for c in range(12)]
    return [of[np.argsort(-found["distance"][of], kind="stable")] for of in places]


def projected(wanted, total, low, high):
    """clip(wanted + v) of the right sum; v lies between the two of its corners whose sums enclose the total."""
    corners = np.sort(np.concatenate([low - wanted, high - wanted]))
    sums = np.array([np.clip(wanted + v, low, high).sum() for v in corners])
    return np.clip(wanted + np.interp(total, sums, corners), low, high)


def rounded(exact, total, high):
    whole = np.floor(exact + 1e-6).astype(int)
    for place in np.argsort(-(exact - whole), kind="stable"):
        if whole.sum() < total and whole[place] < high[place]:
            whole[place] += 1
    assert whole.sum() == total
    return whole


def density_quotas(found, centroids, keep, temperature=0.1, neighbours=20, floor=0.5):
    """Density-based pruning as spec 6c numbers it, by loops."""
    groups = left_of(found)
    inter = []
    for one in range(12):
        others = sorted(1 - centroids[one] @ centroids[other] for other in range(12) if other != one)
        inter.append(np.mean(others[:neighbours]))
    complexity = np.array([found["distance"][g].mean() * d for g, d in zip(groups, inter, strict=True)])
    part = np.exp(complexity / temperature)
    high = np.array([len(g) for g in groups])
    low = np.minimum(high, max(1, int(floor * keep / 12)))
    return rounded(projected(part / part.sum() * keep, keep, low, high), keep, high), high


@pytest.mark.parametrize(
    ("keep", "options"),
    [
        (60, {}),
        (120, {}),
        (240, {}),
        (120, {"temperature": 0.02, "floor": 0.0}),
        (120, {"neighbours": 3, "floor": 1.0}),
    ],
)
def test_density_keeps_of_each_cluster_what_a_plain_version_of_the_paper_says_and_the_farthest_of_it(
    again, keep, options
):
    found = again(keep, **options)
    centroids = np.load(stage(again.out, "fit") / "centroids.npy").astype(float)
    expected, high = density_quotas(found, centroids, keep, **options)
    assert len(set(expected / high)) > 2
    for quota, group in zip(expected, left_of(found), strict=True):
        assert found["kept"][group].tolist() == [True] * quota + [False] * (len(group) - quota)


def test_easy_keeps_the_nearest_and_as_many_of_each_cluster(again):
    hard, easy = again(120), again(120, prefer="easy")
    for group in left_of(easy):
        quota = int(hard["kept"][group].sum())
        assert easy["kept"][group].tolist() == [False] * (len(group) - quota) + [True] * quota


def test_any_keeps_as_many_of_each_cluster_but_other_rows(again):
    hard, found = again(120), again(120, prefer="random")
    for group in left_of(found):
        assert found["kept"][group].sum() == hard["kept"][group].sum()
    assert (found["kept"] != hard["kept"]).sum() > 50


@pytest.mark.parametrize("prefer", ["hard", "easy"])
@pytest.mark.parametrize(("keep", "floor"), [(100, 0.5), (100, 0.0), (12, 1.0), (240, 1.0)])
def test_prototypes_are_the_farthest_rows_of_all_once_each_cluster_has_its_floor(again, keep, floor, prefer):
    """Each cluster's first rows up to the floor, then the first of all others, whatever their cluster."""
    found = again(keep, by="prototypes", floor=floor, prefer=prefer)
    groups = [group if prefer == "hard" else group[::-1] for group in left_of(found)]
    even = max(1, int(floor * keep / 12))
    expected = np.concatenate([group[:even] for group in groups])
    others = np.concatenate([group[even:] for group in groups])
    order = np.argsort((-1 if prefer == "hard" else 1) * found["distance"][others], kind="stable")
    expected = np.concatenate([expected, others[order[: keep - len(expected)]]])
    assert found["id"][found["kept"]].tolist() == sorted(found["id"][expected].tolist())


def test_random_keeps_the_same_share_of_each_cluster_to_less_than_a_row(again):
    found = again(100, by="random")
    groups = left_of(found)
    share = 100 / sum(len(g) for g in groups)
    assert all(abs(found["kept"][g].sum() - share * len(g)) < 1 for g in groups)
    firsts = [found["kept"][g][: len(g) // 2].sum() / max(1, found["kept"][g].sum()) for g in groups]
    assert 0.3 < np.mean(firsts) < 0.7  # neither the far ones nor the near ones


def test_everything_that_is_left_can_be_kept(again):
    left = sum(len(g) for g in left_of(again(100)))
    for by in ("density", "prototypes", "random"):
        assert again(left, by=by)["kept"].sum() == left


def test_centroids_are_apart_by_their_mean_distance_to_the_nearest_others():
    rows = unit(np.random.default_rng(0).normal(size=(30, 5)))
    for near in (1, 4, 29, 100):
        plain = [np.mean(sorted(1 - rows[i] @ rows[j] for j in range(30) if j != i)[:near]) for i in range(30)]
        np.testing.assert_allclose(d_inter(rows, near), plain, rtol=1e-6)


def test_a_single_centroid_is_apart_from_none():
    assert d_inter(np.ones((1, 4)), 20).tolist() == [0]


def test_centroids_beyond_a_block_are_compared_as_the_first_are():
    rows = unit(np.random.default_rng(0).normal(size=(1030, 3)))
    plain = np.sort(1 - rows[-1] @ rows[:-1].T)[:2].mean()
    assert d_inter(rows, 2)[-1] == pytest.approx(plain)


def test_a_floor_is_a_part_of_an_even_share_and_never_more_than_is_kept():
    """40 of 4 clusters: 10 each; half of that is 5."""
    counts = np.array([100, 7, 4, 0])
    assert floors(counts, 40, 0.5).tolist() == [5, 5, 4, 0]
    assert floors(counts, 40, 0.0).tolist() == [1, 1, 1, 0]
    assert floors(counts, 2, 0.5).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize(("keep", "rows", "count"), [(0.3, 11, 3), (0.29, 100, 29), (1.0, 10, 10), (4, 10, 4)])
def test_a_fraction_is_of_all_rows_rounded_down_and_a_whole_number_a_count(keep, rows, count):
    """0.29 times 100 is a little less than 29 in floats."""
    assert count_of(keep, rows, rows) == count


def test_the_most_that_can_be_kept_is_never_rounded_up():
    with pytest.raises(SecateurError, match=r"keep at most 0\.6666, "):
        count_of(3, 3, 2)


def test_more_than_is_left_is_an_error_that_names_what_is_left():
    with pytest.raises(SecateurError, match=r"keep: 80 of 100 rows .* leave 70; keep at most 0\.7000, or filter less"):
        count_of(0.8, 100, 70)
