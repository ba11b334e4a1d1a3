"""PruningTrainer: schedules that end with the run, epochs as long as their plans, looks before an epoch."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers

import secateur as sc
from secateur.dynamic import Plan, Rule, Sampler
from secateur.dynamic.parts import Redraw
from secateur.errors import SecateurError
from secateur.integrations.transformers import PruningTrainer
from tests.integrations.conftest import BATCH, EPOCHS, N, Rows, network
from tests.integrations.test_transformers import Model, Named, arguments, recording
from tests.integrations.trained import HALVED, HIDING, Dropping, Noisy, Seen, Told, fit

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


def steps_of(trainer, batch=BATCH):
    return [math.ceil(len(visits) / batch) for visits in trainer.sampler.visits]


def progress(steps, epochs=EPOCHS):
    """The part of the run that is done before each step, of epochs of so many steps."""
    return [(epoch + k / length) / epochs for epoch, length in enumerate(steps) for k in range(length)]


class TestSchedule:
    def test_it_ends_with_the_run_however_much_is_skipped(self, tmp_path):
        told = Told()
        trainer = fit(tmp_path, HALVED, callbacks=[told], how={"lr_scheduler_type": "linear"}, cls=Seen)
        assert (steps := steps_of(trainer))[1] < steps[0] == 4
        assert told.rates == pytest.approx([0.1 * (1 - done) for done in progress(steps)])
        assert max(trainer.lr_scheduler.get_last_lr()) == pytest.approx(0, abs=1e-9)

    @pytest.mark.parametrize("epochs", [3, 2.5])
    def test_without_skipping_it_is_the_trainers_own(self, tmp_path, epochs):
        own, told = Told(), Told()
        how = {"lr_scheduler_type": "cosine", "warmup_steps": 3, "num_train_epochs": epochs}

        def nameless(rows):
            return transformers.default_data_collator([{n: row[n] for n in ("rows", "labels")} for row in rows])

        transformers.Trainer(
            Model(), arguments(tmp_path, **how), train_dataset=Named(), callbacks=[own], data_collator=nameless
        ).train()
        fit(tmp_path, "random:keep=1.0", callbacks=[told], how=how)
        assert told.rates == pytest.approx(own.rates, rel=1e-12)
        assert told.epochs == own.epochs

    def test_max_steps_are_so_many_and_the_schedule_is_over_them(self, tmp_path):
        told, how = Told(), {"lr_scheduler_type": "linear", "max_steps": 14}
        trainer = fit(tmp_path, "infobatch:drop=0.9", epochs=9, callbacks=[told], how=how, cls=Seen)
        assert trainer.state.global_step == 14
        assert sum(steps_of(trainer)[:4]) < 14  # four epochs, if they were as long as the first
        assert told.rates == pytest.approx([0.1 * (1 - k / 14) for k in range(14)])

    def test_a_part_of_an_epoch_is_that_part_of_its_steps(self, tmp_path):
        trainer = fit(tmp_path, "infobatch:drop=0.9", how={"num_train_epochs": 1.5}, cls=Seen)
        first, second = steps_of(trainer)
        assert trainer.state.global_step == first + math.ceil(second / 2) < 6

    def test_an_epoch_that_is_longer_than_the_first_is_trained_on_to_its_end(self, tmp_path):
        told = Told()
        trainer = fit(tmp_path, Growing(), callbacks=[told], how={"lr_scheduler_type": "linear"}, cls=Seen)
        assert steps_of(trainer) == [2, 3, 4]
        assert trainer.state.global_step == 9
        assert told.rates == pytest.approx([0.1 * (1 - done) for done in progress([2, 3, 4])])

    def test_an_optimiser_of_ones_own_follows_the_rate_of_the_rule(self, tmp_path, monkeypatch):
        monkeypatch.setattr(Sampler, "rate", property(lambda self: 3.0))
        model = Model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        sampler = Sampler("random:keep=1.0", examples=N, shard=False)
        how = arguments(tmp_path, max_steps=1)
        how.per_device_train_batch_size = N
        start = model.net.weight.detach().clone()
        PruningTrainer(
            model, how, train_dataset=Named(), sampler=sampler,
            optimizers=(optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)),
        ).train()  # fmt: skip
        F.cross_entropy((net := network())(Rows.rows), Rows.labels).backward()
        torch.testing.assert_close(model.net.weight, start - 3 * 0.1 * net.weight.grad)

    def test_an_epoch_without_a_whole_batch(self, tmp_path):
        with pytest.raises(SecateurError, match="dataloader_drop_last: epoch 1 has less than a batch; expected False"):
            fit(tmp_path, Shrinking(), how={"dataloader_drop_last": True})


@dataclass(frozen=True)
class Shrinking(Rule):
    """10, then 5 examples."""

    needs: ClassVar = ()

    def plan(self, heard, progress, rng):
        return Plan(np.arange(10 if progress.epoch == 0 else 5))


@dataclass(frozen=True)
class Growing(Rule):
    """10, 20 and 30 examples."""

    needs: ClassVar = ()

    def plan(self, heard, progress, rng):
        return Plan(np.arange(10 * (progress.epoch + 1)))


class TestState:
    def test_each_epoch_ends_at_a_whole_number_and_logs_once(self, tmp_path):
        told = Told()
        trainer = fit(tmp_path, HALVED, callbacks=[told], how={"logging_strategy": "epoch"}, cls=Seen)
        steps = np.cumsum(steps_of(trainer)).tolist()
        assert told.ends == [(1.0, steps[0]), (2.0, steps[1]), (3.0, steps[2])]
        assert told.epochs == pytest.approx([EPOCHS * done for done in [*progress(steps_of(trainer)), 1.0][1:]])
        logs = [entry for entry in trainer.state.log_history if "loss" in entry]
        assert [(entry["epoch"], entry["step"]) for entry in logs] == told.ends
        assert trainer.state.max_steps == trainer.state.global_step == steps[-1]

    def test_the_rate_at_which_examples_go_by_counts_those_that_did(self, tmp_path):
        trainer = fit(tmp_path, "random:keep=0.2")
        final = trainer.state.log_history[-1]
        assert final["train_samples_per_second"] == pytest.approx(3 * 6 / final["train_runtime"], rel=0.01)

    @pytest.mark.parametrize("takes", [True, False])
    def test_gradients_add_up_over_batches_and_stop_at_the_end_of_an_epoch(self, tmp_path, takes):
        class Taking(Model):  # arguments that the Trainer has a loss normalised by
            def forward(self, rows, labels=None, **more):
                return super().forward(rows, labels)

        model = (Taking if takes else Model)()
        fit(tmp_path, Growing(), model=model, how={"gradient_accumulation_steps": 3})
        net, data = network(), Rows()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for epoch in range(EPOCHS):
            batches = torch.arange(10 * (epoch + 1)).split(BATCH)
            for first in range(0, len(batches), 3):
                group = batches[first : first + 3]
                for ids in group:
                    (F.cross_entropy(net(data.rows[ids]), data.labels[ids]) / len(group)).backward()
                optimizer.step()
                optimizer.zero_grad()
        torch.testing.assert_close(model.net.weight, net.weight)


@dataclass(frozen=True)
class Nosy(Redraw):
    """Looks at everything, and goes by nothing."""

    def due(self, heard, progress):
        return np.arange(len(heard))


class Moody(Model):
    """Says something else in eval mode."""

    def forward(self, rows, labels=None):
        return super().forward(rows if self.training else rows.flip(1), labels)


class TestLooks:
    @pytest.mark.parametrize("rule", [HIDING, "eps-greedy:every=2,keep=0.5", "ucb:every=2,keep=0.5"])
    def test_what_is_due_is_looked_at_as_a_plain_loop_would(self, tmp_path, rule):
        model, own = Moody(), Sampler(rule, examples=N, epochs=EPOCHS, seed=4)
        fit(tmp_path, rule, model=model)
        net, looked = Moody(), 0
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)

        def forward(ids):
            logits = net(Rows.rows[ids], Rows.labels[ids])["logits"]
            losses = F.cross_entropy(logits, Rows.labels[ids], reduction="none")
            confidence, answers = logits.detach().softmax(1).max(1)
            own.report(ids, losses, correct=answers == Rows.labels[ids], confidence=confidence)
            return losses

        for epoch in range(EPOCHS):
            if len(due := torch.from_numpy(own.due)):
                looked += len(due)
                net.eval()
                forward(due)
                net.train()
            plan = own.plan(epoch)
            for ids in torch.from_numpy(plan.ids).split(BATCH):
                (forward(ids) * own.weights(ids)).mean().backward()
                for group in optimizer.param_groups:
                    group["lr"] = 0.1 * plan.rate
                optimizer.step()
                optimizer.zero_grad()
        assert looked
        torch.testing.assert_close(model.net.weight, net.net.weight)

    def test_they_are_in_eval_mode_through_the_collator_and_before_the_epoch(self, tmp_path):
        model, looks = Model(), []

        class Looking(Sampler):
            def report(self, ids, loss, **more):
                looks.append((model.training, sorted(ids.tolist())))
                super().report(ids, loss, **more)

        sampler = Looking("eps-greedy:every=2,keep=0.5", examples=N, shard=False)
        collated = []

        def collate(rows):
            collated.append(len(rows))
            return transformers.default_data_collator(rows)

        PruningTrainer(
            model, arguments(tmp_path, per_device_eval_batch_size=20), train_dataset=Named(), sampler=sampler,
            data_collator=collate,
        ).train()  # fmt: skip
        assert [(training, len(ids)) for training, ids in looks] == [
            *[(False, 20), (False, 10)], *[(True, 8), (True, 7)] * 2,
            *[(False, 20), (False, 10)], *[(True, 8), (True, 7)],
        ]  # fmt: skip
        assert looks[0][1] + looks[1][1] == list(range(N))
        assert collated == [20, 10, 8, 7, 8, 7, 20, 10, 8, 7]

    def test_the_random_streams_of_training_do_not_hear_of_them(self, tmp_path):
        looking, not_looking = (
            fit(tmp_path, rule(keep=0.5), model=Dropping(), data=Noisy()).model for rule in (Nosy, Redraw)
        )
        assert torch.equal(looking.net.weight, not_looking.net.weight)

    def test_a_recording_holds_what_was_trained_on_alone(self, tmp_path):
        trainer = fit(tmp_path, HIDING, callbacks=[recording(tmp_path)], cls=Seen)
        seen = np.asarray(sc.Recording.open(tmp_path / "t.zarr")["seen"]) == 1
        assert [np.flatnonzero(row).tolist() for row in seen] == [sorted(ids) for ids in trainer.sampler.visits]
        assert not seen[1].all()
