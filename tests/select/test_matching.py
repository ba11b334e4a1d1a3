"""CRAIG, GradMatch and GLISTER against plain loops over written-out gradients, and against paper and pencil."""

import numpy as np
import pytest
from scipy.optimize import nnls

from secateur import select
from secateur.errors import SecateurError
from secateur.select import matching
from tests.select.scenes import scene, written_out

H0 = np.zeros((4, 1))  # no features: a gradient is its error


def two_class(*a):
    """Errors whose gradients without features are a_i * (-1, 1)."""
    return np.array([[-x, x] for x in a])


def naive_craig(g, keep):
    """Facility location, trying every candidate at every step; sizes of the clusters by a plain loop."""
    far = max(np.linalg.norm(a - b) for a in g for b in g)
    like = np.array([[far - np.linalg.norm(a - b) for b in g] for a in g])
    picks: list[int] = []
    for _ in range(keep):
        outside = [x for x in range(len(g)) if x not in picks]
        picks.append(max(outside, key=lambda x: like[:, [*picks, x]].max(axis=1).sum()))
    sizes = dict.fromkeys(sorted(picks), 0)
    for row in range(len(g)):
        sizes[max(sizes, key=lambda x: like[row, x])] += 1
    return list(sizes), list(sizes.values())


class TestCraig:
    @pytest.mark.parametrize("keep", [1, 5, 29])
    @pytest.mark.parametrize("seed", range(3))
    def test_is_naive_greedy_on_written_out_gradients(self, keep, seed):
        h, e, _ = scene(30, seed=seed)
        ids, sizes = naive_craig(written_out(h, e), keep)
        out = select.craig(h, e, keep=keep)
        np.testing.assert_array_equal(out.ids, ids)
        np.testing.assert_array_equal(out.weights, sizes)

    def test_weights_are_cluster_sizes_not_one_more(self):
        h, e, _ = scene(30)
        assert select.craig(h, e, keep=7).weights.sum() == 30
        np.testing.assert_array_equal(select.craig(h, e, keep=30).weights, np.ones(30))

    def test_distances_are_euclidean_not_squared(self):
        # 0, 0, 0 and 6, 10: sums of distances 16 from 0 and 22 from 6; of squares 136 and 124, so 6 would be the medoid
        out = select.craig(np.array([[0.0], [0], [0], [6], [10]]), np.full((5, 2), [-0.5, 0.5]), keep=1)
        np.testing.assert_array_equal(out.ids, [0])

    def test_five_points_by_hand(self):
        # equal errors, so distances are those of the features; the sums are 13.5 12 11.5 13.5 37.5, and 10 is far out
        out = select.craig(np.array([[0.0], [0.5], [1], [2], [10]]), np.full((5, 2), [-0.5, 0.5]), keep=2)
        np.testing.assert_array_equal(out.ids, [2, 4])
        np.testing.assert_array_equal(out.weights, [4, 1])

    def test_the_bound_in_logits_sees_no_features(self):
        h, e, _ = scene(20)
        out, bare = select.craig(h, e, keep=6, gradient="logits"), select.craig(0 * h, e, keep=6)
        np.testing.assert_array_equal(out.ids, bare.ids)
        np.testing.assert_array_equal(out.weights, bare.weights)
        assert set(out.ids) != set(select.craig(h, e, keep=6).ids)

    def test_of_equal_gradients_a_kept_one_counts_for_itself_and_the_lowest_for_the_rest(self):
        out = select.craig(H0, two_class(0.5, 0.5, 0.5, 0.5), keep=3)
        np.testing.assert_array_equal(out.ids, [0, 1, 2])
        np.testing.assert_array_equal(out.weights, [2, 1, 1])

    def test_ids_are_rows_of_what_was_given_whatever_the_order(self):
        h, e, _ = scene(40)
        order = np.random.default_rng(5).permutation(40)
        plain, shuffled = select.craig(h, e, keep=8), select.craig(h[order], e[order], keep=8)
        assert dict(zip(*plain, strict=True)) == dict(zip(order[shuffled.ids], shuffled.weights, strict=True))


def plain_pursuit(g, keep, ridge):
    """Matching pursuit on written-out gradients: each support solved by lstsq from scratch; (ids, weights, drops)."""
    target, support, weights, drops = g.sum(axis=0), [], np.zeros(len(g)), 0
    while len(support) < keep:
        along = g @ (target - weights @ g)
        along[support] = -np.inf
        support.append(int(along.argmax()))
        while True:
            stacked = np.vstack([g[support].T, np.sqrt(ridge) * np.eye(len(support))])
            best = np.linalg.lstsq(stacked, np.append(target, np.zeros(len(support))), rcond=None)[0]
            if best.min() > 0:
                break
            now = weights[support]
            share, out = min((now[k] / (now[k] - best[k]), k) for k in range(len(support)) if best[k] <= 0)
            weights[support] = now + share * (best - now)
            weights[support.pop(out)] = 0
            drops += 1
        weights[support] = best
    return sorted(support), weights[sorted(support)], drops


def objective(g, out, ridge):
    return ((out.weights @ g[out.ids] - g.sum(axis=0)) ** 2).sum() + ridge * (out.weights**2).sum()


class TestGradMatch:
    @pytest.mark.parametrize("ridge", [0.0, 0.5])
    @pytest.mark.parametrize("seed", range(3))
    def test_is_plain_matching_pursuit_on_written_out_gradients_step_by_step(self, seed, ridge):
        h, e, _ = scene(60, classes=4, dims=9, seed=seed)
        g = written_out(h, e)
        for keep in range(1, 21):
            ids, weights, _ = plain_pursuit(g, keep, ridge)
            out = select.gradmatch(h, e, keep=keep, regularisation=ridge)
            np.testing.assert_array_equal(out.ids, ids)
            np.testing.assert_allclose(out.weights, weights, rtol=1e-7)

    @pytest.mark.parametrize(("seed", "ridge"), [(1, 0.0), (2, 0.5), (3, 0.0), (18, 0.0), (26, 0.0), (32, 0.0)])
    def test_an_example_whose_weight_would_turn_negative_leaves(self, seed, ridge):
        h, e, _ = scene(60, dims=19, seed=seed)  # seeds from 3 on: several weights would in one step
        ids, weights, drops = plain_pursuit(written_out(h, e), 35, ridge)
        out = select.gradmatch(h, e, keep=35, regularisation=ridge)
        assert drops >= 2
        assert out.weights.min() > 0
        np.testing.assert_array_equal(out.ids, ids)
        np.testing.assert_allclose(out.weights, weights, rtol=1e-6)

    @pytest.mark.parametrize("ridge", [0.0, 0.5])
    def test_weights_are_non_negative_least_squares_on_the_support(self, ridge):
        h, e, _ = scene(60, classes=4, dims=9)
        g = written_out(h, e)
        out = select.gradmatch(h, e, keep=15, regularisation=ridge)
        stacked = np.vstack([g[out.ids].T, np.sqrt(ridge) * np.eye(15)])
        solved, _ = nnls(stacked, np.append(g.sum(axis=0), np.zeros(15)))
        np.testing.assert_allclose(out.weights, solved, rtol=1e-8)

    @pytest.mark.parametrize("ridge", [0.0, 0.5])
    def test_the_residual_never_grows(self, ridge):
        h, e, _ = scene(40, dims=9, seed=1)  # of rank 20
        g = written_out(h, e)
        left = [objective(g, select.gradmatch(h, e, keep=k, regularisation=ridge), ridge) for k in range(1, 30)]
        assert (np.diff(left[:18]) < 0).all()
        assert (np.diff(left) < 1e-12 * left[0]).all()

    def test_never_returns_an_example_twice(self):
        # one line, a = .5 .4 -.5: the ridge leaves the first example itself the most in line with what is left
        # (products .2 .16 -.2), so a pursuit that forgets its support takes it again. Normal equations of the first
        # two: (.5 + .5) u + .4 v = .4 and .4 u + (.32 + .5) v = .32
        out = select.gradmatch(np.zeros((3, 1)), two_class(0.5, 0.4, -0.5), keep=2)
        np.testing.assert_array_equal(out.ids, [0, 1])
        np.testing.assert_allclose(out.weights, [0.2 / 0.66, 0.16 / 0.66])

    def test_takes_the_largest_positive_product_not_the_largest_by_size(self):
        # a = .2 .3 .4 -.5 sum to .4: the last one has the product largest by size, but against the sum
        out = select.gradmatch(H0, two_class(0.2, 0.3, 0.4, -0.5), keep=1, regularisation=0.0)
        np.testing.assert_array_equal(out.ids, [2])
        np.testing.assert_allclose(out.weights, [1.0])

    def test_when_all_is_explained_the_rest_is_filled_with_weight_zero(self):
        # features 1 and -1 are orthogonal, 0 is half their sum: all four add up to 2 of each, and nothing is left
        out = select.gradmatch(
            np.array([[1.0], [-1], [0], [0]]), np.full((4, 2), [-0.5, 0.5]), keep=3, regularisation=0
        )
        np.testing.assert_array_equal(out.ids, [0, 1, 2])
        np.testing.assert_allclose(out.weights, [2, 2, 0])

    def test_rounding_errors_are_no_order(self):
        # one line, all of it explained by .9: what is left of the products is of the size 1e-17, of either sign
        a = 0.1 + 0.7 * np.random.default_rng(0).random(40)
        a[35] = 0.9
        out = select.gradmatch(np.zeros((40, 1)), two_class(*a), keep=4, regularisation=0.0)
        np.testing.assert_array_equal(out.ids, [0, 1, 2, 35])
        np.testing.assert_allclose(out.weights, [0, 0, 0, a.sum() / 0.9])

    def test_the_rest_is_filled_in_the_order_of_its_products_with_the_residual(self):
        # a = -.1 .5 -.5 .4 sum to .3; of the sum .114 is left after the two above 0, and -.1 is the less against it.
        # (.5 + .5) u + .4 v = .3 and .4 u + (.32 + .5) v = .24
        out = select.gradmatch(H0, two_class(-0.1, 0.5, -0.5, 0.4), keep=3)
        np.testing.assert_array_equal(out.ids, [0, 1, 3])
        np.testing.assert_allclose(out.weights, [0, 0.15 / 0.66, 0.12 / 0.66])

    def test_twins_share_their_weight_as_the_ridge_asks(self):
        # a = .5 .5, products .5 with each other and 1 with the sum: (.5 + .5) w + .5 w = 1
        out = select.gradmatch(np.zeros((2, 1)), two_class(0.5, 0.5), keep=2)
        np.testing.assert_allclose(out.weights, [1 / 1.5, 1 / 1.5])

    def test_matches_the_sum_of_all(self):
        h, e, _ = scene(40, dims=2)
        g = written_out(h, e)
        out = select.gradmatch(h, e, keep=20, regularisation=0.0)
        np.testing.assert_allclose(out.weights @ g[out.ids], g.sum(axis=0), atol=1e-6)


def plain_glister(h, e, p, validation, keep, rate, rounds, mean=False):
    """A plain loop over written-out gradients: the last layer itself takes the steps."""
    g, held = written_out(h, e), np.flatnonzero(validation)
    labels = [int((p[v] - e[v]).argmax()) for v in held]
    moved = np.zeros((e.shape[1], h.shape[1] + 1))
    taken: list[int] = []
    for part in range(rounds):
        uphill = np.zeros(g.shape[1])
        for v, label in zip(held, labels, strict=True):
            weight = p[v] * np.exp(moved @ np.append(h[v], 1.0))
            error = weight / weight.sum() - np.eye(len(weight))[label]
            uphill += np.outer(error, np.append(h[v], 1.0)).ravel() / len(held)
        size = keep * (part + 1) // rounds - keep * part // rounds
        new = sorted((i for i in range(len(g)) if i not in taken), key=lambda i: -(g[i] @ uphill))[:size]
        moved -= rate * (g[new].mean(axis=0) if mean else g[new].sum(axis=0)).reshape(moved.shape)
        taken += new
    return sorted(taken)


class TestGlister:
    # no features: the gradient of a row is a * (-1, 1), with a = .5 -.4 .9 .8 -.7; the first two are validation
    P = np.array([[0.5, 0.5], [0.4, 0.6], [0.1, 0.9], [0.2, 0.8], [0.7, 0.3]])
    LABELS = np.array([0, 1, 0, 0, 1])
    ERRORS = P - np.eye(2)[LABELS]
    HELD = np.array([True, True, False, False, False])

    @pytest.mark.parametrize("mean", [False, True])
    @pytest.mark.parametrize(("keep", "rounds"), [(3, 1), (12, 4), (25, 7), (39, 15)])
    def test_is_a_plain_loop_over_written_out_gradients(self, keep, rounds, mean):
        h, e, p = scene(40, seed=keep)
        held = np.arange(40) % 3 == 0
        ids = select.glister(h, e, p, held, keep=keep, rate=0.3, rounds=rounds, step="mean" if mean else "sum")
        np.testing.assert_array_equal(ids, plain_glister(h, e, p, held, keep, 0.3, rounds, mean))

    def test_refreshes(self):
        # The mean validation a is (.5 - .4) / 2 = .05, so .9 and .8 are best at first sight. A step of rate 1 on .9
        # moves both logit gaps by 1.8 towards class 0: a = .142 and -.801, the mean is -.33, and -.7 is best.
        h = np.zeros((5, 1))
        np.testing.assert_array_equal(select.glister(h, self.ERRORS, self.P, self.HELD, keep=2, rounds=1), [2, 3])
        ids = select.glister(h, self.ERRORS, self.P, self.HELD, keep=2, rate=1.0, rounds=2)
        np.testing.assert_array_equal(ids, [2, 4])

    @pytest.mark.parametrize(("step", "expected"), [("sum", [1, 2, 3, 5]), ("mean", [0, 2, 3, 4])])
    def test_a_step_is_on_the_sum_of_a_round_or_on_its_mean(self, step, expected):
        # a = .6 -.4 .9 .8 .7 -.9; .9 and .8 come first. Both validation rows start at a gap of log(.4 / .6) = -.405,
        # and their mean a turns where the gap reaches 0: 2 * .15 * 1.7 = .51 passes it, 2 * .15 * .85 = .255 does not
        p = np.array([[0.4, 0.6], [0.4, 0.6], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7], [0.9, 0.1]])
        errors = p - np.eye(2)[[0, 1, 0, 0, 0, 1]]
        ids = select.glister(np.zeros((6, 1)), errors, p, np.arange(6) < 2, keep=4, rate=0.15, rounds=2, step=step)
        np.testing.assert_array_equal(ids, expected)

    def test_validation_examples_may_be_taken(self):
        ids = select.glister(np.zeros((5, 1)), self.ERRORS, self.P, self.HELD, keep=5)
        np.testing.assert_array_equal(ids, np.arange(5))

    def test_a_validation_row_without_error_keeps_its_label(self):
        # a = -.4 and 0: right for sure, of class 1. Read as class 0, it would be wrong for sure and turn the mean
        p = np.array([[0.4, 0.6], [0.0, 1.0], [0.1, 0.9], [0.2, 0.8], [0.7, 0.3]])
        errors = p - np.eye(2)[[1, 1, 0, 0, 1]]
        assert not errors[1].any()
        np.testing.assert_array_equal(select.glister(np.zeros((5, 1)), errors, p, self.HELD, keep=1), [4])

    def test_a_label_whose_probability_underflowed_still_counts(self):
        p = np.array([[0.4, 0.6], [0.0, 1.0], [0.1, 0.9], [0.2, 0.8], [0.7, 0.3]])
        errors = p - np.eye(2)[[1, 0, 0, 0, 1]]  # a = -.4 and 1: towards class 0
        ids = select.glister(np.zeros((5, 1)), errors, p, self.HELD, keep=2, rounds=2)
        np.testing.assert_array_equal(ids, [1, 2])


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    H, E, P = scene(6)
    HELD = np.arange(6) < 2

    def calls(self, h, e):
        yield lambda: select.craig(h, e, keep=2)
        yield lambda: select.gradmatch(h, e, keep=2)
        yield lambda: select.glister(h, e, self.P, self.HELD, keep=2)

    def refused(self, h, e, match):
        for call in self.calls(h, e):
            with pytest.raises(SecateurError, match=match):
                call()

    def test_errors_and_features_of_different_lengths_are_named(self):
        self.refused(self.H, self.E[:5], "errors has 5 examples, but features has 6")

    def test_nan_names_the_example(self):
        h = self.H.copy()
        h[3, 1] = np.nan
        self.refused(h, self.E, "features: values must be finite, got nan at examples 3, dims 1")
        e = self.E.copy()
        e[4, 0] = np.nan
        self.refused(self.H, e, "errors: values must be finite, got nan at examples 4, classes 0")

    def test_a_net_without_errors_has_no_gradients(self):
        self.refused(self.H, 0 * self.E, "errors: all zero, so there is no gradient to match; score this net earlier|")

    def test_no_validation_row_says_so(self):
        with pytest.raises(SecateurError, match="validation: none of the 6 examples is of the validation part"):
            select.glister(self.H, self.E, self.P, np.zeros(6, dtype=bool), keep=2)

    def test_validation_rows_without_errors_say_so(self):
        p, e = self.P.copy(), self.E.copy()
        p[:2], e[:2] = np.eye(3)[:2], 0
        with pytest.raises(SecateurError, match="validation: every error of its examples is zero"):
            select.glister(self.H, e, p, self.HELD, keep=2)

    def test_validation_ids_are_no_mask(self):
        with pytest.raises(SecateurError, match="validation: expected True or False an example, got an array of int64"):
            select.glister(self.H, self.E, self.P, np.array([0, 1, 4, 5, 2, 3]), keep=2)

    def test_errors_of_another_net_than_p_final_name_the_example(self):
        p = self.P.copy()
        p[1] = p[1][::-1]
        with pytest.raises(
            SecateurError, match="errors: expected p_final - one-hot label, but .* at example 1; take both"
        ):
            select.glister(self.H, self.E, p, self.HELD, keep=2)

    def test_errors_with_other_classes_than_p_final_are_named(self):
        with pytest.raises(SecateurError, match="p_final has 2 classes, but errors has 3"):
            select.glister(self.H, self.E, self.P[:, :2], self.HELD, keep=2)

    @pytest.mark.parametrize("knobs", [{"rate": 0.0}, {"rate": np.nan}, {"rounds": 0}, {"step": "median"}], ids=str)
    def test_impossible_steps_are_refused(self, knobs):
        with pytest.raises(
            SecateurError,
            match="rate: expected a number in|rounds: expected a whole number|glister: expected .* step sum or mean",
        ):
            select.glister(self.H, self.E, self.P, self.HELD, keep=2, **knobs)

    @pytest.mark.parametrize("ridge", [-0.1, np.nan, np.inf])
    def test_impossible_ridges_are_refused(self, ridge):
        with pytest.raises(SecateurError, match="regularisation: expected a number in .*, got"):
            select.gradmatch(self.H, self.E, keep=2, regularisation=ridge)

    def test_gradients_that_cancel_have_no_sum_to_match(self):
        with pytest.raises(SecateurError, match="errors: the gradients add up to zero"):
            select.gradmatch(np.zeros((2, 1)), two_class(0.5, -0.5), keep=1)

    def test_an_unknown_gradient_is_refused(self):
        with pytest.raises(SecateurError, match="gradient: expected layer or logits, got 'all'"):
            select.craig(self.H, self.E, keep=2, gradient="all")

    def test_a_table_that_would_not_fit_names_its_size_and_the_way_out(self, monkeypatch):
        assert matching.LARGEST == 25_000
        many = np.full((25_001, 2), [-0.5, 0.5])
        with pytest.raises(SecateurError, match="craig: 25001 examples need .* 2.5 GB; .* select class by class"):
            select.craig(np.zeros((25_001, 1)), many, keep=2)
        with pytest.raises(SecateurError, match="gradmatch: 25001 kept examples need .* 5.0 GB; .* class by class"):
            select.gradmatch(np.zeros((25_001, 1)), many, keep=25_001)
