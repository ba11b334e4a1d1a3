"""Quotas: the solution of a quadratic program, and whole numbers of the right sum."""

import numpy as np
import pytest
from scipy.optimize import minimize

from secateur.errors import SecateurError
from secateur.scale.quota import largest_remainder, projected, shares


def case(seed, *, clusters=12, skew=1.0, tight=False):
    """Wanted, total, low, high: some clusters at their floor, some at their ceiling, the more so where it is tight."""
    rng = np.random.default_rng(seed)
    high = rng.integers(3, 60, clusters)
    low = np.minimum(high, rng.integers(0, 6, clusters))
    part = np.exp(skew * rng.normal(size=clusters))
    total = int(high.sum() - 2) if tight else int(rng.integers(low.sum() + 1, high.sum()))
    return part / part.sum() * total, total, low, high


def by_solver(wanted, total, low, high):
    start = low + (high - low) * (total - low.sum()) / max(1, (high - low).sum())
    found = minimize(
        lambda x: ((x - wanted) ** 2).sum() / 2,
        start,
        jac=lambda x: x - wanted,
        bounds=list(zip(low, high, strict=True)),
        constraints={"type": "eq", "fun": lambda x: x.sum() - total, "jac": lambda x: np.ones_like(x)},
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-16},
    )
    assert found.x.sum() == pytest.approx(total)
    return found.x  # it may stop for want of a step that betters it: that is the solution


@pytest.mark.parametrize("tight", [False, True])
@pytest.mark.parametrize("skew", [0.3, 1.0, 2.5])
@pytest.mark.parametrize("seed", range(4))
def test_the_quotas_before_rounding_are_those_of_a_solver_of_quadratic_programs(seed, skew, tight):
    wanted, total, low, high = case(seed, skew=skew, tight=tight)
    found = projected(wanted, total, low=low, high=high)
    np.testing.assert_allclose(found, by_solver(wanted, total, low, high), atol=1e-6)


def test_the_cases_have_clusters_at_their_floor_and_at_their_ceiling():
    wanted, total, low, high = case(0, skew=2.5)
    found = projected(wanted, total, low=low, high=high)
    assert (found == low).any()
    assert (found == high).any()


def test_what_a_full_cluster_cannot_take_is_added_evenly_to_the_others():
    """6 + v is cut to 4; the 2 over go to the others, one each: not in proportion to what they want."""
    found = projected(np.array([6.0, 3.0, 1.0]), 10, low=np.zeros(3), high=np.array([4.0, 9.0, 9.0]))
    np.testing.assert_allclose(found, [4, 4, 2], atol=1e-12)


@pytest.mark.parametrize("total", [3, 20])
def test_a_total_beyond_the_limits_is_an_error_with_the_limits(total):
    with pytest.raises(SecateurError, match=f"total: expected one from 4 to 19, the limits' sums; got {total}"):
        projected(np.ones(3), total, low=np.array([1, 1, 2]), high=np.array([5, 5, 9]))


@pytest.mark.parametrize("seed", range(30))
def test_whole_quotas_have_the_exact_sum_stay_within_limits_and_are_less_than_one_from_the_exact(seed):
    wanted, total, low, high = case(seed, clusters=3 + seed, skew=0.2 * (seed % 10), tight=seed % 3 == 0)
    found = largest_remainder(wanted, total, low=low, high=high)
    assert found.sum() == total
    assert (found >= low).all()
    assert (found <= high).all()
    assert np.abs(found - projected(wanted, total, low=low, high=high)).max() < 1


def test_the_largest_remainders_are_rounded_up_and_of_equal_ones_the_lower_clusters():
    none, many = np.zeros(4, dtype=int), np.full(4, 9)
    assert largest_remainder(np.array([1.2, 2.9, 0.4, 0.5]), 5, low=none, high=many).tolist() == [1, 3, 0, 1]
    assert largest_remainder(np.array([0.5, 0.5, 0.5, 0.5]), 2, low=none, high=many).tolist() == [1, 1, 0, 0]


def test_sums_that_floats_cannot_hold_still_come_out_exact():
    """Quotas of 2^53 and more: rounding down brings the sum over, and some clusters give one back."""
    for seed in range(20):
        part = np.random.default_rng(seed).dirichlet(np.ones(9))
        total, high = 10**17 + seed, np.full(9, 10**18)
        found = largest_remainder(part * total, total, low=np.zeros(9, dtype=int), high=high)
        assert int(found.sum()) == total


def test_a_cluster_that_spreads_or_lies_apart_is_given_more():
    """Complexities 1, 2 and 1 over temperature 1: e, e^2, e over their sum."""
    e = np.e
    found = shares(np.array([1.0, 1.0, 0.5]), np.array([1.0, 2.0, 2.0]), temperature=1.0)
    np.testing.assert_allclose(found, np.array([e, e**2, e]) / (2 * e + e**2))


def test_an_empty_cluster_counts_as_complex_as_the_others_on_average():
    """Complexities 1 and 3, so 2 for the one without rows."""
    found = shares(np.array([1.0, np.nan, 3.0]), np.ones(3), temperature=1.0)
    np.testing.assert_allclose(found, np.exp([1, 2, 3]) / np.exp([1, 2, 3]).sum())


def test_shares_of_low_temperature_do_not_overflow():
    found = shares(np.array([1.0, 2.0]), np.array([2.0, 2.0]), temperature=1e-3)
    np.testing.assert_allclose(found, [0, 1])


def test_without_any_rows_all_clusters_are_given_the_same():
    np.testing.assert_allclose(shares(np.full(4, np.nan), np.ones(4)), 0.25)
