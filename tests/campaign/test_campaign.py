"""A tenth of both campaigns, and that the campaign itself tells a failure from a success."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.campaign.cases import Case, Outcome, Plan
from tests.campaign.verdict import judge, touched, tree

ROOT = Path(__file__).parents[2]
REFUSED = "error: keep: expected a fraction, got 'x'\n"


@pytest.mark.parametrize(
    "code, stdout, stderr, kind",
    [
        (0, '{"a": 1}', "", "ok"),
        (0, '{"a": NaN}', "", "FAIL wrong success"),
        (0, "no JSON", "", "FAIL wrong success"),
        (2, "", REFUSED, "refused"),
        (2, "", f"reading\n{REFUSED}", "refused"),
        (2, "", "Usage: secateur\n\nError: Invalid value for '--seed'\n", "refused"),
        (2, "", "", "FAIL error of several lines"),
        (2, "", REFUSED * 2, "FAIL error of several lines"),
        (2, "", REFUSED + "and more\n", "FAIL error of several lines"),
        (2, "", "error: class \x1b[31mred\n", "FAIL control characters"),
        (1, "", "Aborted\n", "FAIL exit 1"),
        (70, "", "internal error: KeyError\n", "FAIL internal error"),
        (0, "", "Traceback (most recent call last):\n", "FAIL traceback"),
    ],
)
def test_what_a_command_printed_and_how_it_ended_make_the_verdict(code, stdout, stderr, kind, tmp_path):
    case = Case("", lambda folder, ground: [])
    assert judge(case, tmp_path, [Outcome(["--json"], code, stdout, stderr)]).kind == kind


def test_an_exception_that_comes_out_of_a_command_is_a_failure(tmp_path):
    case = Case("", lambda folder, ground: [])
    assert judge(case, tmp_path, [Outcome([], None, crash="KeyError in study/out.py:claim: 'data'")]).failed


@pytest.mark.parametrize("expect, code, kind", [("refused", 0, "FAIL wrong success"), ("ok", 2, "FAIL wrong refusal")])
def test_what_was_expected_makes_the_verdict(expect, code, kind, tmp_path):
    case = Case("", lambda folder, ground: [], expect)
    assert judge(case, tmp_path, [Outcome([], code, stderr=REFUSED if code else "")]).kind == kind


def test_a_check_that_finds_something_makes_a_wrong_success(tmp_path):
    case = Case("", lambda folder, ground: [], check=lambda folder, outcomes: "27 rows, expected 18")
    assert judge(case, tmp_path, [Outcome([], 0)]).told == "27 rows, expected 18"


@pytest.mark.parametrize("name", ["beside.txt", "out/stranger.txt"])
@pytest.mark.parametrize("how", ["changed", "removed", "linked"])
def test_a_file_that_is_not_ours_is_missed_wherever_it_lies(name, how, tmp_path):
    case, path = Case("", lambda folder, ground: []), tmp_path / name
    (tmp_path / "out").mkdir()
    path.write_text("theirs")
    before = tree(tmp_path)
    (tmp_path / "out" / "ours.txt").write_text("ours")
    assert touched(case, before, tree(tmp_path)) is None
    if how == "changed":
        path.write_text("ours")
    else:
        path.unlink()
    if how == "linked":
        os.symlink("elsewhere", path)
    assert name in str(touched(case, before, tree(tmp_path)))


def test_a_file_that_was_made_beside_out_is_found(tmp_path):
    before = tree(tmp_path)
    (tmp_path / "PWNED").mkdir()
    assert touched(Case("", lambda folder, ground: []), before, tree(tmp_path)) == "made 'PWNED'"


@pytest.mark.slow
def test_the_same_seed_makes_the_same_cases_and_each_has_a_name_of_its_own():
    from tests.campaign.families import FAMILIES, enumerated

    for name, cases in FAMILIES.items():
        if name in ("ids", "images", "models", "strangers"):
            assert [c.name for c in cases(Plan(3, 1.0))] == [c.name for c in cases(Plan(3, 1.0))]
    names = [case.name for case in enumerated(Plan(0, 1.0))]
    assert len(set(names)) == len(names) >= 1500
    assert len(enumerated(Plan(0, 0.1))) >= 150


@pytest.mark.slow
@pytest.mark.parametrize("part", ["fuzz", "kills"])
def test_a_tenth_of_the_campaign_has_no_failure(part, tmp_path):
    lines = tmp_path / "lines.jsonl"
    given = [sys.executable, "-m", "tests.campaign", "--part", part, "--share", "0.1", "--workers", "1"]
    done = subprocess.run([*given, "--lines", str(lines)], cwd=ROOT, capture_output=True, text=True)
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [line for line in found if line["verdict"].startswith("FAIL")] == [], done.stdout
    assert sum(line.get("kills", 1) for line in found) >= (10 if part == "kills" else 150)
    assert done.returncode == 0, done.stderr
