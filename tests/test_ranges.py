"""Every number that a user can give has a declared range, and nothing outside of it gets in."""

import dataclasses
import inspect
import typing

import numpy as np
import pytest
from typer.models import ParameterInfo

import secateur as sc
from secateur import ranges
from secateur.cli import COMMANDS
from secateur.cli.condense import parse_schedule
from secateur.cli.options import parse_keep, parse_memory
from secateur.condensation import CONDENSERS
from secateur.dynamic.rules import RULES
from secateur.dynamic.rules import rule as find_rule
from secateur.errors import SecateurError
from secateur.methods import METHODS
from secateur.methods import method as find_method
from secateur.methods.spec import knobs_of
from secateur.ranges import Range, range_of
from secateur.registry import ENTRIES
from secateur.study.joint import Condensing, Knobs
from secateur.training.adversarial import Adversary
from secateur.training.adversarial import parse as parse_adversary
from secateur.training.aims import AIMS
from secateur.training.aims import aim as find_aim
from secateur.training.augment import Views
from secateur.training.distill import Distill, parse_grid
from secateur.training.distill import parse as parse_distill
from secateur.training.nets.sparse import Sparsity
from secateur.training.nets.zoo import NETS, OPTIONS, RATES, asked
from secateur.training.recipes import RECIPES, Recipe
from secateur.training.recipes import recipe as find_recipe

RECORDS = [Recipe, Views, Distill, Adversary, Sparsity, Knobs, *RULES.values(), *AIMS.values(), *CONDENSERS.values()]
FUNCTIONS = [
    sc.prune, sc.record, sc.train, sc.compare, sc.slim, sc.condense, sc.mine, sc.plan, sc.select_from, sc.open_data,
]  # fmt: skip
ODD = ["nan", "inf", "-inf", "-1e9", "1e12", "1.5", "-1", "0", "1", "", "x", "1e400", "9" * 300, "0x10", "1 2", "None"]
UNRANGED = {"keep", "held_out"}
"""Numbers that are read by `resolve_keep`, which knows how many examples there are."""


def is_number(annotation):
    """May a value of this type be a number?"""
    if typing.get_origin(annotation) is typing.Annotated:
        return is_number(annotation.__origin__)
    parts = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, type(int | None)) else ()
    return annotation in (int, float) or any(map(is_number, parts))


def test_every_number_of_a_record_has_a_range():
    for record in RECORDS:
        numbers = {f.name for f in dataclasses.fields(record) if is_number(f.type) or f.type is bool}
        assert numbers <= {name for name, _ in ranges.fields_in(record)}, record


def test_every_number_of_a_function_has_a_range():
    for function in FUNCTIONS:
        parameters = inspect.signature(function).parameters.values()
        numbers = {p.name for p in parameters if is_number(p.annotation)}
        assert numbers - UNRANGED <= ranges.ranges_in(function).keys(), function


def test_every_knob_of_a_score_or_a_selector_has_a_range():
    for entry in ENTRIES.values():
        numbers = {n for n, p in entry.knobs.items() if is_number(p.annotation)}
        assert {n for n in numbers - UNRANGED if range_of(entry.knobs[n].annotation) is None} == set(), entry.name


def test_every_knob_of_a_method_has_a_range_or_words():
    assert all(isinstance(known, (Range, tuple)) for row in METHODS.values() for known in knobs_of(row).values())


def test_every_number_of_the_command_line_has_a_range_and_its_help_says_it():
    for command in COMMANDS:
        for name, parameter in inspect.signature(command).parameters.items():
            if not is_number(parameter.annotation):
                continue
            known = range_of(parameter.annotation)
            assert known is not None, (command.__name__, name)
            (option,) = [o for o in parameter.annotation.__metadata__ if isinstance(o, ParameterInfo)]
            assert option.help.endswith(f"[{known}]"), (command.__name__, name)


def test_the_command_line_and_python_agree_on_ranges():
    python = {function.__name__: ranges.ranges_in(function) for function in FUNCTIONS}
    for command in COMMANDS:
        for name, parameter in inspect.signature(command).parameters.items():
            known = python.get(command.__name__, {}).get(name)
            if known is not None and is_number(parameter.annotation):
                assert known == range_of(parameter.annotation), (command.__name__, name)


def test_no_default_is_outside_of_its_range():
    for function in FUNCTIONS:
        parameters = inspect.signature(function).parameters
        for name, known in ranges.ranges_in(function).items():
            if parameters[name].default not in (None, inspect.Parameter.empty):
                known.check(parameters[name].default, name)
    for entry in ENTRIES.values():
        for name, parameter in entry.knobs.items():
            if (known := range_of(parameter.annotation)) is not None and parameter.default is not None:
                known.check(parameter.default, name)


def grid(spec):
    return parse_grid(spec.partition(":")[2])


SPECS = [
    *((find_method, name, list(knobs_of(row))) for name, row in METHODS.items()),
    *((find_rule, name, [n for n, _ in ranges.fields_in(kind)]) for name, kind in RULES.items()),
    *((find_aim, name, [n for n, _ in ranges.fields_in(kind)]) for name, kind in AIMS.items()),
    *((find_recipe, name, [n for record in (Recipe, Views) for n, _ in ranges.fields_in(record)]) for name in RECIPES),
    *((lambda spec: Condensing.of(1, spec), name, [n for n, _ in ranges.fields_in(Knobs)]) for name in CONDENSERS),
    (lambda spec: parse_distill(spec.partition(":")[2], 0.3), "", [n for n, _ in ranges.fields_in(Distill)]),
    (grid, "", [n for n, _ in ranges.fields_in(Distill)]),
    (parse_adversary, "l2", ["eps", "steps", "step_size"]),
    *((lambda spec: asked(*spec.split(":", 1)), name, [*OPTIONS.get(name, []), *RATES]) for name in NETS),
]


@pytest.mark.parametrize(("read", "name", "knobs"), SPECS)
def test_a_knob_is_refused_in_one_line_or_within_its_range(read, name, knobs):
    for knob in knobs:
        for text in ODD:
            try:
                read(f"{name}:{knob}={text}")
            except SecateurError:
                pass
            else:
                assert text not in ("nan", "inf", "-inf", "-1e9", "1e400", "x") or knob in (
                    "norm",
                    "by",
                    "net",
                    "never_learned",
                )


@pytest.mark.parametrize(("read", "name", "knobs"), [spec for spec in SPECS if spec[0] is not grid])
def test_a_knob_given_twice_is_refused(read, name, knobs):
    for knob in knobs:
        with pytest.raises(SecateurError):
            read(f"{name}:{knob}=1,{knob}=1")


@pytest.mark.parametrize(
    ("read", "spec", "message"),
    [
        (find_recipe, "fast:crop=-1", r"recipe fast: crop: expected a whole number from 0 to 16,384, got '-1'"),
        (find_recipe, "fast:batch=1.5", r"recipe fast: batch: expected a whole number from 1 to 1,000,000, got '1.5'"),
        (find_recipe, "fast:lr=nan", r"recipe fast: lr: expected a number in \[0, 1,000,000,000\], got 'nan'"),
        (find_recipe, "fast:lr=1,lr=2", r"recipe fast: lr: expected one value, got 1 and 2; leave one out"),
        (find_method, "dual:c_d=nan", r"dual: c_d: expected a number in \[0, 1,000,000\], got 'nan'"),
        (find_method, "dual:c_d=4,c_d=5", r"dual: c_d: expected one value, got 4 and 5; leave one out"),
        (find_method, "dual:window=2.5", r"dual: window: expected a whole number from 1 to 1,000,000, got '2.5'"),
        (find_method, "k-center:start=middle", r"k-center: start: expected one of mean, random, got 'middle'"),
        (find_rule, "infobatch:drop=2", r"rule infobatch: drop: expected a number in \[0, 0.999\], got '2'"),
        (find_aim, "beta:every=0", r"objective beta: every: expected a whole number from 1 to 1,000,000, got '0'"),
        (parse_memory, "inf", "memory: expected a size such as 8G or 512M, got 'inf'"),
        (parse_memory, "nanG", "memory: expected a size such as 8G or 512M, got 'nanG'"),
        (parse_memory, "-1G", "memory: expected a size such as 8G or 512M, got '-1G'"),
        (parse_memory, "0", "memory: expected a size such as 8G or 512M, got '0'"),
        (parse_keep, "nan", r"keep: expected a fraction in \(0, 1\] or a whole count, got nan"),
        (parse_keep, "inf", r"keep: expected a fraction in \(0, 1\] or a whole count, got inf"),
    ],
)
def test_the_message_names_the_knob_the_range_and_what_came(read, spec, message):
    with pytest.raises(SecateurError, match=f"^{message}$"):
        read(spec)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -1e9, 1e30, 1.5, -1, True, "3", 10**400])
def test_python_callers_meet_the_same_ranges(odd, tmp_path):
    needed = {
        "prune": {"keep": 0.3}, "select_from": {"keep": 0.3}, "slim": {"data": "digits", "flops": 0.5},
        "condense": {"per_class": 1}, "mine": {"pool": "digits"},
    }  # fmt: skip
    for function in FUNCTIONS:
        for name, known in ranges.ranges_in(function).items():
            if odd in known and not (known.whole and odd != int(odd)):
                continue
            with pytest.raises(SecateurError, match=rf"^{name}: expected a (whole )?number"):
                function(tmp_path, **needed.get(function.__name__, {}) | {name: odd})


def test_scores_and_selectors_called_from_python_meet_them_too():
    with pytest.raises(SecateurError, match="^drop: expected a number in"):
        sc.select.offset(np.arange(5.0), keep=2, drop=float("nan"))
    with pytest.raises(SecateurError, match="^c_d: expected a number in"):
        sc.select.beta(np.ones(5), np.full(5, 0.5), keep=2, rng=np.random.default_rng(0), c_d=float("inf"))


def test_a_range_holds_what_it_says():
    assert 1 in ranges.SOME
    assert 1.0 in ranges.SOME
    assert np.int64(3) in ranges.SOME
    assert 1.5 not in ranges.SOME
    assert True not in ranges.SOME
    assert True in ranges.FLAG
    assert np.float32(0.5) in ranges.PART
    assert 0 not in ranges.PART
    assert 500 in ranges.KEEP
    assert 1.5 not in ranges.KEEP
    assert float("nan") not in Range()
    with pytest.raises(SecateurError, match="^n: expected a whole number from 1 to 1,000,000, got 2.0$"):
        ranges.SOME.check(2.0, "n")


@pytest.mark.parametrize("number", ["\u0663", "\u00b2", "1_0", "\uff11", "9" * 5000])
def test_only_plain_digits_are_numbers_in_every_text_that_holds_one(number):
    with pytest.raises(SecateurError, match="^keep: expected"):
        parse_keep(number)
    with pytest.raises(SecateurError, match="^memory: expected"):
        parse_memory(number)
    with pytest.raises(SecateurError, match="^schedule: expected MATCHES,EPOCHS"):
        parse_schedule(f"{number},1")
    with pytest.raises(SecateurError, match="drop: expected a number"):
        find_rule(f"infobatch:drop={number}")
    with pytest.raises(SecateurError, match="window: expected a whole number"):
        find_method(f"dual:window={number}")
