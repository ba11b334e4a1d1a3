"""Muon against its formula in numpy, and which parameter learns how."""

from dataclasses import replace
from typing import get_type_hints

import numpy as np
import pytest
import torch

from secateur.ranges import FLAG, range_of
from secateur.training.nets import build as build_net
from secateur.training.optimizers import Muon, build, orthogonalise, set_rates
from secateur.training.recipes import RECIPES, Recipe, recipe


@pytest.mark.parametrize("shape", [(8, 30), (30, 8), (16, 16)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(matrix, iterations=5).float())
    assert values.min() > 0.6
    assert values.max() < 1.3
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.nn.functional.cosine_similarity(orthogonalise(matrix).flatten(), (u @ v).flatten(), dim=0) > 0.95


def test_muon_moves_filters_as_its_formula_says(monkeypatch):
    """Two steps in numpy, the iteration written out; in float32, to compare closely."""
    monkeypatch.setattr("secateur.training.optimizers.bfloat16_helps", lambda device: False)

    def direction(g):
        x = g / (np.linalg.norm(g) + 1e-7)
        for _ in range(3):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        return x

    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(4, 18)), rng.normal(size=(2, 4, 18))
    bank = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32).view(4, 2, 3, 3))
    optimizer = Muon({"params": [bank], "lr": 0.1}, momentum=0.6)
    expected, velocity = start.copy(), np.zeros((4, 18))
    for g in gradients:
        bank.grad = torch.tensor(g, dtype=torch.float32).view_as(bank)
        optimizer.step()
        velocity = 0.6 * velocity + g
        expected *= 2 / np.linalg.norm(expected)  # norm sqrt(out) = 2
        expected -= 0.1 * direction(g + 0.6 * velocity)
    np.testing.assert_allclose(bank.detach().flatten(1).numpy(), expected, atol=1e-5)


def fast_net():
    net = build_net("resnet9:0.25", shape=(3, 16, 16), classes=4, mean=torch.zeros(3), spread=torch.ones(3), seed=0)
    net.body.whiten(torch.randn(50, 3, 16, 16))
    return net


def test_fast_learns_filters_by_muon_and_the_rest_by_sgd():
    net = fast_net()
    muon, sgd = build(net, RECIPES["fast"])
    name = {id(p): n for n, p in net.named_parameters()}
    filters = [name[id(p)] for p in muon.param_groups[0]["params"]]
    assert all("groups" in n and n.endswith(("first.weight", "second.weight")) for n in filters)
    assert len(filters) == 6
    early, vectors, head = ([name[id(p)] for p in g["params"]] for g in sgd.param_groups)
    assert early == ["body.patches.bias"]
    assert head == ["body.head.weight"]
    assert all(n.endswith("norm.bias") for n in vectors)
    assert len(vectors) == 6


def test_every_learning_parameter_belongs_to_exactly_one_group():
    for spec, shape in (("mlp", (7,)), ("vit_tiny", (3, 16, 16)), ("resnet18:0.125", (3, 16, 16))):
        channels = shape[0]
        net = build_net(spec, shape=shape, classes=4, mean=torch.zeros(channels), spread=torch.ones(channels), seed=0)
        for name in RECIPES:
            for optimizer in ("sgd", "adamw", "muon"):
                changed = recipe(f"{name}:optimizer={optimizer},bias_lr=0.1,head_lr=0.1")
                groups = [g for o in build(net, changed) for g in o.param_groups]
                ids = [id(p) for g in groups for p in g["params"]]
                assert sorted(ids) == sorted(id(p) for p in net.parameters())


def test_rates_follow_the_schedule_and_the_first_bias_stands_still_after_its_share():
    optimizers = build(fast_net(), RECIPES["fast"])
    set_rates(optimizers, RECIPES["fast"], 0.5)
    muon, (early, vectors, head) = optimizers[0].param_groups[0], optimizers[1].param_groups
    assert muon["lr"] == pytest.approx(0.5 * muon["initial_lr"])
    assert vectors["lr"] == pytest.approx(0.5 * vectors["initial_lr"])
    assert head["lr"] == pytest.approx(0.5 * head["initial_lr"])
    assert early["lr"] == 0.0
    set_rates(optimizers, RECIPES["fast"], 0.5 * early["until"])
    assert early["lr"] == pytest.approx(0.5 * early["initial_lr"])


def bounds():
    """Every knob of the optimisers that has a range, at the ends that belong to it."""
    for name, kind in get_type_hints(Recipe, include_extras=True).items():
        known = range_of(kind)
        for end in () if known is None else (known.low, known.high, 1e-300, 1e-20):
            if end in known and (isinstance(end, int) or kind.__origin__ is float):
                yield name, bool(end) if known == FLAG else end


@pytest.mark.parametrize(("name", "end"), list(bounds()))
@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "muon"])
def test_a_knob_at_either_end_of_its_range_gives_finite_rates(optimizer, name, end):
    changed = replace(RECIPES["fast"], optimizer=optimizer, **{name: end})
    optimizers = build(fast_net(), changed)
    for progress in (0.0, 0.5):
        set_rates(optimizers, changed, progress)
        groups = [group for one in optimizers for group in one.param_groups]
        assert all(np.isfinite([group["lr"], group.get("weight_decay", 0.0)]).all() for group in groups)
