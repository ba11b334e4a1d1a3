"""The promises of a rule of dynamic pruning."""

from dataclasses import FrozenInstanceError, fields, replace

import numpy as np

from secateur.checks.made_up import global_stream
from secateur.dynamic.plans import Heard, Plan, Progress, Rule

EPOCHS = 16
"""How long the made-up runs are."""


def check_rule(rule: Rule) -> None:
    """Every promise of a rule; raises AssertionError for the first that does not hold.

    A source and an example in the docstring are among them, as for scores.
    """
    assert not isinstance(rule, type), f"expected a rule, got the class {rule.__name__}: check {rule.__name__}()"
    for promise in RULE_PROMISES:
        promise(rule)


def heard(examples: int = 60, *, seed: int = 0, unseen: float = 0.1) -> Heard:
    """What a run in its middle might have heard; `unseen` of the examples not yet."""
    rng = np.random.default_rng(seed)
    loss, confidence = rng.exponential(size=examples), rng.random(examples)
    missing = rng.random(examples) < unseen
    return Heard.of(
        examples,
        loss=np.where(missing, np.nan, loss),
        correct=(rng.random(examples) < 0.8) & ~missing,
        confidence=np.where(missing, np.nan, confidence),
        score=rng.random(examples),
    )


def planned(rule: Rule, known: Heard, epoch: int, seed: int = 0, epochs: int | None = EPOCHS) -> Plan:
    """One epoch's plan: the rule learns, then plans."""
    draw, progress = np.random.default_rng([seed, epoch]), Progress(epoch, epochs)
    plan = rule.plan(replace(known, memory=rule.learn(known, progress, draw)), progress, draw)
    assert isinstance(plan, Plan), f"plan gives {type(plan).__name__}, expected a Plan(ids, weights, rate)"
    return plan


def rule_is_a_frozen_value(rule: Rule) -> None:
    """Equal knobs make equal rules, and nothing can be changed."""
    assert replace(rule) == rule, "equal knobs make another rule: use dataclass(frozen=True)"
    for knob in fields(rule):
        try:
            setattr(rule, knob.name, getattr(rule, knob.name))
        except FrozenInstanceError:
            continue
        raise AssertionError(f"{knob.name} can be changed")


def rule_plans_ids_once(rule: Rule) -> None:
    """Some ids, none twice, all in range; weights above 0 and finite, one an id; a rate above 0."""
    for epoch in range(EPOCHS):
        plan = planned(rule, heard(seed=epoch), epoch)
        assert plan.ids.dtype == np.int64, f"ids are {plan.ids.dtype}, expected int64"
        assert len(plan.ids), "no ids"
        assert len(plan.ids) == len(np.unique(plan.ids)), "some ids twice"
        assert plan.ids.min() >= 0, "a negative id"
        assert plan.ids.max() < 60, "an id beyond the examples"
        assert plan.rate > 0, "a rate of 0 or less"
        if plan.weights is not None:
            assert plan.weights.shape == plan.ids.shape, "weights and ids differ in number"
            assert (np.isfinite(plan.weights) & (plan.weights > 0)).all(), "a weight of 0 or less, or none"


def rule_repeats(rule: Rule) -> None:
    """The same generator gives the same plan; numpy's global stream is not touched, nor what it was told."""
    before, known = global_stream(), heard()
    for array in (known.loss, known.correct, known.confidence, known.visited, known.score):
        assert array is not None
        array.flags.writeable = False
    first, again = planned(rule, known, 3), planned(rule, known, 3)
    np.testing.assert_array_equal(first.ids, again.ids, err_msg="two calls differ: draw from rng alone")
    assert before == global_stream(), "the global random stream was used: draw from rng"


def rule_starts_from_nothing(rule: Rule) -> None:
    """Before anything was heard it plans something all the same."""
    assert len(planned(rule, Heard.of(60, score=np.arange(60.0)), 0).ids)


def rule_reads_what_it_says(rule: Rule) -> None:
    """What it does not name in `needs` changes nothing; the length of the run may be unknown."""
    known, blank = heard(), Heard.of(60, score=np.zeros(60))
    others = [n for n in ("loss", "correct", "confidence", "score") if n not in rule.needs]
    hidden = replace(known, **{n: getattr(blank, n) for n in others})
    for epoch in (0, 5):
        all_told, told = planned(rule, known, epoch).ids, planned(rule, hidden, epoch).ids
        assert np.array_equal(all_told, told), f"it reads more than {rule.needs or 'nothing'}: name that in needs"
        assert len(planned(rule, known, epoch, epochs=None).ids), "no ids where the length of the run is not known"


def rule_counts_everyone_once(rule: Rule, plans: int = 2000) -> None:
    """If it says `unbiased`: visits times weight are 1 on average for every example, within five standard errors."""
    if not rule.unbiased:
        return
    counts = np.zeros((plans, 60))
    for k in range(plans):
        plan = planned(rule, heard(), 5, seed=k)
        counts[k, plan.ids] = 1.0 if plan.weights is None else plan.weights
    error = np.maximum(counts.std(axis=0) / np.sqrt(plans), 1e-9)
    off = np.abs(counts.mean(axis=0) - 1) / error
    assert off.max() <= 5, f"example {off.argmax()} counts {counts.mean(axis=0)[off.argmax()]:.3f} times on average"


def rule_ends_with_everything(rule: Rule) -> None:
    """If it says `anneals`: the last epoch visits all, with weight 1, however many epochs there are."""
    if not rule.anneals:
        return
    for epochs in range(1, 40):
        plan = rule.plan(heard(), Progress(epochs - 1, epochs), np.random.default_rng(0))
        assert len(plan.ids) == 60, f"the last of {epochs} epochs leaves something out"
        assert plan.weights is None or (plan.weights == 1).all(), f"the last of {epochs} epochs has weights"


def rule_is_documented(rule: Rule) -> None:
    """A source, and an example that runs; it needs only what can be reported or given."""
    assert rule.source, "no source"
    assert ">>>" in (type(rule).__doc__ or ""), "no example in the docstring"
    assert set(rule.needs) <= {"loss", "correct", "confidence", "score"}, f"nobody reports all of {rule.needs}"


RULE_PROMISES = (
    rule_is_a_frozen_value,
    rule_plans_ids_once,
    rule_repeats,
    rule_starts_from_nothing,
    rule_reads_what_it_says,
    rule_counts_everyone_once,
    rule_ends_with_everything,
    rule_is_documented,
)
