"""Training by a rule: what it costs, what it reports, what it goes on from, what is refused."""

import numpy as np
import pytest

import secateur as sc
from secateur.dynamic import InfoBatch, Kakurenbo
from secateur.errors import SecateurError
from secateur.study import cell

HOW = {"net": "resnet9:0.25", "epochs": 4, "quiet": True, "threads": 1}


def train(few_digits, out, rule, **options):
    rows, test = few_digits
    return sc.train(rows, test=test, rule=rule, out=out, **{**HOW, **options})


@pytest.mark.parametrize(
    "rule", ["infobatch:stop=1.0", "random:keep=0.5", "kakurenbo:hide=0.4", "swap:keep=0.7", "ucb:keep=0.5,every=2"]
)
def test_a_rule_trains_on_less_and_is_told(few_digits, tmp_path, rule):
    result = train(few_digits, tmp_path, rule)
    assert 512 < result.examples < 4 * 512
    assert result.kept == result.of == 512
    assert result.rule == rule
    assert result.accuracy > 0.3


def test_a_rule_is_a_run_of_its_own_and_is_not_trained_twice(few_digits, tmp_path, monkeypatch):
    plain, half = train(few_digits, tmp_path, None), train(few_digits, tmp_path, InfoBatch())
    assert plain.rule is None
    assert plain.folder != half.folder != train(few_digits, tmp_path, InfoBatch(drop=0.7)).folder
    monkeypatch.setattr(cell, "_train", None)  # training again would fail
    assert train(few_digits, tmp_path, "infobatch") == half


def test_a_rule_chooses_inside_a_subset(few_digits, pruned, tmp_path):
    result = train(few_digits, tmp_path, "random:keep=0.5", subset=pruned)
    assert (result.kept, result.examples) == (154, 4 * 77)


def test_esps_draws_from_all_of_the_data_by_the_scores_of_the_subset(few_digits, pruned, tmp_path, monkeypatch):
    seen = []
    original = cell.sampler_of
    monkeypatch.setattr(cell, "sampler_of", lambda work, run: seen.append(original(work, run)) or seen[-1])
    result = train(few_digits, tmp_path, "esps:keep=0.1", subset=pruned)
    assert (result.kept, result.examples) == (512, 4 * 51)
    pool = np.argsort(-np.asarray(sc.Subset.open(pruned).table["score"]), kind="stable")[:138]  # 0.27 of 512
    assert set(seen[-1].plan(9).ids.tolist()) <= set(pool.tolist())


def test_a_teacher_is_heard_by_a_rule_too(few_digits, pruned, tmp_path):
    result = train(few_digits, tmp_path, "infobatch", teacher=pruned)
    assert result.distill == {"a": 0.5, "t": 4.0}


def test_a_comparison_sets_a_rule_beside_everything_cut_short_to_its_steps(few_digits, tmp_path):
    rows, test = few_digits
    how = {**HOW, "record_epochs": 2, "distill": "off", "keep": [0.5]}
    table = sc.compare(rows, test=test, methods=[], rules=["random:keep=0.3", "infobatch"], out=tmp_path, **how)
    by = {row.name: row.results[0] for row in table.rows}
    for rule in ("random:keep=0.3", "infobatch"):
        ruled, cut = by[f"rule {rule}"], by[f"full, cut short as rule {rule}"]
        assert ruled.rule == rule
        assert ruled.steps == cut.steps < by["full"].steps
        assert cut.rule is None
    assert {bill.name for bill in table.bills} == {"random, keep 0.5"}
    assert "rule infobatch" in (tmp_path / "report.html").read_text()


class TestBadInput:
    def test_a_rule_nobody_knows_leaves_nothing_behind(self, few_digits, tmp_path):
        with pytest.raises(SecateurError, match="rule: expected one of .*did you mean infobatch"):
            train(few_digits, tmp_path, "infobach")
        assert not (tmp_path / "cells").exists()

    def test_scores_that_are_not_there(self, few_digits, tmp_path):
        with pytest.raises(SecateurError, match="score: Esps needs one an example .* got none"):
            train(few_digits, tmp_path, "esps")

    def test_a_subset_with_weights(self, few_digits, pruned, tmp_path):
        subset = sc.Subset.open(pruned)
        subset.weights[:] = 2.0
        with pytest.raises(SecateurError, match="rule: the subset has weights, which rules do not know"):
            train(few_digits, tmp_path, Kakurenbo(), subset=subset)

    def test_more_than_the_subset_has(self, few_digits, pruned, tmp_path):
        with pytest.raises(SecateurError, match="keep: expected a count from 1 to 154"):
            train(few_digits, tmp_path, "random:keep=155", subset=pruned)
