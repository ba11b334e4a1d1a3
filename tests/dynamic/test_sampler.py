"""The sampler in a loop of one's own: what it visits, weighs, hears, and goes on from."""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from secateur import dynamic
from secateur.dynamic import InfoBatch, Kakurenbo, Plan, Redraw, Rule, Sampler
from secateur.errors import NonFiniteError, SecateurError

N = 60
LOSS = torch.arange(N) / 10


def loop(sampler, epochs, *, batch=16, start=0, confidence=True, look=True):
    """Epochs of a loop of somebody's own over a data set that returns its ids; what each visited, in order."""
    loader = DataLoader(TensorDataset(torch.arange(N)), batch, sampler=sampler)
    visited = []
    for epoch in range(start, epochs):
        if look and len(due := sampler.due):
            ids = torch.from_numpy(due)
            sampler.report(ids, LOSS[ids] + epoch, correct=ids >= 0, confidence=torch.ones(len(ids)))
        visited.append([])
        for (ids,) in loader:
            visited[-1] += ids.tolist()
            more = {"correct": ids % 7 > 0, "confidence": torch.ones(len(ids))} if confidence else {}
            sampler.report(ids, (LOSS[ids] * ((ids + epoch) % 5 + 1)).requires_grad_(), **more)
    return visited


@pytest.mark.parametrize("rule", ["infobatch", "random:keep=0.3", "kakurenbo", "eps-greedy:every=2", "swap"])
def test_a_loader_visits_what_the_rule_plans_one_plan_a_pass(rule):
    """Current loaders ask the sampler for an iterator once a batch; published code planned anew each time."""
    sampler, other = Sampler(rule, examples=N, epochs=6, seed=3), Sampler(rule, examples=N, epochs=6, seed=3)
    for epoch, visited in enumerate(loop(sampler, 6)):
        if len(due := torch.from_numpy(other.due)):
            other.report(due, LOSS[due] + epoch, correct=due >= 0, confidence=torch.ones(len(due)))
        assert visited == other.plan(epoch).ids.tolist()
        ids = torch.tensor(visited)
        other.report(ids, LOSS[ids] * ((ids + epoch) % 5 + 1), correct=ids % 7 > 0, confidence=torch.ones(len(ids)))
        assert len(set(visited)) == len(visited)


def test_it_goes_into_a_loop_in_three_lines():
    sampler = Sampler("infobatch", examples=N, epochs=4)
    total = 0.0
    for ids in DataLoader(range(N), 8, sampler=sampler):
        loss = LOSS[ids]
        total += (loss * sampler.weights(ids)).sum()
        sampler.report(ids, loss)
    assert total == pytest.approx(float(LOSS.sum()))
    assert len(sampler) == N


def test_weights_are_those_of_the_plan():
    sampler = Sampler(InfoBatch(drop=0.75), examples=N, epochs=8)
    loop(sampler, 2)
    plan = sampler.plan(1)
    assert len(sampler) == len(plan.ids) < N
    torch.testing.assert_close(sampler.weights(torch.from_numpy(plan.ids)), torch.from_numpy(plan.weights).float())
    assert set(plan.weights.tolist()) == {1.0, 4.0}


def test_the_number_of_steps_is_known_before_the_first_pass_and_does_not_spend_it():
    sampler = Sampler("random:keep=0.5", examples=N)
    assert len(DataLoader(range(N), 10, sampler=sampler)) == 3
    first = sampler.plan(0).ids.tolist()
    assert list(sampler) == first
    assert list(sampler) == sampler.plan(1).ids.tolist() != first


def test_an_epoch_that_is_named_is_planned_as_that_epoch():
    sampler, other = Sampler("random", examples=N), Sampler("random", examples=N)
    sampler.set_epoch(7)
    assert list(sampler) == other.plan(7).ids.tolist()


def test_a_number_of_steps_asked_for_after_the_epoch_was_named_is_that_epochs():
    """Lightning counts the batches of a pass before the pass begins."""
    sampler, other = (Sampler(InfoBatch(drop=0.9), examples=N, epochs=9) for _ in range(2))
    for epoch in range(3):
        sampler.set_epoch(epoch)
        planned = other.plan(epoch).ids.tolist()
        assert len(sampler) == len(planned)
        assert list(sampler) == planned
        for each in (sampler, other):
            each.report(torch.tensor(planned), LOSS[planned])
    assert len(planned) < N


def test_a_look_after_the_steps_were_counted_is_still_in_time():
    sampler, other = (Sampler("eps-greedy:keep=0.5,epsilon=0,every=2", examples=N) for _ in range(2))
    len(sampler)
    for each in (sampler, other):
        ids = torch.from_numpy(each.due)
        assert len(ids) == N
        each.report(ids, LOSS[ids])
    assert sorted(sampler) == sorted(other) == list(range(30, 60))


def test_rules_see_the_unweighted_losses_by_their_ids():
    heard = []

    @dataclass(frozen=True)
    class Spy(Rule):
        needs: ClassVar[tuple[str, ...]] = ("loss", "correct", "confidence")

        def plan(self, known, progress, rng):
            heard.append(known)
            return Plan(np.arange(len(known))[::-1].copy())

    sampler = Sampler(Spy(), examples=N, pool=np.arange(20, 50))
    sampler.plan(0)
    ids = torch.tensor([45, 22])
    sampler.report(
        ids, torch.tensor([4.5, 2.2]), correct=torch.tensor([True, False]), confidence=torch.tensor([0.9, 0.4])
    )
    assert sampler.plan(1).ids.tolist() == list(range(49, 19, -1))
    known = heard[-1]
    assert np.flatnonzero(~np.isnan(known.loss)).tolist() == [2, 25]
    np.testing.assert_allclose(known.loss[[2, 25]], [2.2, 4.5], rtol=1e-6)
    assert np.flatnonzero(known.correct).tolist() == [25]
    np.testing.assert_allclose(known.confidence[[2, 25]], [0.4, 0.9], rtol=1e-6)


def test_only_the_pool_is_visited():
    pool = np.array([3, 8, 50])
    assert {i for epoch in loop(Sampler("random:keep=0.7", examples=N, pool=pool), 20) for i in epoch} == {3, 8, 50}


def test_ids_beyond_what_floats_can_hold_stay_themselves():
    """2**24 + 1 is no float32: published code gathered ids among losses."""
    many = 2**24 + 3
    sampler = Sampler("infobatch", examples=many, pool=np.array([0, many - 2]), epochs=40)
    sampler.plan(0)
    sampler.report(torch.tensor([many - 2]), torch.tensor([1.0]))
    assert set(sampler.plan(1).ids.tolist()) == {0, many - 2}


def test_what_is_hidden_is_due_and_a_look_at_it_counts():
    sampler = Sampler(Kakurenbo(hide=0.5), examples=N, epochs=30)
    loop(sampler, 2)
    hidden = set(range(N)) - set(sampler.plan(1).ids.tolist())
    assert hidden
    assert set(sampler.due.tolist()) == hidden
    ids = torch.from_numpy(sampler.due)
    sampler.report(ids, torch.full((len(ids),), 9.0), correct=ids < 0, confidence=torch.ones(len(ids)))
    assert hidden <= set(sampler.plan(2).ids.tolist())


def test_the_rate_of_the_plan_is_told():
    sampler = Sampler(Kakurenbo(hide=0.5, warmup=1), examples=N, epochs=30)
    assert sampler.rate == 1
    loop(sampler, 2)
    assert sampler.rate == 2


@pytest.mark.parametrize(
    "rule", ["infobatch", "random:every=2", "kakurenbo", "ucb:every=3", "eps-greedy:every=2", "swap"]
)
@pytest.mark.parametrize("at", [1, 3, 5])
def test_gone_on_with_it_plans_what_it_would_have_planned(rule, at, tmp_path):
    whole = loop(Sampler(rule, examples=N, epochs=10, seed=1), 10)
    first = Sampler(rule, examples=N, epochs=10, seed=1)
    loop(first, at)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    again = Sampler(rule, examples=N, epochs=10, seed=1)
    again.load_state_dict(torch.load(tmp_path / "state.pt"))
    assert loop(again, 10, start=at) == whole[at:]


def test_a_state_inside_an_epoch_has_that_epochs_plan():
    first = Sampler("eps-greedy:every=1", examples=N)
    loop(first, 3)
    plan = first.plan(2)
    again = Sampler("eps-greedy:every=1", examples=N)
    again.load_state_dict(first.state_dict())
    np.testing.assert_array_equal(again.plan(2).ids, plan.ids)


def test_seeds_give_other_plans_and_nobodys_stream_is_touched():
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    plans = []
    for seed in (0, 0, 1):
        sampler = Sampler("infobatch", examples=N, epochs=9, seed=seed)
        sampler.report(torch.tensor(list(sampler)), LOSS)
        plans.append(list(sampler))
    assert plans[0] == plans[1] != plans[2]
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    def test_a_rule_asked_again_before_any_loss_was_seen(self):
        sampler = Sampler("infobatch", examples=N, epochs=4)
        list(sampler)
        with pytest.raises(SecateurError, match="loss: none was reported in epoch 0.*call sampler.report"):
            list(sampler)

    def test_a_random_part_needs_no_losses(self):
        sampler = Sampler("random", examples=N)
        assert len(list(sampler)) == len(list(sampler)) == 30

    def test_a_loss_that_is_no_number_is_named_by_its_example(self):
        sampler = Sampler("infobatch", examples=N, epochs=4)
        list(sampler)
        sampler.report(torch.tensor([5, 41]), torch.tensor([1.0, torch.nan]))
        with pytest.raises(NonFiniteError, match="loss: nan was reported of example 41"):
            list(sampler)

    def test_a_plan_of_nobody(self):
        @dataclass(frozen=True)
        class Nobody(Rule):
            def plan(self, known, progress, rng):
                return Plan(np.arange(0))

        with pytest.raises(SecateurError, match=r"rule: .*Nobody\(\) leaves nothing to train on in epoch 0; keep more"):
            list(Sampler(Nobody(), examples=N))

    @pytest.mark.parametrize(
        ("ids", "loss", "message"),
        [
            ([0, 1], torch.tensor(0.7), r"loss: expected one value an id \(2,\), got shape \(\); .*reduction='none'"),
            ([0, 60], torch.ones(2), "ids: expected 0 to 59, got 0 to 60"),
            ([-1, 3], torch.ones(2), "ids: expected 0 to 59, got -1 to 3"),
        ],
    )
    def test_what_cannot_be_reported(self, ids, loss, message):
        with pytest.raises(SecateurError, match=message):
            Sampler("random", examples=N).report(torch.tensor(ids), loss)

    def test_what_a_rule_needs_and_does_not_hear(self):
        sampler = Sampler("kakurenbo", examples=N, epochs=5)
        with pytest.raises(SecateurError, match="correct: Kakurenbo needs it, got none; call report"):
            sampler.report(torch.tensor([0]), torch.ones(1))
        with pytest.raises(SecateurError, match=r"score: Esps needs one an example \(60,\), got none"):
            Sampler("esps", examples=N)
        with pytest.raises(SecateurError, match=r"score: .*got shape \(3,\)"):
            Sampler("esps", examples=N, score=np.ones(3))
        with pytest.raises(SecateurError, match="score: nan at example 1; give each one a number"):
            Sampler("esps", examples=N, score=np.where(np.arange(N) == 1, np.nan, 1.0))

    @pytest.mark.parametrize("pool", [[], [60], [-1, 4]])
    def test_a_pool_of_other_data(self, pool):
        with pytest.raises(SecateurError, match="pool: expected ids from 0 to 59, got"):
            Sampler("random", examples=N, pool=np.array(pool, dtype=int))

    def test_a_schedule_without_a_length_is_said(self):
        with pytest.warns(UserWarning, match="InfoBatch has a schedule over the run: pass epochs=N"):
            Sampler("infobatch", examples=N)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Sampler("infobatch", examples=N, epochs=3)
            Sampler("random", examples=N)

    def test_a_state_of_something_else(self):
        state = Sampler("random", examples=N).state_dict()
        for other in (
            Sampler("random", examples=N + 1),
            Sampler("ucb", examples=N),
            Sampler("random", examples=N, seed=1),
            Sampler("random:keep=0.4", examples=N),
        ):
            with pytest.raises(SecateurError, match="state: it is of Redraw.* on 60 of 60 .*make it the same way"):
                other.load_state_dict(state)

    @pytest.mark.parametrize(
        ("plan", "message"),
        [
            (np.arange(3), "expected a Plan with whole numbers as ids from .*, got array"),
            (Plan(np.array([0.0, 1.0])), "expected a Plan with whole numbers"),
            (Plan(np.array([0, 0, 1])), "expected each id once and from 0 to 59"),
            (Plan(np.array([0, 60])), "expected each id once and from 0 to 59"),
            (Plan(np.array([0, 1]), np.ones(3)), r"expected 2 weights, one an id, from .*, got \(3,\)"),
        ],
    )
    def test_what_a_rule_of_ones_own_may_not_plan(self, plan, message):
        @dataclass(frozen=True)
        class Own(Rule):
            def plan(self, known, progress, rng):
                return plan

        with pytest.raises(SecateurError, match=f"rule: {message}"):
            list(Sampler(Own(), examples=N))

    @pytest.mark.parametrize("examples", [0, -3, 10.5])
    def test_no_examples(self, examples):
        with pytest.raises(SecateurError, match="examples: expected a count of 1 or more"):
            Sampler("random", examples=examples)

    def test_a_mask_for_a_pool(self):
        with pytest.raises(SecateurError, match="pool: expected ids, got a mask; pass np.flatnonzero"):
            Sampler("random", examples=N, pool=np.arange(N) < 10)

    def test_weights_of_nobody(self):
        with pytest.raises(SecateurError, match="ids: expected 0 to 59, got 3 to 1000"):
            Sampler("random", examples=N).weights([3, 1000])

    def test_a_keep_above_what_there_is(self):
        with pytest.raises(SecateurError, match="keep: expected a count from 1 to 60"):
            list(Sampler(Redraw(keep=61), examples=N))


def test_the_room_loads_without_torch_until_the_sampler_is_asked_for():
    import subprocess
    import sys

    code = "import sys, secateur as sc; sc.dynamic.rule('ucb'); assert 'torch' not in sys.modules; sc.dynamic.Sampler"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert dynamic.Sampler is Sampler
    with pytest.raises(AttributeError, match="no attribute 'Samplers'"):
        _ = dynamic.Samplers
