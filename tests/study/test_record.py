"""How long a run is watched where nobody says so."""

import pytest

import secateur as sc
from secateur.store.files import read_json
from secateur.study.record import _epochs_enough
from secateur.training.recipes import RECIPES
from tests.conftest import SMALL


@pytest.mark.parametrize(
    ("recipe", "examples", "half_a_run", "epochs"),
    [
        ("sgd", 50_000, True, 8),  # 8 epochs of 100 steps
        ("sgd", 49_000, True, 16),  # 8 of 98 are fewer than 800
        ("sgd", 50_000, False, 16),
        ("sgd", 1_437, True, 16),
        ("paper", 50_000, True, 200),  # its schedule is laid out over the whole run
    ],
)
def test_half_a_run_is_recorded_where_it_is_enough(recipe, examples, half_a_run, epochs):
    chosen = RECIPES[recipe].for_data(examples, (3, 32, 32))
    assert _epochs_enough(chosen, examples, half_a_run) == epochs


def test_another_method_uses_the_recording_that_is_there_whatever_its_length(few_digits, tmp_path):
    train, test = few_digits
    quick = SMALL | {"record_epochs": 3}
    sc.prune(train, test=test, keep=0.3, out=tmp_path / "out", **quick)
    again = {k: v for k, v in SMALL.items() if k != "record_epochs"}
    sc.prune(train, test=test, keep=0.3, method="forgetting", out=tmp_path / "out", **again)
    assert sc.Recording.open(tmp_path / "out").epochs == 3
    assert read_json(tmp_path / "out" / "run.json")["stages"]["record"]["asked"]["recipe"]["epochs"] == 3


def test_a_misspelt_field_does_not_block_the_next_try(few_digits, tmp_path):
    quick = {"net": "mlp:0.1", "epochs": 1, "out": tmp_path / "out", "quiet": True}
    with pytest.raises(sc.SecateurError, match="fields: expected some of .*, got p_targe"):
        sc.record(few_digits[0], fields=["p_targe"], **quick)
    assert not (tmp_path / "out").exists()
    assert sc.record(few_digits[0], fields=["p_target"], **quick).epochs == 1


def test_epochs_that_are_asked_for_are_held_against_the_recording(few_digits, tmp_path):
    train, test = few_digits
    sc.prune(train, test=test, keep=0.3, out=tmp_path / "out", **SMALL | {"record_epochs": 3})
    with pytest.raises(sc.SecateurError, match="holds another record"):
        sc.prune(train, test=test, keep=0.3, out=tmp_path / "out", **SMALL | {"record_epochs": 5})
