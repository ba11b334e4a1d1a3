"""What examples do for others, beside sums over pairs and beside effects put in on purpose."""

import numpy as np
import pytest

from secateur.errors import SecateurError
from secateur.scores import influence, memorization


def drawn(runs=12, examples=6, targets=4, seed=0):
    """Random runs, each example in seven of twelve."""
    draw = np.random.default_rng(seed)
    included = draw.random((runs, examples)).argsort(axis=0) < round(0.6 * runs)
    return included, draw.random((runs, targets)) < 0.5


def by_pairs(included, correct, own):
    """The difference of means among the runs that did not train on the target, pair by pair."""
    found = np.full((included.shape[1], correct.shape[1]), np.nan)
    for i, j in np.ndindex(found.shape):
        inside, outside = ~own[:, j] & included[:, i], ~own[:, j] & ~included[:, i]
        if inside.any() and outside.any():
            found[i, j] = correct[inside, j].mean() - correct[outside, j].mean()
    return found


@pytest.mark.parametrize("seed", range(3))
def test_equals_a_loop_over_pairs(seed):
    included, correct = drawn(seed=seed)
    never = np.zeros_like(correct)
    np.testing.assert_allclose(influence(included, correct), by_pairs(included, correct, never), atol=1e-12)
    own = included[:, :4]
    expected = by_pairs(included, correct, own)
    np.testing.assert_allclose(influence(included, correct, own=own), expected, atol=1e-12)
    assert np.isnan(expected.diagonal()).all()


def test_on_itself_it_is_memorization():
    included, _ = drawn()
    correct = drawn(targets=6, seed=1)[1]
    np.testing.assert_allclose(np.diag(influence(included, correct)), memorization(included, correct))


def test_what_a_net_knows_by_heart_is_not_put_down_to_others():
    included, _ = drawn(runs=40, examples=30)
    by_heart = included[:, :1]
    assert np.abs(influence(included, by_heart)[1:]).max() > 0.1  # chance: who happened to be in the same runs
    np.testing.assert_allclose(influence(included, by_heart, own=by_heart)[1:], 0, atol=1e-12)


def test_effects_put_in_are_found():
    included, _ = drawn(runs=400, examples=5, seed=3)
    helped = included[:, 1] | included[:, 0]
    hurt = ~included[:, 2] | included[:, 0]
    found = influence(included, np.stack([helped, hurt], axis=1), own=included[:, [0, 0]])
    np.testing.assert_allclose(found[1:3].diagonal(), [1, -1])  # among the runs without the target they decide alone
    np.testing.assert_allclose([found[1, 1], found[2, 0]], 0, atol=0.2)
    np.testing.assert_allclose(found[3:], 0, atol=0.2)


@pytest.mark.usefixtures("our_own_errors")
@pytest.mark.parametrize(
    ("correct", "own", "message"),
    [
        (np.ones((3, 2)), None, r"expected \(runs, targets\) for the 12 runs of included, .* got \(3, 2\)"),
        (np.ones((12, 2)), np.ones((12, 1)), r"own alike, got \(12, 2\) and \(12, 1\)"),
    ],
)
def test_runs_that_do_not_match_are_refused(correct, own, message):
    with pytest.raises(SecateurError, match=message):
        influence(drawn()[0], correct, own=own)


def test_an_example_in_every_run_is_named():
    included, correct = drawn()
    included[:, 3] = True
    with pytest.raises(SecateurError, match="every run trained on example 3"):
        influence(included, correct)


def test_the_twin_that_a_wrong_label_rests_on_is_found_among_digits():
    """200 runs of nearest neighbour, each on 70 % of 200 digits, two of which look alike and are wrongly labelled."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images, labels = bunch.data[:200].copy(), bunch.target[:200].copy()
    images[1] = images[0] + 0.1
    labels[:2] = (labels[0] + 5) % 10
    apart = np.linalg.norm(images[:, None] - images, axis=2)
    included = np.random.default_rng(0).random((200, 200)).argsort(axis=0) < 140
    answers = np.stack([labels[run][apart[:, run].argmin(axis=1)] for run in map(np.flatnonzero, included)])
    right = answers == labels
    found = influence(included, right[:, :1], own=included[:, :1])[1:, 0]
    assert found.argmax() == 0
    assert found[0] == 1
    assert np.sort(found)[-2] < 0.6
    assert memorization(included, right)[0] < 0.7  # the twin answers for it
