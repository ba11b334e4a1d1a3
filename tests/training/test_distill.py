"""The loss of a student against plain loops, and where teachers come from."""

import numpy as np
import pytest
import torch

from secateur.errors import SecateurError
from secateur.training.distill import Distill, divergence, load_teacher, parse, weight_for

CPU = torch.device("cpu")


@pytest.mark.parametrize("t", [1.0, 4.0])
def test_divergence_equals_the_plain_loop(t):
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(5, 3)), rng.normal(size=(5, 3))
    expected = []
    for s, h in zip(student, teacher, strict=True):
        p = [np.exp(x / t) / sum(np.exp(y / t) for y in h) for x in h]
        q = [np.exp(x / t) / sum(np.exp(y / t) for y in s) for x in s]
        expected.append(t * t * sum(a * np.log(a / b) for a, b in zip(p, q, strict=True)))
    got = divergence(torch.from_numpy(student), torch.from_numpy(teacher), t)
    np.testing.assert_allclose(got, expected)


def test_the_gradient_does_not_shrink_with_the_temperature():
    """What the factor t^2 is for."""
    teacher = torch.tensor([[0.3, -0.2, 0.1]])
    sizes = []
    for t in (8.0, 16.0):
        student = torch.zeros(1, 3, requires_grad=True)
        divergence(student, teacher, t).sum().backward()
        sizes.append(student.grad.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.05)


def test_the_default_weight_follows_the_fraction_kept():
    assert [weight_for(k) for k in (0.1, 0.5, 1.0)] == [0.95, 0.75, 0.5]
    assert parse("auto", 0.1) == Distill(0.95, 4.0)
    assert parse("t=2", 0.1) == Distill(0.95, 2.0)
    assert parse("off", 0.1) is None
    assert parse(None, 0.1) is None


@pytest.mark.parametrize("spec", ["a=2", "a=-0.1", "t=0", "loud", "a=x", "b=1"])
def test_impossible_weights_are_named(spec):
    with pytest.raises(SecateurError, match=r"distill: .*expected"):
        parse(spec, 0.1)


def rows():
    return torch.zeros(2, 5)


def test_any_module_that_takes_raw_rows_may_teach():
    teacher = load_teacher(torch.nn.Linear(5, 3), device=CPU, rows=rows(), classes=3)
    assert not teacher.training
    assert not any(p.requires_grad for p in teacher.parameters())


@pytest.mark.usefixtures("our_own_errors")
@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (torch.nn.Linear(5, 4), r"teacher: expected logits for 3 classes, got shape \(2, 4\)"),
        (torch.nn.Linear(6, 3), r"teacher: does not take rows of shape \(5,\)"),
        (7, "teacher: expected an OUT folder, a model file or a module, got int"),
        ("nowhere.safetensors", "expected a net saved by secateur, found none"),
    ],
)
def test_a_teacher_that_cannot_teach_here_is_refused(teacher, message):
    with pytest.raises(SecateurError, match=message):
        load_teacher(teacher, device=CPU, rows=rows(), classes=3)
