"""Asking nets after the run: what is filled, what is used again, what goes on, what is refused."""

import shutil

import numpy as np
import pytest
import torch

import secateur as sc
from secateur.errors import SecateurError
from secateur.methods import METHODS, Setting, method
from secateur.store.files import read_json
from secateur.store.tables import Scores, Subset
from secateur.study import probe
from secateur.study.probing import Probing
from tests.conftest import SMALL

SETTING = Setting(0.3, 4, 10)


def prune(few_digits, out, method, **options):
    train, test = few_digits
    return sc.prune(train, test=test, out=out, method=method, **{"keep": 0.3, **SMALL, **options})


@pytest.fixture
def copied(pruned, tmp_path):
    """A copy of the shared OUT, to probe."""
    return shutil.copytree(pruned, tmp_path / "out")


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(probe, "BLOCK", 100)


def test_a_subset_by_features_is_what_the_function_gives_on_the_nets_features(few_digits, copied):
    subset = prune(few_digits, copied, "density")
    features = np.asarray(sc.Recording.open(copied)["features"])
    expected = sc.select.hardest(sc.scores.density(features), keep=154)
    np.testing.assert_array_equal(subset.ids, expected)


def test_another_keep_uses_what_was_probed(few_digits, copied, monkeypatch):
    prune(few_digits, copied, "density")
    before = read_json(copied / "run.json")["stages"]["probe features"]["seconds"]
    monkeypatch.setattr(probe, "_by_batches", None)  # probing again would fail
    prune(few_digits, copied, "density", keep=0.1)
    assert read_json(copied / "run.json")["stages"]["probe features"]["seconds"] == before


def test_select_needs_no_data_once_it_is_probed(few_digits, copied):
    with pytest.raises(SecateurError, match="the probe `features` fills it, which needs the data"):
        sc.select_from(copied, method="density", keep=0.3)
    subset = prune(few_digits, copied, "density")
    np.testing.assert_array_equal(sc.select_from(copied, method="density", keep=0.3).ids, subset.ids)


def test_a_killed_probe_goes_on_and_ends_with_the_same_bytes(few_digits, copied, tmp_path, small_blocks, monkeypatch):
    whole = shutil.copytree(copied, tmp_path / "whole")
    prune(few_digits, whole, "density")
    real, seen = probe.ProbeWriter.write, []

    def write(self, run, rows, *rest):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(rows.start)
        real(self, run, rows, *rest)

    monkeypatch.setattr(probe.ProbeWriter, "write", write)
    with pytest.raises(KeyboardInterrupt):
        prune(few_digits, copied, "density")
    monkeypatch.setattr(
        probe.ProbeWriter,
        "write",
        lambda self, run, rows, *rest: (seen.append(rows.start), real(self, run, rows, *rest)),
    )
    prune(few_digits, copied, "density")
    assert seen == [0, 100, 200, 300, 400, 500]
    for name in ("features",):
        first, second = (np.asarray(sc.Recording.open(o)[name]).tobytes() for o in (whole, copied))
        assert first == second
    assert (copied / "subset.parquet").read_bytes() == (whole / "subset.parquet").read_bytes()


def test_nets_trained_for_a_probe_are_as_many_as_asked_and_leave_nothing_behind(few_digits, copied):
    prune(few_digits, copied, "grand:runs=2,epochs=1")
    found = np.asarray(sc.Recording.open(copied)["grad_norm"])
    assert found.shape == (2, 512)
    assert not np.allclose(found[0], found[1])
    assert not list((copied / "state").iterdir())
    np.testing.assert_allclose(Scores.open(copied / "scores.parquet")["grand"], found.mean(axis=0), rtol=1e-6)


def test_every_example_is_in_the_same_number_of_subset_runs_and_never_in_all(few_digits, copied):
    prune(few_digits, copied, "memorization:runs=3,epochs=1")
    included = np.asarray(sc.Recording.open(copied)["included"])
    np.testing.assert_array_equal(included.sum(axis=0), np.full(512, 2))  # round(0.7 * 3)
    assert 0 < included[0].mean() < 1


def test_scores_from_another_net_are_computed_again(few_digits, copied):
    first = prune(few_digits, copied, "grand:runs=1,epochs=1")
    second = prune(few_digits, copied, "grand:runs=2,epochs=1")
    assert not np.array_equal(np.asarray(first.table["score"]), np.asarray(second.table["score"]))


def test_weights_reach_the_subset_and_are_one_on_average(few_digits, copied):
    subset = prune(few_digits, copied, "craig", keep=0.1)
    assert subset.weights.mean() == pytest.approx(1)
    assert subset.weights.std() > 0.1
    again = Subset.open(copied)
    np.testing.assert_array_equal(again.weights, subset.weights)


def test_embeddings_given_need_no_run(few_digits, tmp_path):
    rows = np.random.default_rng(0).normal(size=(512, 5)).astype(np.float32)
    np.save(tmp_path / "given.npy", rows)
    subset = prune(few_digits, tmp_path / "out", "density", features=str(tmp_path / "given.npy"))
    assert "record" not in read_json(tmp_path / "out" / "run.json")["stages"]
    np.testing.assert_array_equal(subset.ids, sc.select.hardest(sc.scores.density(rows), keep=154))


def test_a_run_can_be_recorded_after_embeddings_were_given(few_digits, tmp_path):
    rows = np.random.default_rng(0).normal(size=(512, 5)).astype(np.float32)
    np.save(tmp_path / "given.npy", rows)
    prune(few_digits, tmp_path / "out", "density", features=str(tmp_path / "given.npy"))
    prune(few_digits, tmp_path / "out", "dual")
    assert sc.Recording.open(tmp_path / "out").epochs == 4


class Scaled(torch.nn.Module):
    """A layer that nobody knows a short form for: a matrix of its own."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.randn(inputs, outputs) * 0.1)

    def forward(self, x):
        return x @ self.matrix


def odd_net(shape, classes):
    inputs = int(np.prod(shape))
    return torch.nn.Sequential(torch.nn.Flatten(), Scaled(inputs, 16), torch.nn.ReLU(), torch.nn.Linear(16, classes))


def test_layers_without_a_short_gradient_norm_are_named(few_digits, tmp_path, capsys):
    how = {"net": "tests.study.test_probe:odd_net", "quiet": False}
    prune(few_digits, tmp_path / "out", "grand:epochs=1", **how)
    assert "gradients: body.1 (Scaled) have no short form" in capsys.readouterr().err
    assert (np.asarray(sc.Recording.open(tmp_path / "out")["grad_norm"]) > 0).all()


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    def test_embeddings_of_other_length_name_both_numbers(self, few_digits, tmp_path):
        np.save(tmp_path / "given.npy", np.ones((511, 5), np.float32))
        with pytest.raises(SecateurError, match="511.*512|512.*511"):
            prune(few_digits, tmp_path / "out", "density", features=str(tmp_path / "given.npy"))

    def test_embeddings_with_nan_name_the_example(self, few_digits, tmp_path):
        rows = np.ones((512, 5), np.float32)
        rows[77, 2] = np.nan
        np.save(tmp_path / "given.npy", rows)
        with pytest.raises(SecateurError, match="77"):
            prune(few_digits, tmp_path / "out", "density", features=str(tmp_path / "given.npy"))

    def test_gradients_are_not_multiplied_with_features_of_another_net(self):
        with pytest.raises(SecateurError, match="features: craig multiplies the errors of the recorded net"):
            Probing.make([METHODS["craig"]], [SETTING], "given.npy")

    def test_two_methods_that_ask_one_probe_differently_are_told(self):
        one, two = (method(f"grand:runs={r}") for r in (1, 2))
        with pytest.raises(SecateurError, match="asks the probe `gradients`"):
            Probing.make([one, two], [SETTING], None)

    def test_a_method_that_needs_labels_lists_those_that_do_not(self):
        with pytest.raises(SecateurError, match="dual needs labels, and the data has none; these work without: random"):
            Probing.make([METHODS["dual"]], [SETTING], None, labelled=False)

    def test_without_labels_no_net_gives_features(self):
        with pytest.raises(SecateurError, match="without labels no net can be recorded"):
            Probing.make([METHODS["k-center"]], [SETTING], "proxy", labelled=False)
