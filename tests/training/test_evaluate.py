"""Calibration and selective accuracy, beside plain loops and by hand."""

import numpy as np
import pytest
import torch

from secateur.errors import SecateurError
from secateur.training.evaluate import Accuracy, accuracy
from tests.training.test_loop import net, tensors


def answers(confidence, hit):
    return Accuracy(np.array([sum(hit)]), np.array([len(hit)]), np.asarray(confidence), np.asarray(hit, dtype=bool))


def test_calibration_equals_the_plain_loop_over_bins():
    rng = np.random.default_rng(0)
    confidence, hit = rng.random(500), rng.random(500) < 0.6
    confidence[:3] = 1.0, 0.0, 1 / 15
    expected = 0.0
    for k in range(15):
        inside = (confidence >= k / 15) & ((confidence < (k + 1) / 15) | ((k == 14) & (confidence == 1)))
        if inside.any():
            expected += inside.mean() * abs(confidence[inside].mean() - hit[inside].mean())
    assert answers(confidence, hit).ece == pytest.approx(expected)


def test_a_net_as_right_as_it_is_sure_is_calibrated_and_one_always_sure_and_wrong_is_not():
    assert answers([0.5, 0.5], [True, False]).ece == 0
    assert answers([1.0, 1.0], [False, False]).ece == 1


def test_the_surest_part_is_what_selective_accuracy_counts():
    some = answers([0.9, 0.2, 0.8, 0.7, 0.6], [True, False, True, False, True])
    assert [some.selective(c) for c in (0.4, 0.6, 1.0)] == pytest.approx([1, 2 / 3, 3 / 5])
    assert some.selective() == pytest.approx(3 / 4)


def test_confidence_comes_with_the_count_in_one_pass():
    data, student = tensors(), net("mlp")
    found = accuracy(student, data, batch=7)
    with torch.no_grad():
        p = student.eval()(data.sample(data.usable)).softmax(1)
    sure, says = p.max(1)
    np.testing.assert_allclose(found.confidence, sure, atol=0.02)
    assert (found.hit == (says == data.labels[data.usable]).numpy()).mean() > 0.9  # bfloat16 may tip a tie
    assert found.hit.sum() == found.right.sum()


def test_calibration_that_was_not_measured_is_an_error():
    with pytest.raises(SecateurError, match="confidence: not measured here"):
        _ = Accuracy(np.array([1]), np.array([2])).ece
