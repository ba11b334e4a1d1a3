"""The promises of a rule of dynamic pruning."""

import pickle
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np

from secateur.checks.made_up import global_stream
from secateur.dynamic.plans import Heard, Plan, Progress, Rule

EPOCHS = 16
"""How long the made-up runs are."""


def check_rule(rule: Rule) -> None:
    """Every promise of a rule; raises AssertionError for the first that does not hold."""
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


def planned(rule: Rule, known: Heard, epoch: int, seed: int = 0) -> Plan:
    """One epoch's plan: the rule learns, then plans."""
    draw, progress = np.random.default_rng([seed, epoch]), Progress(epoch, EPOCHS)
    return rule.plan(replace(known, memory=rule.learn(known, progress, draw)), progress, draw)


def rule_is_a_frozen_value(rule: Rule) -> None:
    """Equal knobs make equal rules, nothing can be changed, and it survives being pickled."""
    assert pickle.loads(pickle.dumps(rule)) == rule, "a pickled rule is another"
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
        assert plan.ids.dtype.kind == "i", f"ids are {plan.ids.dtype}"
        assert 0 < len(plan.ids) == len(np.unique(plan.ids)), "no ids, or some twice"
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
    np.testing.assert_array_equal(first.ids, again.ids)
    assert before == global_stream(), "the global random stream was used"


def rule_starts_from_nothing(rule: Rule) -> None:
    """Before anything was heard it plans something all the same."""
    assert len(planned(rule, Heard.of(60, score=np.arange(60.0)), 0).ids)


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
    rule_counts_everyone_once,
    rule_ends_with_everything,
    rule_is_documented,
)
