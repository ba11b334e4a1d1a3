"""Condensing as a job: what is written, what goes on where it stood, how it is judged, and what is refused."""

import json

import numpy as np
import pytest
import torch

import secateur as sc
from secateur.condensation import DC, Real, Synthetic
from secateur.condensation.protocol import Protocol, fit
from secateur.data.source import open_data
from secateur.errors import DataError, NonFiniteError, SecateurError, StoreError, WrongData
from secateur.progress import Progress
from secateur.store.tables import Subset
from secateur.study.advice import before, how_to_train
from secateur.training.checkpoint import about as checkpoint_about
from secateur.training.nets import build
from tests.cli.test_cli import run
from tests.condensation.conftest import SMALL

QUIET = {"quiet": True, "threads": 1}
TINY = {"per_class": 2, "steps": 6, "net": SMALL, "batch": 20, "every": 2, "evaluate": False, **QUIET}


@pytest.fixture(scope="module")
def condensed(few_digits, tmp_path_factory):
    """An OUT folder with a judged set, and what the job returned."""
    train, test = few_digits
    out = tmp_path_factory.mktemp("condensed") / "out"
    asked = {**TINY, "evaluate": True, "eval_epochs": 3, "repeats": 2, "nets": f"{SMALL};mlp:0.1"}
    return out, asked, sc.condense(train, test=test, out=out, **asked)


def bytes_of(out):
    return [(out / name).read_bytes() for name in ("synthetic.safetensors", "synthetic/train.parquet", "contact.png")]


def stop_at(monkeypatch, step):
    """The person stops the job after so many steps."""
    stage = Progress.stage

    def interrupted(self, what):
        context = stage(self, what)
        advance = context.__enter__()

        def tell(done, total):
            advance(done, total)
            if what.startswith("condensing") and done == step:
                raise KeyboardInterrupt

        from contextlib import nullcontext

        return nullcontext(tell)

    monkeypatch.setattr(Progress, "stage", interrupted)


def stop_there(*_, **__):
    """The person stops the job before it trains."""
    raise KeyboardInterrupt


def test_the_set_is_written_in_both_forms_with_where_it_came_from(condensed, few_digits):
    import datasets

    out, _, held = condensed
    saved = Synthetic.load(out / "synthetic.safetensors")
    assert torch.equal(saved.images, held.images)
    table = datasets.load_dataset(str(out / "synthetic"), split="train")
    assert table["label"] == np.repeat(range(10), 2).tolist()
    assert np.array_equal(np.stack([np.asarray(i) for i in table["image"]]), held.display()[..., 0])
    about = json.loads((out / "run.json").read_text())
    assert about["stages"]["condense"]["asked"]["method"] == "dm"
    assert about["stages"]["condense"]["step"] == 6
    assert Synthetic.about(out / "synthetic.safetensors")["rate"] == 1.0


def test_the_folder_itself_is_no_data_set_but_names_the_one_in_it(condensed, tmp_path):
    with pytest.raises(DataError, match="the OUT folder of a run; pass .*out/synthetic, the condensed rows$"):
        sc.train(condensed[0], out=tmp_path / "out", **QUIET)


def test_it_is_a_data_set_to_train_on_tested_on_the_real_test_split(condensed, tmp_path):
    out, _, _ = condensed
    result = sc.train(str(out / "synthetic"), net="mlp:0.1", epochs=2, out=tmp_path / "out", **QUIET)
    assert (result.kept, result.of) == (20, 20)
    assert len(result.per_class) == 10


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({}, True),
        ({"net": SMALL, "recipe": "sgd"}, True),
        ({"epochs": 1, "recipe": "sgd:crop=1"}, True),
        ({"net": SMALL, "epochs": 1}, True),
        ({"net": SMALL, "epochs": 1, "recipe": "sgd:crop=1"}, False),
    ],
)
def test_training_on_it_tells_what_net_to_train_and_how_where_that_is_not_said(
    asked, told, condensed, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("secateur.study.train.plan_run", stop_there)
    with pytest.raises(KeyboardInterrupt):
        sc.train(condensed[0] / "synthetic", out=tmp_path / "out", threads=1, **asked)
    said = f"condensed by dm with {SMALL}: few rows mean few steps per epoch"
    assert (said in capsys.readouterr().err) == told


def test_other_folders_are_not_taken_for_condensed_rows(condensed, few_digits, tmp_path):
    (tmp_path / "synthetic").mkdir()
    for data in (few_digits[0], "digits", tmp_path / "synthetic", condensed[0], condensed[0] / "sets"):
        assert how_to_train(data) is None
    assert how_to_train(str(condensed[0] / "synthetic")) is not None


def test_one_row_a_class_can_be_trained_on_too(few_digits, tmp_path):
    train, test = few_digits
    sc.condense(train, test=test, out=tmp_path / "one", **TINY | {"per_class": 1})
    result = sc.train(str(tmp_path / "one/synthetic"), net="mlp:0.1", epochs=2, out=tmp_path / "out", **QUIET)
    assert result.of == 10


def test_run_again_it_reads_the_result(condensed, few_digits):
    out, asked, held = condensed
    before = [(out / n).stat().st_mtime_ns for n in ("synthetic.safetensors", "condense.json")]
    again = sc.condense(few_digits[0], test=few_digits[1], out=out, **asked)
    assert torch.equal(again.images, held.images)
    assert before == [(out / n).stat().st_mtime_ns for n in ("synthetic.safetensors", "condense.json")]


@pytest.mark.parametrize(
    ("method", "more"), [("dm", {}), ("dc", {"schedule": (2, 1)}), ("dsa", {"schedule": (2, 1)}), ("idm", {})]
)
def test_a_stopped_run_goes_on_to_the_same_bytes(method, more, few_digits, tmp_path, monkeypatch):
    train, test = few_digits
    asked = TINY | {"method": method, **more}
    sc.condense(train, test=test, out=tmp_path / "whole", **asked)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, 5)
        sc.condense(train, test=test, out=tmp_path / "parts", **asked)
    early = Synthetic.about(tmp_path / "parts/synthetic.safetensors")
    assert early["step"] == 4  # what was there at the last checkpoint can be used
    assert Synthetic.load(tmp_path / "parts/synthetic.safetensors").per_class == 2
    sc.condense(train, test=test, out=tmp_path / "parts", **asked)
    assert bytes_of(tmp_path / "parts") == bytes_of(tmp_path / "whole")
    assert json.loads((tmp_path / "parts/run.json").read_text())["stages"]["condense"]["steps_now"] == 2


def test_with_more_steps_it_goes_on_to_the_bytes_of_one_long_run_and_is_judged_anew(few_digits, tmp_path):
    train, test = few_digits
    asked = TINY | {"method": "idm", "evaluate": True, "eval_epochs": 0, "repeats": 1}
    sc.condense(train, test=test, out=tmp_path / "twice", **asked | {"steps": 3})
    told = json.loads((tmp_path / "twice/condense.json").read_text())
    assert checkpoint_about(tmp_path / "twice/state/condense.safetensors")["step"] == 3  # between two that are kept
    sc.condense(train, test=test, out=tmp_path / "twice", **asked | {"steps": 5, "evaluate": False})
    assert not (tmp_path / "twice/condense.json").exists()  # it was not of these rows
    for out in ("twice", "once"):
        sc.condense(train, test=test, out=tmp_path / out, **asked)
    assert bytes_of(tmp_path / "twice") == bytes_of(tmp_path / "once")
    again = json.loads((tmp_path / "twice/condense.json").read_text())
    assert (told["about"]["steps"], again["about"]["steps"]) == (3, 6)


def test_a_stopped_run_is_judged_as_it_stands_where_as_many_steps_are_asked_for(few_digits, tmp_path, monkeypatch):
    train, test = few_digits
    asked = TINY | {"evaluate": True, "eval_epochs": 0, "repeats": 1}
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_at(patch, 5)
        sc.condense(train, test=test, out=tmp_path / "out", **asked)  # kept every second step: at 4
    with pytest.raises(WrongData, match=r"steps: .*out is already at step 4, beyond 3; use --steps 4"):
        sc.condense(train, test=test, out=tmp_path / "out", **asked | {"steps": 3})
    sc.condense(train, test=test, out=tmp_path / "out", **asked | {"steps": 4})
    sc.condense(train, test=test, out=tmp_path / "short", **asked | {"steps": 4})
    assert bytes_of(tmp_path / "out") == bytes_of(tmp_path / "short")
    assert json.loads((tmp_path / "out/condense.json").read_text())["about"]["steps"] == 4


def test_without_a_test_split_that_nothing_is_judged_is_told_before_it_is_learned(few_digits, tmp_path, capsys):
    sc.condense(few_digits[0], out=tmp_path / "out", **TINY | {"evaluate": True, "quiet": False})
    told = capsys.readouterr().err
    assert (
        0
        < told.index("no test split: the condensed set will not be evaluated")
        < told.index("condensing by dm: 6 of 6")
    )


@pytest.mark.parametrize(("steps", "told"), [(1000, True), (20, False)])
def test_a_run_as_long_as_the_published_ones_is_told_of_shorter_ones(steps, told):
    real = Real.of(torch.zeros(2, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]))
    assert any("as published; most of the gain" in line for line in before(DC(), steps, real, compiled=False)) == told


def test_mosaics_are_written_as_the_images_they_are_made_of_and_shown_as_they_are(few_digits, tmp_path):
    import datasets
    from PIL import Image

    asked = TINY | {"method": "idm", "tiles": 2, "steps": 1}
    held = sc.condense(few_digits[0], test=few_digits[1], out=tmp_path / "out", **asked)
    table = datasets.load_dataset(str(tmp_path / "out/synthetic"), split="train")
    assert table["label"] == np.repeat(range(10), 8).tolist()
    assert np.array_equal(np.asarray(table["image"][3]), held.expanded().display()[3, ..., 0])
    with Image.open(tmp_path / "out/contact.png") as page:
        assert page.size == (2 * 33 + 1, 10 * 33 + 1)


@pytest.mark.parametrize(("steps", "every", "told"), [(5, 2, [2, 4, 5]), (20, None, list(range(2, 21, 2)))])
def test_losses_are_told_at_each_checkpoint_and_at_the_end(steps, every, told, few_digits, tmp_path):
    asked = TINY | {"per_class": 1, "steps": steps, "every": every}
    sc.condense(few_digits[0], test=few_digits[1], out=tmp_path / "out", **asked)
    lines = [json.loads(line) for line in (tmp_path / "out/log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == told


def test_more_sets_are_other_sets(few_digits, tmp_path):
    sc.condense(few_digits[0], test=few_digits[1], out=tmp_path / "out", **TINY | {"sets": 2, "steps": 1})
    first = Synthetic.load(tmp_path / "out/synthetic.safetensors")
    second = Synthetic.load(tmp_path / "out/sets/1.safetensors")
    assert not torch.equal(first.images, second.images)


def test_it_may_start_from_what_a_selector_kept(few_digits, tmp_path):
    images, labels = few_digits[0]
    ids = np.concatenate([np.flatnonzero(labels == c)[:2] for c in range(10)])
    held = sc.condense(few_digits[0], test=few_digits[1], out=tmp_path / "out", **TINY | {"steps": 0, "init": ids})
    assert np.array_equal(held.display()[..., 0], images[ids])


def test_vectors_are_condensed_by_dm_and_written_as_vectors(tmp_path):
    import datasets

    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    rows = (rng.normal(size=(40, 3)) + 4 * labels[:, None]).astype(np.float32)
    out = tmp_path / "out"
    held = sc.condense((rows, labels), test=(rows, labels), out=out, **TINY | {"net": "mlp:0.1"})
    table = datasets.load_dataset(str(out / "synthetic"), split="train")
    assert np.allclose(np.array(table["features"]), held.display())
    assert not (out / "contact.png").exists()


class TestJudging:
    def test_coresets_of_the_same_size_stand_beside_it_for_every_net(self, condensed):
        found = json.loads((condensed[0] / "condense.json").read_text())
        kinds = ["dm", "random", "herding", "k-center"]
        assert [(r["net"], r["rows"]) for r in found["rows"]] == [(n, k) for n in (SMALL, "mlp:0.1") for k in kinds]
        for row in found["rows"]:
            assert len(row["accuracies"]) == 2
            assert row["accuracy"] == pytest.approx(np.mean(row["accuracies"]))
            random = next(r for r in found["rows"] if (r["net"], r["rows"]) == (row["net"], "random"))
            assert row["above_random"] == pytest.approx(row["accuracy"] - random["accuracy"])
            assert row["soft"] is None  # nobody asked for it
        assert found["about"]["protocol"] == "fast, 1 x 2 nets"
        families = ["color", "crop", "cutout", "scale", "rotate"]
        assert found["about"]["augments"] == {"auto": {"families": families, "epochs": 4}}

    def test_the_rate_falls_once_after_the_half_and_momentum_starts_anew(self, monkeypatch):
        made, steps = [], []

        class Watched(torch.optim.SGD):
            def __init__(self, parameters, **options):
                super().__init__(parameters, **options)
                made.append((options, len(steps)))

            def step(self, closure=None):
                steps.append(self.param_groups[0]["lr"])
                return super().step(closure)

        monkeypatch.setattr(torch.optim, "SGD", Watched)
        net = build("mlp:0.1", shape=(4,), classes=2, mean=torch.zeros(4), spread=torch.ones(4), seed=0)
        rows, labels = torch.randn(6, 4, generator=torch.Generator()), torch.tensor([0, 1] * 3)
        fit(net, rows, labels, Protocol(epochs=10), torch.Generator())
        assert steps == [0.01] * 7 + [0.001] * 4  # epochs 0 to 6, then 7 to 10
        assert [options["momentum"] for options, _ in made] == [0.9, 0.9]
        assert [options["weight_decay"] for options, _ in made] == [5e-4, 5e-4]

    def test_without_a_test_split_nothing_is_judged(self, few_digits, tmp_path):
        sc.condense(few_digits[0], out=tmp_path / "out", **TINY | {"evaluate": True, "steps": 1})
        assert not (tmp_path / "out/condense.json").exists()
        assert (tmp_path / "out/report.html").exists()  # with the images


@pytest.mark.parametrize(("side", "steps", "told"), [(28, 100, True), (28, 99, False), (27, 100, False)])
def test_compiling_is_told_of_where_it_pays(side, steps, told, tmp_path, capsys):
    rows = np.random.default_rng(0).integers(0, 256, (8, side, side), dtype=np.uint8)
    asked = {"per_class": 1, "net": "convnet1:0.0625", "batch": 1, "evaluate": False, "augment": "off", "threads": 1}
    sc.condense((rows, np.arange(8) % 2), steps=steps, out=tmp_path / "out", **asked)
    assert ("compiled steps (--compile, or" in capsys.readouterr().err) == told


@pytest.mark.parametrize(("more", "told"), [({}, True), ({"classify": 0.0}, False), ({"steps": 0}, False)])
def test_idm_tells_where_its_nets_have_nothing_left_to_learn(more, told, tmp_path, capsys):
    rows = np.zeros((40, 8, 8), dtype=np.uint8)
    rows[:20, :4], rows[20:, :, :4] = 255, 255  # bright above, and bright to the left: any net tells them apart
    asked = {"method": "idm", "per_class": 1, "steps": 4, "net": "convnet1:0.25", "evaluate": False, "threads": 1}
    sc.condense((rows, np.arange(40) // 20), out=tmp_path / "out", **asked | more)
    assert ("compare with --classify 0" in capsys.readouterr().err) == told


class TestStartingFromASubset:
    @pytest.fixture
    def subset(self, few_digits, tmp_path):
        """Two digits of each class, the last ones, as a folder of `select` holds them."""
        labels = few_digits[0][1]
        ids = np.concatenate([np.flatnonzero(labels == c)[-2:] for c in range(10)])
        fingerprint = open_data(few_digits[0], test=few_digits[1]).fingerprint
        Subset.given(ids, labels=labels, fingerprint=fingerprint).save(tmp_path / "chosen/subset.parquet")
        return tmp_path / "chosen"

    def test_its_rows_are_what_is_learned_from(self, few_digits, subset, tmp_path):
        images, labels = few_digits[0]
        asked = {**TINY, "steps": 0, "evaluate": False, "init": str(subset)}
        held = sc.condense(few_digits[0], test=few_digits[1], out=tmp_path / "out", **asked)
        for c in range(10):
            assert np.array_equal(held.display()[2 * c : 2 * c + 2, ..., 0], images[np.flatnonzero(labels == c)[-2:]])

    def test_of_other_data_it_is_refused(self, few_digits, subset, tmp_path):
        images, labels = few_digits[0]
        with pytest.raises(WrongData):
            sc.condense((images[:500], labels[:500]), out=tmp_path / "out", **TINY, init=subset)

    def test_a_folder_without_one_is_told_of_with_what_makes_one(self, few_digits, condensed, tmp_path):
        with pytest.raises(
            StoreError, match=r"init: .*subset.parquet: .*found none; `secateur prune DATA --out .*out` ch"
        ):
            sc.condense(few_digits[0], test=few_digits[1], out=tmp_path / "out", **TINY, init=condensed[0])

    def test_one_of_another_size_is_refused(self, few_digits, subset, tmp_path):
        with pytest.raises(SecateurError, match="init: expected 3 ids of class '0', got 2"):
            sc.condense(few_digits[0], test=few_digits[1], out=tmp_path / "out", **TINY | {"per_class": 3}, init=subset)


def test_the_command_prints_for_people_and_machines(tmp_path):
    asked = ["condense", "digits", "--per-class", "1", "--steps", "1", "--net", SMALL, "--eval-epochs", "1"]
    asked += ["--repeats", "1", "--out", tmp_path / "out", "--threads", "1"]
    told = json.loads(run(*asked, "--json").stdout)
    assert told["rows"] == 10
    shown = run(*asked).stdout
    assert "10 rows, 1 per class" in shown
    assert f"secateur train {tmp_path / 'out/synthetic'} --net {SMALL} --recipe sgd --epochs 300" in shown
    assert "1, 0.005 % of the published 20,000" in shown
    assert "fast, 1 x 1 nets" in shown
    assert "herding" in shown


@pytest.mark.parametrize("method", ["dm", "dc", "dsa", "cafe", "idm"])
def test_every_method_runs_from_the_command_line(method, tmp_path):
    asked = ["condense", "digits", "--per-class", "1", "--steps", "1", "--net", SMALL, "--method", method]
    asked += ["--no-evaluate", "--batch", "30", "--out", tmp_path / "out", "--threads", "1", "--json"]
    told = json.loads(run(*asked, *(["--schedule", "2,1"] if method == "cafe" else [])).stdout)
    assert told["rows"] == 10
    about = Synthetic.about(tmp_path / "out/synthetic.safetensors")
    assert (about["method"], about["step"]) == (method, 1)


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    def refused(self, few_digits, tmp_path, message, error=SecateurError, data=None, **options):
        with pytest.raises(error, match=message):
            sc.condense(few_digits[0] if data is None else data, out=tmp_path / "out", **TINY | options)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"per_class": 0}, "per_class: expected a whole number from 1 .*, got 0"),
            ({"per_class": 500}, "per_class: 500 is more than the .* rows of class"),
            ({"method": "dd"}, "method: expected one of cafe, dc, dm, dsa, idm, got 'dd'"),
            ({"batch": 0}, "batch: expected a whole number from 1 .*, got 0"),
            ({"init": "reel"}, "init: expected one of mosaic, noise, real, the OUT folder of a subset, got 'reel'"),
            ({"tiles": 2}, "tiles: dm has no such option; leave it out"),
            ({"method": "idm", "classify": -0.1}, "classify: expected a number in .*, got -0.1"),
            ({"method": "idm", "tiles": 0}, "tiles: expected a whole number from 1 .*, got 0"),
            ({"method": "idm", "tiles": 2, "per_class": 20}, "per_class: 20 mosaics of 4 are more than the"),
            ({"method": "cafe", "net": "mlp:0.1"}, "net: cafe aligns the blocks of a ConvNet"),
            ({"method": "dc"}, "a schedule is published for 1, 10, .* not for 2"),
            ({"schedule": (1, 1)}, "schedule: dm has no schedule, only dc, dsa and cafe do"),
            ({"method": "dc", "augment": "auto"}, "augment: dc does not augment; use method dsa"),
            ({"every": 0}, "every: expected a whole number from 1 .*, got 0"),
            ({"statistics": "cifar10"}, "statistics: those of cifar10 are for images of 3 channels"),
            ({"rate": -1.0}, "rate: expected a number in .*, got -1.0"),
        ],
    )
    def test_what_cannot_be_had_stops_before_anything_is_written(self, options, message, few_digits, tmp_path):
        self.refused(few_digits, tmp_path, message, **options)

    def test_one_class(self, few_digits, tmp_path):
        images = few_digits[0][0]
        one = (images, np.zeros(len(images), dtype=np.int64))
        self.refused(few_digits, tmp_path, "expected at least 2 classes, got 1", DataError, one)

    def test_no_labels(self, few_digits, tmp_path):
        self.refused(few_digits, tmp_path, "label: condensing needs labels", DataError, few_digits[0][0])

    @pytest.mark.parametrize("method", ["dc", "dsa", "cafe", "idm"])
    def test_vectors_where_only_images_are_known(self, method, few_digits, tmp_path):
        data = np.zeros((20, 3), dtype=np.float32), np.arange(20) % 2
        told = "these rows are vectors; use method dm"
        self.refused(few_digits, tmp_path, told, data=data, method=method, net="mlp:0.25", steps=1)

    def test_rows_that_explode_stop_with_the_step_and_the_last_good_ones_kept(self, few_digits, tmp_path):
        with pytest.raises(NonFiniteError, match=r"images: would leave the finite numbers at step \d; the last good"):
            sc.condense(few_digits[0], test=few_digits[1], out=tmp_path / "out", **TINY | {"rate": 1e30})
        held = Synthetic.load(tmp_path / "out/synthetic.safetensors")
        assert torch.isfinite(held.images).all()

    @pytest.mark.parametrize(("name", "first", "then"), [("tiles", 1, 2), ("classify", 0.1, 0.2)])
    def test_a_folder_of_another_setting(self, name, first, then, few_digits, tmp_path):
        asked = {**TINY, "method": "idm", "steps": 0, "out": tmp_path / "out"}
        sc.condense(few_digits[0], **asked, **{name: first})
        with pytest.raises(WrongData, match=f"{name} was {first}, now {then}"):
            sc.condense(few_digits[0], **asked, **{name: then})

    def test_a_folder_of_another_method_or_of_other_data(self, condensed, few_digits):
        out, asked, _ = condensed
        with pytest.raises(WrongData, match=r"holds another condense \(.*method was 'dm', now 'dsa'"):
            sc.condense(few_digits[0], out=out, **asked | {"method": "dsa", "schedule": (1, 1)})
        images, labels = few_digits[0]
        with pytest.raises(WrongData, match="was made from other data"):
            sc.condense((images[:400], labels[:400]), out=out, **asked)

    def test_a_checkpoint_of_another_run_or_a_damaged_one(self, few_digits, tmp_path, monkeypatch):
        train, folders = few_digits[0], [tmp_path / "a", tmp_path / "b"]
        for seed, out in enumerate(folders):
            with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
                stop_at(patch, 5)
                sc.condense(train, out=out, **TINY | {"seed": seed})
        state = "state/condense.safetensors"
        (folders[1] / state).write_bytes((folders[0] / state).read_bytes())
        with pytest.raises(WrongData, match=r"the checkpoint is of another run \(seed was 0, now 1\)"):
            sc.condense(train, out=folders[1], **TINY | {"seed": 1})
        (folders[1] / state).write_bytes(b"nothing")
        with pytest.raises(StoreError, match="checkpoint damaged"):
            sc.condense(train, out=folders[1], **TINY | {"seed": 1})
