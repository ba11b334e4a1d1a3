"""Every rule keeps every promise; what each plans, beside values worked out by hand and plain loops."""

from dataclasses import replace

import numpy as np
import pytest

from secateur import checks, dynamic
from secateur.dynamic import EpsGreedy, Esps, Heard, InfoBatch, Kakurenbo, Progress, Redraw, Swap, Ucb
from secateur.errors import SecateurError

ROWS = [
    Redraw(),
    Redraw(keep=7, every=3),
    InfoBatch(),
    InfoBatch(drop=0.3, stop=0.6, draw="exact"),
    Kakurenbo(),
    Kakurenbo(hide=0.5, rate="realised"),
    EpsGreedy(),
    Ucb(keep=0.3, c=2.0),
    Esps(keep=0.2),
    Swap(),
]
promises = pytest.mark.parametrize("promise", checks.RULE_PROMISES, ids=lambda p: p.__name__)


def test_every_rule_has_a_row():
    assert {type(row) for row in ROWS} == set(dynamic.RULES.values())


@promises
@pytest.mark.parametrize("rule", ROWS, ids=dynamic.spec_of)
def test_keeps_its_promises(rule, promise):
    promise(rule)


def draw(seed=0):
    return np.random.default_rng(seed)


def plan(rule, heard, epoch=1, epochs=None, seed=0):
    progress = Progress(epoch, epochs)
    heard = replace(heard, memory=rule.learn(heard, progress, draw(seed)))
    return rule.plan(heard, progress, draw(seed))


class TestRedraw:
    def test_every_part_is_as_likely_as_any_other(self):
        counts = np.zeros(10)
        for seed in range(4000):
            counts[plan(Redraw(keep=0.3), Heard.of(10), seed=seed).ids] += 1
        np.testing.assert_allclose(counts / 4000, 0.3, atol=5 * np.sqrt(0.3 * 0.7 / 4000))

    def test_a_part_stays_for_as_many_epochs_as_asked(self):
        rule, heard, parts = Redraw(keep=0.5, every=3), Heard.of(40), []
        for epoch in range(6):
            progress = Progress(epoch)
            heard = replace(heard, memory=rule.learn(heard, progress, draw(epoch)))
            parts.append(set(rule.plan(heard, progress, draw(epoch)).ids.tolist()))
        assert parts[0] == parts[1] == parts[2] != parts[3] == parts[4] == parts[5]


class TestInfoBatch:
    LOSS = np.array([0.0, 1.0, 2.0, 3.0, np.nan, 9.0])  # mean of those seen: 3; low: 0, 1 and 2

    def test_those_not_below_the_mean_and_those_not_seen_always_stay(self):
        for seed in range(50):
            found = plan(InfoBatch(drop=0.9), Heard.of(6, loss=self.LOSS), seed=seed)
            weights = dict(zip(found.ids.tolist(), found.weights.tolist(), strict=True))
            assert {3, 4, 5} <= set(weights)
            assert all(weights[i] == 1 for i in (3, 4, 5))
            assert all(weights[i] == pytest.approx(10) for i in weights if i < 3)

    def test_drawn_exactly_as_many_go_as_the_floor_says_and_weights_add_up_to_all(self):
        for seed in range(20):
            found = plan(InfoBatch(drop=0.5, draw="exact"), Heard.of(6, loss=self.LOSS), seed=seed)
            assert len(found.ids) == 5  # floor(0.5 * 3) = 1 goes
            assert found.weights.sum() == pytest.approx(6)

    @pytest.mark.parametrize(("epochs", "first"), [(8, 7), (30, 27), (40, 35), (3, 2)])
    def test_from_stop_on_everything_counts_once_at_every_number_of_epochs(self, epochs, first):
        """30 * 0.875 is 26.25: the authors' code keeps its weights there."""
        whole = []
        for epoch in range(epochs):
            found = plan(InfoBatch(), Heard.of(300, loss=np.arange(300.0)), epoch, epochs)
            if len(found.ids) == 300 and (found.weights == 1).all():
                whole.append(epoch)
        assert whole == list(range(first, epochs))

    def test_equal_losses_are_not_below_their_mean(self):
        """In the first epochs losses may all be alike, which doubled the loss in published code."""
        found = plan(InfoBatch(), Heard.of(20, loss=np.full(20, 2.5)))
        assert (found.weights == 1).all()
        assert len(found.ids) == 20


class TestKakurenbo:
    HEARD = Heard.of(
        10,
        loss=np.arange(10.0),
        correct=np.arange(10) != 1,
        confidence=np.where(np.arange(10) == 2, 0.69, 0.7),
    )

    def hidden(self, rule, epoch, epochs=90, heard=HEARD):
        return sorted(set(range(10)) - set(plan(rule, heard, epoch, epochs).ids.tolist()))

    def test_of_the_lowest_losses_those_wrong_or_unsure_move_back(self):
        assert self.hidden(Kakurenbo(hide=0.5), 1) == [0, 3, 4]  # 1 is wrong, 2 unsure

    @pytest.mark.parametrize(("epoch", "most"), [(0, 5), (29, 5), (30, 4), (59, 4), (60, 3), (79, 3), (80, 2)])
    def test_less_is_hidden_later_on(self, epoch, most):
        heard = replace(self.HEARD, correct=np.ones(10, bool), confidence=np.ones(10))
        assert self.hidden(Kakurenbo(hide=0.5), epoch, 90, heard) == list(range(most))

    def test_nothing_is_hidden_that_was_never_seen(self):
        assert self.hidden(Kakurenbo(hide=0.5), 1, 90, Heard.of(10)) == []

    @pytest.mark.parametrize(("rate", "expected"), [("cap", 2.0), ("realised", 1 / 0.7), ("none", 1.0)])
    def test_after_warming_up_the_rate_makes_up_for_what_is_hidden(self, rate, expected):
        rule = Kakurenbo(hide=0.5, rate=rate)
        assert plan(rule, self.HEARD, 5, 90).rate == pytest.approx(expected)
        assert plan(rule, self.HEARD, 4, 90).rate == 1

    def test_the_hidden_are_due_to_be_looked_at(self):
        heard = replace(self.HEARD, visited=np.arange(10) > 2)
        np.testing.assert_array_equal(Kakurenbo().due(heard, Progress(3)), [0, 1, 2])


class TestRunning:
    def test_eps_greedy_explores_so_many_of_the_rest(self):
        heard, seen = Heard.of(20, loss=np.arange(20.0)), np.zeros(20)
        for seed in range(500):
            ids = plan(EpsGreedy(keep=10, epsilon=0.25), heard, 0, seed=seed).ids
            assert len(ids) == 10
            assert set(range(12, 20)) <= set(ids.tolist())  # 10 - floor(2.5) highest
            seen[ids] += 1
        assert (seen[:12] > 0).all()

    def test_means_and_variances_run_as_the_plain_recursion(self):
        rule, rng = Ucb(keep=3, c=1.5, every=2, ema=0.3), draw(1)
        memory, mean, variance = {}, np.ones(8), np.zeros(8)
        for epoch in range(6):
            loss = rng.random(8) * 4
            memory = rule.learn(Heard.of(8, loss=loss, memory=memory), Progress(epoch), draw(epoch))
            if epoch % 2 == 0:
                variance = 0.7 * variance + 0.3 * (loss - mean) ** 2
                mean = 0.7 * mean + 0.3 * loss
            np.testing.assert_allclose(memory["mean"], mean)
            np.testing.assert_allclose(memory["variance"], variance)
            assert set(np.flatnonzero(memory["chosen"])) == set(np.argsort(-(mean + 1.5 * variance))[:3])

    def test_all_are_due_when_a_period_begins(self):
        rule, heard = EpsGreedy(every=4), Heard.of(5)
        assert [len(rule.due(heard, Progress(epoch))) for epoch in range(6)] == [5, 0, 0, 0, 5, 0]

    def test_what_nobody_saw_keeps_its_mean(self):
        memory = EpsGreedy(keep=1).learn(Heard.of(2, loss=np.array([np.nan, 3.0])), Progress(0), draw())
        np.testing.assert_allclose(memory["mean"], [1, 0.2 + 0.8 * 3])


class TestEsps:
    def test_the_pool_at_keep_a_tenth_is_27_in_a_hundred(self):
        score, union = draw(3).permutation(100.0 * np.arange(100)), set()
        for seed in range(200):
            ids = plan(Esps(keep=0.1), Heard.of(100, score=score), seed=seed).ids.tolist()
            assert len(ids) == 10
            union |= set(ids)
        assert union == set(np.argsort(-score)[:27].tolist())


class TestSwap:
    def run(self, rule, correct, epochs):
        """Who is inside in each epoch; correct (epochs, examples): what a net would answer."""
        heard, inside = Heard.of(correct.shape[1]), []
        for epoch in range(epochs):
            progress = Progress(epoch, epochs)
            heard = replace(heard, memory=rule.learn(heard, progress, draw(epoch)))
            inside.append(set(rule.plan(heard, progress, draw(epoch)).ids.tolist()))
            visited = heard.memory["chosen"]
            heard = replace(heard, correct=np.where(visited, correct[epoch], heard.correct), visited=visited)
        return inside

    def test_the_least_forgotten_leave_and_as_many_of_those_outside_come_in(self):
        correct = np.zeros((10, 20), dtype=bool)
        correct[:, :10] = True  # never forgotten
        correct[::2, 10:15] = True  # forgotten every other epoch; 15 to 19 are never right
        inside = self.run(Swap(keep=0.5, exchange=0.1, at=(0.5,)), correct, 10)
        assert all(inside[k] == inside[0] for k in range(5))
        assert all(inside[k] == inside[5] for k in range(5, 10))
        left, came = inside[0] - inside[5], inside[5] - inside[0]
        assert len(left) == len(came) == 2
        assert all(i < 10 for i in left)

    def test_never_right_counts_as_often_forgotten_as_there_were_epochs(self):
        correct = np.zeros((10, 6), dtype=bool)
        correct[::2, :3] = True
        inside = self.run(Swap(keep=0.8, exchange=0.17, at=(0.5,)), correct, 10)
        assert (inside[0] - inside[5]) <= {0, 1, 2}

    def test_more_than_is_outside_cannot_come_in(self):
        correct = np.ones((4, 10), dtype=bool)
        inside = self.run(Swap(keep=0.9, exchange=0.5, at=(0.5,)), correct, 4)
        assert len(inside[0] - inside[2]) == 1


def test_a_part_of_1_is_everything_and_not_one_example():
    for rule in (dynamic.rule("esps:keep=1"), dynamic.rule("swap:keep=1,exchange=1")):
        assert len(plan(rule, Heard.of(9, score=np.arange(9.0))).ids) == 9


class TestNames:
    def test_a_name_with_knobs_is_the_rule_and_back(self):
        for spec in ("infobatch", "infobatch:drop=0.3,draw=exact", "random:keep=20", "kakurenbo:hide=0.4,rate=none"):
            assert dynamic.spec_of(dynamic.rule(spec)) == spec
        assert dynamic.rule("random:keep=20").keep == 20

    @pytest.mark.usefixtures("our_own_errors")
    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("infobach", "rule: expected one of .*did you mean infobatch"),
            (
                "infobatch:dorp=0.3",
                "knob of infobatch: expected one of draw, drop, stop, got 'dorp'; did you",
            ),
            ("infobatch:drop=half", "infobatch: drop: expected a number in .*, got 'half'"),
            ("infobatch:drop=1", "drop: expected a number in .*, got '1'"),
            ("infobatch:draw=even", "draw: expected one of apart, exact, got 'even'"),
            ("kakurenbo:hide=-0.1", "hide: expected a number in .*, got '-0.1'"),
            ("random:keep=0", "keep: expected a number in .* or a whole count"),
            ("random:keep=1.5", "keep: expected a number in .* or a whole count"),
            ("eps-greedy:every=0", "every: expected a whole number from 1 .*, got '0'"),
        ],
    )
    def test_what_cannot_be_is_named(self, spec, message):
        with pytest.raises(SecateurError, match=message):
            dynamic.rule(spec)
