"""The linear model's loss: as a plain loop, as the function-space step, as a linear layer under torch's own SGD."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from secateur.errors import NonFiniteError
from secateur.training.forecast import reach, simulate, smoothed
from secateur.training.seeding import generator


@pytest.fixture
def problem():
    """30 examples of 5 features and 3 classes, in float64, and 40 batches of 7 of them."""
    g = generator(0, "a small problem")
    features, outputs = (torch.randn(30, d, generator=g, dtype=torch.float64) for d in (5, 3))
    labels = torch.randint(0, 3, (30,), generator=g)
    return features, outputs, labels, [torch.randperm(30, generator=g)[:7] for _ in range(40)]


def test_it_is_a_linear_layer_trained_by_sgd(problem):
    features, outputs, labels, batches = problem
    rates = [0.3 * (1 - t / 40) for t in range(40)]
    weight = torch.zeros(5, 3, dtype=torch.float64, requires_grad=True)
    sgd = torch.optim.SGD([weight], lr=1.0, momentum=0.9, nesterov=True)
    expected = []
    for rows, rate in zip(batches, rates, strict=True):
        logits = outputs[rows] + features[rows] @ weight
        expected.append(float(F.cross_entropy(logits.detach(), labels[rows])))
        sgd.param_groups[0]["lr"] = rate
        sgd.zero_grad()
        F.cross_entropy(logits, labels[rows], label_smoothing=0.1).backward()
        sgd.step()
    found = simulate(features, outputs, labels, batches=batches, rates=rates, momentum=0.9, smoothing=0.1)
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_it_is_the_step_by_the_kernel_of_all_pairs(problem):
    features, outputs, labels, _ = problem
    theta = features @ features.T + 1  # a bias: one more feature, of 1
    f, expected = outputs.clone(), []
    for _ in range(25):
        expected.append(float(F.cross_entropy(f, labels)))
        f = f - 0.2 * theta @ (f.softmax(1) - F.one_hot(labels, 3)) / 30
    everyone = [torch.arange(30)] * 25
    with_bias = F.pad(features, (0, 1), value=1.0)
    np.testing.assert_allclose(
        simulate(with_bias, outputs, labels, batches=everyone, rates=[0.2] * 25), expected, atol=1e-9
    )


def test_two_examples_of_one_feature_go_as_worked_by_hand():
    # both logits 0: errors (-1/2, 1/2) at feature 1 and (1/2, -1/2) at feature -1, so the slope is (-1/2, 1/2);
    # a rate of 1 makes the weights (1/2, -1/2), the margin of both examples 1, and their loss log(1 + 1 / e)
    features, labels = torch.tensor([[1.0], [-1.0]]), torch.tensor([0, 1])
    found = simulate(features, torch.zeros(2, 2), labels, batches=[torch.arange(2)] * 2, rates=[1.0, 1.0])
    np.testing.assert_allclose(found, [np.log(2), np.log(1 + np.exp(-1))], rtol=1e-6)


def test_momentum_comes_to_what_a_rate_divided_by_one_minus_it_does(problem):
    features, outputs, labels, _ = problem
    everyone = [torch.arange(30)] * 1000
    slow = simulate(features, outputs, labels, batches=everyone, rates=[2e-3] * 1000, momentum=0.9)
    fast = simulate(features, outputs, labels, batches=everyone, rates=[2e-2] * 1000)
    np.testing.assert_allclose(slow[300:], fast[300:], rtol=0.01)
    assert slow[2] > fast[2]  # the first steps are slower, which the paper's effective rate does not say


def test_an_example_of_weight_two_counts_as_two(problem):
    features, outputs, labels, _ = problem
    few, twice = torch.arange(4), torch.tensor([0, 1, 2, 3, 3])
    weights = torch.ones(30, dtype=torch.float64)
    weights[3] = 2
    weighed = simulate(features, outputs, labels, batches=[few] * 9, rates=[0.4] * 9, weights=weights)
    # a mean over 5 rows instead of 4: the rate makes up for it. The last loss is asked of the same batch
    repeated = simulate(features, outputs, labels, batches=[twice] * 8 + [few], rates=[0.5] * 9)
    assert float(weighed[-1]) == pytest.approx(float(repeated[-1]), rel=1e-9)


def test_a_loss_that_leaves_the_numbers_says_the_step_and_the_way_out():
    one, label = torch.ones(1, 1), torch.tensor([0])
    with pytest.raises(
        NonFiniteError, match=r"^loss: the linear model's became \S+ at step 1; lower the learning rate"
    ):
        simulate(one, torch.zeros(1, 2), label, batches=[label] * 2, rates=[float("inf"), 1.0])


def test_a_loss_is_the_mean_of_it_and_those_before():
    losses = torch.tensor([8.0, 4.0, 2.0, 1.0, 0.0])
    plain = [float(losses[max(0, t - 2) : t + 1].mean()) for t in range(5)]
    np.testing.assert_allclose(smoothed(losses, window=3), plain)


def test_a_target_is_reached_at_the_first_step_at_or_below_it():
    losses = torch.tensor([4.0, 2.0, 0.0, 6.0, 0.0])
    assert [reach(losses, target, window=1) for target in (5.0, 2.0, 1.9, -1.0)] == [0, 1, 2, None]
    assert reach(losses, 2.0, window=3) == 2
