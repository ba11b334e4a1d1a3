"""Contextual diversity, CAL and D2 choose what the plain loops choose."""

import numpy as np
import pytest

from secateur import select
from secateur.errors import SecateurError
from secateur.select.diversity import FLOOR


def rng_of(seed=0):
    return np.random.default_rng(seed)


def softmax(examples, classes, seed=0, sharp=2.0):
    p = np.exp(sharp * rng_of(seed).normal(size=(examples, classes)))
    return p / p.sum(axis=1, keepdims=True)


def one_hot(labels, classes):
    return np.eye(classes)[labels]


def floored(p):
    p = np.maximum(p, FLOOR)
    return p / p.sum(axis=1, keepdims=True)


def kl(p, q):
    return sum(a * np.log(a / b) for a, b in zip(p, q, strict=True))


def nearest_of(x, i, k):
    others = [j for j in range(len(x)) if j != i]
    return sorted(others, key=lambda j: np.linalg.norm(x[i] - x[j]))[:k]


def plain_contextual_diversity(p, first, keep):
    order, gaps = [], [np.inf] * len(p)
    while len(order) < keep:
        free = [i for i in range(len(p)) if i not in order]
        order.append(max(free, key=lambda i: (gaps[i], -i)) if order else first)
        gaps = [min(gap, (kl(q, p[order[-1]]) + kl(p[order[-1]], q)) / 2) for gap, q in zip(gaps, p, strict=True)]
    return sorted(order)


def plain_cal(x, p, k):
    return [np.mean([kl(p[j], p[i]) for j in nearest_of(x, i, k)]) for i in range(len(x))]


def plain_d2(scores, x, keep, k, forward, reverse):
    """forward, reverse: message weight of a distance."""
    near = [nearest_of(x, i, k) for i in range(len(x))]
    far = lambda i, j: np.linalg.norm(x[i] - x[j])
    worth = [scores[i] + sum(forward(far(i, j)) * scores[j] for j in near[i]) for i in range(len(x))]
    order = []
    while len(order) < keep:
        pick = max((i for i in range(len(x)) if i not in order), key=lambda i: (worth[i], -i))
        order.append(pick)
        for j in near[pick]:
            worth[j] -= reverse(far(pick, j)) * worth[pick]
    return sorted(order)


class TestContextualDiversity:
    @pytest.mark.parametrize("seed", range(4))
    @pytest.mark.parametrize("keep", [2, 11, 50])
    def test_is_k_center_on_the_symmetric_divergence(self, seed, keep):
        p = softmax(80, 6, seed)
        expected = plain_contextual_diversity(p, int(rng_of(seed).integers(80)), keep)
        np.testing.assert_array_equal(select.contextual_diversity(p, keep=keep, rng=rng_of(seed)), expected)

    def test_is_k_center_where_probabilities_are_nearly_or_quite_saturated(self):
        p = np.concatenate([softmax(30, 4, sharp=12.0), one_hot(np.arange(3), 4)])
        expected = plain_contextual_diversity(floored(p), 1, 12)
        seed = next(s for s in range(999) if rng_of(s).integers(33) == 1)
        np.testing.assert_array_equal(select.contextual_diversity(p, keep=12, rng=rng_of(seed)), expected)

    def test_sums_that_are_a_little_off_are_made_good(self):
        p = softmax(80, 6, sharp=0.02)  # so near each other that sums would tell
        off = p * (1 - 0.009 * rng_of(1).random((80, 1)))
        expected = plain_contextual_diversity(p, int(rng_of().integers(80)), 60)
        np.testing.assert_array_equal(select.contextual_diversity(off, keep=60, rng=rng_of()), expected)

    def test_twins_wait_and_then_go_by_lowest_id(self):
        p = softmax(10, 100, sharp=12.0)[np.arange(60) % 10]
        first = select.contextual_diversity(p, keep=10, rng=rng_of())
        assert sorted(first % 10) == list(range(10))
        for keep in (11, 30, 59):
            rest = np.setdiff1d(np.arange(60), first)[: keep - 10]
            ids = select.contextual_diversity(p, keep=keep, rng=rng_of())
            np.testing.assert_array_equal(ids, np.sort(np.concatenate([first, rest])))

    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    def test_saturated_predictions_of_every_class_are_covered(self, dtype):
        labels = np.arange(40) % 5
        ids = select.contextual_diversity(one_hot(labels, 5).astype(dtype), keep=5, rng=rng_of())
        assert sorted(labels[ids]) == [0, 1, 2, 3, 4]

    def test_equal_rows_are_kept_by_lowest_id_after_the_first(self):
        first = int(rng_of(5).integers(50))
        ids = select.contextual_diversity(np.full((50, 4), 0.25), keep=40, rng=rng_of(5))
        np.testing.assert_array_equal(ids, sorted([first] + [i for i in range(50) if i != first][:39]))


class TestCAL:
    def test_values_worked_by_hand(self):
        # pairs that are each other's nearest: KL(b || a) is a's. With (1/2, 1/2) and (1/4, 3/4):
        # KL((1/4, 3/4) || (1/2, 1/2)) = 0.131 for the even one, KL((1/2, 1/2) || (1/4, 3/4)) = 0.144 for the other
        x, p = np.array([[0.0], [1.0]]), np.array([[0.5, 0.5], [0.25, 0.75]])
        np.testing.assert_array_equal(select.cal(x, p, keep=1, neighbours=1), [1])

    @pytest.mark.parametrize("neighbours", [1, 4, 10])
    def test_keeps_the_largest_mean_divergence_of_neighbours(self, neighbours):
        x, p = rng_of(1).normal(size=(60, 3)), softmax(60, 5)
        contrast = np.array(plain_cal(x, p, neighbours))
        for keep in (1, 7, 30):
            expected = np.sort(np.argsort(-contrast)[:keep])
            np.testing.assert_array_equal(select.cal(x, p, keep=keep, neighbours=neighbours), expected)

    def test_saturated_probabilities_count_as_the_floor(self):
        x = rng_of(1).normal(size=(40, 3))
        p = one_hot(rng_of(2).integers(3, size=40), 3)
        contrast = np.array(plain_cal(x, floored(p), 4)).round(9)
        expected = np.sort(np.argsort(-contrast, kind="stable")[:10])
        assert set(contrast[select.cal(x, p, keep=10, neighbours=4)]) == set(contrast[expected])

    def test_equal_rows_go_by_lowest_id(self):
        x, p = np.ones((30, 2)), np.full((30, 3), 1 / 3)
        np.testing.assert_array_equal(select.cal(x, p, keep=4), [0, 1, 2, 3])


class TestD2:
    X = np.array([[0.0], [2.0], [9.0]])

    @pytest.mark.parametrize("gamma", [0.0, 0.1, 1.0])
    @pytest.mark.parametrize("neighbours", [1, 5])
    def test_equals_the_plain_loop_in_the_form_of_the_paper(self, gamma, neighbours):
        x, scores = rng_of(1).normal(size=(70, 4)), rng_of(2).random(70)
        for keep in (1, 9, 35, 69):
            expected = plain_d2(scores, x, keep, neighbours, lambda d: np.exp(-(d**2)), lambda d: np.exp(-gamma * d**2))
            ids = select.d2(scores, x, keep=keep, neighbours=neighbours, gamma=gamma)
            np.testing.assert_array_equal(ids, expected)

    def test_equals_the_plain_loop_in_the_form_of_the_code(self):
        x, scores = rng_of(1).normal(size=(70, 4)), rng_of(2).random(70)
        expected = plain_d2(scores, x, 30, 5, lambda d: np.exp(-d), lambda d: np.exp(-0.4 * d))
        np.testing.assert_array_equal(select.d2(scores, x, keep=30, gamma=0.4, kernel="plain"), expected)

    def test_equals_the_plain_loop_with_another_gamma_forward(self):
        x, scores = rng_of(1).normal(size=(70, 4)), rng_of(2).random(70)
        expected = plain_d2(scores, x, 30, 5, lambda d: np.exp(-0.2 * d**2), lambda d: np.exp(-0.1 * d**2))
        np.testing.assert_array_equal(select.d2(scores, x, keep=30, gamma_forward=0.2), expected)

    def test_in_medians_of_the_distance_to_a_neighbour_the_scale_of_the_features_is_nothing(self):
        x, scores = rng_of(1).normal(size=(70, 4)), rng_of(2).random(70)
        median = np.median([np.linalg.norm(x[i] - x[j]) for i in range(70) for j in nearest_of(x, i, 5)])
        expected = plain_d2(scores, x / median, 30, 5, lambda d: np.exp(-(d**2)), lambda d: np.exp(-0.1 * d**2))
        for scale in (1, 1000):
            np.testing.assert_array_equal(select.d2(scores, scale * x, keep=30, unit="median"), expected)
        assert not np.array_equal(select.d2(scores, 1000 * x, keep=30), expected)

    def test_forward_messages_worked_by_hand(self):
        # 0 and 1 are 2 apart. Squared: 1 + exp(-4) = 1.02 < 1.1, so 2 is first; plain: 1 + exp(-2) = 1.14, so 0 is
        scores = np.array([1.0, 1.0, 1.1])
        np.testing.assert_array_equal(select.d2(scores, self.X, keep=1, neighbours=1), [2])
        np.testing.assert_array_equal(select.d2(scores, self.X, keep=1, neighbours=1, kernel="plain"), [0])

    def test_reverse_messages_worked_by_hand(self):
        # nothing comes forward; 0 is first. Squared: 2.9 - 3 exp(-0.8) = 1.55 > 1, so 1 is next; plain:
        # 2.9 - 3 exp(-0.4) = 0.89 < 1, so 2 is
        scores, knobs = np.array([3.0, 2.9, 1.0]), {"neighbours": 1, "gamma": 0.2, "gamma_forward": 1e3}
        np.testing.assert_array_equal(select.d2(scores, self.X, keep=2, **knobs), [0, 1])
        np.testing.assert_array_equal(select.d2(scores, self.X, keep=2, kernel="plain", **knobs), [0, 2])

    def test_without_messages_the_hardest_are_kept(self):
        x, scores = rng_of(1).normal(size=(50, 4)), rng_of(2).normal(size=50)
        ids = select.d2(scores, x, keep=10, gamma=1e6, gamma_forward=1e6)
        np.testing.assert_array_equal(ids, select.hardest(scores, keep=10))

    def test_scores_below_zero_are_raised_until_the_lowest_is_zero(self):
        x, scores = rng_of(1).normal(size=(50, 4)), rng_of(2).normal(size=50)
        ids = select.d2(scores, x, keep=20)
        np.testing.assert_array_equal(ids, select.d2(scores - scores.min(), x, keep=20))
        assert not np.array_equal(ids, select.d2(scores - scores.min() + 3, x, keep=20))  # others stay as they are

    def test_equal_scores_and_rows_go_by_lowest_id(self):
        np.testing.assert_array_equal(select.d2(np.zeros(30), np.ones((30, 2)), keep=4), [0, 1, 2, 3])

    def test_twins_are_not_kept_together(self):
        x = np.repeat(10 * np.arange(10.0)[:, None], 2, axis=0)
        ids = select.d2(1 + np.arange(20.0), x, keep=10, neighbours=1, gamma=0.1)
        assert sorted(ids // 2) == list(range(10))


def cal(x, **knobs):
    return select.cal(x, softmax(len(x), 3), **knobs)


def d2(x, **knobs):
    return select.d2(np.arange(float(len(x))), x, **knobs)


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    X = rng_of().normal(size=(8, 3))

    @pytest.mark.parametrize("pick", [cal, d2])
    def test_there_are_fewer_neighbours_than_examples(self, pick):
        assert len(pick(self.X, keep=3, neighbours=7)) == 3
        with pytest.raises(SecateurError, match="neighbours: expected 1 to 7, the others there are, got 8"):
            pick(self.X, keep=3, neighbours=8)

    @pytest.mark.parametrize("pick", [cal, d2])
    def test_all_of_a_few_examples_need_no_neighbours_but_the_number_must_make_sense(self, pick):
        np.testing.assert_array_equal(pick(self.X, keep=1.0, neighbours=10), np.arange(8))
        for keep in (3, 8):
            with pytest.raises(SecateurError, match="neighbours: expected a whole number from 1 to 1,000,000, got 0"):
                pick(self.X, keep=keep, neighbours=0)

    @pytest.mark.parametrize("pick", [cal, d2])
    def test_features_that_are_not_numbers_name_the_example(self, pick):
        x = self.X.copy()
        x[5, 2] = np.nan
        with pytest.raises(SecateurError, match="features: values must be finite, got nan at examples 5, dims 2"):
            pick(x, keep=3)

    @pytest.mark.parametrize("pick", [cal, d2])
    def test_distances_beyond_float32_name_an_example(self, pick):
        x = self.X.astype(np.float32)
        x[5] = 1e30
        with pytest.raises(SecateurError, match="features: distances to example 5 go beyond float32"):
            pick(x, keep=3, neighbours=5)

    @pytest.mark.parametrize(
        "pick",
        [
            lambda p: select.cal(rng_of().normal(size=(20, 3)), p, keep=3),
            lambda p: select.contextual_diversity(p, keep=3, rng=rng_of()),
        ],
        ids=["cal", "contextual_diversity"],
    )
    def test_probabilities_that_do_not_sum_to_one_name_the_example(self, pick):
        p = softmax(20, 4)
        p[7] = 0
        with pytest.raises(SecateurError, match="p_final: expected probabilities that sum to 1, got 0 at example 7"):
            pick(p)
        p[7] = np.nan
        with pytest.raises(SecateurError, match="p_final: values must be finite, got nan at examples 7, classes 0"):
            pick(p)

    def test_infinite_scores_cannot_be_passed_on(self):
        scores = np.arange(8.0)
        scores[3] = np.inf
        with pytest.raises(SecateurError, match="scores: messages add them up, .* got inf at example 3"):
            select.d2(scores, self.X, keep=3)

    @pytest.mark.parametrize("knob", ["gamma", "gamma_forward"])
    @pytest.mark.parametrize("value", [-0.1, np.nan, np.inf])
    def test_impossible_gammas_are_named(self, knob, value):
        with pytest.raises(SecateurError, match=f"^{knob}: expected a number in .0, 1,000,000., got {value}"):
            d2(self.X, keep=3, **{knob: value})

    def test_other_kernels_are_named(self):
        with pytest.raises(SecateurError, match="kernel: expected squared or plain, got 'cubic'"):
            d2(self.X, keep=3, kernel="cubic")
        with pytest.raises(SecateurError, match="unit: expected features or median, got 'mean'"):
            d2(self.X, keep=3, unit="mean")

    def test_a_median_of_nothing_is_no_unit(self):
        with pytest.raises(SecateurError, match="unit: half of the neighbours lie at distance 0"):
            d2(np.ones((8, 2)), keep=3, unit="median")
