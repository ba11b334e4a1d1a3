"""Herding follows the mean and k-center covers, step by step as the plain loops do."""

import itertools
import tracemalloc

import numpy as np
import pytest

from secateur import select
from secateur.errors import SecateurError
from secateur.select.geometric import BATCH


def rng_of(seed=0):
    return np.random.default_rng(seed)


def blobs(examples, dims, seed=0):
    rng = rng_of(seed)
    return 3 * rng.normal(size=(4, dims))[rng.integers(4, size=examples)] + rng.normal(size=(examples, dims))


def in_order(pick, examples):
    """The ids in the order they are picked, from the selections of 1, 2, 3, ... examples."""
    order = []
    for keep in range(1, examples + 1):
        (new,) = set(pick(keep).tolist()) - set(order)
        order.append(new)
    return order


def plain_herding(x):
    """At each step the free example that brings the mean of those kept nearest to the mean of all."""
    order = []
    for _ in range(len(x)):
        free = [i for i in range(len(x)) if i not in order]
        order.append(min(free, key=lambda i: np.linalg.norm(x.mean(axis=0) - x[order + [i]].mean(axis=0))))
    return order


def plain_k_center(x, first, keep):
    """At each step the free example farthest from its nearest kept one."""
    apart = [[np.linalg.norm(a - b) for b in x] for a in x]
    order = list(first)
    while len(order) < keep:
        free = [i for i in range(len(x)) if i not in order]
        order.append(max(free, key=lambda i: (min(apart[i][j] for j in order), -i)))
    return order


def radius(x, ids):
    return max(min(np.linalg.norm(row - x[j]) for j in ids) for row in x)


class TestHerding:
    def test_picks_worked_by_hand(self):
        # mean 3.2. Targets: 3.2 -> 3; 6.4 - 3 = 3.4 -> 2; 9.6 - 5 = 4.6 -> 1; 12.8 - 6 = 6.8 -> 10; 0 is left
        x = np.array([[0.0], [1.0], [2.0], [3.0], [10.0]])
        assert in_order(lambda keep: select.herding(x, keep=keep), 5) == [3, 2, 1, 4, 0]

    @pytest.mark.parametrize("seed", range(4))
    def test_every_step_is_the_greedy_minimiser_of_the_distance_between_means(self, seed):
        x = blobs(50, 5, seed)
        assert in_order(lambda keep: select.herding(x, keep=keep), 50) == plain_herding(x)

    def test_the_mean_of_a_tenth_is_far_nearer_than_of_a_random_tenth(self):
        x = blobs(500, 20)
        herded, drawn = (
            np.linalg.norm(x[ids].mean(axis=0) - x.mean(axis=0))
            for ids in (select.herding(x, keep=0.1), select.random(500, keep=0.1, rng=rng_of()))
        )
        assert herded < drawn / 5

    def test_equal_rows_go_by_lowest_id(self):
        np.testing.assert_array_equal(select.herding(np.full((9, 3), 0.1), keep=4), [0, 1, 2, 3])


class TestKCenter:
    @pytest.mark.parametrize("seed", range(4))
    def test_equals_the_plain_greedy(self, seed):
        x = blobs(60, 5, seed)
        first = int(rng_of(seed).integers(60))
        order = in_order(lambda keep: select.k_center(x, keep=keep, rng=rng_of(seed)), 60)
        assert order == plain_k_center(x, [first], 60)

    def test_equals_the_plain_greedy_over_many_batches(self):
        x = blobs(200, 16)
        keep = 4 * BATCH
        expected = plain_k_center(x, [int(rng_of().integers(200))], keep)
        np.testing.assert_array_equal(select.k_center(x, keep=keep, rng=rng_of()), sorted(expected))

    def test_its_radius_is_at_most_twice_the_least_possible(self):
        for seed in range(12):
            x = rng_of(seed).normal(size=(9, 2))
            least = min(radius(x, ids) for ids in itertools.combinations(range(9), 3))
            assert radius(x, select.k_center(x, keep=3, rng=rng_of(seed))) <= 2 * least + 1e-6

    def test_starts_at_random_or_nearest_to_the_mean(self):
        x = np.array([[0.0], [4.0], [5.0], [9.0]])  # mean 4.5, and 4 is as near as 5
        assert {int(select.k_center(x, keep=1, rng=rng_of(s))[0]) for s in range(40)} == {0, 1, 2, 3}
        np.testing.assert_array_equal(select.k_center(x, keep=1, start="mean", rng=rng_of()), [1])

    @pytest.mark.parametrize("held", [1, 3, BATCH + 8])
    def test_covers_from_the_examples_already_held_and_returns_them_too(self, held):
        x = blobs(100, 4)
        initial = rng_of(1).permutation(100)[:held]
        ids = select.k_center(x, keep=held + 9, rng=rng_of(), initial=initial)
        np.testing.assert_array_equal(ids, sorted(plain_k_center(x, initial.tolist(), held + 9)))
        np.testing.assert_array_equal(select.k_center(x, keep=held, rng=rng_of(), initial=initial), np.sort(initial))

    def test_no_examples_held_is_a_start_like_any_other(self):
        x, none = blobs(20, 2), np.array([], dtype=np.int64)
        expected = select.k_center(x, keep=5, rng=rng_of())
        np.testing.assert_array_equal(select.k_center(x, keep=5, rng=rng_of(), initial=none), expected)

    @pytest.mark.parametrize("seed", range(5))
    def test_twins_wait_until_every_distinct_row_is_kept(self, seed):
        distinct = blobs(20, 300, seed).astype(np.float32)
        x = np.repeat(distinct, 5, axis=0)
        assert sorted(select.k_center(x, keep=20, rng=rng_of(seed)) // 5) == list(range(20))
        x = distinct[np.arange(100) % 20]
        first = select.k_center(x, keep=20, rng=rng_of(seed))
        for keep in (21, 63, 99):  # then twins by lowest id, none picked twice
            rest = np.setdiff1d(np.arange(100), first)[: keep - 20]
            expected = np.sort(np.concatenate([first, rest]))
            np.testing.assert_array_equal(select.k_center(x, keep=keep, rng=rng_of(seed)), expected)

    def test_equal_rows_go_by_lowest_id(self):
        ids = select.k_center(np.full((90, 3), 0.1), keep=40, start="mean", rng=rng_of())
        np.testing.assert_array_equal(ids, np.arange(40))

    def test_ties_go_to_the_lower_id(self):
        x = np.array([[-2.0], [0.0], [2.0]])
        np.testing.assert_array_equal(select.k_center(x, keep=2, start="mean", rng=rng_of()), [0, 1])

    def test_memory_is_one_batch_of_distances_however_many_picks(self):
        x = blobs(5000, 16).astype(np.float32)
        tracemalloc.start()
        select.k_center(x, keep=20 * BATCH, rng=rng_of())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1.6 * 4 * 5000 * BATCH  # a table of all distances takes 20 batches

    def test_features_in_float32_are_not_copied(self):
        x = np.zeros((40_000, 300), dtype=np.float32)  # 48 MB
        x[:, 0] = np.arange(40_000)
        tracemalloc.start()
        select.k_center(x, keep=2, rng=rng_of())
        select.herding(x, keep=2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < x.nbytes / 2


def herding(x, keep):
    return select.herding(x, keep=keep)


def k_center(x, keep):
    return select.k_center(x, keep=keep, start="mean", rng=rng_of())


PLAIN = {herding: lambda x: plain_herding(x)[:20], k_center: lambda x: plain_k_center(x, [nearest_to_mean(x)], 20)}


def nearest_to_mean(x):
    return int(np.linalg.norm(x - x.mean(axis=0), axis=1).argmin())


@pytest.mark.parametrize("pick", [herding, k_center])
class TestBoth:
    def test_far_from_the_origin_small_distances_still_count(self, pick):
        x = (blobs(60, 8) + 3e4).astype(np.float32)  # |x|^2 = 7e9, where float32 goes in steps of 512
        np.testing.assert_array_equal(pick(x, 20), sorted(PLAIN[pick](x.astype(float))))

    @pytest.mark.parametrize("scale", [2.0**90, 2.0**-90], ids=["huge", "tiny"])
    def test_squares_that_leave_float32_do_no_harm(self, pick, scale):
        x = blobs(60, 8).astype(np.float32)
        np.testing.assert_array_equal(pick(x * np.float32(scale), 20), pick(x, 20))

    def test_layout_and_precision_of_the_features_do_not_matter(self, pick):
        x = blobs(60, 8).astype(np.float32)
        expected = pick(x, 20)
        wide = np.zeros((120, 8), dtype=np.float32)
        wide[::2] = x
        for same in (x.astype(float), np.asfortranarray(x), wide[::2]):
            np.testing.assert_array_equal(pick(same, 20), expected)

    def test_one_example_is_kept(self, pick):
        np.testing.assert_array_equal(pick(np.ones((1, 3)), 1), [0])


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    X = np.arange(10.0)[:, None]

    @pytest.mark.parametrize("pick", [herding, k_center])
    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_features_that_are_not_numbers_name_the_example(self, pick, value):
        x = blobs(10, 3)
        x[6, 1] = value
        with pytest.raises(SecateurError, match=f"features: values must be finite, got {value} at examples 6, dims 1"):
            pick(x, 3)

    @pytest.mark.parametrize("pick", [herding, k_center])
    def test_features_beyond_float32_name_the_example(self, pick):
        x = blobs(10, 3)
        x[4] = 1e300
        with pytest.raises(SecateurError, match="features: example 4 goes beyond the range of float32"):
            pick(x, 3)

    @pytest.mark.parametrize(
        ("initial", "message"),
        [
            (np.array([2, 10]), "initial: expected ids from 0 to 9, got 10"),
            (np.array([2, -1]), "initial: expected ids from 0 to 9, got -1"),
            (np.array([3, 5, 3]), "initial: names example 3 2 times"),
            (np.array([1, 2, 3, 4, 5]), "initial: names 5 examples, more than the 4 to keep"),
            (np.array([1.0, 2.0]), "initial: expected ids, got an array of float64"),
            (np.ones(10, dtype=bool), "initial: expected ids, got an array of bool"),
            (np.array([[1], [2]]), r"initial: expected ids, got an array of int64 of shape \(2, 1\)"),
        ],
    )
    def test_examples_held_must_be_distinct_ids_of_the_set(self, initial, message):
        with pytest.raises(SecateurError, match=message):
            select.k_center(self.X, keep=4, rng=rng_of(), initial=initial)

    def test_other_starts_are_named(self):
        with pytest.raises(SecateurError, match="start: expected random or mean, got 'median'"):
            select.k_center(self.X, keep=4, rng=rng_of(), start="median")
