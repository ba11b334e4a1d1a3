"""Every selector keeps every promise, and the values worked by hand."""

import numpy as np
import pytest

from secateur import checks, select
from secateur.errors import SecateurError
from secateur.registry import ENTRIES, resolve_keep
from secateur.select.ranked import apportion
from secateur.select.stratified import _serve_smallest_first, beta_parameters, drop_quotas

RANK_BASED = {"hardest", "easiest", "middle", "offset", "per_class", "flexrand", "floored"}
KNOBS = {"offset": {"drop": 0.0}}
SELECTORS = [entry.fn for (kind, _), entry in ENTRIES.items() if kind == "selector"]
selectors = pytest.mark.parametrize("fn", SELECTORS, ids=lambda f: f.__name__)
promises = pytest.mark.parametrize("promise", checks.SELECTOR_PROMISES, ids=lambda p: p.__name__)


@selectors
@promises
def test_keeps_its_promises(fn, promise):
    promise(fn, **KNOBS.get(fn.__name__, {}))


@pytest.mark.parametrize("name", sorted(RANK_BASED))
def test_ranked_selectors_read_ranks_only(name):
    checks.selector_reads_ranks_only(getattr(select, name), **KNOBS.get(name, {}))


def test_every_selector_is_public():
    assert {fn.__name__ for fn in SELECTORS} == set(select.__all__)


def test_ties_go_to_the_lower_id():
    scores = np.array([1.0, 2.0, 2.0, 2.0, 0.0])
    np.testing.assert_array_equal(select.hardest(scores, keep=2), [1, 2])
    np.testing.assert_array_equal(select.easiest(np.zeros(5), keep=3), [0, 1, 2])


def test_infinite_scores_are_hardest():
    np.testing.assert_array_equal(select.hardest(np.array([1.0, np.inf, 3.0]), keep=1), [1])


def test_per_class_keeps_the_shares_of_the_classes():
    labels = np.repeat([0, 1, 2], [60, 30, 10])
    ids = select.per_class(np.random.default_rng(0).random(100), labels, keep=10)
    np.testing.assert_array_equal(np.bincount(labels[ids]), [6, 3, 1])


class TestCCS:
    def test_smallest_strata_are_served_first(self):
        # 12 for strata of 1, 20, 3, 9: 1 of 12/4; 3 of 11/3; then 4 of 8/2; the last takes the rest
        quotas = _serve_smallest_first(np.array([1, 20, 3, 9]), 12)
        np.testing.assert_array_equal(quotas, [1, 4, 3, 4])

    def test_the_hardest_are_left_out_by_whatever_measures_hardness(self):
        scores, hardness = np.arange(100.0), np.arange(100.0)[::-1]
        rng = np.random.default_rng(0)
        assert select.ccs(scores, keep=70, rng=rng, cutoff=0.3).max() == 69
        assert select.ccs(scores, keep=70, rng=rng, cutoff=0.3, cutoff_by=hardness).min() == 30

    @pytest.mark.parametrize("scores", [np.ones(50), -np.linspace(1, 2, 50)], ids=["equal", "negative"])
    def test_scores_that_break_the_published_code_are_fine(self, scores):
        assert len(select.ccs(scores, keep=20, rng=np.random.default_rng(0))) == 20

    def test_rare_strata_survive_that_random_would_lose(self):
        scores = np.concatenate([np.zeros(990), np.linspace(0.5, 1, 10)])
        ids = select.ccs(scores, keep=50, rng=np.random.default_rng(0))
        assert (ids >= 990).sum() == 10

    def test_a_cutoff_that_leaves_too_few_says_so(self):
        with pytest.raises(SecateurError, match="cutoff: leaving out 50 of 100 examples leaves fewer than 60 to keep"):
            select.ccs(np.arange(100.0), keep=60, rng=np.random.default_rng(0), cutoff=0.5)

    def test_infinite_scores_have_no_strata(self):
        with pytest.raises(SecateurError, match="strata of equal width need finite scores"):
            select.ccs(np.array([1.0, np.inf]), keep=1, rng=np.random.default_rng(0))


class TestBeta:
    @pytest.mark.parametrize(
        ("anchor", "c_d", "dropped", "expected"),
        [
            (0.20, 5.5, 0.3, (4.02, 11.98)),
            (0.20, 5.5, 0.9, (10.72, 5.28)),
            (0.20, 4.0, 0.7, (6.88, 9.12)),
            (0.20, 11.0, 0.8, (5.03, 10.97)),
            (0.35, 4.0, 0.5, (6.86, 9.14)),
        ],
    )
    def test_parameters_are_those_of_the_paper(self, anchor, c_d, dropped, expected):
        scores, p = np.ones(1000), np.full(1000, anchor)
        got = beta_parameters(scores, p, keep=round(1000 * (1 - dropped)), c_d=c_d, total=16.0)
        assert got == pytest.approx(expected, abs=0.006)

    def test_the_anchor_is_the_mean_of_the_ten_highest_scores(self):
        scores, p = np.arange(100.0), np.linspace(0, 1, 100)
        alpha, b = beta_parameters(scores, p, keep=100, c_d=4.0, total=16.0)
        assert b == pytest.approx(15 * (1 - p[-10:].mean()))
        assert alpha + b == pytest.approx(16)

    def test_draws_follow_the_weights_as_successive_draws_would(self):
        scores, p = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.3, 0.5, 0.6, 0.8])
        alpha, b = beta_parameters(scores, p, keep=2, c_d=4.0, total=16.0)
        weights = p ** (alpha - 1) * (1 - p) ** (b - 1) * scores
        weights /= weights.sum()
        # the chance that example i is among two successive draws
        expected = [
            weights[i] + sum(weights[j] * weights[i] / (1 - weights[j]) for j in range(4) if j != i) for i in range(4)
        ]
        times, rng = np.zeros(4), np.random.default_rng(0)
        for _ in range(4000):
            times[select.beta(scores, p, keep=2, rng=rng)] += 1
        deviation = np.sqrt(np.array(expected) * (1 - np.array(expected)) / 4000)
        assert (np.abs(times / 4000 - expected) < 5 * deviation + 1e-9).all()

    def test_fewer_weights_than_keep_are_filled_up_at_random(self):
        scores = np.array([1.0, 0.0, 0.0, 0.0])
        seen = {tuple(select.beta(scores, np.full(4, 0.5), keep=2, rng=np.random.default_rng(s))) for s in range(20)}
        assert seen == {(0, 1), (0, 2), (0, 3)}

    def test_less_is_kept_easier_it_is(self):
        rng = np.random.default_rng(0)
        p = rng.random(5000)
        scores = p * (1 - p)
        many, few = (p[select.beta(scores, p, keep=k, rng=rng)].mean() for k in (0.5, 0.1))
        assert few > many + 0.1

    def test_negative_scores_cannot_be_weights(self):
        with pytest.raises(SecateurError, match="scores: Beta sampling weighs by them"):
            select.beta(np.array([1.0, -1.0]), np.array([0.5, 0.5]), keep=1, rng=np.random.default_rng(0))


class TestDrop:
    RECALL = np.array([0.95, 0.9, 0.85, 0.7, 0.5])
    UNEVEN = np.array([5000, 2000, 1000, 500, 100])

    @pytest.mark.parametrize(
        ("keep", "share", "expected"),
        [
            (0.3, "density", [827, 661, 496, 496, 100]),
            (0.3, "size", [329, 658, 988, 500, 100]),
            (0.5, "density", [1542, 1233, 925, 500, 100]),
            (0.5, "size", [899, 1797, 1000, 500, 100]),
        ],
    )
    def test_quotas_of_uneven_classes_are_those_of_the_oracle(self, keep, share, expected):
        quotas = drop_quotas(self.UNEVEN, self.RECALL, keep=round(keep * 8600), share=share)
        assert quotas.sum() == round(keep * 8600)
        assert np.abs(quotas - expected).max() <= 3  # the oracle rounds down and fills up at random

    @pytest.mark.parametrize(
        ("keep", "expected"),
        [
            (0.3, [341, 682, 1023, 2045, 3409]),
            (0.5, [625, 1250, 1875, 3750, 5000]),
            (0.8, [1667, 3333, 5000, 5000, 5000]),
        ],
    )
    def test_quotas_of_even_classes_are_those_of_the_oracle(self, keep, expected):
        np.testing.assert_array_equal(drop_quotas(np.full(5, 5000), self.RECALL, keep=round(keep * 25000)), expected)

    def test_no_errors_at_all_keep_even_densities(self):
        np.testing.assert_array_equal(drop_quotas(np.array([100, 50]), np.ones(2), keep=30), [20, 10])

    def test_recall_outside_its_range_is_refused(self):
        with pytest.raises(SecateurError, match="recall: expected 2 values in"):
            select.drop(np.array([0, 1]), np.array([0.5, 1.5]), keep=1, rng=np.random.default_rng(0))


def test_apportion_meets_the_total_within_the_limits():
    counts = apportion(np.array([2.6, 2.6, 0.8]), 6, np.array([2, 9, 9]))
    np.testing.assert_array_equal(counts, [2, 3, 1])


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    @pytest.mark.parametrize("keep", [0, -1, 11, 0.0, -0.5, 1.5, float("nan"), True, "some", None, float("inf")])
    def test_impossible_keeps_are_named(self, keep):
        with pytest.raises(SecateurError, match="keep: "):
            select.hardest(np.arange(10.0), keep=keep)

    def test_fractions_round_half_up_and_never_lose_one_to_floating_point(self):
        assert resolve_keep(0.1, 50_000) == 5_000
        assert resolve_keep(1 - 0.9, 50_000) == 5_000  # the published code keeps 4,999
        assert resolve_keep(0.25, 10) == 3

    def test_a_fraction_below_one_example_says_so(self):
        with pytest.raises(SecateurError, match="keep: 0.01 of 10 examples is less than one"):
            select.hardest(np.arange(10.0), keep=0.01)

    def test_nan_scores_name_the_example(self):
        with pytest.raises(SecateurError, match="scores: expected numbers, got nan at example 1"):
            select.hardest(np.array([1.0, np.nan]), keep=1)

    def test_companions_of_other_length_are_named(self):
        with pytest.raises(SecateurError, match="labels has 3 examples, but scores has 4"):
            select.per_class(np.arange(4.0), np.array([0, 0, 1]), keep=1)

    def test_offset_that_leaves_too_few_says_so(self):
        with pytest.raises(SecateurError, match="drop: 0.5 of 10 examples leaves fewer than the 6 to keep"):
            select.offset(np.arange(10.0), keep=6, drop=0.5)
