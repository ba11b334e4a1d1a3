"""Every method of `secateur methods` runs from the command line on real digits, with one recording for all."""

import json

import numpy as np
import pytest

from secateur.methods import METHODS
from secateur.store.tables import Subset
from tests.cli.test_cli import run

SMALL = ["--net", "resnet9:0.25", "--record-epochs", "3", "--threads", "1", "--json", "--keep", "0.2"]
QUICK = {
    "grand": "grand:epochs=1",
    "memorization": "memorization:runs=2,epochs=1,part=0.5",
    "dlc": "dlc:steps=3",
    "deepfool": "deepfool:steps=3",
    "puma": "puma:steps=3",
}
"""Smaller knobs for the methods that train or look many times."""


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    return tmp_path_factory.mktemp("methods") / "out"


@pytest.mark.parametrize("name", METHODS)
def test_runs_on_digits(name, out, tmp_path):
    folder, more = out, []
    if METHODS[name].adversarial:  # its run is another one
        folder, more = tmp_path / "out", ["--adversary", "l2:eps=0.5,steps=1"]
    done = run("prune", "digits", "--method", QUICK.get(name, name), "--out", folder, *SMALL, *more)
    assert json.loads(done.stdout)["subset"]["kept"] == 287  # floor(0.2 * 1437 + 0.5)
    subset = Subset.open(folder)
    assert len(np.unique(subset.ids)) == 287
    assert subset.weights.mean() == pytest.approx(1, abs=1e-6)
