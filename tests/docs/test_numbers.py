"""Every measured figure in README and docs/ has a table under benchmarks/, and the digits agree (CONTRIBUTING.md)."""

import json
import re

import pytest

from secateur.methods import METHODS
from tests.docs.numbers import ROOT, blocks, faults, numbers

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "_build" not in page.parts]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_figure_stands_in_the_table_it_links_to(page):
    assert faults(page) == []


def mutants(text):
    """Every figure of three digits and more, and the same with another last digit."""
    for block in blocks(ROOT / "README.md", text):
        if block.links:
            for number, _ in numbers(block.text):
                if re.match(r"\d\d+\.\d", number):  # of three digits and more, which settings do not have
                    wrong = number[:-1] + str((int(number[-1]) + 3) % 10)
                    yield number, wrong


def page(*lines):
    return "\n".join(lines) + "\n"


LINKED = "[here](benchmarks/dynamic.md)"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (page(f"Random reaches 90.40 {LINKED}."), None),
        (page(f"Random reaches 90.41 {LINKED}."), "90.41  is not in the table"),
        (page(f"Random reaches 90.4 {LINKED}."), "90.4  is not in the table"),
        (page(f"It took 1,123 steps {LINKED}."), "1123  is not in the table"),
        (page("It is 3 % faster."), "3 % without a table"),
        (page("It takes 5 s."), "5 s without a table"),
        (page("It is 1.3x as fast."), "1.3 x without a table"),
        (page("With `0.3` of 50,000 rows of CIFAR-10 for 16 epochs."), None),
        (page("```sh", "prune --keep 0.3", "```"), None),
        (page("Random reaches 90.40 [here](benchmarks/nowhere.md)."), "no such page: nowhere.md"),
        (page(f"Resampling gains 0.6 points {LINKED}.", "<!-- 0.6 = 90.40 - 89.79 -->"), None),
        (page(f"Resampling gains 0.7 points {LINKED}.", "<!-- 0.7 = 90.40 - 89.79 -->"), "comes to 0.61"),
        (page(f"Resampling gains 0.6 points {LINKED}.", "<!-- 0.6 = 90.41 - 89.79 -->"), "rests on 90.41"),
        (page(f"From {LINKED}:", "", "| rule | accuracy |", "|---|---|", "| `swap` | 89.63 |"), None),
        (
            page(f"From {LINKED}:", "", "| rule | accuracy |", "|---|---|", "| `swap` | 89.94 |"),
            "89.94  is not in the table",
        ),
        (
            page(LINKED, "", "# Another section", "", "| rule | accuracy |", "|---|---|", "| a | 89.63 |"),
            "89.63  without a",
        ),
        (page(f"- linked {LINKED}", "- 89.63 in another item"), "89.63  without a table"),
    ],
)
def test_a_figure_without_its_table_is_a_fault(text, fault):
    found = faults(ROOT / "README.md", text)
    assert bool(found) is bool(fault), found
    assert fault is None or fault in found[0]


def test_almost_every_changed_decimal_of_the_readme_is_noticed():
    """A change to a number that stands elsewhere in the linked page is missed; three in four must be seen."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tried = noticed = 0
    for number, wrong in list(mutants(text))[::2]:
        changed = re.sub(rf"(?<![\w.,-]){re.escape(number)}(?![\d])".replace(r"\ ±\ ", r"\s±\s"), wrong, text, count=1)
        if changed != text:
            tried, noticed = tried + 1, noticed + bool(faults(ROOT / "README.md", changed))
    assert tried > 20
    assert noticed >= tried * 3 / 4


def results(data):
    return json.loads((ROOT / "benchmarks" / f"{data}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("data", ["cifar10-cpu", "cifar100-cpu"])
def test_the_results_that_pages_are_made_from_are_those_of_the_table(data):
    table = (ROOT / "benchmarks" / f"{data}.md").read_text(encoding="utf-8")
    for row in results(data):
        name = row["method"].replace("full", "all")
        lines = [line for line in table.split("\n") if re.match(rf"\| {re.escape(name)}(,| \||$| to \d)", line)]
        for key in (k for k in row if k.startswith("accuracy") and row[k] is not None):
            shown = f"{100 * row[key]:.2f}"
            spread = row.get(key.replace("accuracy", "spread"))
            shown += "" if spread is None else f" ± {100 * spread:.2f}"
            mark = row.get(key.replace("accuracy", "mark"), "")
            hits = [line for line in lines if shown in line]
            assert hits, (name, shown)
            assert not mark or all(re.search(rf"{re.escape(shown)}\**( {mark})", line) for line in hits), (name, shown)


def test_when_a_method_was_below_random_its_page_says_so():
    rows = [r for r in results("cifar10-cpu") if r["keep"] == 0.1]
    for row in (r for r in rows if r["method"] in METHODS and r["method"] != "random"):
        (rival,) = (r for r in rows if r["method"] == "random" and r.get("adversary") == row.get("adversary"))
        below = rival["accuracy"] - row["accuracy"] > max(0.005, 2 * (rival["spread"] or 0))
        when = METHODS[row["method"]].when
        assert bool(re.search(r"(elow random|collapses) at a tenth", when)) is below, (row["method"], when)


@pytest.mark.parametrize(
    "name", sorted({r["method"] for d in ("cifar10-cpu", "cifar100-cpu") for r in results(d)} & set(METHODS))
)
def test_a_method_s_page_has_its_rivals_and_the_knobs_that_were_measured(name):
    text = (ROOT / "docs" / "methods" / f"{name}.md").read_text(encoding="utf-8")
    measured = text[text.index("## Measured") :]
    assert "| `random` |" in measured
    assert name == "puma" or "| all, cut short |" in measured  # of attacked training none was run
    if window := re.search(r"\| `window` \| `10` \|(.*)\|[^|\n]*\|", text):  # the last cell says what it may be
        assert set(window[1].replace(" ", "").split("|")) == {"`5`"}  # ten of 30 epochs are five of the 16 recorded


def test_a_number_keeps_the_mark_of_its_table():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    table = (ROOT / "benchmarks" / "cifar10-cpu.md").read_text(encoding="utf-8")
    for line in (line for line in page.split("\n") if line.startswith("| `")):
        name = re.match(r"\| `([^`]+)`", line)[1]
        there = "\n".join(
            row for row in table.split("## Trained with `sgd`")[0].split("\n") if row.startswith(f"| {name} |")
        )
        for number, mark in re.findall(r"(\d\d\.\d\d(?: ± 0\.\d\d)?)\**( [†‡])?", there):
            if mark:
                assert not re.search(rf"\| {re.escape(number)} \|", line), f"{name}: {number} has lost its{mark}"
