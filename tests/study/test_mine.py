"""Mining a pool: what is taken, what is written, what goes on, what is refused."""

import json
import os

import numpy as np
import pytest
from typer.testing import CliRunner

import secateur as sc
from secateur.cli import app
from secateur.data.source import open_data
from secateur.errors import DataError, SecateurError, StoreError
from secateur.store.tables import Mined
from secateur.study import mine as job

HOW = {"net": "resnet9:0.25", "epochs": 12, "quiet": True, "threads": 1, "seed": 0}


@pytest.fixture(scope="module")
def digits(few_digits):
    """100 labelled digits, a pool of 300, what the pool's labels would be, and 128 to test on."""
    (images, labels), test = few_digits
    return (images[:100], labels[:100]), images[100:400], labels[100:400], test


@pytest.fixture(scope="module")
def mined(digits, tmp_path_factory):
    """An OUT folder that was mined, 10 of each class."""
    data, pool, _, test = digits
    out = tmp_path_factory.mktemp("mined") / "out"
    sc.mine(data, pool, test=test, top=10, out=out, **HOW)
    return out


def test_most_of_what_is_mined_is_what_it_is_taken_for(digits, mined):
    found = Mined.open(mined)
    assert np.bincount(found.labels).tolist() == [10] * 10
    assert (digits[2][found.ids] == found.labels).mean() > 0.85


def test_the_folder_of_a_run_in_place_of_the_data_in_it_says_what_to_pass(mined, pruned, digits, tmp_path):
    told = f"data: expected a data set, got {mined}, the OUT folder of a run; pass {mined}/mined, the labelled and the"
    with pytest.raises(DataError, match=told):
        sc.train(str(mined), out=tmp_path / "out", **HOW)
    with pytest.raises(DataError, match=f"data: .* pass {pruned}/kept, the rows that were kept$"):
        open_data(pruned)
    sc.record(digits[0], net="mlp:0.1", epochs=1, out=tmp_path / "recorded", quiet=True)
    with pytest.raises(
        DataError, match="data: .* the OUT folder of a run; pass the data it was made from, tuple from Python$"
    ):
        open_data(tmp_path / "recorded")
    assert len(open_data(str(mined / "mined")).train) == 200
    assert not (tmp_path / "out").exists()


def test_every_candidate_has_a_line_with_its_class_and_confidence(mined):
    table = Mined.open(mined).table
    assert list(table) == ["id", "label", "class", "confidence", "kept"]
    assert table["id"].tolist() == list(range(300))
    assert all(str(k) == name for k, name in zip(table["label"], table["class"], strict=True))
    for k in range(10):
        own = table["label"] == k
        assert table["confidence"][own & table["kept"]].min() >= table["confidence"][own & ~table["kept"]].max()


def test_it_is_the_selection_of_the_pure_function(digits, mined):
    import torch

    from secateur.select.prototypes import omni
    from secateur.training.nets import load_net
    from secateur.training.probes.penultimate import Penultimate

    (images, labels), pool, _, _ = digits
    ask = Penultimate(load_net(mined / "model.safetensors", device=torch.device("cpu")))
    with torch.inference_mode():
        own, others = (ask(torch.from_numpy(x[:, None]))[0].numpy() for x in (images, pool))
    expected, found = omni(own, labels, others, top=10), Mined.open(mined)
    assert found.ids.tolist() == expected.ids.tolist()
    assert found.labels.tolist() == expected.labels.tolist()


def test_the_data_set_has_the_labelled_rows_the_mined_ones_and_the_test_split(digits, mined):
    (images, labels), pool, _, test = digits
    source, found = open_data(str(mined / "mined")), Mined.open(mined)
    assert source.classes == tuple("0123456789")
    np.testing.assert_array_equal(source.train.values[..., 0], np.concatenate([images, pool[found.ids]]))
    assert source.train.labels.tolist() == [*labels.tolist(), *found.labels.tolist()]
    np.testing.assert_array_equal(source.test.values[..., 0], test[0])
    assert source.test.labels.tolist() == test[1].tolist()
    assert sc.train(str(mined / "mined"), out=mined.parent / "student", **HOW | {"epochs": 1}).kept == 200


def test_vectors_and_data_without_a_test_split(tmp_path):
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(60, 5)).astype(np.float32), np.arange(60) % 3
    rows[:, :3] += 4 * np.eye(3)[labels]
    sc.mine((rows[:30], labels[:30]), rows[30:], top=2, out=tmp_path, **HOW | {"net": "mlp", "epochs": 2})
    source = open_data(str(tmp_path / "mined"))
    np.testing.assert_array_equal(source.train.values[:30], rows[:30])
    assert len(source.train) == 36
    assert source.test is None


def test_labels_in_the_pool_are_not_looked_at_and_the_bytes_repeat(digits, mined, tmp_path):
    data, pool, labels, test = digits
    sc.mine(data, (pool, 9 - labels), test=test, top=10, out=tmp_path, **HOW)
    for name in ("model.safetensors", "mined.parquet", "mined/train.parquet", "mined/test.parquet"):
        assert (tmp_path / name).read_bytes() == (mined / name).read_bytes(), name


def test_another_limit_uses_the_same_net_and_the_same_limit_does_nothing(digits, mined, tmp_path, monkeypatch):
    import shutil

    data, pool, _, test = digits
    shutil.copytree(mined, tmp_path / "out")
    how = {"test": test, "out": tmp_path / "out", **HOW}
    before = (mined / "model.safetensors").read_bytes()
    more = sc.mine(data, pool, top=10, at_least=0.9, **how)
    assert 0 < len(more) < 100
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == before
    assert len(open_data(str(tmp_path / "out" / "mined")).train) == 100 + len(more)
    monkeypatch.setattr(job, "_judged", None)  # judging again would fail
    assert sc.mine(data, pool, top=10, at_least=0.9, **how).ids.tolist() == more.ids.tolist()


def test_a_stopped_run_judges_only_the_rest(digits, mined, tmp_path, monkeypatch):
    data, pool, _, test = digits
    monkeypatch.setattr(job, "BLOCK", 100)
    judged, original = [], job.judge

    def stopping(means, features):
        judged.append(len(features))
        if len(judged) == 3:
            raise KeyboardInterrupt
        return original(means, features)

    monkeypatch.setattr(job, "judge", stopping)
    how = {"model": mined, "test": test, "top": 10, **HOW}
    with pytest.raises(KeyboardInterrupt):
        sc.mine(data, pool, out=tmp_path / "stopped", **how)
    sc.mine(data, pool, out=tmp_path / "stopped", **how)
    assert judged == [100] * 4
    assert not list((tmp_path / "stopped" / "state").iterdir())
    sc.mine(data, pool, out=tmp_path / "whole", **how)
    assert (tmp_path / "stopped" / "mined.parquet").read_bytes() == (tmp_path / "whole" / "mined.parquet").read_bytes()


def test_the_pool_is_judged_the_same_where_it_is_streamed(digits, mined, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # torch warns of more workers than the processors of this process
    data, pool, _, test = digits
    found = sc.mine(data, pool, model=mined / "model.safetensors", test=test, top=10, memory=1, out=tmp_path, **HOW)
    assert found.ids.tolist() == Mined.open(mined).ids.tolist()
    assert not (tmp_path / "recording.zarr").exists()


def test_from_the_command_line(mined, tmp_path):
    """The pool of files is the digits, at the size of the data."""
    arguments = ["digits", "digits", "--model", mined, "--top", 3, "--out", tmp_path, "--threads", 1, "--json"]
    arguments += ["--per-class", 2, "--condense-with", "dm:steps=1,net=convnet1:0.0625"]
    done = CliRunner().invoke(app, ["mine", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["mined"], told["of"], told["top"], told["at_least"]) == (30, 1437, 3, None)
    assert told["per_class"] == 2
    assert len(open_data(str(tmp_path / "joint")).train) == 1457


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    def refused(self, digits, out, said, *, data=None, pool=None, error=SecateurError, **options):
        own, rows, _, _ = digits
        with pytest.raises(error, match=said):
            sc.mine(
                own if data is None else data,
                rows if pool is None else pool,
                out=out,
                **{**HOW, "epochs": 1, "top": 1, **options},
            )
        assert not (out / "mined").exists()

    def test_no_limit_leaves_nothing_behind(self, digits, tmp_path):
        self.refused(digits, tmp_path / "out", "top: expected it or at_least, got neither", top=None)
        assert not (tmp_path / "out").exists()

    def test_none_of_each_class(self, digits, tmp_path):
        self.refused(digits, tmp_path, "top: expected a whole number from 1 .*, got 0", top=0)

    def test_a_pool_of_another_shape(self, digits, tmp_path):
        pool = np.zeros((4, 9, 9), dtype=np.uint8)
        self.refused(digits, tmp_path, r"pool: expected rows of shape \(8, 8, 1\).*got \(9, 9, 1\)", pool=pool)

    def test_an_empty_pool(self, digits, tmp_path):
        pool = np.zeros((0, 8, 8), dtype=np.uint8)
        self.refused(digits, tmp_path, "pool: .*the split is empty", pool=pool)

    def test_nothing_sure_enough(self, digits, mined, tmp_path):
        said = r"at_least: no row of the pool reaches 1.0, the highest confidence is 0\.\d{4}; ask for less"
        self.refused(digits, tmp_path, said, model=mined, at_least=1.0)

    def test_a_class_without_labelled_rows(self, digits, tmp_path):
        import datasets

        names = datasets.ClassLabel(names=["near", "far", "never"])
        features = datasets.Features({"x": datasets.List(datasets.Value("float32")), "label": names})
        data = datasets.Dataset.from_dict({"x": [[0.0, 1.0]] * 6, "label": [0, 1] * 3}, features=features)
        said = "label: class 'never' has no labelled rows, so nothing can be like it"
        self.refused(digits, tmp_path, said, data=data, pool=np.zeros((4, 2), dtype=np.float32))

    def test_data_without_labels(self, digits, tmp_path):
        self.refused(digits, tmp_path, "label: mining needs labels, and the data have none", data=digits[1])

    def test_a_model_that_is_not_there(self, digits, tmp_path):
        said = "nowhere/model.safetensors|nowhere: expected a net saved by secateur, found none"
        self.refused(digits, tmp_path, said, model=tmp_path / "nowhere", error=StoreError)

    def test_a_model_for_other_rows(self, digits, mined, tmp_path):
        rows = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
        said = r"model: does not take rows of shape \(5,\)"
        self.refused(digits, tmp_path, said, data=(rows, np.arange(8) % 2), pool=rows, model=mined)
