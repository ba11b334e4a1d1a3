"""Curvature is the turn of the input gradient over a step along its sign, in the space the body of the net sees."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from secateur.errors import NonFiniteError, SecateurError
from secateur.training.nets import Normalised, build
from secateur.training.probes.curvature import curvature

DIMS, CLASSES = 5, 3


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def around(body, dims=DIMS, mean=0.0, spread=1.0):
    return Normalised(body, torch.full((dims,), mean), torch.full((dims,), spread)).eval()


def linear():
    body = nn.Linear(DIMS, CLASSES)
    with torch.no_grad():
        body.weight.copy_(draw(CLASSES, DIMS, seed=1))
        body.bias.copy_(draw(CLASSES, seed=2))
    return body


def bent():
    body = nn.Sequential(nn.Linear(DIMS, 8), nn.Tanh(), nn.Linear(8, CLASSES))
    with torch.no_grad():
        for seed, p in enumerate(body.parameters()):
            p.copy_(draw(*p.shape, seed=seed))
    return body


def softmax(z):
    return np.exp(z - z.max()) / np.exp(z - z.max()).sum()


@pytest.mark.parametrize("h", [0.5, 3.0])
def test_a_linear_net_has_the_curvature_of_its_formula(h):
    """The input gradient is W^T (p - onehot), hence the turn W^T (p' - p)."""
    body, rows, labels = linear(), draw(7, DIMS, seed=3), torch.arange(7) % CLASSES
    w, b = body.weight.detach().double().numpy(), body.bias.detach().double().numpy()
    expected = []
    for x, y in zip(rows.double().numpy(), labels.tolist(), strict=True):
        p = softmax(w @ x + b)
        direction = np.sign(w.T @ (p - np.eye(CLASSES)[y]))
        moved = softmax(w @ (x + h * direction / np.sqrt(DIMS)) + b)
        expected.append(np.linalg.norm(w.T @ (moved - p)))
    got = curvature(around(body), rows, labels, h=h)
    torch.testing.assert_close(got, torch.tensor(expected).float(), rtol=1e-4, atol=1e-6)


def test_a_batch_is_worked_out_as_its_examples_one_by_one():
    body, rows, labels = bent(), draw(6, DIMS, seed=3), torch.arange(6) % CLASSES

    def gradient(x, y):
        x = x[None].clone().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(body(x), y[None]), x)[0][0]

    expected = []
    for x, y in zip(rows, labels, strict=True):
        g = gradient(x, y)
        step = 3 * g.sign() / g.sign().norm()
        expected.append((gradient(x + step, y) - g).norm())
    torch.testing.assert_close(curvature(around(body), rows, labels), torch.stack(expected), rtol=1e-4, atol=1e-6)


def test_where_the_gradient_is_zero_the_curvature_is_zero():
    body = nn.Linear(DIMS, CLASSES)
    nn.init.zeros_(body.weight)
    got = curvature(around(body), draw(4, DIMS), torch.zeros(4, dtype=torch.int64))
    torch.testing.assert_close(got, torch.zeros(4), rtol=0, atol=0)


def test_a_dimension_that_plays_no_part_takes_no_part_of_the_step():
    body = linear()
    with torch.no_grad():
        body.weight[:, 2] = 0
    narrow = nn.Linear(DIMS - 1, CLASSES)
    kept = [0, 1, 3, 4]
    with torch.no_grad():
        narrow.weight.copy_(body.weight[:, kept])
        narrow.bias.copy_(body.bias)
    rows, labels = draw(5, DIMS), torch.arange(5) % CLASSES
    expected = curvature(around(narrow, DIMS - 1), rows[:, kept], labels)
    torch.testing.assert_close(curvature(around(body), rows, labels), expected)


def test_the_unit_of_raw_rows_makes_no_difference():
    body, rows, labels = bent(), draw(5, DIMS), torch.arange(5) % CLASSES
    here = curvature(around(body), rows, labels)
    there = curvature(around(body, mean=10.0, spread=100.0), rows * 100 + 10, labels)
    torch.testing.assert_close(there, here, rtol=1e-3, atol=1e-5)


def test_images_in_bytes_are_taken_and_the_net_is_left_as_it_was():
    net = build(
        "resnet9:0.25", shape=(3, 8, 8), classes=4, mean=torch.zeros(3), spread=torch.ones(3) * 255, seed=0
    ).eval()
    rows = torch.randint(0, 256, (4, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        got = curvature(net, rows, torch.arange(4))
    assert got.shape == (4,)
    assert (got > 0).all()
    assert all(p.grad is None for p in net.parameters())


class TestBadInput:
    rows, labels = draw(4, DIMS), torch.tensor([0, 1, 2, 0])

    def test_a_net_in_training_mode_is_told_the_way_out(self):
        with pytest.raises(SecateurError, match=r"net: expected eval mode, .*; call net.eval\(\)"):
            curvature(around(linear()).train(), self.rows, self.labels)

    def test_a_label_that_is_no_class_is_named_with_its_row(self):
        with pytest.raises(SecateurError, match="labels: expected class numbers from 0 to 2, .* got 3 at row 1"):
            curvature(around(linear()), self.rows, torch.tensor([0, 3, 2, 0]))

    def test_a_row_that_gives_no_number_is_named(self):
        rows = self.rows.clone()
        rows[2, 0] = torch.inf
        with pytest.raises(NonFiniteError, match="curvature of the loss: expected finite numbers, got nan at row 2"):
            curvature(around(linear()), rows, self.labels)
