"""InfoMax: the objective, and how well it is maximised."""

from itertools import combinations

import numpy as np
import pytest
from scipy import sparse

from secateur import select
from secateur.errors import SecateurError
from secateur.select.infomax import _greedy, _swapped, infomax_value, project, standardised
from secateur.select.similarity import near_similarity


def instance(seed, n=40, neighbours=4):
    """Scores, features, and what the objective is made of: standardised scores and dense similarities."""
    rng = np.random.default_rng(seed)
    features, scores = rng.normal(size=(n, 3)), rng.gamma(2, size=n)
    return scores, features, (scores - scores.mean()) / scores.std(), near_similarity(features, neighbours).toarray()


def objective(worth, alike, ids, alpha):
    """Plainly: what each is worth, less alpha for every ordered pair."""
    return sum(worth[i] for i in ids) - alpha * sum(float(alike[i, j]) for i in ids for j in ids if i != j)


def greedy(worth, alike, keep, alpha):
    ids = []
    for _ in range(keep):
        rest = [i for i in range(len(worth)) if i not in ids]
        ids.append(max(rest, key=lambda i: objective(worth, alike, [*ids, i], alpha)))
    return ids


@pytest.mark.parametrize("alpha", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("seed", range(4))
def test_the_objective_is_no_worse_than_that_of_greedy_and_of_the_hardest(seed, alpha):
    scores, features, worth, alike = instance(seed)
    got = objective(worth, alike, select.infomax(scores, features, keep=12, neighbours=4, alpha=alpha), alpha)
    assert got >= objective(worth, alike, greedy(worth, alike, 12, alpha), alpha) - 1e-6
    assert got >= objective(worth, alike, select.hardest(scores, keep=12), alpha) - 1e-6


@pytest.mark.parametrize("seed", [11, 17, 113, 175])
def test_without_gradient_steps_too(seed):
    """From the hardest alone, swaps end below greedy for the first two seeds; from greedy, below the hardest after."""
    scores, features, worth, alike = instance(seed, n=12)
    alpha = (0.1, 0.5, 2.0)[seed % 3]
    ids = select.infomax(scores, features, keep=4, neighbours=4, alpha=alpha, iterations=0)
    rivals = (greedy(worth, alike, 4, alpha), select.hardest(scores, keep=4))
    assert objective(worth, alike, ids, alpha) >= max(objective(worth, alike, r, alpha) for r in rivals) - 1e-6


def test_greedy_adds_what_raises_the_objective_most():
    _, _, worth, alike = instance(5)
    ids = _greedy(worth, sparse.csr_array(alike), 0.5, 12)
    np.testing.assert_array_equal(ids, np.sort(greedy(worth, alike, 12, 0.5)))


def test_nine_in_ten_small_sets_are_the_best_and_none_is_a_tenth_of_the_way_to_the_worst():
    best = 0
    for seed in range(60):
        scores, features, worth, alike = instance(seed, n=10, neighbours=3)
        alpha = (0.1, 0.5, 2.0)[seed % 3]
        values = {ids: objective(worth, alike, ids, alpha) for ids in combinations(range(10), 4)}
        ids = select.infomax(scores, features, keep=4, neighbours=3, alpha=alpha)
        short = (max(values.values()) - values[tuple(ids.tolist())]) / (max(values.values()) - min(values.values()))
        assert short < 0.1
        best += short < 1e-6
    assert best >= 54


@pytest.mark.parametrize("seed", range(3))
def test_at_the_end_no_swap_of_one_for_one_raises_the_objective(seed):
    scores, _, worth, alike = instance(seed)
    ids = _swapped(worth, sparse.csr_array(alike), 1.0, select.hardest(scores, keep=12)).tolist()
    swaps = [[i for i in ids if i != out] + [into] for out in ids for into in range(40) if into not in ids]
    best = objective(worth, alike, ids, 1.0)
    assert max(objective(worth, alike, swap, 1.0) for swap in swaps) <= best + 1e-6


def test_gradient_steps_find_more_than_greedy_and_the_hardest_do():
    scores, features, worth, alike = instance(0, n=300)
    without, steps = (
        objective(worth, alike, select.infomax(scores, features, keep=90, neighbours=4, iterations=k), 0.5)
        for k in (0, 100)
    )
    assert steps > without + 0.1


def test_without_alpha_the_hardest_are_kept_and_ties_go_to_the_lower_id():
    scores, features, *_ = instance(1, n=400)
    scores = np.round(scores)
    ids = select.infomax(scores, features, keep=150, alpha=0.0)
    np.testing.assert_array_equal(ids, select.hardest(scores, keep=150))


def test_next_to_no_alpha_keeps_the_hardest():
    scores, features, *_ = instance(1)
    ids = select.infomax(scores, features, keep=15, alpha=1e-9)
    np.testing.assert_array_equal(ids, select.hardest(scores, keep=15))


def test_examples_unlike_each_other_in_everything_are_taken_by_score():
    np.testing.assert_array_equal(select.infomax(np.array([0.0, 1.0]), np.array([[1.0], [-1.0]]), keep=1), [1])


def test_alpha_means_the_same_whatever_the_scale_of_the_scores():
    scores, features, *_ = instance(2)
    ids = select.infomax(scores, features, keep=10)
    np.testing.assert_array_equal(select.infomax(1000 * scores - 7, features, keep=10), ids)
    assert not np.array_equal(ids, select.hardest(scores, keep=10))


def test_a_kept_twin_costs_two_alpha_standard_deviations():
    features = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    scores = np.array([2.0, 2.0, 0.0, 0.0])  # one standard deviation above the mean and below it
    same, apart = ([0, 1], [0, 2])
    np.testing.assert_array_equal(select.infomax(scores, features, keep=2, neighbours=1, alpha=0.99), same)
    np.testing.assert_array_equal(select.infomax(scores, features, keep=2, neighbours=1, alpha=1.01), apart)


def test_equal_scores_leave_it_to_the_features():
    features = np.repeat(np.eye(4), 3, axis=0)
    ids = select.infomax(np.full(12, 0.1), features, keep=4, neighbours=2)
    np.testing.assert_array_equal(ids // 3, [0, 1, 2, 3])


def test_pairs_count_in_both_orders():
    graph = sparse.csr_array(np.array([[0, 0.5, 0], [0.5, 0, 0.25], [0, 0.25, 0]]))
    assert infomax_value(np.array([1.0, 2.0, 3.0]), graph, np.arange(3), alpha=2.0) == 6 - 2 * (1 + 0.5)


def test_scores_are_standardised_by_mean_and_deviation():
    np.testing.assert_allclose(standardised(np.array([2, 4, 6])), np.array([-1, 0, 1]) * 1.5**0.5)
    np.testing.assert_array_equal(standardised(np.ones(3)), np.zeros(3))


@pytest.mark.parametrize("seed", range(5))
def test_projection_is_the_nearest_feasible_point(seed):
    rng = np.random.default_rng(seed)
    point = 3 * rng.normal(size=12)
    got = project(point, 4)
    assert got.sum() == pytest.approx(4)
    assert got.min() >= 0
    assert got.max() <= 1
    for _ in range(50):  # the nearest point of a convex set: no feasible direction makes an acute angle
        corner = np.zeros(12)
        corner[rng.choice(12, 4, replace=False)] = 1
        assert (point - got) @ (corner - got) <= 1e-9


def test_a_single_example_is_kept():
    np.testing.assert_array_equal(select.infomax(np.ones(1), np.ones((1, 2)), keep=1), [0])


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    @pytest.mark.parametrize(
        ("knobs", "message"),
        [
            ({"alpha": -0.1}, "alpha: expected a number in .*, got -0.1"),
            ({"alpha": np.nan}, "alpha: expected a number in .*, got nan"),
            ({"iterations": -1}, "iterations: expected a whole number from 0 .*, got -1"),
            ({"neighbours": 0}, "neighbours: expected a whole number from 1 .*, got 0"),
            ({"keep": 41}, "keep: expected a count from 1 to 40"),
        ],
    )
    def test_impossible_knobs_are_named(self, knobs, message):
        scores, features, *_ = instance(0)
        with pytest.raises(SecateurError, match=message):
            select.infomax(scores, features, **{"keep": 3} | knobs)

    def test_infinite_scores_cannot_be_added_up(self):
        scores, features, *_ = instance(0)
        scores[5] = np.inf
        with pytest.raises(SecateurError, match="scores: .* must be finite, got inf at example 5"):
            select.infomax(scores, features, keep=3)

    def test_rows_of_zeros_and_nan_are_named(self):
        scores, features, *_ = instance(0)
        features[7] = 0
        with pytest.raises(SecateurError, match="features: example 7 is all zeros"):
            select.infomax(scores, features, keep=3)
        features[7, 1] = np.nan
        with pytest.raises(SecateurError, match="features: values must be finite, got nan at examples 7, dims 1"):
            select.infomax(scores, features, keep=3)

    def test_scores_and_features_must_be_of_the_same_examples(self):
        scores, features, *_ = instance(0)
        with pytest.raises(SecateurError, match="features has 39 examples, but scores has 40"):
            select.infomax(scores, features[1:], keep=3)
