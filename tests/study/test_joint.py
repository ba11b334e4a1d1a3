"""The second half of omni-supervised training: what mined rows are condensed to, what goes on, what is refused."""

import json
import shutil

import numpy as np
import pytest
import torch

import secateur as sc
from secateur.condensation import Real, Synthetic, dm
from secateur.data.source import open_data
from secateur.errors import DataError, SecateurError
from secateur.store.tables import Mined
from secateur.study import joint as job
from secateur.training.seeding import generator
from tests.study.test_condense import stop_at

NET = "convnet1:0.0625"
SPEC = f"dm:steps=6,batch=20,net={NET},every=2"
HOW = {"net": "mlp:0.1", "epochs": 4, "top": 6, "quiet": True, "threads": 1, "seed": 3}


@pytest.fixture(scope="module")
def digits(few_digits):
    """100 labelled digits, a pool of 300, and 128 to test on."""
    (images, labels), test = few_digits
    return (images[:100], labels[:100]), images[100:400], test


@pytest.fixture(scope="module")
def joint(digits, tmp_path_factory):
    """An OUT folder with 6 mined rows of each class, condensed to 2."""
    data, pool, test = digits
    out = tmp_path_factory.mktemp("joint") / "out"
    sc.mine(data, pool, test=test, per_class=2, condense_with=SPEC, out=out, **HOW)
    return out


@pytest.fixture
def again(joint, digits, tmp_path):
    """Mines in a copy of that folder, by other options; returns the folder."""
    shutil.copytree(joint, tmp_path / "out")

    def mine(**options):
        sc.mine(digits[0], digits[1], test=digits[2], out=tmp_path / "out", **HOW | options)
        return tmp_path / "out"

    return mine


def test_the_labelled_rows_and_the_condensed_ones_of_each_class_and_the_test_split(joint, digits):
    (images, labels), _, test = digits
    source, held = open_data(str(joint / "joint")), Synthetic.load(joint / "condensed/synthetic.safetensors")
    assert source.classes == tuple("0123456789")
    np.testing.assert_array_equal(source.train.values, np.concatenate([images[..., None], held.display()]))
    assert source.train.labels.tolist() == [*labels.tolist(), *np.repeat(range(10), 2).tolist()]
    np.testing.assert_array_equal(source.test.values[..., 0], test[0])
    assert source.test.labels.tolist() == test[1].tolist()
    assert open_data(str(joint / "condensed/synthetic")).test.labels.tolist() == test[1].tolist()


def test_joint_training_is_training_on_that_folder(joint, tmp_path):
    result = sc.train(str(joint / "joint"), net="mlp:0.1", epochs=1, out=tmp_path, quiet=True, threads=1)
    assert (result.kept, len(result.per_class)) == (120, 10)


def test_they_are_what_dm_learns_from_the_mined_rows_alone_with_the_classes_they_were_given(joint, digits):
    found = Mined.open(joint)
    rows, labels = torch.from_numpy(digits[1][found.ids])[:, None], torch.from_numpy(found.labels)
    stream = generator(HOW["seed"], "condense", 0)
    expected = dm(Real.of(rows, labels), per_class=2, steps=6, batch=20, net=NET, generator=stream)
    held = Synthetic.load(joint / "condensed/synthetic.safetensors")
    assert torch.equal(held.images, expected.images)
    assert torch.equal(held.mean, expected.mean)


def test_a_stopped_run_goes_on_to_the_same_bytes(joint, digits, tmp_path, monkeypatch):
    data, pool, test = digits
    how = {"model": joint / "model.safetensors", "test": test, "per_class": 2, "condense_with": SPEC, "out": tmp_path}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, 5)
        sc.mine(data, pool, **how, **HOW)
    assert Synthetic.about(tmp_path / "condensed/synthetic.safetensors")["step"] == 4
    assert not (tmp_path / "joint").exists()
    before = (tmp_path / "mined.parquet").stat().st_mtime_ns
    sc.mine(data, pool, **how, **HOW)
    for name in ("train.parquet", "test.parquet"):
        assert (tmp_path / "joint" / name).read_bytes() == (joint / "joint" / name).read_bytes()
    assert (tmp_path / "mined.parquet").stat().st_mtime_ns == before
    assert json.loads((tmp_path / "condensed/run.json").read_text())["stages"]["condense"]["steps_now"] == 2


def test_run_again_nothing_is_condensed_and_what_was_lost_is_written_again(joint, again, monkeypatch):
    written = []
    monkeypatch.setattr(job, "condense", None)  # condensing again would fail
    out = again(per_class=2, condense_with=SPEC)
    monkeypatch.undo()
    monkeypatch.setattr(job, "write_joint", lambda *arguments: written.append(arguments[-1]))
    again(per_class=2, condense_with=SPEC)
    assert not written
    shutil.rmtree(out / "joint")
    again(per_class=2, condense_with=SPEC)
    assert written == [out / "joint"]


def test_asked_otherwise_it_is_made_anew_by_the_same_net(joint, again):
    out = again(per_class=3, condense_with=SPEC)
    assert len(open_data(str(out / "joint")).train) == 130
    assert (out / "model.safetensors").read_bytes() == (joint / "model.safetensors").read_bytes()
    again(top=5, per_class=3, condense_with=SPEC)
    about = json.loads((out / "condensed/run.json").read_text())["data"]
    assert (about["usable"], about["examples"]) == (50, 300)
    before = json.loads((joint / "condensed/run.json").read_text())["data"]
    assert about["fingerprint"] != before["fingerprint"]


def test_of_other_mined_rows_nothing_condensed_is_left(again):
    out = again(top=5)
    assert not (out / "joint").exists()
    assert not (out / "condensed").exists()
    assert "joint" not in json.loads((out / "run.json").read_text())["stages"]


def test_noise_may_become_more_rows_than_were_mined(again):
    out = again(per_class=7, condense_with="dm:init=noise,steps=0")
    assert len(open_data(str(out / "joint")).train) == 170


def test_mosaics_are_cut_apart(again):
    out = again(per_class=1, condense_with=f"idm:tiles=2,classify=0.25,compile=1,steps=0,net={NET}")
    asked = json.loads((out / "condensed/run.json").read_text())["stages"]["condense"]["asked"]
    assert (asked["tiles"], asked["classify"], asked["compiled"]) == (2, 0.25, True)
    source = open_data(str(out / "joint"))
    assert source.train.labels[100:].tolist() == np.repeat(range(10), 4).tolist()


@pytest.fixture
def vectors():
    """30 labelled rows of 3 classes, and a pool of 30 more that has the first class alone."""
    rng = np.random.default_rng(0)
    rows, labels = rng.normal(size=(60, 5)).astype(np.float32), np.arange(60) % 3
    labels[30:] = 0
    rows[:, :3] += 6 * np.eye(3, dtype=np.float32)[labels]
    return (rows[:30], labels[:30]), rows[30:]


def test_vectors_are_condensed_as_vectors(vectors, tmp_path):
    (rows, labels), pool = vectors
    both = np.concatenate([pool, rows + 0.1])
    how = HOW | {"top": 2, "per_class": 1, "condense_with": "dm:steps=0,net=mlp:0.1"}
    found = sc.mine((rows, labels), both, out=tmp_path, **how)
    train = open_data(str(tmp_path / "joint")).train
    np.testing.assert_array_equal(train.values[:30], rows)
    assert train.labels[30:].tolist() == [0, 1, 2]
    for c in range(3):  # not a step was made: each is one of the rows mined of its class
        assert np.abs(both[found.ids[found.labels == c]] - train.values[30 + c]).max(1).min() < 1e-5
    assert open_data(str(tmp_path / "joint")).test is None


def test_the_folder_of_the_run_in_place_of_the_data_says_so(joint):
    with pytest.raises(DataError, match=f"pass .*; or {joint}/joint, the labelled rows and what the mined ones were"):
        open_data(joint)


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"per_class": 0}, "per_class: expected a whole number from 1 .*, got 0"),
            ({"condense_with": "dm"}, "condense_with: 'dm' says how .* but not into how many; give per_class too"),
            ({"per_class": 1, "condense_with": "pca"}, "condense_with: expected one of .*dm.*, got 'pca'"),
            ({"per_class": 1, "condense_with": "dm:step=3"}, "knob of dm: expected one of .*, got 'step'.* mean steps"),
            ({"per_class": 1, "condense_with": "dm:epochs=3"}, "condense_with dm: knob: expected .*, got 'epochs'"),
            (
                {"per_class": 1, "condense_with": "dm:steps=1.5"},
                "dm: steps: expected a whole number from 0 .*, got '1.5'",
            ),
            ({"per_class": 1, "condense_with": "dc:matches=1"}, "dc: matches and epochs go together"),
            (
                {"per_class": 1, "condense_with": "idm:classify=-1"},
                "classify: expected a number in .*, got '-1",
            ),
            (
                {"per_class": 1, "condense_with": "dm:compile=2"},
                "dm: compile: expected a whole number from 0 to 1, got '2'",
            ),
            ({"per_class": 1, "condense_with": "idm:tiles=0"}, "tiles: expected a whole number from 1 .*, got .0."),
            ({"per_class": 1, "condense_with": "dm:init=3"}, "dm: init: expected one of mosaic, noise, real, got '3'"),
            ({"per_class": 1, "condense_with": "dm:rate=0"}, "rate: expected a number in .*, got '0'"),
            ({"per_class": 1, "condense_with": "dm:net=nett"}, "net: .*nett"),
            ({"per_class": 2, "condense_with": "dc"}, "a schedule is published for 1, 10, .* not for 2"),
        ],
    )
    def test_what_no_mining_could_make_right_stops_before_it(self, options, said, digits, tmp_path):
        with pytest.raises(SecateurError, match=said):
            sc.mine(digits[0], digits[1], out=tmp_path / "out", **HOW | options)
        assert not (tmp_path / "out").exists()

    def test_vectors_where_only_images_are_known(self, vectors, tmp_path):
        with pytest.raises(SecateurError, match="these rows are vectors; use method dm"):
            sc.mine(*vectors, per_class=1, condense_with="dc", out=tmp_path / "out", **HOW)
        assert not (tmp_path / "out").exists()

    def test_a_class_of_which_nothing_was_mined(self, vectors, tmp_path):
        said = "per_class: no rows of class '[12]' were mined, so it cannot be condensed; mine more of it"
        with pytest.raises(SecateurError, match=said):
            sc.mine(*vectors, per_class=1, out=tmp_path, **HOW | {"top": None, "at_least": 0.8})
        assert (tmp_path / "mined").exists()
        assert not (tmp_path / "joint").exists()

    def test_more_rows_than_were_mined_where_they_start_from_them(self, again):
        said = "per_class: 7 condensed rows need 7 mined ones to start from, and class '0' has 6; use a smaller number"
        with pytest.raises(SecateurError, match=said):
            again(per_class=7)
        with pytest.raises(SecateurError, match="2 condensed rows need 8 mined ones"):
            again(per_class=2, condense_with="idm:tiles=2")
        with pytest.raises(SecateurError, match="7 condensed rows need 7 mined ones to start from"):
            again(per_class=7, condense_with="idm")
