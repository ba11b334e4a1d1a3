"""The threshold found by counting is the one found by sorting."""

import numpy as np
import pytest

from secateur.scale.thresholds import largest_reaching


def counting(rows):
    rows = np.asarray(rows, dtype=np.float32)
    return lambda thresholds: (rows[:, None] >= thresholds).sum(axis=0)


def by_sorting(rows, target):
    return np.sort(np.asarray(rows, dtype=np.float32))[::-1][target - 1]


CASES = {
    "random": np.random.default_rng(0).normal(size=200),
    "ties": np.random.default_rng(1).integers(-3, 4, 200) / 4,
    "negative": -np.random.default_rng(2).random(200) - 1e-3,
    "tiny and huge": np.array([1e-45, -1e-45, 1e-38, 3e38, -3e38, 0.0, -0.0, 1.0]),
    "infinities": np.array([np.inf, np.inf, 1.0, -np.inf, -np.inf]),
    "all equal": np.full(50, 0.7),
    "neighbouring floats": np.nextafter(np.float32(0.95), np.float32(1)) + np.zeros(3, dtype=np.float32),
}


@pytest.mark.parametrize("name", CASES)
def test_the_threshold_is_the_value_that_sorting_puts_at_the_place_of_the_target(name):
    rows = CASES[name]
    for target in sorted({1, 2, len(rows) // 2, len(rows) - 1, len(rows)} - {0}):
        assert largest_reaching(counting(rows), target) == by_sorting(rows, target), target


def test_it_takes_three_rounds_however_many_rows_there_are():
    asked = []

    def counts(thresholds):
        asked.append(len(thresholds))
        return counting(CASES["random"])(thresholds)

    largest_reaching(counts, 70)
    assert asked == [2048, 2048, 1024]


def test_where_not_even_the_lowest_reaches_the_target_everything_is_kept():
    """Rows without a value reach nothing; a target of all rows then keeps all that have one."""
    assert largest_reaching(counting([0.5, np.nan, -2.0]), 3) == -np.inf
