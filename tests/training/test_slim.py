"""Rankings of hidden units against plain loops, and the cut against counting by hand."""

import math

import pytest
import torch

from secateur.errors import SecateurError
from secateur.training.slim import RANKS, Moments, by_data, fitting, representative

POINTS = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))


def kernel_of(points, width=1.0):
    """K by loops, s^2 being width^2 times the mean square distance of two points."""
    rows = points.double().tolist()
    squares = [[sum((a - b) ** 2 for a, b in zip(p, q, strict=True)) for q in rows] for p in rows]
    scale = width**2 * sum(map(sum, squares)) / len(rows) ** 2
    return [[math.exp(-value / scale) for value in row] for row in squares]


def tensor(values):
    return torch.tensor(values, dtype=torch.float32)


def test_one_update_ranks_by_the_root_of_the_kernel_density():
    density = [sum(row) / len(row) for row in kernel_of(POINTS, 0.7)]
    by_hand = tensor([1 / (len(POINTS) * math.sqrt(d)) for d in density])
    torch.testing.assert_close(representative(POINTS, width=0.7, updates=1), by_hand)


def test_several_updates_are_those_of_a_plain_loop():
    kernel, n = kernel_of(POINTS), range(len(POINTS))
    c = [[1 / len(POINTS) for _ in n] for _ in n]
    for _ in range(4):
        product = [[sum(kernel[i][k] * c[k][j] for k in n) for j in n] for i in n]
        c = [[c[i][j] * math.sqrt(kernel[i][j] / product[i][j]) for j in n] for i in n]
    torch.testing.assert_close(representative(POINTS, updates=4), tensor([c[i][i] for i in n]))


def test_run_to_the_end_every_unit_stands_for_itself_and_nothing_is_ranked():
    spread = {updates: representative(POINTS, width=0.5, updates=updates) for updates in (3, 3000)}
    assert spread[3].max() > 1.3 * spread[3].min()
    torch.testing.assert_close(spread[3000], torch.ones(12), atol=0.02, rtol=0)


def test_corners_stand_for_themselves_before_what_lies_between():
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.5], [0.5, 0.6]])
    assert sorted(representative(square).argsort(descending=True)[:4].tolist()) == [0, 1, 2, 3]


def test_the_scale_of_a_layer_does_not_matter():
    torch.testing.assert_close(representative(1000 * POINTS), representative(POINTS))


@pytest.mark.parametrize("units", [1, 5])
def test_units_that_are_alike_rank_alike(units):
    assert representative(torch.ones(units, 3)).tolist() == pytest.approx([1 / units] * units)


def test_a_layer_that_never_moves_answers_to_nothing():
    assert by_data(Moments(torch.ones(2).double(), torch.ones(2, 2).double())).tolist() == [0, 0]


def test_the_product_of_both_is_r2d2():
    products = torch.diag(torch.arange(1.0, 13.0)).double()
    moments, generator = Moments(torch.zeros(12).double(), products), torch.Generator()
    deviations = torch.arange(1.0, 13.0).sqrt() / math.sqrt(12)
    expected = representative(POINTS) * deviations
    torch.testing.assert_close(RANKS["r2d2"](POINTS, moments, generator).float(), expected)


def test_the_cut_is_as_deep_as_the_budget_says_with_one_unit_a_layer():
    """Layers of 2, 3 and 2 units that cost 1, 2 and 3 each; in the order of their scores, the best of each first."""
    scores = [tensor([5, 6]), tensor([0.1, 0.3, 0.2]), tensor([4, 9])]

    def cost(units):
        return units[0] + 2 * units[1] + 3 * units[2]

    kept = {budget: [part.tolist() for part in fitting(scores, cost, budget)] for budget in (6, 7, 9, 10, 12, 14)}
    assert kept == {
        6: [[1], [1], [1]],
        7: [[0, 1], [1], [1]],
        9: [[0, 1], [1], [1]],
        10: [[0, 1], [1], [0, 1]],
        12: [[0, 1], [1, 2], [0, 1]],
        14: [[0, 1], [0, 1, 2], [0, 1]],
    }


def test_ties_go_to_the_earlier_layer_and_unit():
    kept = fitting([torch.ones(3), torch.ones(3)], sum, 3)
    assert [part.tolist() for part in kept] == [[0, 1], [0]]


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    @pytest.mark.parametrize("width", [0.0, -1.0, math.nan])
    def test_a_kernel_without_width(self, width):
        with pytest.raises(SecateurError, match=f"width: expected a number above 0, got {width}"):
            representative(POINTS, width=width)

    def test_no_update(self):
        with pytest.raises(SecateurError, match="updates: expected at least 1, got 0"):
            representative(POINTS, updates=0)
