"""The report: one page, offline, and hostile text stays text."""

import html
import json
import re
import shutil

import numpy as np
import pytest
from markupsafe import escape

import secateur as sc
from secateur.report import write_report
from secateur.report.gallery import choose
from secateur.report.page import class_counts, script_json, script_text, starved
from secateur.store.tables import Subset
from tests.conftest import SMALL

HOSTILE = ['<script>alert("x")</script>', "</script><b>bold</b>", "<!-- & 'quoted' \u2028 -->"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A pruning and a comparison whose class names try to break out."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (90, 16, 16, 3), dtype=np.uint8)
    labels = [HOSTILE[i % 3] for i in range(90)]
    out = tmp_path_factory.mktemp("hostile") / "out"
    data, test = (images[:60], labels[:60]), (images[60:], labels[60:])
    sc.prune(data, test=test, keep=0.5, out=out, train=True, **SMALL)
    sc.compare(data, test=test, methods=["el2n"], keep=[0.5], out=out, distill="off", **SMALL)
    return out


def specs(page):
    """The chart specifications, as a browser would read them."""
    return json.loads(re.search(r'id="specs">(.*?)</script>', page, re.DOTALL).group(1))


def test_hostile_names_stay_text(hostile):
    page = (hostile / "report.html").read_text(encoding="utf-8")
    for name in HOSTILE:
        assert name not in page
    assert str(escape(HOSTILE[0])) in page
    assert page.count("<script") == page.count("</script>") == 3
    shown = {row["class"] for spec in specs(page) for data in _rows(spec) for row in data if "class" in row}
    assert shown == set(HOSTILE)  # and the charts show them as they are


def _rows(spec):
    """Every list of inline values in a specification."""
    if isinstance(spec, dict):
        if isinstance(spec.get("values"), list):
            yield spec["values"]
        for value in spec.values():
            yield from _rows(value)
    elif isinstance(spec, list):
        for value in spec:
            yield from _rows(value)


def test_nothing_is_fetched_from_anywhere(pruned):
    page = (pruned / "report.html").read_text(encoding="utf-8")
    body = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r'(?:src|href)="(?!data:)[^"]*"', body)
    assert "@import" not in body


def test_the_page_says_what_was_kept_what_it_cost_and_how_to_load_it(pruned):
    page = (pruned / "report.html").read_text(encoding="utf-8")
    assert "Kept 154 of 512 examples by dual" in page
    assert "datasets.load_dataset(" in page
    assert "estimated from the speed of a run here" in html.unescape(page)
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    for title in (
        "Scores and the cut",
        "Class balance",
        "Accuracy by class",
        "Examples",
        "The bill",
        "Load what was kept",
    ):
        assert title in titles
    galleries = re.findall(r"<h3>(.*?)</h3>", page)
    assert galleries == ["Kept, hardest", "At the threshold", "Dropped, easy", "Dropped, hopeless"]
    assert page.count("data:image/png;base64") == 48
    assert page.count("<path d=") == 48


def test_a_comparison_shows_its_table_with_the_rivals(hostile):
    page = (hostile / "report.html").read_text(encoding="utf-8")
    assert "Accuracy against keep" in page
    assert "full, cut short" in page
    assert page.count('class="rival"') == 4  # full, cut short, proxy, random


def table(kept, score, reason=None, label=None):
    n = len(kept)
    return {
        "kept": np.array(kept, dtype=bool),
        "score": np.array(score, dtype=float),
        "reason": np.array(reason or ["selected"] * n, dtype=object),
        "label": np.array(label or [0] * n),
    }


def test_galleries_show_what_their_names_say():
    n = 100
    score, confidence = np.arange(n) / n, np.linspace(1, 0, n)
    kept = np.zeros(n, dtype=bool)
    kept[60:80] = True
    reason = ["x"] * 99 + ["bad"]
    shown = {title: ids for title, _, ids in choose(table(kept, score, reason), confidence)}
    assert shown["Kept, hardest"].tolist() == list(range(79, 67, -1))
    assert shown["At the threshold"].tolist() == list(range(85, 73, -1))  # ranks 14 to 25 of which 20 are kept
    assert shown["Dropped, easy"].tolist() == list(range(12))
    assert shown["Dropped, hopeless"].tolist() == list(range(98, 86, -1))  # 99 cannot be read


def test_a_class_that_keeps_less_than_half_its_share_is_starved():
    labels = np.repeat([0, 1], [100, 100])
    ids = np.concatenate([np.arange(45), 100 + np.arange(14)])
    reasons = np.full(200, "x", dtype=object)
    subset = Subset.build(labels=labels, scores=np.zeros(200), ids=ids, reasons=reasons, provenance={})
    assert starved(subset, ["cat", "dog"]) == [("dog", 14, 100)]
    before, after = class_counts(subset, 2)
    assert (before.tolist(), after.tolist()) == ([100, 100], [45, 14])


@pytest.mark.parametrize("text", [*HOSTILE, "]]>", "\\u003c"])
def test_json_inside_a_script_cannot_close_it_and_reads_back(text):
    inside = script_json({"label": text})
    assert "<" not in inside
    assert json.loads(inside) == {"label": text}


def test_code_inside_a_script_cannot_close_it():
    assert script_text("a = '</script><!--'") == "a = '<\\/script><\\!--'"


def test_random_without_a_recording_has_a_report_too(few_digits, tmp_path):
    sc.prune(few_digits[0], keep=0.3, method="random", out=tmp_path / "out", **SMALL)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Class balance" in page
    assert "Scores and the cut" not in page


def test_vectors_have_galleries_without_pictures(tmp_path):
    x = np.random.default_rng(0).normal(size=(80, 5)).astype(np.float32)
    sc.prune((x, np.arange(80) % 2), keep=0.5, out=tmp_path / "out", **SMALL | {"net": "mlp:0.25"})
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Kept, hardest" in page
    assert "data:image" not in page


@pytest.mark.slow
def test_the_report_draws_in_a_browser_without_network(pruned, hostile, tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on this machine, which is what draws the report")
    from playwright.sync_api import sync_playwright

    write_report(pruned)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for out, charts in ((pruned, 3), (hostile, 4)):
            context = browser.new_context(offline=True, viewport={"width": 1100, "height": 900})
            page, problems, dialogs = context.new_page(), [], []
            page.on("console", lambda m, problems=problems: problems.append(m.text))
            page.on("pageerror", lambda e, problems=problems: problems.append(str(e)))
            page.on("dialog", lambda d, dialogs=dialogs: (dialogs.append(d.message), d.dismiss()))
            page.goto(f"file://{out}/report.html")
            page.wait_for_function(f"document.body.dataset.drawn === '{charts}'")
            assert page.locator(".chart svg").count() == charts
            assert problems == []
            assert dialogs == []
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
            shot = tmp_path / f"{out.parent.name}.png"
            page.screenshot(path=shot, full_page=True)
            assert shot.stat().st_size > 50_000
        browser.close()
