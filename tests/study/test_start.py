"""Going on from a saved net: what is kept of it, and what does not fit."""

import numpy as np
import pytest
import torch
from torch import nn

import secateur as sc
from secateur.errors import SecateurError
from secateur.store.files import read_json
from secateur.study.cell import plan_run
from secateur.study.material import digest_of, net_of
from secateur.study.session import session
from secateur.training.nets import adopt, build, load_net, save_net

CPU = torch.device("cpu")
HOW = {"net": None, "recipe": "sgd", "epochs": 1, "budget": "epochs", "seed": 5}


@pytest.fixture(scope="module")
def cell(pruned):
    """The folder of a run: a student of ten digits."""
    (folder,) = (pruned / "cells").iterdir()
    return folder


def begun(rows, out, start, **options):
    """The net that a run would begin with, and the run."""
    with session(rows, out, quiet=True) as work:
        run = plan_run(work, "x", start=start, **{**HOW, **options})
        return net_of(work, run), run


def test_everything_is_kept_where_the_classes_are_as_many(few_digits, cell, tmp_path):
    net, run = begun(few_digits[0], tmp_path, cell)
    saved = load_net(cell / "model.safetensors", device=CPU)
    assert run.net == "resnet9:0.25"
    for name, value in saved.state_dict().items():
        assert torch.equal(net.state_dict()[name].cpu(), value), name


def test_the_head_is_fresh_where_they_are_not_and_the_rest_is_kept(few_digits, cell, tmp_path):
    images, labels = few_digits[0]
    few = labels < 7
    net, _ = begun((images[few], labels[few]), tmp_path / "a", cell)
    fresh, _ = begun((images[few], labels[few]), tmp_path / "b", None, net="resnet9:0.25")
    saved = load_net(cell / "model.safetensors", device=CPU).state_dict()
    for name, value in net.state_dict().items():
        expected = fresh.state_dict()[name].cpu() if name == "body.head.weight" else saved[name]
        assert torch.equal(value.cpu(), expected), name
    assert net.body.head.out_features == 7


class HeadFirst(nn.Module):
    """Its head is not the linear layer that is registered last."""

    def __init__(self, shape, classes):
        super().__init__()
        self.head, self.feed = nn.Linear(4, classes), nn.Linear(shape[0], 4)

    def forward(self, x):
        return self.head(self.feed(x))


def test_the_head_is_the_layer_of_that_name_wherever_it_is_registered(tmp_path):
    of = lambda classes, seed: build(
        "tests.study.test_start:HeadFirst",
        shape=(5,),
        classes=classes,
        mean=torch.zeros(5),
        spread=torch.ones(5),
        seed=seed,
    )
    saved, fresh = of(3, 0), of(7, 1)
    save_net(saved, tmp_path / "m.safetensors", spec="tests.study.test_start:HeadFirst", shape=(5,), classes=3)
    drawn = fresh.body.head.weight.clone()
    begun = adopt(fresh, tmp_path / "m.safetensors")
    assert torch.equal(begun.body.feed.weight, saved.body.feed.weight)
    assert torch.equal(begun.body.head.weight, drawn)


def test_a_run_goes_on_from_a_folder_or_a_file_under_one_name_of_its_own(few_digits, cell, tmp_path):
    rows, test = few_digits
    how = {"test": test, "epochs": 1, "out": tmp_path, "quiet": True, "threads": 1}
    result = sc.train(rows, start=cell, **how)
    assert result.start == str(cell)
    assert result.accuracy > read_json(cell / "result.json")["accuracy"] - 0.1
    assert result.net == "resnet9:0.25"
    with session(rows, tmp_path, quiet=True) as work:
        names = {
            str(start): digest_of(work, plan_run(work, "x", start=start, **HOW | {"net": "resnet9:0.25"}))
            for start in (cell, cell / "model.safetensors", None)
        }
    assert len(set(names.values())) == 2
    assert names[str(cell)] == names[str(cell / "model.safetensors")]


class TestBadInput:
    def test_rows_of_another_shape(self, cell, tmp_path):
        images = np.zeros((40, 8, 8, 3), dtype=np.uint8)
        with pytest.raises(SecateurError, match=r"start: .* is a resnet9:0.25 for rows of shape \(1, 8, 8\)"):
            begun((images, np.arange(40) % 2), tmp_path, cell)

    def test_another_net_asked_for(self, few_digits, cell, tmp_path):
        with pytest.raises(SecateurError, match="start: .* is a resnet9:0.25, and the net asked for is mlp"):
            begun(few_digits[0], tmp_path, cell, net="mlp")

    def test_nothing_there(self, few_digits, tmp_path):
        with pytest.raises(SecateurError, match="nowhere: expected a net saved by secateur, found none"):
            begun(few_digits[0], tmp_path, tmp_path / "nowhere")
