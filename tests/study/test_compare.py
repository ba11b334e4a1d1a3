"""The comparison is honest: the rivals are there, the budget is the same, the seeds are counted."""

import dataclasses

import numpy as np
import pytest

import secateur as sc
from secateur.errors import SecateurError
from secateur.report import charts
from secateur.store.files import read_json
from secateur.study.budget import steps_for
from secateur.training.recipes import RECIPES
from tests.conftest import SMALL


@pytest.fixture(scope="module")
def compared(few_digits, tmp_path_factory):
    out = tmp_path_factory.mktemp("compared") / "out"
    train, test = few_digits
    return out, sc.compare(train, test=test, methods=["el2n"], keep=[0.1, 0.5], seeds=2, out=out, **SMALL)


def test_the_rivals_are_in_every_table(compared):
    rows = [(r.method, r.teacher, r.keep) for r in compared[1].rows]
    expected = [
        ("full", False, None),
        ("proxy", False, None),
    ]
    for method in ("full, cut short", "random", "el2n"):
        expected += [(method, teacher, keep) for keep in (0.1, 0.5) for teacher in (False, True)]
    assert sorted(rows, key=str) == sorted(expected, key=str)


def test_rivals_at_the_same_keep_train_for_the_same_steps(compared):
    for keep in (0.1, 0.5):
        steps = {r.results[0].steps for r in compared[1].rows if r.keep == keep}
        assert len(steps) == 1
        heard = {str(r.results[0].distill) for r in compared[1].rows if r.keep == keep and r.teacher}
        assert len(heard) == 1  # as much by all
        assert steps == {round(4 * 25 * (round(keep * 512) / 512) ** 0.5)}


def test_every_row_has_a_result_a_seed_with_mean_and_spread(compared):
    for row in compared[1].rows:
        if row.method == "proxy":
            continue  # recorded once
        assert [r.seed for r in row.results] == [0, 1]
        accuracies = [r.accuracy for r in row.results]
        assert row.mean == pytest.approx(sum(accuracies) / 2)
        assert row.spread == pytest.approx(abs(accuracies[0] - accuracies[1]) / 2**0.5)


def test_one_recording_feeds_all(compared):
    log = (compared[0] / "log.jsonl").read_text()
    assert log.count('"event": "begin", "stage": "record"') == 4


def test_seeds_draw_other_random_subsets(compared):
    from secateur.store.tables import Subset

    a, b = (Subset.open(compared[0] / "subsets" / f"random-0.1-{s}" / "subset.parquet") for s in (0, 1))
    assert not np.array_equal(a.ids, b.ids)


def test_a_comparison_goes_on_from_its_cells(compared, few_digits):
    out, first = compared
    before = (out / "log.jsonl").read_text()
    train, test = few_digits
    again = sc.compare(train, test=test, methods=["el2n"], keep=[0.1, 0.5], seeds=2, out=out, **SMALL)
    assert (out / "log.jsonl").read_text() == before
    assert [r.as_json() for r in again.rows] == [r.as_json() for r in first.rows]


def test_every_pruned_row_has_its_bill_with_full_training_measured(compared):
    bills = read_json(compared[0] / "bill.json")["bills"]
    assert len(bills) == 8
    assert all(b["measured"] for b in bills)
    by_name = {b["name"]: b for b in bills}
    assert by_name["random, keep 0.1"]["once_seconds"] == 0
    assert by_name["random, keep 0.1 + teacher"]["once_seconds"] > 0  # the teacher is the recorded proxy
    assert by_name["el2n, keep 0.1"]["once_seconds"] > 0


def test_without_a_test_split_a_fifth_is_held_out(few_digits, tmp_path):
    table = sc.compare(few_digits[0], methods=[], keep=[0.5], distill="off", out=tmp_path / "out", **SMALL)
    full = table.rows[0].results[0]
    assert abs(full.of - 0.8 * 512) <= 5
    assert table.about["test"] == "rows held out from train"
    labels = np.asarray(sc.Recording.open(tmp_path / "out")["labels"])
    assert (labels < 0).sum() == 512 - full.of  # held-out rows were never seen
    assert {r.method for r in table.rows} == {"full", "full, cut short", "proxy", "random"}


def test_the_proxy_has_a_line_with_its_own_accuracy_and_the_work_of_the_recording(compared, few_digits):
    import torch

    from secateur.training.nets import load_net

    out, table = compared
    row = next(r for r in table.rows if r.method == "proxy")
    net = load_net(out / "model.safetensors", device=torch.device("cpu"))
    images, labels = few_digits[1]
    right = net(torch.from_numpy(images)[:, None]).argmax(dim=1).numpy() == labels
    assert row.mean == pytest.approx(right.mean(), abs=0.02)  # the test is done in half precision where that helps
    assert row.results[0].steps == 100
    assert "proxy" not in {b["name"].split(",")[0] for b in read_json(out / "bill.json")["bills"]}


def test_a_class_that_is_not_tested_has_no_recall_and_stops_nothing(few_digits, tmp_path):
    train, (images, labels) = few_digits
    known = labels != 3
    test = (images[known], labels[known])
    table = sc.compare(train, test=test, methods=[], keep=[0.5], distill="off", out=tmp_path / "out", **SMALL)
    for row in read_json(tmp_path / "out" / "compare.json")["rows"]:
        assert [k for k, recall in enumerate(row["per_class"]) if recall is None] == [3]
    assert table.rows[0].results[0].worst_class <= table.rows[0].mean


def test_limits_hold_in_every_subset_of_a_comparison(few_digits, tmp_path):
    from secateur.store.tables import Subset

    train, test = few_digits
    limits = {"min_per_class": 4, "must_keep": [3, 200], "exclude": range(10, 200)}
    sc.compare(train, test=test, methods=["el2n"], keep=[0.1], distill="off", out=tmp_path / "out", **limits, **SMALL)
    for method in ("random", "el2n"):
        subset = Subset.open(tmp_path / "out" / "subsets" / f"{method}-0.1-0" / "subset.parquet")
        assert {3, 200} <= set(subset.ids.tolist()), method
        assert not set(range(10, 200)) & set(subset.ids.tolist()), method
        assert np.bincount(np.asarray(subset.table["label"])[subset.ids], minlength=10).min() >= 4, method


def test_budgets_are_what_they_say():
    fast = RECIPES["fast"]
    assert steps_for("epochs", fast, examples=50_000, kept=15_000) == 16 * 30
    assert steps_for("steps", fast, examples=50_000, kept=15_000) == 1600
    assert steps_for("balanced", fast, examples=50_000, kept=15_000) == 876


@pytest.mark.parametrize(("budget", "steps"), [("epochs", 2 * 128), ("steps", 2 * 40), ("balanced", 40)])
def test_a_recipe_of_other_batches_for_pruned_runs_leaves_the_rivals_at_equal_cost(few_digits, tmp_path, budget, steps):
    """`paper` takes batches of 32 at keep 0.1, of 128 on all the data; here 1 and 13."""
    from secateur.store.tables import Subset
    from secateur.study.cell import plan_run
    from secateur.study.session import session

    recipe = dataclasses.replace(RECIPES["paper"], batch=13, batch_by_keep=((0.25, 1),))
    with session(few_digits[0], tmp_path / "out", quiet=True) as work:
        ids = np.arange(128)
        subset = Subset.build(
            labels=work.source.train.labels,
            scores=np.zeros(512),
            ids=ids,
            reasons=np.full(512, "x", dtype=object),
            provenance={"fingerprint": work.source.fingerprint},
        )
        shared = {"net": "mlp", "recipe": recipe, "epochs": 2, "budget": budget, "seed": 0}
        pruned, cut = plan_run(work, "pruned", subset=subset, **shared), plan_run(work, "cut", like=128, **shared)
    assert (pruned.steps, pruned.recipe.batch) == (cut.steps, cut.recipe.batch) == (steps, 1)


@pytest.mark.parametrize(
    "options", [{"recipe": "quick"}, {"distill": "of"}, {"distill": "views=2"}, {"net": "resnet10"}]
)
def test_a_misspelt_option_stops_before_anything_is_recorded(few_digits, tmp_path, options):
    with pytest.raises(SecateurError):
        sc.compare(few_digits[0], out=tmp_path / "out", **SMALL | options)
    assert not (tmp_path / "out").exists()


def test_no_seeds_are_refused(few_digits, tmp_path):
    with pytest.raises(SecateurError, match="seeds: expected a whole number from 1 to 1,000, got 0"):
        sc.compare(few_digits[0], seeds=0, out=tmp_path / "out")


@pytest.fixture(scope="module")
def taught(few_digits, tmp_path_factory):
    """Several weights and teachers, on rows held out of train."""
    out = tmp_path_factory.mktemp("taught") / "out"
    train, test = few_digits
    how = {**SMALL, "distill": "a=0.5,1,t=2", "teachers": ["proxy", "resnet9:0.125"], "validate": True}
    return out, sc.compare(train, test=test, methods=[], keep=[0.2, 0.5], out=out, **how)


@pytest.mark.slow
def test_every_weight_with_every_teacher_is_a_line(taught):
    rows = [r for r in taught[1].rows if r.method == "random" and r.keep == 0.2]
    names = ["random"] + [
        f"random + teacher ({net}, a={a},t=2)" for net in ("proxy", "resnet9:0.125") for a in ("0.5", "1")
    ]
    assert [r.name for r in rows] == names
    assert [r.results[0].distill for r in rows[1:]] == [{"a": a, "t": 2.0} for a in (0.5, 1.0)] * 2
    assert len({r.results[0].folder for r in rows}) == 5  # each is a run of its own
    assert {r.method for r in taught[1].rows} == {"full", "full, cut short", "proxy", "teacher resnet9:0.125", "random"}


@pytest.mark.slow
def test_a_teacher_is_trained_on_all_of_the_data_as_the_proxy_is(taught):
    teacher, proxy = (next(r for r in taught[1].rows if r.method.startswith(m)) for m in ("teacher", "proxy"))
    assert teacher.results[0].kept == proxy.results[0].kept
    assert teacher.results[0].steps == proxy.results[0].steps
    assert teacher.results[0].net == "resnet9:0.125"


@pytest.mark.slow
def test_choices_are_made_on_rows_held_out_of_train_and_the_test_split_is_left_alone(taught, few_digits):
    assert taught[1].about["test"] == "rows held out from train"
    (labels,) = few_digits[0][1:]
    assert taught[1].rows[0].results[0].of == 512 - sum(round(0.2 * n) for n in np.bincount(labels))


@pytest.mark.slow
def test_the_report_draws_the_best_weight_and_the_teachers(taught):
    page = (taught[0] / "report.html").read_text()
    assert "How much of the teacher" in page
    assert "Which teacher" in page
    rows = read_json(taught[0] / "compare.json")["rows"]
    drawn = charts.best_weight_against_keep(rows)["data"]["values"]
    for keep in (0.2, 0.5):
        each = [r for r in rows if r["keep"] == keep and r["method"] == "random"]
        best = max(each, key=lambda r: r["accuracy"])
        found = [v["a"] for v in drawn if v["method"] == "random" and v["keep"] == best["fraction"]]
        assert found == [best["distill"]["a"] if best["distill"] else 0.0]


def test_a_weight_that_cannot_be_stops_before_anything_is_recorded(few_digits, tmp_path):
    for spec, message in (
        ("a=0,1.5", "a: expected a number in .0, 1., got .1.5."),
        ("a=0,b=1", "expected one of a, cutmix, mixup, t, top, views, got .b."),
    ):
        with pytest.raises(SecateurError, match=f"distill: {message}"):
            sc.compare(few_digits[0], test=few_digits[1], distill=spec, out=tmp_path / "out", **SMALL)
    with pytest.raises(SecateurError, match="net: expected one of"):
        sc.compare(few_digits[0], test=few_digits[1], teachers=["resnet10"], out=tmp_path / "out", **SMALL)
    assert not (tmp_path / "out" / "recording.zarr").exists()


@pytest.fixture(scope="module")
def repeated(few_digits, tmp_path_factory):
    """The same comparison with a recording a seed."""
    out = tmp_path_factory.mktemp("repeated") / "out"
    (train, test), how = few_digits, {"methods": ["el2n"], "keep": [0.1], "seeds": 2, "repeat_recording": True}
    return out, sc.compare(train, test=test, out=out, **how, **SMALL), how


def test_a_recording_may_be_repeated_for_every_seed(compared, repeated):
    out, table, _ = repeated
    recordings = [sc.Recording.open(out), sc.Recording.open(out / "recordings" / "seed-1")]
    assert [r.provenance["seed"] for r in recordings] == [0, 1]
    assert table.about["repeat_recording"]
    once = {r.name: r for r in compared[1].rows if r.keep == 0.1 or r.method == "proxy"}
    for row in table.rows:
        if row.method == "full":
            continue
        assert [r.seed for r in row.results] == [0, 1]
        if row.method == "proxy":
            assert len(once["proxy"].results) == 1  # one recording there, one line a recording here
            continue
        assert row.results[0].folder == once[row.name].results[0].folder  # the first seed is as without
        shared = row.method != "el2n" and not row.teacher  # nothing of the recording is in it
        assert (row.results[1].folder == once[row.name].results[1].folder) == shared


def test_a_comparison_of_repeated_recordings_goes_on_from_its_cells(repeated, few_digits):
    out, first, how = repeated
    before = (out / "log.jsonl").read_text(), (out / "recordings" / "seed-1" / "log.jsonl").read_text()
    again = sc.compare(few_digits[0], test=few_digits[1], out=out, **how, **SMALL)
    assert ((out / "log.jsonl").read_text(), (out / "recordings" / "seed-1" / "log.jsonl").read_text()) == before
    assert [r.as_json() for r in again.rows] == [r.as_json() for r in first.rows]
