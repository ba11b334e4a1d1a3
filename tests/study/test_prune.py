"""The main job, end to end on real digits: what it leaves, what it reuses, what it refuses."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

import secateur as sc
from secateur.errors import SecateurError, StoreError, WrongData
from secateur.fields import RECORDED
from secateur.store.files import read_json
from secateur.store.tables import Scores, Subset
from tests.conftest import SMALL


def prune(few_digits, out, **options):
    train, test = few_digits
    return sc.prune(train, test=test, out=out, **{"keep": 0.3, **SMALL, **options})


def files(folder, *names):
    paths = [p for name in names for p in sorted((folder / name).rglob("*")) if p.is_file()]
    paths += [folder / name for name in names if (folder / name).is_file()]
    return {str(p.relative_to(folder)): p.read_bytes() for p in paths}


@pytest.fixture
def copied(pruned, tmp_path):
    """A copy of the shared OUT, to change."""
    return shutil.copytree(pruned, tmp_path / "out")


def test_everything_the_design_names_is_there(pruned):
    there = {p.name for p in pruned.iterdir()}
    expected = "run.json recording.zarr scores.parquet subset.parquet subsets kept model.safetensors report.html"
    assert {*expected.split(), "bill.json", "cells", "log.jsonl"} <= there
    assert not list(pruned.rglob("*.partial"))
    assert not list((pruned / "state").iterdir())


def test_the_recording_holds_every_field_of_every_example(pruned):
    recording = sc.Recording.open(pruned)
    assert (recording.epochs, recording.examples, recording.classes) == (4, 512, 10)
    assert recording.fields == RECORDED
    assert np.asarray(recording["seen"]).all()


def test_the_subset_is_as_many_as_asked_and_equals_what_the_functions_give(pruned):
    """The command is the functions in a row: nothing else happens to the numbers."""
    subset, recording = Subset.open(pruned), sc.Recording.open(pruned)
    assert len(subset) == 154  # floor(0.3 * 512 + 0.5)
    p = np.asarray(recording["p_target"])
    from secateur.select.ranked import apportion
    from secateur.training.seeding import rng

    scores = sc.scores.dual(p, window=3)
    labels, draw, ids = np.asarray(recording["labels"]), rng(0, "select"), []
    for c, count in enumerate(apportion(np.bincount(labels) * 154 / 512, 154, np.bincount(labels))):
        at = np.flatnonzero(labels == c)
        ids += at[sc.select.beta(scores[at], sc.scores.p_mean(p)[at], keep=int(count), rng=draw, c_d=5.5)].tolist()
    np.testing.assert_array_equal(subset.ids, sorted(ids))
    np.testing.assert_allclose(np.asarray(subset.table["score"]), scores, rtol=1e-6)
    assert set(subset.table["reason"]) == {"selected", "not selected"}


def test_kept_is_a_data_set_of_the_rows_kept(pruned, few_digits):
    import datasets

    (images, labels), _ = few_digits
    kept = datasets.load_dataset("parquet", data_files=str(pruned / "kept" / "*.parquet"), split="train")
    ids = Subset.open(pruned).ids
    assert [int(kept.features["label"].names[k]) for k in kept["label"]] == labels[ids].tolist()
    np.testing.assert_array_equal(np.asarray(kept[7]["image"]), images[ids[7]])


def test_the_student_is_better_than_chance_by_far_and_its_numbers_add_up(pruned):
    run = read_json(pruned / "run.json")
    result = read_json(pruned / "cells" / run["stages"]["train"]["asked"]["cell"] / "result.json")
    assert result["accuracy"] > 0.3  # chance is 0.1, and 55 steps of a quarter-width net are few
    assert result["worst_class"] == min(result["per_class"])
    assert result["kept"] == 154
    assert result["distill"] == {"a": 0.849609375, "t": 4.0}  # 1 - keep / 2 with keep 154/512
    assert result["steps"] == round(4 * 25 * (154 / 512) ** 0.5)


@pytest.mark.parametrize(("method", "epochs_paid"), [("random", 0), ("dual", 4)])
def test_a_bill_has_only_the_stages_its_own_pruning_needs(copied, few_digits, method, epochs_paid):
    from secateur.study.out import Out

    Out(copied).note("query", {}, seconds=1e6, examples=10**6)  # of an earlier `drop` in the same folder
    prune(few_digits, copied, method=method)
    line = read_json(copied / "bill.json")["bills"][0]
    assert line["once_examples"] == epochs_paid * 512
    assert line["once_seconds"] < 1e6


def test_the_bill_adds_up(pruned):
    bill = read_json(pruned / "bill.json")
    stages, line = bill["stages"], bill["bills"][0]
    assert set(stages) == {"record", "score", "select", "kept"}
    assert stages["record"]["examples"] == 4 * 512
    assert line["once_seconds"] == pytest.approx(sum(s["seconds"] for s in stages.values()))
    assert line["full_examples"] == 4 * 525  # 25 steps an epoch of up to 21
    assert "estimated from the speed of a run here" in line["verdict"]


def test_run_json_says_what_was_asked(pruned):
    run = read_json(pruned / "run.json")
    assert run["versions"]["secateur"] == sc.__version__
    assert run["data"]["fingerprint"] == sc.Recording.open(pruned).fingerprint
    asked = run["stages"]["record"]["asked"]
    assert (asked["net"], asked["seed"], asked["recipe"]["name"]) == ("resnet9:0.25", 0, "sgd")


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(pruned, few_digits, tmp_path):
    prune(few_digits, tmp_path / "same", train=True)
    names = ("recording.zarr", "scores.parquet", "subset.parquet", "kept", "model.safetensors")
    assert files(tmp_path / "same", *names) == files(pruned, *names)
    students = [next((out / "cells").glob("*/model.safetensors")).read_bytes() for out in (pruned, tmp_path / "same")]
    assert students[0] == students[1]
    prune(few_digits, tmp_path / "other", seed=1)
    assert files(tmp_path / "other", *names)["subset.parquet"] != files(pruned, *names)["subset.parquet"]


def test_run_again_nothing_is_computed_again(copied, few_digits):
    before = (copied / "log.jsonl").read_text()
    prune(few_digits, copied, train=True)
    assert (copied / "log.jsonl").read_text() == before


def test_another_keep_or_method_uses_the_recording_again(copied, few_digits):
    before = (copied / "log.jsonl").read_text()
    subset = prune(few_digits, copied, keep=50, method="el2n")
    assert (copied / "log.jsonl").read_text() == before
    assert len(subset) == 50
    assert {p.name for p in (copied / "subsets").iterdir()} == {"dual-per_class=1-0.3-0", "el2n-50-0"}
    scores = Scores.open(copied / "scores.parquet")
    np.testing.assert_array_equal(subset.ids, sc.select.hardest(scores["el2n(epochs=4)"], keep=50))
    assert len(pq.read_table(next((copied / "kept").iterdir()))) == 50


def test_random_needs_no_recording_and_costs_nothing(few_digits, tmp_path):
    subset = prune(few_digits, tmp_path / "out", method="random")
    assert len(subset) == 154
    assert not (tmp_path / "out" / "recording.zarr").exists()
    assert "nothing was trained" in read_json(tmp_path / "out" / "bill.json")["bills"][0]["verdict"]


@pytest.mark.parametrize("method", ["tdds", "ccs", "reid", "forgetting", "aum", "dyn-unc", "entropy", "dual:c_d=4"])
def test_every_method_selects_from_the_same_recording(copied, few_digits, method):
    before = (copied / "log.jsonl").read_text()
    assert len(prune(few_digits, copied, keep=0.1, method=method)) == 51
    assert (copied / "log.jsonl").read_text() == before


def test_drop_measures_recall_on_rows_it_did_not_train_on(few_digits, tmp_path):
    subset = prune(few_digits, tmp_path / "out", method="drop")
    query = read_json(tmp_path / "out" / "query.json")
    assert len(query["recall"]) == 10
    assert all(0 <= r <= 1 for r in query["recall"])
    from secateur.select.stratified import drop_quotas

    labels = np.asarray(subset.table["label"])
    expected = drop_quotas(np.bincount(labels), np.array(query["recall"]), keep=154)
    np.testing.assert_array_equal(np.bincount(labels[subset.ids], minlength=10), expected)
    assert not (tmp_path / "out" / "recording.zarr").exists()


def test_a_clean_pass_is_recorded_without_changing_the_run(pruned, few_digits, tmp_path):
    prune(few_digits, tmp_path / "out", eval_pass=True)
    clean, noisy = sc.Recording.open(tmp_path / "out"), sc.Recording.open(pruned)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (pruned / "model.safetensors").read_bytes()
    assert clean["loss"][-1].mean() < noisy["loss"][-1].mean()  # seen after the epoch, without augmentation


def test_streamed_and_in_memory_prune_alike(tmp_path):
    """Through worker processes or from one tensor: the same bytes."""
    from tests.data.made import image_table

    table = image_table(60, size=16)
    for name, memory in (("memory", None), ("streamed", 1)):
        sc.prune(table, keep=0.5, out=tmp_path / name, memory=memory, **SMALL | {"record_epochs": 3})
    names = ("recording.zarr", "scores.parquet", "subset.parquet", "model.safetensors")
    assert files(tmp_path / "memory", *names) == files(tmp_path / "streamed", *names)


class TestLimits:
    def subset(self, copied, few_digits, **limits):
        return prune(few_digits, copied, keep=0.1, **limits)

    @pytest.mark.parametrize("method", ["dual", "el2n", "ccs", "random", "drop"])
    def test_class_floors_hold_in_every_method(self, copied, few_digits, method):
        subset = self.subset(copied, few_digits, method=method, min_per_class=4)
        labels = np.asarray(subset.table["label"])
        assert len(subset) == 51
        assert np.bincount(labels[subset.ids], minlength=10).min() >= 4

    @pytest.mark.parametrize("method", ["dual", "el2n", "ccs", "random"])
    def test_what_must_stay_stays_and_what_must_go_goes(self, copied, few_digits, method, tmp_path):
        (tmp_path / "stay.txt").write_text("id\n3\n200\n511\n")
        np.save(tmp_path / "go.npy", np.arange(10, 200))
        subset = self.subset(
            copied, few_digits, method=method, must_keep=tmp_path / "stay.txt", exclude=tmp_path / "go.npy"
        )
        assert {3, 200, 511} <= set(subset.ids.tolist())
        assert not set(range(10, 200)) & set(subset.ids.tolist())
        assert len(subset) == 51
        reasons = np.asarray(subset.table["reason"])
        assert set(reasons[[3, 200, 511]]) == {"must keep"}
        assert set(reasons[10:200]) == {"excluded"}

    @pytest.mark.parametrize(
        ("limits", "message"),
        [
            ({"min_per_class": 6}, "min_per_class: 6 in each class makes 60 examples, more than the 51 to keep"),
            ({"min_per_class": -1}, "min_per_class: expected a whole number from 0 .*, got -1"),
            ({"must_keep": list(range(52))}, "must_keep: names 52 examples, more than the 51 to keep"),
            ({"must_keep": [600]}, "must_keep: expected ids from 0 to 511, got 600"),
            ({"must_keep": [1.5]}, "must_keep: expected whole numbers"),
            ({"must_keep": [5], "exclude": [5]}, "must_keep and exclude: both name example 5"),
            ({"exclude": list(range(500))}, "keep: 51 asked for, but only 12 examples may be kept"),
            ({"exclude": "nowhere.txt"}, "exclude: no file nowhere.txt"),
        ],
    )
    def test_impossible_limits_are_named(self, copied, few_digits, limits, message):
        with pytest.raises(SecateurError, match=message):
            self.subset(copied, few_digits, **limits)


class TestBadInput:
    @pytest.mark.parametrize("keep", [0, -3, 1.5, 600, float("nan")])
    def test_an_impossible_keep_stops_before_anything_is_trained(self, few_digits, tmp_path, keep):
        with pytest.raises(SecateurError, match="keep: "):
            prune(few_digits, tmp_path / "out", keep=keep)
        assert not (tmp_path / "out" / "recording.zarr").exists()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"method": "duel"}, "method: expected one of .*did you mean dual"),
            ({"method": "dual:windw=3"}, "knob of dual: expected one of .*did you mean window"),
            ({"method": "dual:window=x"}, "dual: window: expected a whole number .*, got 'x'"),
            ({"net": "resnet10"}, "net: expected one of"),
            ({"recipe": "quick"}, "recipe: expected one of fast, paper, sgd, got 'quick'"),
            ({"budget": "money"}, "budget: expected one of epochs, steps, balanced, got 'money'"),
            ({"device": "tpu9"}, "device: expected auto, cpu"),
            ({"record_epochs": 0}, "epochs: expected a whole number from 1 .*, got 0"),
        ],
    )
    def test_what_nobody_knows_is_named_with_what_is_near(self, few_digits, tmp_path, options, message):
        with pytest.raises(SecateurError, match=message):
            prune(few_digits, tmp_path / "out", **options)

    @pytest.mark.parametrize(
        "options",
        [
            {"net": "resnet10"},
            {"recipe": "quick"},
            {"budget": "money"},
            {"epochs": 0},
            {"keep": 513},
            {"record_epochs": 2},
            {"distill": "of", "train": True},
            {"method": "k-center", "features": "nowhere.npy"},
            {"method": "k-center", "features": "no.such:net"},
        ],
    )
    def test_a_refused_command_leaves_no_folder_behind(self, few_digits, tmp_path, options):
        with pytest.raises(SecateurError):
            prune(few_digits, tmp_path / "some" / "out", **options)
        assert not list(tmp_path.iterdir())

    def test_a_refused_command_leaves_a_folder_that_was_there_as_it_was(self, copied, few_digits, tmp_path):
        before, mine = files(tmp_path, "out"), tmp_path / "mine"
        mine.mkdir()
        for out in (copied, mine):
            with pytest.raises(SecateurError, match="budget: expected one of"):
                prune(few_digits, out, budget="money")
        assert files(tmp_path, "out") == before
        assert not [p.name for p in mine.iterdir() if p.name != ".lock"]
        with pytest.raises(SecateurError, match="expected a recording, found none"):
            sc.select_from(tmp_path / "nowhere", keep=20)
        assert not (tmp_path / "nowhere").exists()

    @pytest.mark.parametrize(
        ("method", "epochs", "message"),
        [
            ("dual", 2, "record_epochs: dual cannot be told from 2 epochs .*; record 3 or more: --record-epochs 3"),
            ("dual:window=9", 4, "dual cannot be told from 4 epochs .*; record 9 or more: --record-epochs 9"),
            ("esps", 1, "esps cannot be told from 1 epoch .*; record 2 or more: --record-epochs 2"),
            ("dual:epochs=3,window=5", 4, "method: dual: window: expected 2 to 3, the epochs recorded, got 5"),
            (
                "forgetting:never_learned=twice",
                4,
                "forgetting: never_learned: expected one of epochs, inf, zero, got 'twice'",
            ),
            ("el2n:epochs=0", 4, "method: el2n: epochs: expected 1 or more of those recorded, or -1 for the last"),
        ],
    )
    def test_a_score_that_cannot_be_is_refused_before_anything_is_recorded(
        self, few_digits, tmp_path, our_own_errors, method, epochs, message
    ):
        with pytest.raises(SecateurError, match=message):
            prune(few_digits, tmp_path / "out", method=method, record_epochs=epochs)
        assert not (tmp_path / "out").exists()

    def test_a_student_without_a_test_split_stops_before_anything_is_trained(self, few_digits, tmp_path):
        with pytest.raises(SecateurError, match="test: the data has no test split.*compare"):
            sc.prune(few_digits[0], keep=0.3, train=True, out=tmp_path / "out", **SMALL)
        assert not (tmp_path / "out" / "recording.zarr").exists()

    def test_out_that_holds_something_else_is_left_alone(self, few_digits, tmp_path):
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.tex").write_text("years of work")
        with pytest.raises(WrongData, match="contains other files \\(thesis.tex\\); choose another --out"):
            prune(few_digits, tmp_path / "out")
        assert [p.name for p in (tmp_path / "out").iterdir() if p.name != ".lock"] == ["thesis.tex"]
        prune(few_digits, tmp_path / "out", force=True, method="random")
        assert (tmp_path / "out" / "thesis.tex").read_text() == "years of work"

    def test_out_of_other_data_is_refused(self, copied, few_digits):
        (images, labels), test = few_digits
        with pytest.raises(WrongData, match="was made from other data"):
            prune(((images[:500], labels[:500]), test), copied)

    def test_out_of_another_recording_is_refused_and_says_what_differs(self, copied, few_digits):
        with pytest.raises(WrongData, match="holds another record .*seed was 0, now 1"):
            prune(few_digits, copied, seed=1)

    def test_force_starts_over(self, copied, few_digits):
        prune(few_digits, copied, seed=1, force=True)
        assert read_json(copied / "run.json")["stages"]["record"]["asked"]["seed"] == 1

    def test_a_subset_of_other_data_is_refused(self, pruned, few_digits, tmp_path):
        (images, labels), test = few_digits
        small = {k: v for k, v in SMALL.items() if k != "record_epochs"}
        with pytest.raises(WrongData, match="subset: chosen from data with fingerprint"):
            sc.train((images[1:], labels[1:]), test=test, subset=pruned, out=tmp_path / "out", **small)

    def test_a_damaged_recording_is_named(self, copied, few_digits):
        chunk = next((copied / "recording.zarr" / "error_norm" / "c").rglob("0"))
        next(p for p in [chunk, *chunk.rglob("*")] if p.is_file()).write_bytes(b"rubbish")
        with pytest.raises(StoreError, match="error_norm: a chunk of the recording is damaged"):
            prune(few_digits, copied, method="el2n")

    def test_two_commands_do_not_share_a_folder(self, copied, few_digits):
        from secateur.study.out import Out

        with Out(copied).locked(), pytest.raises(WrongData, match="another command is running"):
            prune(few_digits, copied)

    def test_a_run_that_leaves_the_finite_numbers_keeps_what_it_recorded(self, few_digits, tmp_path):
        with pytest.raises(SecateurError, match="loss: became (nan|inf) at epoch"):
            prune(few_digits, tmp_path / "out", record_recipe="sgd:lr=1e6,smoothing=0,schedule=linear", net="mlp")


def test_bad_rows_are_left_out_and_listed(tmp_path):
    from tests.data.made import image_table, pixels, png

    encoded = [png(pixels(i, size=16)) for i in range(40)]
    encoded[11] = b"not an image"
    table = image_table(40, encoded=encoded)
    with pytest.raises(SecateurError, match="row 11: image is not an image"):
        sc.prune(table, keep=0.5, out=tmp_path / "out", **SMALL)
    subset = sc.prune(table, keep=0.5, out=tmp_path / "out", on_bad="skip", **SMALL)
    assert len(subset) == 20  # of the 39 that can be read
    assert np.asarray(subset.table["reason"])[11] == "bad"
    assert np.isnan(np.asarray(subset.table["score"])[11])
    assert "row 11: image is not an image" in (tmp_path / "out" / "report.html").read_text()


def test_scoring_and_selecting_need_no_data(copied):
    scores = sc.score(copied, method=["forgetting", "tdds"], keep=0.1)
    assert {"forgetting", "tdds(epochs=4, window=3)"} <= set(scores.columns)
    subset = sc.select_from(copied, method="forgetting", keep=20)
    assert len(subset) == 20
    with pytest.raises(SecateurError, match="method: drop needs validation data; use prune"):
        sc.select_from(copied, method="drop", keep=20)


def test_a_recording_of_your_own_loop_is_scored_like_ours(pruned, tmp_path):
    shutil.copytree(pruned / "recording.zarr", tmp_path / "recording.zarr")
    subset = sc.select_from(tmp_path, keep=0.3)
    np.testing.assert_array_equal(subset.ids, Subset.open(pruned).ids)


def test_training_alone_reads_the_subset_and_the_teacher_of_another_folder(pruned, few_digits, tmp_path):
    train, test = few_digits
    small = {k: v for k, v in SMALL.items() if k != "record_epochs"}
    options = {"test": test, "subset": pruned, "teacher": pruned, "out": tmp_path / "out"}
    result = sc.train(train, **options, **small)
    student = next((pruned / "cells").glob("*/model.safetensors")).read_bytes()
    assert (tmp_path / "out" / "cells" / result.folder / "model.safetensors").read_bytes() == student
    assert json.loads((tmp_path / "out" / "run.json").read_text())["stages"]["train"]["done"]


@pytest.mark.parametrize("name", ["dual", "ccs", "random", "el2n", "tdds", "forgetting", "reid"])
def test_any_method_may_choose_inside_each_class_and_then_keeps_their_shares(copied, name):
    subset = sc.select_from(copied, method=f"{name}:per_class=1", keep=0.25)
    labels = np.asarray(subset.table["label"])
    expected = 0.25 * np.bincount(labels, minlength=10)
    assert (np.abs(np.bincount(labels[subset.ids], minlength=10) - expected) < 1).all()


def test_classes_that_starve_are_told_with_the_ways_out(few_digits, tmp_path, capsys):
    train, test = few_digits
    sc.prune(train, test=test, keep=0.1, method="el2n", out=tmp_path / "a", **SMALL | {"quiet": False})
    told = capsys.readouterr().err
    counts = np.bincount(train[1][sc.Subset.open(tmp_path / "a").ids], minlength=10)
    assert (counts < 0.05 * np.bincount(train[1])).any()  # else this says nothing
    worst = int((counts / np.bincount(train[1])).argmin())
    assert f"of them nothing): {worst} {counts[worst]} of " in told
    assert "--min-per-class 3 keeps as many of every class, or --method el2n:per_class=1 chooses inside" in told
    sc.prune(train, test=test, keep=0.1, method="el2n:per_class=1", out=tmp_path / "a", **SMALL | {"quiet": False})
    assert "warning:" not in capsys.readouterr().err
