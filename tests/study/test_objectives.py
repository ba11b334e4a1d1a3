"""Objectives by name through the jobs: what they need, what they refuse, that each is a run of its own."""

import numpy as np
import pytest

import secateur as sc
from secateur.errors import SecateurError
from secateur.study.material import validation_ids

ENTROPY = "supervised:entropy=0.3"
HOW = {"net": "mlp:0.25", "epochs": 4, "quiet": True, "threads": 1}


def train(few_digits, out, **options):
    rows, test = few_digits
    return sc.train(rows, test=test, out=out, **{**HOW, **options})


def test_a_filtered_run_trains_on_the_part_that_passes_and_says_so(few_digits, tmp_path):
    result = train(few_digits, tmp_path, objective="filtered:by=mlp:0.1,passing=0.25", epochs=8)
    assert result.objective == "filtered:by=mlp:0.1,passing=0.25"
    assert result.examples == pytest.approx(8 * 512 / 4, rel=0.1)
    assert result.accuracy > 0.5
    assert train(few_digits, tmp_path, epochs=8).folder != result.folder


def test_difficulty_by_the_features_of_a_pruning_is_in_the_unit_interval(few_digits, tmp_path):
    rows, test = few_digits
    how = {"net": "mlp:0.25", "record_epochs": 2, "epochs": 2, "quiet": True, "threads": 1}
    sc.prune(rows, test=test, keep=0.3, method="rmd", out=tmp_path / "pruned", **how)
    out, spec = tmp_path / "out", ENTROPY
    regular = train(few_digits, out, objective=spec, difficulty=tmp_path / "pruned")
    given = train(few_digits, out, objective=spec, difficulty=np.full(512, 0.5))
    assert len({regular.folder, given.folder, train(few_digits, out).folder}) == 3
    assert regular.objective == "supervised:entropy=0.3"
    assert regular.ece is not None
    with pytest.raises(SecateurError, match="difficulty: .* was made from other data"):
        sc.train(test, objective=spec, difficulty=tmp_path / "pruned", out=tmp_path / "other", **HOW)


@pytest.mark.parametrize(
    "options, told",
    [
        ({"difficulty": np.ones(512), "objective": "filtered"}, "difficulty: objective filtered does not look at it"),
        ({"difficulty": np.ones(512)}, "difficulty: objective supervised does not look at it"),
        (
            {"distill": "a=0.5,views=2"},
            r"teacher: distill says how much a teacher is heard \(a=0.5,views=2\), and there",
        ),
        ({"teacher": "x", "distill": "a=0.5,veiws=2"}, "distill: expected one of .*, got 'veiws'; did you mean views?"),
        ({"unlabelled": "digits"}, "unlabelled: objective supervised does not look at it"),
        (
            {"objective": ENTROPY, "difficulty": np.ones(5)},
            r"difficulty: expected one number an example \(512,\), got shape \(5,\)",
        ),
        (
            {"objective": ENTROPY, "difficulty": np.full(512, 2.0)},
            r"difficulty: expected numbers in \[0, 1\], got 2.0 of example 0",
        ),
    ],
)
def test_what_an_objective_would_not_look_at_or_cannot_use_is_refused(few_digits, tmp_path, options, told):
    with pytest.raises(SecateurError, match=told):
        train(few_digits, tmp_path, **options)


def test_a_teachers_answers_are_kept_in_the_folder_for_all_students_of_a_subset(few_digits, pruned, tmp_path):
    how = {"subset": pruned, "teacher": pruned, "net": "resnet9:0.25", "epochs": 2, "recipe": "fast:crop=1"}
    one = train(few_digits, tmp_path, distill="a=0.5,views=2", **how)
    kept = sorted((tmp_path / "soft").glob("*/*.npy"))
    assert [path.name for path in kept] == ["view-0.npy", "view-1.npy"]
    before = [path.stat().st_mtime_ns for path in kept]
    other = train(few_digits, tmp_path, distill="a=0.9,views=2", seed=1, **how)
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "soft").glob("*/*.npy"))] == before
    assert one.distill == {"a": 0.5, "t": 4.0, "views": 2}
    assert len({one.folder, other.folder, train(few_digits, tmp_path, distill="a=0.5", **how).folder}) == 3
    with pytest.raises(SecateurError, match="distill: expected top below the number of classes, 10,"):
        train(few_digits, tmp_path, distill="a=0.5,views=2,top=10", **how)


@pytest.mark.parametrize(
    ("rows", "way"), [("images", r"once, or vary the images: --recipe fast:crop=1$"), ("vectors", "once$")]
)
def test_views_that_would_all_be_the_same_are_refused(few_digits, pruned, tmp_path, rows, way):
    (images, labels), test = few_digits
    kind = [(images, labels), test] if rows == "images" else [(i.reshape(len(i), -1) / 255, at) for i, at in few_digits]
    how = {"teacher": pruned, "net": "mlp:0.1", "epochs": 1, "test": kind[1], "quiet": True, "out": tmp_path / "out"}
    with pytest.raises(SecateurError, match=f"distill: 8 views of an example would all be the same, .* {way}"):
        sc.train(kind[0], distill="views=8", **how)
    assert not (tmp_path / "out").exists()
    if rows == "images":
        assert sc.train(kind[0], distill="views=1", **how).distill == {"a": 0.5, "t": 4.0, "views": 1}
        assert len(list((tmp_path / "out" / "soft").glob("*/view-*.npy"))) == 1


def test_difficulties_of_a_folder_without_features_say_how_to_get_them(few_digits, pruned, tmp_path):
    with pytest.raises(
        SecateurError, match=f"difficulty: {pruned} holds no features; `secateur prune DATA --method rmd"
    ):
        train(few_digits, tmp_path, objective=ENTROPY, difficulty=pruned)


def test_a_net_is_found_in_the_folder_it_was_trained_in_unless_there_are_several(few_digits, tmp_path):
    first = train(few_digits, tmp_path / "one", epochs=1)
    gone_on = train(few_digits, tmp_path / "on", start=tmp_path / "one", net=None, epochs=1)
    named = train(few_digits, tmp_path / "on", start=tmp_path / "one" / "cells" / first.folder, net=None, epochs=1)
    assert gone_on.folder == named.folder
    train(few_digits, tmp_path / "one", epochs=1, seed=1)
    with pytest.raises(SecateurError, match=r"holds 2 trained nets; name the folder of one, as .*cells/"):
        train(few_digits, tmp_path / "on", teacher=tmp_path / "one")


def test_the_part_of_train_that_is_held_out_to_test_on_is_said(few_digits, tmp_path, capsys):
    sc.train(few_digits[0], out=tmp_path, **{**HOW, "epochs": 1, "quiet": False})
    assert "no test split: a seeded 20% of the train split is held out to test on" in capsys.readouterr().err


@pytest.mark.parametrize("rule", [None, "random:keep=0.9", "esps:keep=0.9"])
def test_what_weights_are_learned_from_is_never_trained_on(few_digits, pruned, tmp_path, monkeypatch, rule):
    from secateur.study import cell

    seen, original = [], cell.sampler_of
    monkeypatch.setattr(cell, "sampler_of", lambda work, run: seen.append((work, original(work, run))) or seen[-1][1])
    train(few_digits, tmp_path, objective="beta", rule=rule, subset=pruned if rule else None, epochs=1)
    work, sampler = seen[-1]
    assert not set(sampler.ids.tolist()) & set(validation_ids(work, 0).tolist())
    assert len(sampler.ids) > 100
