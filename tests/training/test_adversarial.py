"""Perturbed views stay inside their budgets and do harm there; a run that has none is the run it was."""

import contextlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from secateur.data.source import open_data
from secateur.data.tensors import Tensors
from secateur.errors import SecateurError
from secateur.training import adversarial
from secateur.training.adversarial import Adversary, Attack, budgets, parse, perturbed
from secateur.training.distill import Distill
from secateur.training.evaluate import accuracy, robust_accuracy
from secateur.training.loop import Watch, train
from secateur.training.nets import build
from secateur.training.objective import Supervised
from secateur.training.recipes import RECIPES
from secateur.training.sampling import Shuffled
from secateur.training.seeding import generator
from tests.training.test_loop import CPU, Stop, assert_same, net, run, tensors

NORMS = ["l2", "linf"]


def noise(seed=0):
    return generator(seed, "test")


def length(delta, norm):
    return delta.flatten(1).norm(dim=1) if norm == "l2" else delta.flatten(1).abs().amax(dim=1)


def losses(student, rows, labels):
    student.eval()
    with torch.no_grad():
        return F.cross_entropy(student(rows), labels, reduction="none")


@pytest.fixture
def exact(monkeypatch):
    """Without bfloat16, which rounds what is worked out by hand."""
    monkeypatch.setattr(adversarial, "autocast", lambda device: contextlib.nullcontext())


@pytest.fixture
def batch():
    data = tensors()
    return data.sample(data.usable), data.labels


class TestTheView:
    @pytest.mark.parametrize("steps", [1, 4])
    @pytest.mark.parametrize("norm", NORMS)
    def test_stays_in_the_budget_of_each_example_and_among_the_pixels(self, batch, norm, steps):
        rows, labels = batch
        rows[:4], rows[4:8] = 0, 255  # at the edges
        eps = 0.3 if norm == "linf" else 3.0
        each = torch.linspace(0, eps, len(rows))
        got = perturbed(net(), rows, labels, each, Adversary(norm, eps, steps=steps), generator=noise())
        assert got.dtype == torch.float32
        assert got.shape == rows.shape
        assert got.min() >= 0
        assert got.max() <= 255
        moved = length(got - rows.float(), norm)
        assert (moved <= 255 * each * (1 + 1e-5) + 1e-4).all()
        assert (moved[8:] > 0.3 * 255 * each[8:]).all()  # and makes use of it
        assert torch.equal(got[0], rows[0].float())

    @pytest.mark.parametrize("steps", [1, 10])
    @pytest.mark.parametrize("norm", NORMS)
    def test_of_vectors_stays_in_the_budget_and_has_no_other_bounds(self, norm, steps):
        linear, rows = torch.nn.Linear(2, 2), torch.tensor([[300.0, -5.0], [0.0, 0.0]])
        each, how = torch.tensor([2.0, 0.5]), Adversary(norm, 2.0, steps=steps)
        got = perturbed(linear, rows, torch.tensor([0, 1]), each, how, generator=noise())
        assert length(got - rows, norm).tolist() == pytest.approx([2.0, 0.5], rel=1e-4)

    @pytest.mark.usefixtures("exact")
    @pytest.mark.parametrize("steps", [1, 10])
    def test_against_a_linear_net_equals_the_closed_form(self, steps):
        """Two classes: the loss of class 0 rises along w1 - w0, and ten steps of a quarter arrive from anywhere."""
        linear = torch.nn.Linear(3, 2)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor([[1.0, 2.0, -1.0], [4.0, -2.0, -1.5]]))  # w1 - w0 = (3, -4, -0.5)
        rows, labels, each = torch.zeros(2, 3), torch.tensor([0, 1]), torch.tensor([0.2, 0.1])
        got = perturbed(linear, rows, labels, each, Adversary("linf", 0.2, steps=steps), generator=noise())
        expected = torch.tensor([[0.2, -0.2, -0.2], [-0.1, 0.1, 0.1]])
        torch.testing.assert_close(got, expected)
        if steps == 1:
            got = perturbed(linear, rows, labels, each, Adversary("l2", 0.2, steps=1), generator=noise())
            way = torch.tensor([3.0, -4.0, -0.5]) / 25.25**0.5
            torch.testing.assert_close(got, torch.stack((0.2 * way, -0.1 * way)))

    @pytest.mark.usefixtures("exact")
    def test_a_step_size_is_that_of_the_whole_budget_and_shrinks_with_it(self):
        linear = torch.nn.Linear(1, 2)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor([[0.0], [1.0]]))
        attack = Adversary("linf", 0.5, steps=1, step_size=0.2)
        got = perturbed(linear, torch.zeros(2, 1), torch.tensor([0, 0]), torch.tensor([0.5, 0.25]), attack,
                        generator=noise())  # fmt: skip
        torch.testing.assert_close(got[:, 0], torch.tensor([0.2, 0.1]))

    @pytest.mark.parametrize("norm", NORMS)
    def test_raises_the_loss_and_more_so_with_more_steps(self, batch, norm):
        student, (rows, labels) = net(), batch
        eps = 0.1 if norm == "linf" else 2.0
        before, each = losses(student, rows, labels), torch.full((len(rows),), eps)
        once, often = (
            losses(student, perturbed(student, rows, labels, each, Adversary(norm, eps, k), generator=noise()), labels)
            for k in (1, 10)
        )
        assert (often > before).all()
        assert before.mean() < once.mean() < often.mean()

    @pytest.mark.parametrize("sure", [20.0, 300.0])
    def test_moves_a_sure_answer_as_far_as_any(self, sure):
        """Whose probability is 1 in float32, so that its cross-entropy is flat."""
        same, rows = torch.nn.Identity(), torch.tensor([[sure, 0.0]])
        got = perturbed(same, rows, torch.tensor([0]), torch.ones(1), Adversary("l2", 1.0, 1), generator=noise())
        torch.testing.assert_close(got, rows + torch.tensor([[-1.0, 1.0]]) / 2**0.5)

    @pytest.mark.parametrize("training", [True, False])
    def test_leaves_the_net_as_it_was(self, batch, training):
        student, (rows, labels) = net().train(training), batch
        before = {name: value.clone() for name, value in student.state_dict().items()}
        perturbed(student, rows, labels, torch.full((len(rows),), 0.5), Adversary("l2", 0.5, 2), generator=noise())
        assert student.training is training
        assert all(m.training is training for m in student.modules())
        assert all(torch.equal(before[name], value) for name, value in student.state_dict().items())
        assert all(p.grad is None for p in student.parameters())

    @pytest.mark.usefixtures("exact")
    def test_of_one_example_does_not_depend_on_its_batch(self, batch):
        student, (rows, labels) = net().train(), batch
        attack, each = Adversary("l2", 0.5, 1), torch.full((len(rows),), 0.5)
        together = perturbed(student, rows, labels, each, attack, generator=noise())
        alone = perturbed(student, rows[:2], labels[:2], each[:2], attack, generator=noise())
        torch.testing.assert_close(together[:2], alone, atol=1e-3, rtol=0)

    def test_the_same_generator_gives_the_same_view_and_another_another(self, batch):
        rows, labels = batch
        attack, each = Adversary("linf", 0.1, 2), torch.full((len(rows),), 0.1)
        a, b, c = (perturbed(net(), rows, labels, each, attack, generator=noise(s)) for s in (0, 0, 1))
        assert torch.equal(a, b)
        assert not torch.equal(a, c)

    def test_global_streams_are_left_alone(self, batch):
        before, rows = torch.random.get_rng_state(), batch[0]
        perturbed(net(), *batch, torch.full((len(rows),), 0.1), Adversary("l2", 0.1, 2), generator=noise())
        assert torch.equal(before, torch.random.get_rng_state())


def attack(norm="l2", eps=1.0, each=None, **how):
    return Attack(Adversary(norm, eps, **how), torch.full((24,), eps) if each is None else each)


class TestTraining:
    @pytest.mark.parametrize("name", ["sgd", "fast"])
    @pytest.mark.parametrize("norm", NORMS)
    def test_with_no_budget_for_anyone_is_plain_training_to_the_bit(self, name, norm):
        plain, _ = run(name, steps=4)
        assert_same(plain, run(name, steps=4, adversary=attack(norm, 0.5, torch.zeros(24), steps=3))[0])

    def test_with_a_budget_is_another_run_and_repeats(self):
        plain, once, again = (run(steps=4, adversary=a)[0] for a in (None, attack(), attack()))
        assert_same(once, again)
        assert not torch.equal(plain.body.head.weight, once.body.head.weight)

    def test_a_budget_for_one_example_moves_it_alone(self):
        class Listener:
            def batch(self, ids, logits, labels):
                heard.append(logits.detach())

            def end_epoch(self):
                pass

        first = Shuffled(np.arange(24), 0).plan(0).ids[:8]
        each, logits = torch.zeros(24), []
        each[first[3]] = 1.0
        for adversary in (None, attack(each=each)):
            heard = []
            run(spec="mlp", steps=1, recorder=Listener(), adversary=adversary)
            logits += heard
        changed = (logits[0] != logits[1]).any(dim=1)
        assert changed.tolist() == [k == 3 for k in range(8)]

    def test_stopped_after_an_epoch_ends_with_the_same_weights_to_the_bit(self, tmp_path):
        options = {"adversary": attack("linf", 0.1, steps=2)}
        whole, _ = run(**options)

        def stop(at, loss):
            if at.epoch == 2:
                raise Stop

        with pytest.raises(Stop):
            run(save_to=tmp_path / "state.safetensors", watch=Watch(epoch=stop), **options)
        parts, done = run(save_to=tmp_path / "state.safetensors", **options)
        assert done.step == 9
        assert_same(whole, parts)

    def test_streamed_and_in_memory_end_with_the_same_weights(self):
        a, b = (run(data=tensors(m), steps=3, adversary=attack(steps=2))[0] for m in (None, 1))
        assert_same(a, b)

    def test_the_teacher_is_asked_about_the_view_before_it_was_perturbed(self):
        class Teacher(torch.nn.Module):
            def forward(self, rows):
                asked.append(rows)
                return torch.zeros(len(rows), 3)

        seen = []
        for adversary in (None, attack()):
            asked = []
            run(steps=3, teacher=Teacher(), distill=Distill(a=0.5), adversary=adversary)
            seen.append(torch.cat(asked))
        assert torch.equal(*seen)

    def test_makes_a_net_that_withstands_more(self):
        source = open_data("digits")
        data, test = Tensors(source.train, CPU), Tensors(source.test, CPU)
        adversary = Adversary("linf", 0.15, steps=3)
        recipe, got = RECIPES["sgd"].for_data(len(data), data.shape), []
        for attack in (None, Attack.of(adversary, len(data), None, CPU)):
            student = build("mlp:0.25", shape=data.shape, classes=10, mean=torch.zeros(1),
                            spread=torch.full((1,), 128.0), seed=0)  # fmt: skip
            objective = Supervised(student, data, recipe, seed=0, adversary=attack)
            train(student, data, recipe, steps=150, sampler=Shuffled(data.usable, 0), seed=0, objective=objective)
            got.append(robust_accuracy(student, test, adversary=adversary, seed=0).overall)
            assert accuracy(student, test).overall > 0.8
        assert got[1] > got[0] + 0.1


class TestRobustAccuracy:
    def test_is_at_most_the_clean_one_in_every_class_and_the_same_again(self):
        data, (student, _) = tensors(n=60), run(steps=30)
        clean = accuracy(student, data)
        weak, strong, again = (
            robust_accuracy(student, data, adversary=Adversary("l2", eps), seed=0) for eps in (0.2, 3.0, 3.0)
        )
        assert clean.overall > 0.4
        assert (strong.right <= clean.right).all()
        assert strong.right.sum() <= weak.right.sum() <= clean.right.sum()
        assert strong.right.sum() < clean.right.sum()
        np.testing.assert_array_equal(strong.total, clean.total)
        np.testing.assert_array_equal(strong.right, again.right)

    def test_an_attack_that_goes_the_wrong_way_makes_nothing_right(self):
        """The example as it is lies in the ball too."""

        class Misleading(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.body = net("mlp")

            def forward(self, rows):
                logits = self.body(rows)
                return 2 * logits.detach() - logits  # the same values, the opposite gradient

        student, data = Misleading(), tensors()
        adversary = Adversary("linf", 0.2)
        whole = torch.full((24,), 0.2)
        rows = perturbed(student, data.sample(data.usable), data.labels, whole, adversary, generator=noise())
        helped = (student(rows).argmax(dim=1) == data.labels).sum().item()
        clean = accuracy(student, data).right
        assert helped > clean.sum()  # so the attack does help
        np.testing.assert_array_equal(robust_accuracy(student, data, adversary=adversary, seed=0).right, clean)

    def test_the_seed_alone_says_where_the_attack_starts(self):
        class Spy(torch.nn.Module):
            def forward(self, rows):
                seen.append(rows.detach().clone())
                return rows.flatten(1)[:, :3]

        starts = []
        for seed in (0, 0, 1):
            seen = []
            robust_accuracy(Spy(), tensors(), adversary=Adversary("l2", 1.0), seed=seed)
            starts.append(seen[1])  # after the clean rows
        assert torch.equal(starts[0], starts[1])
        assert not torch.equal(starts[0], starts[2])

    @pytest.mark.parametrize(("eps", "steps"), [(0.0, 10), (3.0, 0)])
    def test_without_an_attack_is_the_clean_one(self, eps, steps):
        data, student = tensors(), net()
        clean = accuracy(student, data)
        got = robust_accuracy(student, data, adversary=Adversary("linf", eps), seed=0, steps=steps)
        np.testing.assert_array_equal(got.right, clean.right)

    def test_does_not_depend_on_how_the_run_was_attacked(self):
        data, (student, _) = tensors(), run(steps=30)
        a, b = (
            robust_accuracy(student, data, adversary=adversary, seed=0)
            for adversary in (Adversary("l2", 1.0, steps=1), Adversary("l2", 1.0, steps=3, step_size=0.01))
        )
        np.testing.assert_array_equal(a.right, b.right)

    def test_of_some_ids_counts_those_alone(self):
        got = robust_accuracy(net(), tensors(), np.arange(7), adversary=Adversary("l2", 0.1), seed=0)
        assert got.total.sum() == 7


class TestBudgets:
    def test_the_margin_is_the_most_where_it_is_less_than_eps(self):
        got = budgets(Adversary("l2", 0.5), 4, np.array([0.0, 0.3, 0.5, np.inf]))
        torch.testing.assert_close(got, torch.tensor([0.0, 0.3, 0.5, 0.5]))

    def test_constant_gives_eps_to_all_whatever_the_margins(self):
        got = budgets(Adversary("l2", 0.5, eps_rule="constant"), 3, np.zeros(3))
        assert got.tolist() == [0.5, 0.5, 0.5]

    def test_margins_are_asked_for_in_l2_alone(self):
        assert Adversary("l2", 0.5).rule == "margin"
        assert budgets(Adversary("linf", 0.5), 2).tolist() == [0.5, 0.5]

    @pytest.mark.parametrize(
        ("margins", "message"),
        [
            (None, "adversary: rule=margin needs the margin of every example, .*rule=constant"),
            (np.zeros(4), r"margins: expected shape \(3,\), a value an example, got \(4,\)"),
            (np.array([0.1, np.nan, 0.2]), "margins: expected lengths of 0 or more, got nan at example 1"),
            (np.array([0.1, 0.2, -1.0]), "margins: expected lengths of 0 or more, got -1.0 at example 2"),
        ],
    )
    def test_margins_that_cannot_be_are_named(self, margins, message):
        with pytest.raises(SecateurError, match=message):
            budgets(Adversary("l2", 0.5), 3, margins)


class TestText:
    def test_a_norm_and_its_parts(self):
        assert parse("l2:eps=0.5,steps=3") == Adversary("l2", 0.5, 3)
        assert parse("linf:eps=8/255,step_size=2/255") == Adversary("linf", 8 / 255, 10, 2 / 255)
        assert parse("l2:eps=1,rule=constant,steps=1") == Adversary("l2", 1.0, 1, None, "constant")
        assert parse("off") is None
        assert parse(None) is None
        assert parse(Adversary("l2", 1.0)) == Adversary("l2", 1.0)

    @pytest.mark.parametrize(
        "spec", ["", "on", "l2", "l2:", "l2:steps=3", "l2:eps=", "l2:eps=x", "l2:eps=1/0", "l2:eps=1,steps=1.5",
                 "l2:eps=1,step=2", "l2:eps=1,norm=linf"],
    )  # fmt: skip
    def test_what_cannot_be_read_is_answered_with_an_example(self, spec):
        with pytest.raises(
            SecateurError, match="adversary: expected off, or a norm with eps .*, as l2:eps=0.5,steps=3"
        ):
            parse(spec)

    @pytest.mark.usefixtures("our_own_errors")
    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("l1:eps=1", "adversary: norm: expected one of l2, linf, got 'l1'"),
            ("l2:eps=1,rule=margins", "adversary: rule: expected one of constant, margin, .*did you mean margin"),
            ("l2:eps=-1", "adversary: eps: expected a number in .*, got -1.0"),
            ("l2:eps=nan", "adversary: eps: expected a number in .*, got nan"),
            ("l2:eps=inf", "adversary: eps: expected a number in .*, got inf"),
            ("l2:eps=1,steps=-1", "adversary: steps: expected a whole number .*, got -1"),
            ("l2:eps=1,step_size=0", "adversary: step_size: expected a number in .*, got 0.0"),
            ("linf:eps=8/255,rule=margin", "adversary: rule=margin compares eps with L2 margins; .*rule=constant"),
        ],
    )
    def test_what_cannot_be_is_named(self, spec, message):
        with pytest.raises(SecateurError, match=message):
            parse(spec)

    @pytest.mark.parametrize(("norm", "eps"), [("linf", 8.0), ("l2", 128.0)])
    def test_levels_in_place_of_fractions_are_noticed_for_images(self, norm, eps):
        with pytest.raises(SecateurError, match=f"of 255 levels, write eps={eps:g}/255"):
            Adversary(norm, eps).check_shape((3, 32, 32))
        Adversary(norm, eps).check_shape((20,))
        Adversary(norm, eps / 255).check_shape((3, 32, 32))
