"""A small net picks the hard part of each batch, learns along, and resumes."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from secateur.training.filtered import Filtered
from secateur.training.loop import Watch
from secateur.training.objective import Material
from secateur.training.recipes import recipe
from tests.training.test_loop import Stop, assert_same, net, run, tensors

HOW = Filtered(by="mlp", passing=0.5, every=2)


def material(data, student, changes="", smoothing=0.0):
    chosen = recipe(f"sgd:batch=8,flip=0,crop=0,smoothing={smoothing}{changes}")
    return Material(student, data, chosen, 0, fresh=lambda spec, seed: net(spec))


def test_what_the_small_net_finds_hardest_is_trained_on_and_nothing_else():
    data, student, small = tensors(), net(), net("mlp").train()
    objective, ids = HOW.objective(material(data, student)), torch.tensor([5, 0, 9, 2, 11, 7])
    rows = data.sample(ids.numpy())
    answer = objective(ids, rows)
    losses = F.cross_entropy(small(rows).float(), data.labels[ids], reduction="none").tolist()
    assert answer.taken.tolist() == sorted(sorted(range(6), key=lambda i: -losses[i])[:3])
    torch.testing.assert_close(answer.labels, data.labels[ids[answer.taken]])
    assert answer.loss.shape == (3,)
    assert all(p.grad is None for p in objective.small.parameters())


def test_the_small_net_learns_from_the_whole_batch_at_one_step_in_so_many():
    data = tensors()
    objective, ids = HOW.objective(material(data, net())), torch.arange(6)
    before = [objective.small.body.head.weight.clone()]
    for _ in range(4):
        objective.at(0.5)
        objective(ids, data.sample(ids.numpy()))
        before.append(objective.small.body.head.weight.clone())
    moved = [not torch.equal(a, b) for a, b in itertools.pairwise(before)]
    assert moved == [True, False, True, False]


def test_passing_everything_trains_as_without_a_filter():
    assert_same(run(steps=3)[0], run(steps=3, objective_of=Filtered(by="mlp", passing=1.0))[0])


def test_only_what_passed_counts_as_trained_on():
    _, done = run(steps=4, objective_of=HOW)
    assert (done.step, done.examples) == (4, 16)


def test_weights_follow_the_examples_that_passed():
    weights = np.zeros(24, dtype=np.float32)
    frozen, start = run(steps=2, objective_of=HOW, weights=weights, changes=",weight_decay=0")[0], net()
    assert_same_but_norms(frozen, start)


def assert_same_but_norms(a, b):
    for x, y in zip(a.parameters(), b.parameters(), strict=True):
        assert torch.equal(x, y)


@pytest.mark.parametrize("name", ["sgd", "fast"])
def test_a_filtered_run_stopped_after_an_epoch_ends_with_the_same_weights_to_the_bit(tmp_path, name):
    whole, _ = run(name, objective_of=HOW)

    def stop(at, loss):
        if at.epoch == 1:  # after three steps, an odd number
            raise Stop

    with pytest.raises(Stop):
        run(name, objective_of=HOW, save_to=tmp_path / "state", watch=Watch(epoch=stop))
    parts, _ = run(name, objective_of=HOW, save_to=tmp_path / "state")
    assert_same(whole, parts)
