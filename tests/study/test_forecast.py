"""Fine-tuning foretold: beside a real run on digits, and the sentences of what cannot be foretold."""

import dataclasses
import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import secateur as sc
from secateur.data.source import open_data
from secateur.errors import DataError, SecateurError, StoreError
from secateur.store.tables import Subset
from secateur.study.cell import plan_run
from secateur.study.forecast import Goal, forecast, foreseen
from secateur.study.session import session
from secateur.training.forecast import reach
from secateur.training.loop import train
from secateur.training.nets import adopt, model_in, spec_in
from secateur.training.nets.head import head_of
from secateur.training.probes.penultimate import Penultimate
from secateur.training.probes.tangent import last_layer
from secateur.training.sampling import Shuffled
from tests.conftest import SMALL

RUN = {"net": None, "epochs": 20, "budget": "steps", "seed": 0}
OPTIONS = {k: v for k, v in SMALL.items() if k != "force"}


@pytest.fixture(scope="module")
def halves():
    """The digits 0 to 4, and 5 to 9 as classes 0 to 4."""
    split = open_data("digits").train
    early = split.labels < 5
    return (split.values[early], split.labels[early]), (split.values[~early], split.labels[~early] - 5)


@pytest.fixture(scope="module")
def start(halves, tmp_path_factory):
    """An OUT folder with a net trained on the first half of the classes."""
    out = tmp_path_factory.mktemp("source")
    sc.record(halves[0], epochs=3, net="resnet9:0.25", out=out, quiet=True, threads=1)
    return out


@pytest.fixture(scope="module")
def work(halves, tmp_path_factory):
    """A session on the other half."""
    with session(halves[1], tmp_path_factory.mktemp("target"), quiet=True, threads=1) as work:
        yield work


class Ear:
    def __init__(self):
        self.losses = []

    def batch(self, ids, logits, labels):
        self.losses.append(float(F.cross_entropy(logits.detach(), labels)))

    def end_epoch(self):
        pass


def new_net(work, start):
    return tuned(work, start, new_head=True)


def tuned(work, start, *, classes=5, new_head=False):
    path = model_in(start)
    return adopt(work.build_net(spec_in(path), seed=0, whiten=False, classes=classes), path, new_head=new_head).eval()


def really(work, net, run, steps):
    """The losses of real steps."""
    ear = Ear()
    sampler = Shuffled(work.source.train.usable, run.seed)
    train(net, work.train, run.recipe, steps=steps, horizon=run.steps, sampler=sampler, seed=run.seed, recorder=ear)
    return torch.tensor(ear.losses)


def test_the_forecast_is_within_half_of_the_steps_of_a_real_run(work, start):
    run = plan_run(work, "", recipe="sgd:lr=1.2", **RUN)
    net = new_net(work, start)
    losses, begun, rows = foreseen(work, net, run, "jacobian")
    real = really(work, net, run, 100)
    assert rows == 250
    assert begun == pytest.approx(float(real[0]), rel=0.1)
    taken = reach(real, 0.9)
    assert taken is not None
    assert abs(reach(losses, 0.9) - taken) < 0.5 * taken


def test_by_the_last_layer_it_is_the_run_that_trains_the_last_layer_alone(work, start, monkeypatch):
    run = plan_run(work, "", recipe="sgd:lr=1.2", **RUN)
    net, heard = new_net(work, start), []

    def hear(begun, rows):
        with torch.no_grad():
            heard.append(Penultimate(begun)(rows)[0])
        return last_layer(begun, rows)

    monkeypatch.setattr("secateur.study.forecast.last_layer", hear)
    losses, _, rows = foreseen(work, net, run, "last-layer")
    ids, features = work.source.train.usable, torch.cat(heard)
    assert rows == len(ids)
    head = head_of(net)
    sgd = torch.optim.SGD([head.weight], lr=1.0, momentum=run.recipe.momentum, nesterov=True)
    labels, expected, step = work.train.labels, [], 0
    for epoch in range(2):
        order = Shuffled(ids, run.seed).plan(epoch).ids
        for part in np.array_split(order, -(-len(ids) // run.recipe.batch)):
            places = torch.from_numpy(np.searchsorted(ids, part))
            logits = features[places] @ head.weight.T * net.body.scale
            aims = labels[torch.from_numpy(part)]
            expected.append(float(F.cross_entropy(logits.detach(), aims)))
            sgd.param_groups[0]["lr"] = run.recipe.lr * run.recipe.lr_factor(step / run.steps)
            sgd.zero_grad()
            F.cross_entropy(logits, aims, label_smoothing=run.recipe.smoothing).backward()
            sgd.step()
            step += 1
    np.testing.assert_allclose(losses[:step], expected, rtol=1e-4)


def test_plan_tells_steps_seconds_and_a_curve(halves, start):
    found = sc.plan(halves[1], start=start, reach=1.2, new_head=True, recipe="sgd:lr=1.2", **OPTIONS | {"epochs": 20})
    told = found.forecast
    assert 0 < told.steps < told.horizon == 20 * 25
    assert 0 < told.seconds < 60
    assert len(told.curve) == 50
    assert told.curve[0][0] == 0
    assert told.curve[-1][0] == told.horizon - 1
    assert told.lowest <= 1.2 < told.start
    assert told.told == f"{told.steps} of 500 steps from a loss of {told.start:.3g} to 1.2"
    json.dumps(found.as_json())


def test_a_subset_is_what_is_trained_on(work, start):
    labels = work.source.train.labels
    subset = Subset.build(
        labels=labels, scores=np.full(len(labels), np.nan), ids=np.arange(40),
        reasons=np.full(len(labels), "", dtype=object), provenance={"fingerprint": work.source.fingerprint},
    )  # fmt: skip
    run = plan_run(work, "", recipe="sgd:lr=1.2", subset=subset, **RUN)
    plain, _, rows = foreseen(work, new_net(work, start), run, "last-layer")
    assert rows == 40
    heavy = dataclasses.replace(subset, weights=np.where(np.arange(40) < 20, 2.0, 0.0))
    weighed, *_ = foreseen(work, new_net(work, start), dataclasses.replace(run, subset=heavy), "last-layer")
    assert not torch.allclose(weighed, plain)


def test_a_net_for_other_classes_gets_a_new_head_and_one_for_these_keeps_its_own(work, start):
    kept, ten, drawn = tuned(work, start), tuned(work, start, classes=10), tuned(work, start, new_head=True)
    assert ten.body.head.out_features == 10
    assert torch.equal(ten.body.patches.weight, kept.body.patches.weight)
    assert not torch.equal(drawn.body.head.weight, kept.body.head.weight)
    assert torch.equal(drawn.body.head.weight, new_net(work, start).body.head.weight)


def test_a_target_not_below_the_start_takes_no_steps(work, start, monkeypatch):
    # the first batch alone would say that steps are needed
    foreseen = lambda *asked: (torch.tensor([2.0] * 40 + [0.1] * 40), 0.5, 250)
    monkeypatch.setattr("secateur.study.forecast.foreseen", foreseen)
    run = plan_run(work, "", recipe="sgd", **RUN)
    told = forecast(work, Goal(start, 0.5, "last-layer", new_head=True), run)
    assert (told.steps, told.seconds) == (0, 0.0)
    assert told.told == "0 steps: the loss at the start, 0.5, is not above 0.5"


def test_a_target_out_of_reach_says_the_lowest_loss(work, start):
    run = plan_run(work, "", recipe="sgd:lr=0.01", **RUN)
    told = forecast(work, Goal(start, 0.3, "last-layer", new_head=True), run)
    assert (told.steps, told.seconds) == (None, None)
    assert told.told.startswith(
        f"does not reach 0.3 in {run.steps} steps, the lowest forecast loss is {told.lowest:.3g}; allow more --epochs"
    )


@pytest.mark.parametrize(
    "asked, sentence",
    [
        ({"reach": 0.0}, "reach: expected a mean training loss above 0, in nats, got 0.0"),
        ({"reach": float("nan")}, "reach: expected a mean training loss above 0, in nats, got nan"),
        ({"reach": None}, "reach: a forecast needs a target loss with start, got none"),
        ({"start": None}, "start: a forecast needs a trained net with reach, got none"),
        ({"start": None, "reach": None, "subset": "x"}, "subset: only the forecast uses it"),
        ({"start": None, "reach": None, "new_head": True}, "new_head: only the forecast uses it"),
        ({"kernel": "whole"}, "kernel: expected one of jacobian, last-layer, got 'whole'"),
    ],
)
def test_what_is_asked_amiss_is_said(asked, sentence, our_own_errors):
    given = {"start": "net", "reach": 0.3, "kernel": "jacobian", "new_head": False, "subset": None} | asked
    with pytest.raises(SecateurError) as caught:
        Goal.make(given.pop("start"), given.pop("reach"), given.pop("kernel"), **given)
    assert str(caught.value).startswith(sentence)


def test_nothing_asked_is_nothing_forecast(halves):
    assert Goal.make(None, None, "jacobian", new_head=False, subset=None) is None


def test_data_without_labels_are_refused(halves, start):
    with pytest.raises(DataError, match=r"^label: a forecast of fine-tuning needs labels, and the data have none"):
        sc.plan(halves[0][0], start=start, reach=0.3, **OPTIONS)


def test_rows_of_another_shape_are_refused(start, tmp_path):
    colours = np.zeros((10, 8, 8, 3), dtype=np.uint8)
    with pytest.raises(SecateurError, match=r"^start: .* for rows of shape \(1, 8, 8\), not that of the data: see "):
        sc.plan((colours, np.arange(10) % 2), start=start, reach=0.3, **OPTIONS)


def test_a_start_without_a_net_is_refused(work, tmp_path):
    run = plan_run(work, "", recipe="sgd", **RUN)
    with pytest.raises(StoreError, match=r"model.safetensors: expected a net saved by secateur, found none"):
        forecast(work, Goal(tmp_path, 0.3, "jacobian", new_head=False), run)


def test_a_recipe_that_is_not_sgd_is_refused(work, start):
    run = plan_run(work, "", recipe="fast", **RUN)
    with pytest.raises(SecateurError, match=r"^recipe: a forecast assumes SGD, and fast trains with muon; pass sgd"):
        forecast(work, Goal(start, 0.3, "jacobian", new_head=False), run)


def test_a_forecast_is_about_the_net_it_starts_from(halves, start):
    with pytest.raises(SecateurError, match="^start: .* is a .*, and the net asked for is mlp:0.25; leave --net out"):
        sc.plan(halves[1], start=start, reach=0.3, **OPTIONS | {"net": "mlp:0.25"})
