"""FlexRand and the floored ranking, against counts by hand; `middle` and `offset` against their papers' positions."""

import numpy as np
import pytest

from secateur import select
from secateur.errors import SecateurError
from secateur.select.stratified import flexrand_counts

SPLITS = (0.05, 0.1, 0.25, 0.45, 0.5, 0.55, 0.75, 0.9, 0.95)


def rng(seed=0):
    return np.random.default_rng(seed)


class TestFlexRand:
    @pytest.mark.parametrize("split", SPLITS)
    @pytest.mark.parametrize("keep", [0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 1.0])
    def test_counts_are_those_of_the_paper(self, keep, split):
        if split <= 0.5:
            easy = min(split, keep / 2)
            hard = keep - easy
        else:
            hard = min(1 - split, keep / 2)
            easy = keep - hard
        assert flexrand_counts(1000, round(1000 * keep), split) == (round(1000 * easy), round(1000 * hard))

    @pytest.mark.parametrize("examples", [1, 2, 7, 10])
    def test_parts_hold_what_is_drawn_and_the_total_is_exact(self, examples):
        for keep in range(1, examples + 1):
            for split in (0.0, *SPLITS, 1.0):
                part = int(np.floor(split * examples + 0.5 + 1e-9))
                easy, hard = flexrand_counts(examples, keep, split)
                assert easy + hard == keep
                assert 0 <= easy <= part
                assert 0 <= hard <= examples - part
                ids = select.flexrand(np.arange(float(examples)), keep=keep, split=split, rng=rng())
                assert ((ids < part).sum(), (ids >= part).sum()) == (easy, hard)

    def test_an_odd_one_goes_to_the_part_that_the_split_makes_smaller(self):
        assert [flexrand_counts(10, 5, split) for split in (0.4, 0.5, 0.6)] == [(3, 2), (3, 2), (2, 3)]

    def test_easy_is_what_scores_low(self):
        scores = np.arange(10.0)[::-1]
        ids = select.flexrand(scores, keep=6, split=0.2, rng=rng())
        assert {8, 9} <= set(ids.tolist())

    def test_each_part_is_drawn_evenly(self):
        times = np.zeros(20)
        for seed in range(2000):
            times[select.flexrand(np.arange(20.0), keep=6, split=0.25, rng=rng(seed))] += 1
        # 3 of the 5 easy, 3 of the 15 hard
        chance = np.repeat([3 / 5, 3 / 15], [5, 15])
        assert (np.abs(times / 2000 - chance) < 5 * np.sqrt(chance * (1 - chance) / 2000)).all()

    @pytest.mark.parametrize("split", [-0.1, 1.5, float("nan")])
    def test_a_split_outside_its_range_is_refused(self, split):
        with pytest.raises(SecateurError, match="split: expected a number in"):
            select.flexrand(np.arange(5.0), keep=2, split=split, rng=rng())


class TestFloored:
    # class 3 scores 0..5, class 5 scores 10..13, class 8 has one example that scores 20
    SCORES = np.array([0.0, 1, 2, 3, 4, 5, 10, 11, 12, 13, 20])
    LABELS = np.repeat([3, 5, 8], [6, 4, 1])

    @pytest.mark.parametrize(
        ("keep", "floor", "side", "expected"),
        [
            (6, 0.5, "hard", [5, 6, 7, 8, 9, 10]),  # floor(.5 * 6 / 3) = 1 each; then 13 12 11 less those in
            (6, 1.0, "hard", [4, 5, 7, 8, 9, 10]),  # 2 each, 1 of the class of one; then 11
            (6, 0.0, "hard", [5, 6, 7, 8, 9, 10]),
            (5, 0.0, "hard", [6, 7, 8, 9, 10]),
            (5, 0.5, "hard", [6, 7, 8, 9, 10]),  # floor(.5 * 5 / 3) = 0: rank alone
            (5, 0.6, "hard", [5, 7, 8, 9, 10]),  # floor(.6 * 5 / 3) = 1
            (6, 0.5, "easy", [0, 1, 2, 3, 6, 10]),  # 1 each, then 1 2 3
            (2, 1.0, "hard", [9, 10]),  # fewer than classes: no floor
        ],
    )
    def test_quotas_are_those_worked_by_hand(self, keep, floor, side, expected):
        ids = select.floored(self.SCORES, self.LABELS, keep=keep, floor=floor, side=side)
        np.testing.assert_array_equal(ids, expected)

    @pytest.mark.parametrize("side", ["hard", "easy"])
    def test_equals_the_plain_loop(self, side):
        for seed in range(30):
            scores, labels = rng(seed).integers(8, size=40).astype(float), rng(seed).integers(5, size=40)
            keep, floor = int(rng(seed).integers(1, 41)), float(rng(seed).random())
            order = sorted(range(40), key=lambda i: (-scores[i] if side == "hard" else scores[i], i))
            least = int(floor * keep / len(set(labels.tolist())))
            kept = [i for c in set(labels.tolist()) for i in [i for i in order if labels[i] == c][:least]]
            kept += [i for i in order if i not in kept][: keep - len(kept)]
            ids = select.floored(scores, labels, keep=keep, floor=floor, side=side)
            np.testing.assert_array_equal(ids, sorted(kept))

    def test_a_floor_of_1_balances_classes_that_reach_it(self):
        labels = np.repeat([0, 1, 2, 3], 25)
        ids = select.floored(np.arange(100.0), labels, keep=40, floor=1.0)
        np.testing.assert_array_equal(np.bincount(labels[ids]), [10, 10, 10, 10])

    @pytest.mark.usefixtures("our_own_errors")
    def test_impossible_options_are_named(self):
        for floor in (-0.1, 1.1, float("nan")):
            with pytest.raises(SecateurError, match="floor: expected a number in"):
                select.floored(self.SCORES, self.LABELS, keep=3, floor=floor)
        with pytest.raises(SecateurError, match="side: expected hard or easy, got 'far'"):
            select.floored(self.SCORES, self.LABELS, keep=3, side="far")


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.5, 0.9])
def test_middle_keeps_the_sorted_positions_that_moderate_does(keep):
    scores = rng().permutation(200).astype(float)  # the score is the position
    ids = select.middle(scores, keep=keep)
    np.testing.assert_array_equal(
        np.sort(scores[ids]), np.arange(round((0.5 - keep / 2) * 200), round((0.5 + keep / 2) * 200))
    )


def test_offset_keeps_what_super_resolution_does():
    """Of 100 by falling loss: without the first 5, the next 50."""
    losses = rng().permutation(100).astype(float)
    ids = select.offset(losses, keep=0.5)
    np.testing.assert_array_equal(np.sort(losses[ids]), np.arange(45, 95))
