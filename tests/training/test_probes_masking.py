"""DLC against a plain loop, its masks against torch's own pruning, and how many weights each state keeps."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from secateur.data.source import open_data
from secateur.data.tensors import Tensors
from secateur.errors import SecateurError
from secateur.training.nets import build
from secateur.training.nets.vit import ViT
from secateur.training.probes.masking import _masked, start_masking, weights_left
from secateur.training.probes.penultimate import Penultimate
from secateur.training.seeding import initialised
from tests.data.made import image_table

CPU = torch.device("cpu")


def tensors(n=12, size=8):
    return Tensors(open_data(image_table(n, size=size)).train, CPU, workers=0)


def net(spec="resnet9:0.125"):
    """Untrained; steeper norms bring distances between its features to the size of those of trained nets."""
    mean, spread = torch.full((3,), 127.0), torch.full((3,), 70.0)
    made = build("mlp:0.1" if spec == "vit" else spec, shape=(3, 8, 8), classes=3, mean=mean, spread=spread, seed=0)
    if spec == "vit":
        with initialised(0):
            made.body = ViT((3, 8, 8), 3, dims=24, depth=1)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.constant_(module.weight, 4.0)
    return made.eval()


def pruned_by_torch(made, kind, steps, share):
    """The states of a copy of the net under torch's repeated global pruning, as the paper's code does it."""
    work = copy.deepcopy(made)
    layers = [m for m in work.modules() if isinstance(m, kind) and m is not work.body.head]
    for step in range(steps):
        if step:
            prune.global_unstructured([(m, "weight") for m in layers], prune.L1Unstructured, amount=share)
        yield work, [m.weight.detach() for m in layers]


@pytest.mark.parametrize(
    ("schedule", "left"), [("geometric", [1000, 900, 810, 729, 656, 590]), ("equal", [1000, 900, 800, 700, 600, 500])]
)
def test_as_many_weights_are_left_as_counted_by_hand(schedule, left):
    assert weights_left(1000, steps=6, share=0.1, schedule=schedule) == left


def test_fifty_maskings_leave_36_percent_or_nothing():
    assert weights_left(10**6, steps=51, share=0.02, schedule="geometric")[-1] == pytest.approx(0.98**50 * 1e6, abs=30)
    assert weights_left(10**6, steps=51, share=0.02, schedule="equal")[-1] == 0


@pytest.mark.parametrize(("spec", "kind"), [("resnet9:0.125", nn.Conv2d), ("mlp:0.1", nn.Linear), ("vit", nn.Linear)])
def test_masks_are_those_of_repeated_global_pruning(spec, kind):
    """Convolutions; the linear layers but the head where they hold more; never biases, norms or the head."""
    made = net(spec)
    ours = _masked(copy.deepcopy(made).requires_grad_(False), 8, 0.2, "geometric")
    for step, (_, theirs) in enumerate(pruned_by_torch(made, kind, 8, 0.2)):
        for layer in ours:
            layer.at(step)
        assert all(torch.equal(a.own, b) for a, b in zip(ours, theirs, strict=True)), step


def test_equal_weights_are_masked_to_the_number():
    """A threshold alone would take all of them or none."""
    made = net("mlp:0.1")
    for p in made.parameters():
        p.data.fill_(0.5)
    ours = _masked(made.requires_grad_(False), 4, 0.25, "equal")
    count = sum(layer.own.numel() for layer in ours)
    left = []
    for step in range(4):
        for layer in ours:
            layer.at(step)
        left.append(sum(int(layer.own.count_nonzero()) for layer in ours))
    assert left == [count - round(step * count / 4) for step in range(4)]


def plain_loop(made, data, steps, share):
    """DLC read off the paper's definition, example by example, in float64 after the features."""
    rows, labels = data.sample(data.usable), data.labels.numpy()
    total = np.zeros(len(rows))
    with torch.no_grad():
        whole = Penultimate(made)(rows)[0].double().numpy()
        centroids = [whole[labels == c].mean(axis=0) for c in range(3)]
        for work, _ in pruned_by_torch(made, nn.Conv2d, steps, share):
            for i, h in enumerate(Penultimate(work)(rows)[0].double().numpy()):
                logits = [1 / math.dist(h, m) for m in centroids]
                total[i] += math.log(sum(math.exp(z) for z in logits)) - logits[labels[i]]
    return total / steps


def test_dlc_equals_the_plain_loop():
    made, data = net(), tensors()
    probe = start_masking(made, data, seed=0, steps=5, share=0.3)
    rows = data.sample(data.usable)
    expected = plain_loop(made, data, 5, 0.3)
    got = probe(rows, data.labels)["complexity"]
    np.testing.assert_allclose(got, expected, rtol=1e-4)
    assert expected.std() > 1e-3
    assert got.dtype == torch.float32


def test_a_batch_does_not_depend_on_those_before_it():
    made, data = net(), tensors()
    probe = start_masking(made, data, seed=0, steps=4)
    rows = data.sample(data.usable)
    whole = probe(rows, data.labels)["complexity"]
    parts = [probe(rows[i : i + 4], data.labels[i : i + 4])["complexity"] for i in (8, 0, 4)]
    torch.testing.assert_close(torch.cat((*parts[1:], parts[0])), whole)


def test_the_net_is_unchanged():
    made, data = net().train(), tensors()
    before = {name: value.clone() for name, value in made.state_dict().items()}
    start_masking(made, data, seed=0, steps=3)(data.sample(data.usable), data.labels)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
    assert made.training
    assert all(p.requires_grad for p in made.parameters())
    assert made.body.patches.weight.is_contiguous()


def test_an_example_at_its_centroid_has_a_finite_value():
    """Alone in its class it is the centroid: unmasked, its distance is 0 and so is its loss."""
    data = tensors()
    data.usable = np.array([0, 1, 2, 3, 6])  # of classes 0, 1, 2, 0, 0
    got = start_masking(net(), data, seed=0, steps=1)(data.sample(data.usable), data.labels[data.usable])["complexity"]
    assert got.isfinite().all()
    assert got[1:3].max() < 1e-6 < got[[0, 3, 4]].min()


def test_the_centroid_of_another_class_costs_a_million_at_most():
    images = np.full((4, 8, 8, 3), 9, dtype=np.uint8)
    images[0] = 200
    data = Tensors(open_data((images, np.array([0, 0, 1, 1]))).train, CPU)
    got = start_masking(net(), data, seed=0, steps=1)(data.sample(data.usable), data.labels)["complexity"]
    assert got[1] == pytest.approx(1e6, rel=1e-3)


def test_classes_without_examples_are_no_candidates():
    data = tensors()
    rows, two = data.sample(data.usable), data.usable[data.labels.numpy() != 1]
    data.usable = two
    probe = start_masking(net(), data, seed=0, steps=2)
    assert probe(rows[two], data.labels[two])["complexity"].isfinite().all()
    with pytest.raises(SecateurError, match="labels: class 1 has no example in the data"):
        probe(rows, data.labels)


@pytest.mark.usefixtures("our_own_errors")
@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"schedule": "cubic"}, "schedule: expected geometric or equal, got 'cubic'"),
        ({"steps": 0}, "steps: expected at least 1, got 0"),
        ({"share": 0.0}, "share: expected a number between 0 and 1, got 0"),
        ({"steps": 6, "share": 0.3, "schedule": "equal"}, "share: 5 equal maskings of 0.3 .* use at most 0.2"),
    ],
)
def test_impossible_knobs_are_named(knobs, message):
    with pytest.raises(SecateurError, match=message):
        start_masking(net(), tensors(), seed=0, **knobs)


def test_a_net_with_nothing_to_mask_is_refused():
    made = net("mlp:0.1")
    made.body = nn.Sequential(nn.Flatten(), nn.Linear(192, 3))
    with pytest.raises(SecateurError, match="net: expected convolutions or linear layers before the last to mask"):
        start_masking(made, tensors(), seed=0)
