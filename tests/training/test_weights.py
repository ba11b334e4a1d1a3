"""Learned weights: their slope is that of the whole step, they fall for what is planted, and nothing else moves."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

import secateur as sc
from secateur.data.source import open_data
from secateur.data.tensors import Tensors
from secateur.errors import SecateurError
from secateur.store.tables import Scores
from secateur.study.material import validation_ids
from secateur.study.session import session
from secateur.training.aims import aim
from secateur.training.loop import Watch, train
from secateur.training.nets import build
from secateur.training.objective import Material
from secateur.training.recipes import recipe
from secateur.training.sampling import Shuffled
from secateur.training.weights import BetaWeighted, from_prior, slopes

CPU = torch.device("cpu")
HELD, PLANTED = np.arange(400, 512), np.arange(0, 80)


def draw(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tiny(normed):
    body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4) if normed else nn.Identity(), nn.Tanh(), nn.Linear(4, 2))
    with torch.no_grad():
        for seed, p in enumerate(body.parameters()):
            p.copy_(draw(*p.shape, seed=seed))
    return body.double().train()


@pytest.mark.parametrize("normed", [False, True])
def test_the_slope_is_how_the_goal_after_the_step_changes_with_each_weight(normed):
    """Against differences: for each weight in turn, step with it a little higher and lower, and read the goal."""
    net, rows, labels = tiny(normed), draw(5, 3, seed=10), torch.tensor([0, 1, 1, 0, 1])
    goal_rows, goal_labels = draw(4, 3, seed=11), torch.tensor([1, 0, 0, 1])
    weights = torch.tensor([0.2, 0.9, 0.5, 0.4, 0.7], dtype=torch.float64)

    def losses(values, x, y):
        return F.cross_entropy(functional_call(net, values, (x,)), y, reduction="none")

    def goal_after(w):
        copy = tiny(normed)
        loss = F.cross_entropy(copy(rows), labels, reduction="none")
        (w * loss).sum().div(5).backward()
        with torch.no_grad():
            for p in copy.parameters():
                p -= 0.3 * p.grad
            return F.cross_entropy(copy(goal_rows), goal_labels).item()

    expected = []
    for i in range(5):
        h = torch.zeros(5, dtype=torch.float64)
        h[i] = 1e-5
        expected.append((goal_after(weights + h) - goal_after(weights - h)) / 2e-5)
    loss = F.cross_entropy(net(rows), labels, reduction="none")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = slopes(
        net, loss, weights, lambda at: losses(at, rows, labels), lambda at: losses(at, goal_rows, goal_labels).mean(),
        ahead=0.3,
    )  # fmt: skip
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6, atol=1e-9)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    loss.mean().backward()  # its graph is still there


def test_the_divergence_from_the_prior_is_that_of_paper_and_pencil():
    """Of the density n w^(n-1), Beta(n, 1), it is ln n + (n - 1) * integral of n w^(n-1) ln w, which is -1 / n."""
    n = torch.tensor([1.0, 2.0, 5.0])
    expected = [0.0, np.log(2) - 1 / 2, np.log(5) - 4 / 5]
    np.testing.assert_allclose(from_prior(torch.distributions.Beta(n, torch.ones(3))).numpy(), expected, atol=1e-6)


@pytest.fixture(scope="module")
def planted(few_digits):
    """512 digits of which the first 80 have a wrong label; the last 112 are for validation."""
    images, labels = few_digits[0]
    labels = labels.copy()
    labels[PLANTED] = (labels[PLANTED] + np.random.default_rng(0).integers(1, 10, 80)) % 10
    return Tensors(open_data((images, labels)).train, CPU)


class Heard:
    """Notes who was trained on in each epoch, and who was left out at its end."""

    def __init__(self):
        self.objective, self.epochs, self.dropped = None, [[]], []

    def batch(self, ids, logits, labels):
        self.epochs[-1] += ids.tolist()

    def end_epoch(self):
        self.epochs.append([])
        self.dropped.append(self.objective.dropped.clone())


def run(data, spec, *, steps=75, **options):
    chosen = recipe("sgd:batch=32,lr=0.1")
    chosen = dataclasses.replace(chosen, views=chosen.views.for_shape(data.shape))
    net = build(
        "mlp:0.125", shape=data.shape, classes=10, mean=torch.tensor([77.0]), spread=torch.tensor([95.0]), seed=0
    )
    objective = aim(spec).objective(Material(net, data, chosen, 0, validation=HELD))
    if "recorder" in options:
        options["recorder"].objective = objective
    sampler = Shuffled(np.arange(400), 0)
    train(net, data, chosen, steps=steps, sampler=sampler, seed=0, objective=objective, **options)
    return net, objective


def test_wrong_labels_come_to_weigh_less_than_the_others(planted):
    mean = run(planted, "beta", steps=117)[1].learned()["mean"].numpy()
    good, bad = mean[80:400], mean[PLANTED]
    assert bad.mean() < good.mean() - 0.08
    assert (bad[:, None] < good).mean() > 0.8
    assert (mean[HELD] == 0.5).all()


def test_what_was_left_out_is_never_trained_on_again_and_epochs_are_shorter(planted):
    heard = Heard()
    _, objective = run(planted, "beta:below=0.48,after=0.3", recorder=heard)
    out = [set(np.flatnonzero(d).tolist()) for d in heard.dropped]
    assert not out[0]
    assert 0 < len(out[-1]) < 400
    for epoch, (visited, gone) in enumerate(zip(heard.epochs, out, strict=False)):
        assert not set(visited) & gone, epoch
        assert epoch == 0 or out[epoch - 1] <= gone
    assert set(np.flatnonzero(objective.learned()["dropped"]).tolist()) >= out[-1]


def test_the_rest_weighs_one_on_average_in_a_batch(planted):
    _, objective = run(planted, "beta", steps=13)
    rows, ids = planted.sample(np.arange(60, 100)), torch.arange(60, 100)
    objective.how = BetaWeighted(every=10**6)
    objective._step = 1  # no turn to learn
    weighed, plain = objective(ids, rows).loss, objective.inner(ids, rows).loss
    mean = objective.learned()["mean"][60:100]
    torch.testing.assert_close(weighed, plain * mean / mean.mean())


def test_it_learns_at_one_step_in_so_many(planted):
    heard = Heard()
    _, objective = run(planted, "beta:every=5", steps=13, recorder=heard)
    moved = set(np.flatnonzero(objective.learned()["a"] != 1).tolist())
    turns = [heard.epochs[0][k : k + 31] for k in (0,)]
    assert moved >= set(turns[0])
    assert 85 <= len(moved) <= 96  # three turns of 30 or 31


def test_a_run_stopped_after_an_epoch_ends_with_the_same_net_and_weights_to_the_bit(planted, tmp_path):
    class Stop(Exception):
        pass

    def stop(at, loss):
        if at.epoch == 3:
            raise Stop

    how = {"spec": "beta:below=0.48,after=0.3,every=2"}
    whole, objective = run(planted, **how)
    with pytest.raises(Stop):
        run(planted, **how, save_to=tmp_path / "state", watch=Watch(epoch=stop))
    parts, again = run(planted, **how, save_to=tmp_path / "state")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    for name, value in objective.learned().items():
        assert torch.equal(value, again.learned()[name]), name
    assert objective.learned()["dropped"].any()


def test_the_global_stream_is_neither_touched_nor_read(planted):
    torch.default_generator.manual_seed(1)
    state = torch.get_rng_state()
    first = run(planted, "beta", steps=3)[1].raw
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    assert torch.equal(run(planted, "beta", steps=3)[1].raw, first)


def test_a_net_with_frozen_layers_learns_weights_too(few_digits, tmp_path):
    """`fast` freezes what it whitens."""
    rows, test = few_digits
    how = {"net": "resnet9:0.125", "recipe": "fast", "epochs": 1, "quiet": True, "threads": 1}
    result = sc.train(rows, test=test, objective="beta:every=5", out=tmp_path, **how)
    table = Scores.open(tmp_path / "cells" / result.folder / "learned.parquet")
    assert (table["a"] != 1).any()
    assert np.isfinite(table["mean"]).all()


def test_a_job_keeps_the_weights_and_marks_what_was_for_validation(few_digits, tmp_path):
    rows, test = few_digits
    result = sc.train(
        rows, test=test, objective="beta:every=2", net="mlp:0.125", epochs=1, out=tmp_path, quiet=True, threads=1
    )
    with session(rows, tmp_path, quiet=True) as work:
        held = validation_ids(work, 0)
    table = Scores.open(tmp_path / "cells" / result.folder / "learned.parquet")
    assert set(table.columns) == {"a", "b", "mean", "dropped", "validation"}
    np.testing.assert_array_equal(np.flatnonzero(table["validation"]), held)
    np.testing.assert_allclose(table["mean"], table["a"] / (table["a"] + table["b"]), rtol=1e-6)
    assert (table["a"][held] == 1).all()
    assert (np.delete(table["a"], held) != 1).mean() > 0.4
    assert result.kept == 512 - len(held)
    assert result.objective == "beta:every=2"


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    @pytest.mark.parametrize(
        ("knob", "message"),
        [
            ("ahead=0", r"ahead: expected a (whole )?number .*, got '0'"),
            ("rate=-1", r"rate: expected a (whole )?number .*, got '-1'"),
            ("kl=-0.1", r"kl: expected a (whole )?number .*, got '-0.1'"),
            ("kl=nan", r"kl: expected a (whole )?number .*, got 'nan'"),
            ("every=0", r"every: expected a (whole )?number .*, got '0'"),
            ("below=0.5", r"below: expected a (whole )?number .*, got '0.5'"),
            ("after=1", r"after: expected a (whole )?number .*, got '1'"),
        ],
    )
    def test_knobs_out_of_range(self, knob, message):
        with pytest.raises(SecateurError, match=f"objective beta: {message}"):
            aim(f"beta:{knob}")

    def test_nothing_to_validate_on(self, planted):
        with pytest.raises(SecateurError, match="validation: objective beta learns weights from .*, got none"):
            BetaWeighted().objective(Material(None, planted, recipe("sgd"), 0, validation=np.arange(0)))

    def test_a_subset_that_is_all_for_validation(self, few_digits, tmp_path):
        rows, test = few_digits
        with session(rows, tmp_path, quiet=True) as work:
            ids, labels = validation_ids(work, 0), work.source.train.labels
            about = {"fingerprint": work.source.fingerprint}
        reasons = np.full(512, "", dtype=object)
        subset = sc.Subset.build(labels=labels, scores=np.zeros(512), ids=ids, reasons=reasons, provenance=about)
        with pytest.raises(SecateurError, match="validation: objective beta keeps a tenth of the data to itself"):
            sc.train(rows, test=test, subset=subset, objective="beta", net="mlp", out=tmp_path, quiet=True)

    def test_data_without_labels(self, tmp_path):
        with pytest.raises(SecateurError, match="needs labels, and the data have none"):
            sc.train("digits", label="none", objective="beta", net="mlp", epochs=1, out=tmp_path, quiet=True)

    def test_weights_that_leave_nothing(self, planted):
        _, objective = run(planted, "beta", steps=1)
        objective.raw[:, 0] = -10.0
        objective.how = BetaWeighted(below=0.1, after=0.0)
        with pytest.raises(SecateurError, match="below: expected some examples to have a mean weight of 0.1 or more"):
            objective.narrowed(Shuffled(np.arange(400), 0).plan(1))
