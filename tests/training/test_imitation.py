"""Imitation: targets by paper and pencil, a loss by a plain loop, no labels needed, a start worth having."""

import dataclasses
import json
import math
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

import secateur as sc
from secateur.data.source import open_data
from secateur.data.tensors import Tensors
from secateur.errors import SecateurError
from secateur.study.cell import Result
from secateur.training import imitation
from secateur.training.aims import aim
from secateur.training.imitation import aligned, powered
from secateur.training.loop import Watch, train
from secateur.training.nets import Normalised, build
from secateur.training.objective import Material
from secateur.training.recipes import recipe
from secateur.training.sampling import Shuffled
from tests.cli.test_cli import run as command

CPU = torch.device("cpu")


def test_a_teacher_of_two_dimensions_is_aligned_to_one_as_on_paper():
    """Around their mean (1, 2) the points lie at -2, 0 and 2 along (3, 4) / 5, and at -0.1, 0.2 and -0.1 across it."""
    along, across = torch.tensor([0.6, 0.8]), torch.tensor([-0.8, 0.6])
    places = torch.tensor([[-2.0, -0.1], [0.0, 0.2], [2.0, -0.1]])
    features = torch.tensor([1.0, 2.0]) + places[:, :1] * along + places[:, 1:] * across
    mean, axes = aligned(features, 1)
    torch.testing.assert_close(mean, torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(axes, along[:, None])
    torch.testing.assert_close((features - mean) @ axes, places[:, :1], atol=1e-6, rtol=0)


def test_power_temperature_scaling_gives_the_values_worked_by_hand():
    u = torch.tensor([[0.1, -0.8], [2.7, 0.0]])
    torch.testing.assert_close(powered(u, 0.1, 3.0), torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
    torch.testing.assert_close(powered(torch.tensor([-8.0]), 2.0, 2.0), torch.tensor([-2.0]))


def net_of(first, out):
    """A net that multiplies by a matrix (features, dims), with a head of `out` classes."""
    body = nn.Sequential(nn.Linear(first.shape[1], len(first), bias=False), nn.Linear(len(first), out))
    with torch.no_grad():
        body[0].weight.copy_(first)
    return Normalised(body, torch.zeros(first.shape[1]), torch.ones(first.shape[1]))


def vectors(n=20, dims=4, seed=0):
    rows = np.random.default_rng(seed).normal(size=(n, dims)).astype(np.float32)
    return Tensors(open_data((rows, np.arange(n) % 2)).train, CPU)


def objective_of(student, teacher, data, spec="imitate", seed=0, batch=10):
    chosen = recipe(f"sgd:batch={batch},lr=0.05")
    chosen = dataclasses.replace(chosen, views=chosen.views.for_shape(data.shape))
    return chosen, aim(spec).objective(Material(student, data, chosen, seed, teacher=teacher.eval()))


def test_the_loss_is_that_of_a_plain_loop(monkeypatch):
    monkeypatch.setattr(imitation, "autocast", lambda device: nullcontext())  # float32 on every machine
    draw = np.random.default_rng(1)
    wide, narrow = torch.tensor(draw.normal(size=(3, 4))).float(), torch.tensor(draw.normal(size=(2, 4))).float()
    data = vectors()
    _, objective = objective_of(net_of(narrow, 2), net_of(wide, 7), data, "imitate:weight=5,temperature=0.5,power=2")
    objective.narrowed(Shuffled(data.usable, 0).plan(0))
    ids = torch.tensor([3, 1, 8, 11])
    answer = objective(ids, data.sample(ids.numpy()))

    rows = data.sample(np.arange(20)).double().numpy()
    taught, own = rows @ wide.double().numpy().T, rows[ids] @ narrow.double().numpy().T
    mean = taught.mean(axis=0)
    right = np.linalg.svd(taught - mean)[2][:2]
    expected = np.zeros(4)
    for dim, axis in enumerate(right):
        u = (taught[ids] - mean) @ (axis * np.sign(axis[np.abs(axis).argmax()]))
        target = np.array([math.copysign(abs(x / 0.5) ** 0.5, x) for x in u])
        for i in range(4):
            apart = (own[i, dim] - own[:, dim].mean()) - (target[i] - target.mean())
            expected[i] += 5 * apart**2 / 2
    np.testing.assert_allclose(answer.loss.detach().numpy(), expected, rtol=1e-4)
    assert answer.labels.tolist() == [1, 1, 0, 1]


def test_a_run_stopped_after_an_epoch_ends_with_the_same_weights_to_the_bit(tmp_path):
    class Stop(Exception):
        pass

    def stop(at, loss):
        raise Stop

    def run(**options):
        data, student = vectors(), build(
            "mlp:0.02", shape=(4,), classes=2, mean=torch.zeros(4), spread=torch.ones(4), seed=0
        )  # fmt: skip
        teacher = build("mlp:0.05", shape=(4,), classes=5, mean=torch.zeros(4), spread=torch.ones(4), seed=1)
        chosen, objective = objective_of(student, teacher, data, "imitate:rows=15")
        sampler = Shuffled(data.usable, 0)
        train(student, data, chosen, steps=6, sampler=sampler, seed=0, objective=objective, **options)
        return student.state_dict() | objective.state_dict()

    whole = run()
    with pytest.raises(Stop):
        run(save_to=tmp_path / "state", watch=Watch(epoch=stop))
    parts = run(save_to=tmp_path / "state")
    assert {"mean", "axes"} <= set(parts)
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


HOW = {"net": "resnet9:0.25", "quiet": True, "threads": 1}


@pytest.fixture(scope="module")
def imitated(few_digits, pruned, tmp_path_factory):
    """A pre-training without labels by the net of `pruned`, and what it said after each epoch."""
    out = tmp_path_factory.mktemp("imitated")
    images = few_digits[0][0]
    result = sc.train(images, label="none", objective="imitate", teacher=pruned, epochs=8, out=out, **HOW)
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    return out, result, [line["loss"] for line in log if "loss" in line]


def test_the_loss_falls(imitated):
    losses = imitated[2]
    assert len(losses) == 8
    assert losses[-1] < 0.7 * losses[0]


def test_it_needs_no_labels_and_says_that_it_was_not_tested(imitated):
    out, result, _ = imitated
    assert math.isnan(result.accuracy)
    assert math.isnan(result.worst_class)
    assert result.per_class == ()
    assert result.distill is None
    assert result.objective == "imitate"
    path = out / "cells" / result.folder / "result.json"
    assert json.loads(path.read_text())["accuracy"] is None
    assert math.isnan(Result.read(path).accuracy)
    assert result.as_json()["worst_class"] is None


def test_a_few_steps_from_it_do_better_than_from_nothing(imitated, few_digits, tmp_path):
    out, result, _ = imitated
    rows, test = few_digits
    started, fresh = (
        sc.train(rows, test=test, start=start, epochs=1, out=tmp_path, **HOW)
        for start in (out / "cells" / result.folder, None)
    )
    assert started.accuracy > fresh.accuracy + 0.05
    assert started.start == str(out / "cells" / result.folder)


def test_the_command_says_how_to_go_on(pruned, tmp_path):
    asked = ["--objective", "imitate", "--teacher", pruned, "--net", "resnet9:0.25", "--epochs", "1"]
    told = command("train", "digits", *asked, "--out", tmp_path, "--recipe", "sgd").stdout
    assert "not tested: the head is not trained; continue with --start" in told
    again = json.loads(command("train", "digits", *asked, "--out", tmp_path, "--recipe", "sgd", "--json").stdout)
    assert again["accuracy"] is None


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    @pytest.mark.parametrize(
        ("knob", "message"),
        [
            ("weight=0", r"weight: expected a (whole )?number .*, got '0'"),
            ("temperature=-1", r"temperature: expected a (whole )?number .*, got '-1'"),
            ("power=0.5", r"power: expected a (whole )?number .*, got '0.5'"),
            ("rows=1", r"rows: expected a (whole )?number .*, got '1'"),
        ],
    )
    def test_knobs_out_of_range(self, knob, message):
        with pytest.raises(SecateurError, match=f"objective imitate: {message}"):
            aim(f"imitate:{knob}")

    def test_a_teacher_with_fewer_features_than_the_student(self):
        with pytest.raises(
            SecateurError, match="teacher: expected at least as many features as the student's 3, got 2"
        ):
            objective_of(net_of(torch.ones(3, 4), 2), net_of(torch.ones(2, 4), 2), vectors())

    def test_no_teacher(self, tmp_path):
        with pytest.raises(SecateurError, match="teacher: objective imitate needs it, got none; pass teacher=, or"):
            sc.train("digits", objective="imitate", net="mlp", out=tmp_path, quiet=True)

    def test_a_teacher_that_is_to_answer_too(self, pruned, tmp_path):
        with pytest.raises(SecateurError, match="distill: objective imitate does not use the teacher's answers"):
            sc.train("digits", objective="imitate", teacher=pruned, distill="a=0.5", out=tmp_path, quiet=True)
