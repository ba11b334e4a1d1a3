"""Recipes by name, by name and changes, and for data of any size."""

import dataclasses
import json

import pytest

from secateur.errors import SecateurError
from secateur.training.recipes import RECIPES, Recipe, recipe


def test_a_recipe_is_changed_by_text():
    changed = recipe("fast:lr=0.1,batch=250,flip=0,cutout=8")
    assert (changed.lr, changed.batch, changed.views.flip, changed.views.cutout) == (0.1, 250, False, 8)
    assert (
        dataclasses.replace(changed, lr=RECIPES["fast"].lr, batch=500, views=RECIPES["fast"].views) == RECIPES["fast"]
    )


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_survives_json(name):
    for one in (RECIPES[name], RECIPES[name].for_data(1000, (3, 32, 32))):
        assert Recipe.restored(json.loads(json.dumps(dataclasses.asdict(one)))) == one


def test_smaller_data_take_smaller_batches_and_rates():
    small = RECIPES["sgd"].for_data(2500, (3, 32, 32))
    assert small.batch == 100
    assert small.lr == pytest.approx(RECIPES["sgd"].lr / 5)
    fast = RECIPES["fast"].for_data(2500, (3, 32, 32))
    assert fast.lr == RECIPES["fast"].lr  # steps of a fixed length
    assert fast.head_lr == pytest.approx(RECIPES["fast"].head_lr / 5**0.5)


def test_the_paper_recipe_takes_smaller_batches_at_high_pruning_rates():
    assert [RECIPES["paper"].for_keep(k).batch for k in (0.7, 0.3, 0.2, 0.1)] == [128, 128, 64, 32]


def test_fast_takes_larger_steps_the_less_is_kept():
    rates = [RECIPES["fast"].for_keep(k).lr for k in (1.0, 0.3, 0.1)]
    assert rates == pytest.approx([0.12, 0.12 * 1.435, 0.12 * 1.995], rel=1e-3)  # 0.3 ** -0.3, 0.1 ** -0.3
    assert [RECIPES[name].for_keep(0.1).lr for name in ("sgd", "paper")] == [0.6, 0.1]


def test_the_triangular_schedule_peaks_where_it_says():
    factors = [RECIPES["sgd"].lr_factor(t / 100) for t in range(100)]
    assert factors.index(max(factors)) == 20
    assert factors[0] == 0
    assert factors[60] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("slow", "recipe: expected one of fast, paper, sgd, got 'slow'"),
        ("sgd:speed=2", "recipe sgd: expected one of .* got 'speed'"),
        ("sgd:lr=high", "recipe sgd: lr: expected a number in .*, got 'high'"),
        ("sgd:name=x", "got 'name'"),
        ("sgd:vary=1", "got 'vary'"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_named(spec, message):
    with pytest.raises(SecateurError, match=message):
        recipe(spec)
