"""The report of condensed sets: their images, nets across and rows down, accuracy by count, and what it took."""

import base64
import json
import re
import shutil

import numpy as np
import pytest

import secateur as sc
from secateur.errors import SecateurError, StoreError, WrongData
from secateur.report import write_report
from secateur.report.condensed import Condensed
from tests.cli.test_cli import run
from tests.report.test_report import specs

NET = "convnet1:0.0625"
TINY = {
    "steps": 2,
    "net": NET,
    "batch": 5,
    "eval_epochs": 0,
    "eval_augment": "auto;off",
    "repeats": 2,
    "quiet": True,
    "threads": 1,
}


@pytest.fixture(scope="module")
def folders(few_digits, tmp_path_factory):
    """Sets of 1 and of 2 rows a class, judged by two nets; and the page of both."""
    train, test = few_digits
    place = tmp_path_factory.mktemp("condensed")
    for count in (1, 2):
        sc.condense(train, test=test, per_class=count, nets=f"{NET};mlp:0.1", out=place / str(count), **TINY)
    write_report(place / "1", beside=[place / "2"])
    return place


@pytest.fixture(scope="module")
def page(folders):
    return (folders / "1/report.html").read_text(encoding="utf-8")


def found(folder):
    return json.loads((folder / "condense.json").read_text())["rows"]


def test_the_contact_sheets_are_on_the_page_itself(folders, page):
    shown = re.findall(r'<img class="sheet" src="data:image/png;base64,([^"]*)"', page)
    assert [base64.b64decode(s) for s in shown] == [(folders / n / "contact.png").read_bytes() for n in ("1", "2")]
    body = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!data:)[^"]*"', body)


def test_nets_stand_across_and_kinds_of_rows_down(folders, page):
    section = re.search(r'id="architectures">(.*?)</section>', page, re.DOTALL).group(1)
    tables = re.findall(r"<table>(.*?)</table>", section, re.DOTALL)
    assert len(tables) == 2
    for table, folder in zip(tables, ("1", "2"), strict=True):
        assert re.findall(r"<th>(.*?)</th>", table) == [
            "rows",
            *(f"{net}<br>{how}" for net in (NET, "mlp:0.1") for how in ("auto", "off")),
        ]
        lines = re.findall(r"<tr.*?>(.*?)</tr>", table, re.DOTALL)[1:]
        cells = [[re.sub(r"<.*?>", "", c).split() for c in re.findall(r"<td>(.*?)</td>", line)] for line in lines]
        for kind, *values in cells:
            rows = [r for r in found(folders / folder) if r["rows"] == kind[0]]
            for value, row in zip(values, rows, strict=True):
                above = [] if kind == ["random"] else [f"{100 * row['above_random']:+.2f}"]
                assert value == [f"{row['accuracy']:.2%}", "&plusmn;", f"{100 * row['spread']:.2f}", *above]
        assert [kind for (kind,), *_ in cells] == ["dm", "random", "herding", "k-center"]


def test_the_best_of_each_net_is_marked(folders):
    one = Condensed.gather(folders / "2")
    for column, head in enumerate((net, how) for net in (NET, "mlp:0.1") for how in ("auto", "off")):
        best = max(r["accuracy"] for r in found(folders / "2") if (r["net"], r["augment"]) == head)
        marked = {cells[column][0]["accuracy"] for cells in one.table.values() if cells[column][1]}
        assert marked == {best}


def test_accuracy_stands_against_rows_a_class_with_the_coresets(folders, page):
    drawn = [s for s in specs(page) if "per_class" in json.dumps(s)]
    assert len(drawn) == 2
    assert "With the folders of other counts behind this one" not in page
    for spec, how in zip(drawn, ("auto", "off"), strict=True):
        for count in (1, 2):
            own = {p["rows"]: (p["accuracy"], p["high"]) for p in spec["data"]["values"] if p["per_class"] == count}
            rows = [r for r in found(folders / str(count)) if (r["net"], r["augment"]) == (NET, how)]
            assert own == {r["rows"]: (r["accuracy"], pytest.approx(r["accuracy"] + r["spread"])) for r in rows}


def test_sets_of_one_count_have_no_chart_but_are_told_how_to_get_one(folders, tmp_path):
    shutil.copytree(folders / "1", tmp_path / "out")
    page = re.sub(r"\s+", " ", write_report(tmp_path / "out").read_text(encoding="utf-8"))
    assert "Accuracy against rows a class" not in page
    assert "With the folders of other counts behind this one, <code>secateur report OUT OUT2</code>" in page
    assert "soft: with the labels" not in page  # there are none


def test_what_it_took_is_told_of_learning_and_of_judging(folders, page):
    stage = json.loads((folders / "1/run.json").read_text())["stages"]["condense"]
    (line,) = Condensed.gather(folders / "1").learning
    assert (line["steps"], line["seconds"], line["each"]) == (2, stage["seconds"], stage["seconds"] / 2)
    judged = Condensed.gather(folders / "1").judging
    assert [j["nets"] for j in judged] == [16, 16]  # 4 kinds of rows, two augmentations, twice each
    assert judged[0]["seconds"] == sum(r["seconds"] for r in found(folders / "1") if r["net"] == NET)
    assert f"{1000 * line['each']:,.1f} ms" in page


def test_a_run_that_went_on_is_timed_by_its_last_steps_and_one_under_way_not_at_all(folders, tmp_path):
    shutil.copytree(folders / "1", tmp_path / "out")
    told = json.loads((tmp_path / "out/run.json").read_text())
    told["stages"]["condense"] |= {"step": 100, "steps_now": 50, "seconds": 5.0}
    told["stages"]["condense-1"] = {"asked": told["stages"]["condense"]["asked"], "done": False}
    (tmp_path / "out/run.json").write_text(json.dumps(told))
    (tmp_path / "out/condense.json").unlink()
    page = re.sub(r"\s+", " ", write_report(tmp_path / "out").read_text(encoding="utf-8"))
    assert "<td>dm, 1 a class, set 1</td><td>100</td><td>5.0 (the last 50)</td> <td>100.0 ms</td>" in page
    assert '<td>dm, 1 a class, set 2</td><td colspan="3">under way</td>' in page
    assert "Not judged: the data have no test split, the run is not at its end" in page
    assert "Accuracy against rows a class" not in page


def test_the_command_takes_several_folders(folders, tmp_path):
    for name in ("1", "2"):
        shutil.copytree(folders / name, tmp_path / name)
    (tmp_path / "1/report.html").unlink()
    run("report", tmp_path / "1", tmp_path / "2")
    assert (tmp_path / "1/report.html").read_text().count('<img class="sheet"') == 2


class TestBadInput:
    def test_a_set_of_other_data(self, folders, few_digits, tmp_path):
        images, labels = few_digits[0]
        sc.condense((images[:300], labels[:300]), per_class=1, out=tmp_path / "other", evaluate=False, **TINY)
        with pytest.raises(WrongData, match=r"other was made from other data \(.*, not .* of .*1\); leave it out"):
            write_report(folders / "1", beside=[tmp_path / "other"])

    def test_a_folder_without_a_condensed_set(self, folders, pruned):
        with pytest.raises(StoreError, match=r"out holds no condensed set; `secateur condense` learns one, or leave"):
            write_report(folders / "1", beside=[pruned])
        with pytest.raises(SecateurError, match=r"beside each other for condensed sets, and .*out holds none"):
            write_report(pruned, beside=[folders / "1"])

    def test_vectors_have_nothing_to_look_at(self, tmp_path):
        rows = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
        asked = TINY | {"net": "mlp:0.1"}
        sc.condense((rows, np.arange(20) % 2), per_class=1, out=tmp_path / "out", evaluate=False, **asked)
        assert Condensed.gather(tmp_path / "out").sheet is None
