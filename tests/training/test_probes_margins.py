"""DeepFool flips the net's answers, and its distance is exact where the net is linear."""

import numpy as np
import pytest
import torch
from torch import nn

from secateur.errors import NonFiniteError, SecateurError
from secateur.training.nets import Normalised, build
from secateur.training.probes.margins import deepfool

DIMS, CLASSES = 6, 5


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def around(body, dims=DIMS, mean=0.0, spread=1.0):
    return Normalised(body, torch.full((dims,), mean), torch.full((dims,), spread)).eval()


def filled(body):
    with torch.no_grad():
        for seed, p in enumerate(body.parameters()):
            p.copy_(draw(*p.shape, seed=seed))
    return body


def linear(classes=CLASSES):
    return filled(nn.Linear(DIMS, classes))


def bent():
    return filled(nn.Sequential(nn.Linear(DIMS, 12), nn.Tanh(), nn.Linear(12, CLASSES)))


def exact(body, rows, others=None):
    """The distance of each row to the nearest boundary of a linear net; others: only these many next best classes."""
    w, b = body.weight.detach().double().numpy(), body.bias.detach().double().numpy()
    out = []
    for x in rows.double().numpy():
        z = w @ x + b
        own, *rest = np.argsort(-z)[: None if others is None else others + 1]
        out.append(min((z[own] - z[k]) / np.linalg.norm(w[own] - w[k]) for k in rest))
    return torch.tensor(out).float()


def one_by_one(body, x, *, steps=50, overshoot=0.02):
    """The algorithm as it is printed, for one example: distance and whether the answer changed."""
    own = int(body(x[None])[0].argmax())
    way = torch.zeros_like(x)
    for _ in range(steps):
        at = (x + (1 + overshoot) * way).requires_grad_()
        z = body(at[None])[0]
        slopes = [torch.autograd.grad(z[k], at, retain_graph=True)[0] for k in range(len(z))]
        best = None
        for k in range(len(z)):
            if k != own:
                w, f = slopes[k] - slopes[own], float(z[k].detach() - z[own].detach())
                if best is None or abs(f) / w.norm() < best[0]:
                    best = (abs(f) / w.norm(), abs(f) / w.norm() ** 2 * w)
        way = way + best[1]
        if int(body((x + (1 + overshoot) * way)[None])[0].argmax()) != own:
            return float(way.norm()), True
    return float(way.norm()), False


def answers(net, points):
    return net.body(points).argmax(1)


@pytest.mark.parametrize("overshoot", [0.02, 0.5])
def test_it_flips_every_answer_of_a_linear_net_at_the_exact_distance(overshoot):
    net, rows = around(linear()), draw(40, DIMS, seed=9)
    margins = deepfool(net, rows, overshoot=overshoot)
    torch.testing.assert_close(margins.distance, exact(net.body, rows), rtol=1e-4, atol=1e-6)
    assert margins.flipped.all()
    assert (answers(net, margins.moved) != answers(net, rows)).all()


def test_without_overshoot_it_ends_on_the_boundary_of_a_linear_net():
    """There rounding decides what the net answers, so the gap is looked at."""
    net, rows = around(linear()), draw(40, DIMS, seed=9)
    margins = deepfool(net, rows, overshoot=0.0)
    torch.testing.assert_close(margins.distance, exact(net.body, rows), rtol=1e-4, atol=1e-6)
    best = net.body(margins.moved).topk(2, dim=1).values
    torch.testing.assert_close(best[:, 0], best[:, 1], rtol=0, atol=1e-4)


def test_it_flips_every_answer_of_a_bent_net_as_the_printed_algorithm_does_one_by_one():
    net, rows = around(bent()), draw(30, DIMS, seed=9)
    margins = deepfool(net, rows)
    expected = [one_by_one(net.body, x) for x in rows]
    torch.testing.assert_close(margins.distance, torch.tensor([d for d, _ in expected]), rtol=1e-3, atol=1e-5)
    assert margins.flipped.tolist() == [flipped for _, flipped in expected]
    assert margins.flipped.all()
    assert (answers(net, margins.moved) != answers(net, rows)).all()


class Square(nn.Module):
    """Two classes on a line: 0 and x^2 - 4."""

    def forward(self, x):
        return torch.cat((torch.zeros_like(x), x.square() - 4), dim=1)


def test_steps_by_hand():
    """From 0.5: gap -3.75, slope 1, to 4.25. From 2.5: gap 2.25, slope 5, to 2.05, then 0.2025 / 4.1 more."""
    margins = deepfool(around(Square(), 1), torch.tensor([[0.5], [2.5]]), overshoot=0.0, steps=1)
    torch.testing.assert_close(margins.distance, torch.tensor([3.75, 0.45]))
    torch.testing.assert_close(margins.moved, torch.tensor([[4.25], [2.05]]))
    assert margins.flipped.tolist() == [True, False]
    more = deepfool(around(Square(), 1), torch.tensor([[2.5]]), overshoot=0.0, steps=2)
    torch.testing.assert_close(more.distance, torch.tensor([0.45 + 0.2025 / 4.1]))


def test_what_has_flipped_moves_no_further_while_others_go_on():
    net = around(Square(), 1)
    both = deepfool(net, torch.tensor([[0.5], [2.5]]))
    alone = [deepfool(net, torch.tensor([[x]])) for x in (0.5, 2.5)]
    torch.testing.assert_close(both.distance, torch.cat([m.distance for m in alone]))
    torch.testing.assert_close(both.distance[0], torch.tensor(3.75))


def test_where_no_way_leads_to_another_class_the_distance_is_that_of_the_way_so_far_and_the_mask_says_so():
    flat = nn.Linear(DIMS, CLASSES)
    nn.init.zeros_(flat.weight)
    with torch.no_grad():
        flat.bias.copy_(torch.arange(CLASSES).float())
    margins = deepfool(around(flat), draw(3, DIMS))
    assert not margins.flipped.any()
    torch.testing.assert_close(margins.distance, torch.zeros(3))


def test_an_example_on_a_boundary_has_no_margin():
    body = linear(2)
    with torch.no_grad():
        body.bias.zero_()
    margins = deepfool(around(body), torch.zeros(1, DIMS))
    assert margins.flipped.tolist() == [True]
    assert margins.distance.tolist() == [0.0]


@pytest.mark.parametrize("candidates", [2, 3])
def test_only_the_best_classes_are_looked_at(candidates):
    net, rows = around(linear()), draw(40, DIMS, seed=9)
    # one step: where the nearest of all boundaries lies before, a second step would not be needed
    margins = deepfool(net, rows, candidates=candidates, steps=1)
    torch.testing.assert_close(margins.distance, exact(net.body, rows, candidates - 1), rtol=1e-4, atol=1e-6)
    assert (margins.distance > exact(net.body, rows) * 1.01).any()


def test_more_candidates_than_classes_are_all_classes():
    net, rows = around(linear(2)), draw(10, DIMS, seed=9)
    torch.testing.assert_close(deepfool(net, rows).distance, exact(net.body, rows), rtol=1e-4, atol=1e-6)


def test_distances_are_in_spreads_of_the_data():
    body, rows = bent(), draw(10, DIMS, seed=9)
    here, there = deepfool(around(body), rows), deepfool(around(body, mean=10.0, spread=100.0), rows * 100 + 10)
    torch.testing.assert_close(there.distance, here.distance, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(there.moved, here.moved, rtol=1e-3, atol=1e-4)


def test_images_in_bytes_are_taken_and_the_net_is_left_as_it_was():
    net = build(
        "resnet9:0.25", shape=(3, 8, 8), classes=4, mean=torch.zeros(3), spread=torch.ones(3) * 255, seed=0
    ).eval()
    rows = torch.randint(0, 256, (8, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    with torch.no_grad():
        margins = deepfool(net, rows)
        assert margins.flipped.all()
        assert (answers(net, margins.moved) != net(rows).argmax(1)).all()
    assert (margins.distance > 0).all()
    assert all(p.grad is None for p in net.parameters())


class TestBadInput:
    rows = draw(4, DIMS)

    def test_a_net_in_training_mode_is_told_the_way_out(self):
        with pytest.raises(SecateurError, match=r"net: expected eval mode, .*; call net.eval\(\)"):
            deepfool(around(linear()).train(), self.rows)

    @pytest.mark.parametrize(("knob", "value"), [("steps", 0), ("candidates", 1), ("overshoot", -0.1)])
    def test_knobs_out_of_range_are_named(self, knob, value):
        with pytest.raises(SecateurError, match=f"{knob}: expected .* or more.*, got {value}"):
            deepfool(around(linear()), self.rows, **{knob: value})

    def test_a_net_of_one_class_has_no_boundary(self):
        with pytest.raises(SecateurError, match=r"net: expected logits .* 2 classes or more, got \(4, 1\)"):
            deepfool(around(linear(1)), self.rows)

    def test_a_row_that_gives_no_number_is_named(self):
        rows = self.rows.clone()
        rows[2, 0] = torch.nan
        with pytest.raises(NonFiniteError, match="logits: expected finite numbers, got nan at row 2 of the batch"):
            deepfool(around(linear()), rows)
