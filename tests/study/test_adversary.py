"""Jobs with an adversary say how robust their nets are; jobs without one are what they were."""

import dataclasses
import json

import numpy as np
import pytest

import secateur as sc
from secateur.cli import tables
from secateur.errors import SecateurError
from secateur.store.files import read_json, write_json
from secateur.study.cell import Result, plan_run
from secateur.study.material import attack_of, digest_of
from secateur.study.row import Row
from secateur.study.run import content_hash
from secateur.study.session import session
from secateur.training.adversarial import Adversary
from tests.conftest import SMALL

TRAINED = {k: v for k, v in SMALL.items() if k != "record_epochs"}
RESULT = Result("a", 0.5, 0.25, (0.5, None), 3, 10, 7, 21, 1.5, 0, "mlp", "fast", None, "f00df00d")


@pytest.fixture(scope="module")
def attacked(few_digits, tmp_path_factory):
    out = tmp_path_factory.mktemp("attacked") / "out"
    train, test = few_digits
    how = {"keep": [0.5], "distill": "off", "adversary": "linf:eps=0.1,steps=1"}
    return out, sc.compare(train, test=test, methods=[], out=out, **how, **SMALL)


def test_every_row_that_an_adversary_trained_has_a_robust_accuracy(attacked):
    out, table = attacked
    rows = {r["method"]: r for r in read_json(out / "compare.json")["rows"]}
    assert set(rows) == {"full", "full, cut short", "proxy", "random"}
    for row in table.rows:
        line = rows[row.method]
        if row.method == "proxy":
            assert row.robust is None
            assert "robust_accuracy" not in line
            continue
        saved = read_json(out / "cells" / row.results[0].folder / "result.json")
        assert saved["adversary"] == {"norm": "linf", "eps": 0.1, "steps": 1, "step_size": None, "eps_rule": None}
        assert 0 < saved["robust"] <= saved["accuracy"]
        assert line["robust_accuracy"] == row.robust == saved["robust"]
        assert line["robust_accuracies"] == [saved["robust"]]
    assert read_json(out / "compare.json")["about"]["adversary"]["eps"] == 0.1


def test_the_table_and_the_report_have_a_column_for_it(attacked, capsys):
    out, table = attacked
    tables._print_comparison(table, out)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:5] == ["method", "keep", "accuracy", "+-", "robust"]
    shown = f"{table.rows[0].robust:.2%}"
    assert shown in lines[2]
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<th>robust</th>" in page
    assert f"<td>{shown}</td>" in page


def test_without_an_adversary_there_is_no_such_column(attacked, capsys):
    table = attacked[1]
    plain = Row("random", False, 0.5, 0.5, (RESULT, dataclasses.replace(RESULT, seed=1)))
    assert plain.robust is None
    assert not {"robust_accuracy", "robust_accuracies"} & set(plain.as_json())
    about = {k: v for k, v in table.about.items() if k != "adversary"}
    tables._print_comparison(dataclasses.replace(table, rows=(plain,), about=about), attacked[0])
    assert "robust" not in capsys.readouterr().out


def test_results_from_before_there_were_adversaries_are_read(tmp_path):
    old = {k: v for k, v in dataclasses.asdict(RESULT).items() if k not in ("adversary", "robust")}
    write_json(tmp_path / "result.json", old)
    assert Result.read(tmp_path / "result.json") == RESULT


class TestCells:
    def run(self, work, **changed):
        return plan_run(work, "x", net="mlp:0.25", recipe="fast", epochs=2, budget="epochs", seed=3, **changed)

    def test_without_an_adversary_a_cell_keeps_the_name_it_had(self, few_digits, tmp_path):
        with session(few_digits[0], tmp_path / "out", quiet=True) as work:
            run = self.run(work)
            about = {
                "data": work.source.fingerprint,
                "net": "mlp:0.25",
                "recipe": dataclasses.asdict(run.recipe),
                "steps": run.steps,
                "seed": 3,
                "ids": None,
                "distill": None,
                "teacher": None,
            }
            expected = content_hash(json.dumps(about, sort_keys=True).encode())
            assert digest_of(work, run) == digest_of(work, self.run(work, adversary="off")) == expected

    def test_with_one_its_name_depends_on_all_of_it_and_on_the_budgets(self, few_digits, tmp_path):
        with session(few_digits[0], tmp_path / "out", quiet=True) as work:
            ways = [
                {},
                {"adversary": "l2:eps=0.5,rule=constant"},
                {"adversary": "l2:eps=0.6,rule=constant"},
                {"adversary": "l2:eps=0.5,rule=constant,steps=3"},
                {"adversary": "linf:eps=0.5"},
                {"adversary": "l2:eps=0.5", "margins": np.full(512, 0.1)},
                {"adversary": "l2:eps=0.5", "margins": np.full(512, 0.2)},
            ]
            names = [digest_of(work, self.run(work, **way)) for way in ways]
            again = self.run(work, adversary=Adversary("l2", 0.5), margins=np.full(512, 0.2))
            assert len(set(names)) == len(ways)
            assert digest_of(work, again) == names[-1]

    def test_a_margin_is_not_asked_of_rows_that_cannot_be_read(self, tmp_path):
        from tests.data.made import image_table, pixels, png

        encoded = [png(pixels(i, size=16)) for i in range(40)]
        encoded[11] = b"not an image"
        reading = {"on_bad": "skip"}
        with session(image_table(40, encoded=encoded), tmp_path / "out", quiet=True, reading=reading) as work:
            margins = np.full(40, 0.2)
            margins[11] = np.nan
            attack = attack_of(work, self.run(work, adversary="l2:eps=0.5", margins=margins))
            assert attack.budgets[10:13].tolist() == pytest.approx([0.2, 0.0, 0.2])
            margins[12] = np.nan
            with pytest.raises(SecateurError, match="margins: expected lengths of 0 or more, got nan at example 12"):
                self.run(work, adversary="l2:eps=0.5", margins=margins)


@pytest.mark.slow
def test_a_student_without_room_to_move_is_the_plain_student(few_digits, tmp_path):
    """Margins of 0 leave no budget to anyone; the same budget for all makes another net."""
    train, test = few_digits
    students = []
    for way in (
        {},
        {"adversary": "l2:eps=2,steps=2", "margins": np.zeros(512)},
        {"adversary": "l2:eps=2,steps=2,rule=constant"},
    ):
        result = sc.train(train, test=test, out=tmp_path / "out", **way, **TRAINED)
        students.append((tmp_path / "out" / "cells" / result.folder / "model.safetensors").read_bytes())
        assert (result.robust is None) == (not way)
    assert students[0] == students[1]
    assert students[0] != students[2]


@pytest.mark.parametrize(
    ("adversary", "message"),
    [
        ("linf:eps=8", "write eps=8/255"),
        ("fgsm", "adversary: expected off, or a norm"),
    ],
)
@pytest.mark.parametrize("job", [sc.compare, sc.prune])
def test_an_impossible_adversary_stops_before_anything_is_recorded(few_digits, tmp_path, job, adversary, message):
    keep = {"keep": [0.5]} if job is sc.compare else {"keep": 0.5, "train": True, "test": few_digits[1]}
    with pytest.raises(SecateurError, match=message):
        job(few_digits[0], adversary=adversary, out=tmp_path / "out", **keep, **SMALL)
    assert not (tmp_path / "out").exists()


def test_a_student_alone_has_no_margins(few_digits, tmp_path):
    with pytest.raises(SecateurError, match="rule=margin needs the margin of every example"):
        sc.train(few_digits[0], test=few_digits[1], adversary="l2:eps=0.5", out=tmp_path / "out", **TRAINED)


def test_a_pruning_probes_the_margins_that_its_student_is_attacked_by(few_digits, tmp_path):
    train, test = few_digits
    how = {"method": "puma:steps=5", "distill": "off", "adversary": "l2:eps=0.5,steps=1"}
    subset = sc.prune(train, test=test, keep=0.5, train=True, out=tmp_path / "out", **how, **SMALL)
    recording = sc.Recording.open(tmp_path / "out")
    near = np.argsort(np.asarray(recording["margin_l2"]))[:256]
    np.testing.assert_array_equal(subset.ids, np.sort(near))
    assert recording.provenance["adversary"]["eps"] == 0.5
    assert np.asarray(recording["margin_raw"]).max() < 8  # 64 pixels, each between 0 and 1


def test_a_method_of_adversarial_training_is_nothing_without(few_digits, tmp_path):
    with pytest.raises(SecateurError, match="puma prunes for adversarial training; name an adversary"):
        sc.prune(few_digits[0], keep=0.5, method="puma", out=tmp_path / "out", **SMALL)


def test_a_pruning_trains_its_student_against_it(few_digits, tmp_path):
    train, test = few_digits
    how = {"method": "random", "distill": "off", "adversary": "linf:eps=0.1,steps=1"}
    sc.prune(train, test=test, keep=0.5, train=True, out=tmp_path / "out", **how, **SMALL)
    (result,) = (tmp_path / "out" / "cells").glob("*/result.json")
    assert 0 < read_json(result)["robust"] <= read_json(result)["accuracy"]
