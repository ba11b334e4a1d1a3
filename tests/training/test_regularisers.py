"""What is added to a loss is what its formula says, and nothing is added unasked."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from secateur.errors import SecateurError
from secateur.training.aims import Plain, aim, spec_of
from secateur.training.nets import Normalised
from secateur.training.objective import Material, Supervised
from secateur.training.probes.curvature import curvature
from secateur.training.recipes import recipe
from secateur.training.regularisers import bent, entropy
from tests.training.test_loop import assert_same, net, run, tensors

DIMS, CLASSES = 5, 3


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def smooth_net():
    body = nn.Sequential(nn.Linear(DIMS, 8), nn.Tanh(), nn.Linear(8, CLASSES)).double()
    with torch.no_grad():
        for seed, p in enumerate(body.parameters()):
            p.copy_(draw(*p.shape, seed=seed))
    return Normalised(body, torch.zeros(DIMS), torch.ones(DIMS))


def test_entropy_is_that_of_the_softmax():
    logits = torch.tensor([[0.0, math.log(3.0)], [5.0, 5.0]])
    expected = [-(0.25 * math.log(0.25) + 0.75 * math.log(0.75)), math.log(2)]
    torch.testing.assert_close(entropy(logits), torch.tensor(expected))


def test_curvature_and_logits_are_those_of_the_probe_and_of_the_net():
    model, rows, labels = smooth_net().float().eval(), draw(6, DIMS, seed=9), torch.arange(6) % CLASSES
    logits, bend = bent(model, rows, labels, h=0.7)
    torch.testing.assert_close(bend, curvature(model, rows, labels, h=0.7), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(logits, model(rows))


def test_the_gradient_of_curvature_is_that_of_finite_differences():
    model, rows, labels = smooth_net(), draw(4, DIMS, seed=9), torch.arange(4) % CLASSES
    model.normalise = lambda given: given.double().clone()
    model.body[0].weight.requires_grad_()

    def total():
        return bent(model, rows, labels, h=0.5)[1].sum()

    def slopes():
        x = rows.double().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(model.body(x), labels, reduction="sum"), x)[0]

    weight = model.body[0].weight
    total().backward()
    got, step = weight.grad[0, 0].item(), 1e-5
    signs, values = [slopes().sign()], []
    for way in (step, -step):
        with torch.no_grad():
            weight[0, 0] += way
        signs.append(slopes().sign())
        values.append(total().item())
        with torch.no_grad():
            weight[0, 0] -= way
    assert all(torch.equal(signs[0], s) for s in signs)  # the direction, which is taken as given, does not turn here
    assert got == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-3)


def test_a_vision_transformer_can_be_kept_from_bending():
    vit = "vit_tiny:hidden=" + "+".join(["4"] * 12)
    student, done = run(spec=vit, steps=1, objective_of=Plain(curvature=0.1), changes=",batch=4")
    assert done.step == 1
    assert all(torch.isfinite(p).all() for p in student.parameters())


def test_where_the_loss_is_flat_nothing_bends_and_nothing_is_nan():
    model = Normalised(nn.Linear(DIMS, CLASSES), torch.zeros(DIMS), torch.ones(DIMS))
    nn.init.zeros_(model.body.weight)
    bend = bent(model, draw(3, DIMS), torch.arange(3), h=3.0)[1]
    bend.sum().backward()
    assert bend.tolist() == [0, 0, 0]
    assert torch.isfinite(model.body.weight.grad).all()


def test_hard_examples_keep_their_entropy_and_bends_cost_as_much_as_asked():
    data, chosen = tensors(), recipe("sgd:batch=8,flip=0,crop=0,smoothing=0")
    model, ids = net("mlp").train(), torch.tensor([3, 0, 7])
    hard = torch.linspace(0, 1, 24)
    objective = Plain(entropy=0.5, curvature=0.25, h=2.0).objective(Material(model, data, chosen, 0, difficulty=hard))
    answer = objective(ids, data.sample(ids.numpy()))
    logits, bend = bent(model, data.sample(ids.numpy()), data.labels[ids], h=2.0)
    plain = F.cross_entropy(logits, data.labels[ids], reduction="none")
    torch.testing.assert_close(
        answer.loss, plain - 0.5 * hard[ids] * entropy(logits) + 0.25 * bend, rtol=2e-2, atol=1e-3
    )


def test_a_plain_aim_trains_as_the_labels_alone_do():
    data = tensors()
    chosen, start = recipe("sgd:batch=8"), net()
    made = Plain().objective(Material(start, data, chosen, 0))
    assert isinstance(made, Supervised)
    assert (made.hopeful, made.curvature) == (None, 0)
    assert_same(run(steps=2)[0], run(steps=2, objective_of=Plain())[0])


@pytest.mark.parametrize(
    "spec, told",
    [
        ("supervised:entropy=-1", r"objective supervised: entropy: expected a (whole )?number .*, got '-1'"),
        ("supervised:h=0", r"objective supervised: h: expected a (whole )?number .*, got '0'"),
        ("supervised:curve=1", "knob of supervised: expected one of curvature, entropy, h, got 'curve'"),
        ("filtered:passing=0", r"objective filtered: passing: expected a (whole )?number .*, got '0'"),
        ("filtered:every=0", r"objective filtered: every: expected a (whole )?number .*, got '0'"),
        ("supervise", "objective: expected one of .*, got 'supervise'; did you mean supervised?"),
    ],
)
def test_a_wrong_aim_is_refused(spec, told):
    with pytest.raises(SecateurError, match=told):
        aim(spec)


def test_entropy_without_difficulties_says_where_to_get_them():
    with pytest.raises(SecateurError, match="difficulty: supervised:entropy needs how hard each example is"):
        Plain(entropy=0.2).objective(Material(net("mlp"), tensors(), recipe("sgd"), 0))


def test_an_aim_is_read_back_from_how_it_is_told():
    assert aim(spec_of(Plain(entropy=0.2, h=1.5))) == Plain(entropy=0.2, h=1.5)


def test_entropy_spares_the_hard_ones_their_certainty():
    """With much of it, the net stays less sure of the examples called hard than of the others."""
    data = tensors()
    hard = torch.from_numpy(np.arange(24) % 2).float()
    student = run(
        spec="mlp", data=data, steps=240, changes=",lr=0.05", objective_of=Plain(entropy=0.9), difficulty=hard
    )[0].eval()
    with torch.no_grad():
        unsure = entropy(student(data.sample(data.usable)).float())
    assert unsure[hard == 1].mean() > 1.5 * unsure[hard == 0].mean()
