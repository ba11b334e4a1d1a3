"""Before anything is pruned: what the data are like and what pruning would take, without leaving a trace."""

import json

import numpy as np
import pytest

import secateur as sc
from secateur.study.plan import plan
from tests.conftest import SMALL

OPTIONS = {k: v for k, v in SMALL.items() if k != "force"}


@pytest.fixture
def outlook(few_digits):
    train, test = few_digits
    return plan(train, test=test, **OPTIONS)


def test_it_says_what_the_data_are(outlook, few_digits):
    labels = few_digits[0][1]
    assert (outlook.examples, outlook.usable, outlook.shape) == (512, 512, (8, 8, 1))
    assert outlook.per_class == {str(c): int((labels == c).sum()) for c in range(10)}
    json.dumps(outlook.as_json())


def test_every_stage_has_a_time_and_a_size(outlook):
    names = [s.name for s in outlook.stages]
    assert names == ["record 4 epochs", "kept", "train a student", "instead of: train on all"]
    record, kept, student, full = outlook.stages
    assert record.examples == 4 * 512
    assert record.seconds > 0
    assert kept.disk == round(0.3 * 512) * 64 or abs(kept.disk - 0.3 * 512 * 64) < 64
    assert student.seconds < full.seconds
    assert outlook.memory > 50e6


def test_the_size_of_the_recording_is_what_a_recording_takes_uncompressed(outlook, pruned):
    recording = sc.Recording.open(pruned)
    wide = sum(np.asarray(recording[f]).nbytes for f in recording.fields if f in sc.fields.RECORDED)
    weights = (pruned / "model.safetensors").stat().st_size
    assert outlook.stages[0].disk == pytest.approx(wide + weights, rel=0.1)


def test_planted_duplicates_are_counted(few_digits):
    (images, labels), test = few_digits
    images, labels = np.concatenate((images, images[:7])), np.concatenate((labels, labels[:7]))
    found = plan((images, labels), test=test, **OPTIONS).difficulty
    assert found.exact_duplicates == 7
    assert found.near_duplicates >= 14 / 519


def test_pixels_do_not_judge_labels_but_a_recorded_net_does(few_digits, pruned):
    train, test = few_digits
    by_pixels, by_net = (plan(train, test=test, out=out, **OPTIONS).difficulty for out in (None, pruned))
    assert by_pixels.contradicted is None
    assert by_pixels.features == "the rows themselves"
    assert 0 <= by_net.contradicted < 0.2
    assert by_net.features == str(pruned / "model.safetensors")


def test_a_method_that_probes_has_its_probe_as_a_stage(few_digits):
    train, test = few_digits
    stages = {s.name: s for s in plan(train, test=test, method="memorization:runs=3,epochs=2", **OPTIONS).stages}
    probe = stages["probe subset_runs"]
    assert probe.examples == 3 * 3 * 512  # three runs of two epochs and a look
    assert "record 4 epochs" not in stages


def test_data_without_labels_are_planned_too(few_digits):
    images = few_digits[0][0]
    outlook = plan(images, **OPTIONS)
    assert [s.name for s in outlook.stages] == ["kept"]
    assert outlook.per_class == {}
