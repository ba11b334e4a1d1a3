"""What a model answers, how its loss is made and where a run stood: taken as it is, or refused in a sentence."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers

import secateur as sc
from secateur.dynamic import Sampler
from secateur.errors import SecateurError
from secateur.integrations.transformers import PruningTrainer, RecorderCallback
from tests.integrations.conftest import N, Rows, by_hand, same_rows
from tests.integrations.test_transformers import Model, Named, Ordered, arguments, in_order, recording

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


class Configured(Model):
    """What the Trainer asks of a model whose labels it smooths."""

    config = transformers.PretrainedConfig()


class Tuples(Model):
    def forward(self, rows, labels=None):
        return tuple(super().forward(rows, labels).values())


class Tokens(Model):
    def forward(self, rows, labels=None):
        out = super().forward(rows, labels)
        return {"loss": out["loss"], "logits": out["logits"][:, None].expand(-1, 4, -1)}


class Squares(Model):
    def forward(self, rows, labels=None):
        logits = self.net(rows)
        return {"loss": logits.square().mean(), "logits": logits}


class Single(Squares):
    def forward(self, rows, labels=None):
        logits = self.net(rows)[:, :1]
        return {"loss": (logits[:, 0] - labels).square().mean(), "logits": logits}


class Renamed(Model):
    def forward(self, rows, labels=None):
        out = super().forward(rows, labels)
        return {"loss": out["loss"], "scores": out["logits"]}


class Real(Named):
    def __init__(self, shape):
        self.labels = torch.linspace(0, 1, N).view(shape)


class Killed(transformers.TrainerCallback):
    def __init__(self, step=7):
        self.step = step

    def on_step_begin(self, args, state, control, **of):
        if state.global_step == self.step:
            raise KeyError("killed")


def unasked(folder, **options):
    return RecorderCallback(folder / "t.zarr", examples=N, **options)


def every_row():
    return Sampler("random:keep=1.0", examples=N, shard=False)


@pytest.mark.parametrize("step", [2, 3, 4])  # epochs have four steps
def test_a_recording_goes_on_from_any_checkpoint(tmp_path, step):
    how = arguments(tmp_path, save_strategy="steps", save_steps=1)
    with pytest.raises(KeyError):
        Ordered(Model(), how, train_dataset=Named(), callbacks=[recording(tmp_path), Killed()]).train()
    trainer = Ordered(Model(), how, train_dataset=Named(), callbacks=[recording(tmp_path)])
    trainer.train(resume_from_checkpoint=str(tmp_path / "trainer" / f"checkpoint-{step}"))
    same_rows(sc.Recording.open(tmp_path / "t.zarr"), by_hand(tmp_path / "own.zarr", in_order)[0])


def test_a_checkpoint_in_the_middle_of_an_epoch_without_the_recorder_s_state(tmp_path):
    how = arguments(tmp_path, save_strategy="steps", save_steps=1)
    Ordered(Model(), how, train_dataset=Named(), callbacks=[recording(tmp_path)]).train()
    (tmp_path / "trainer" / "checkpoint-7" / "recorder.pt").unlink()
    trainer = Ordered(Model(), how, train_dataset=Named(), callbacks=[recording(tmp_path)])
    with pytest.raises(SecateurError, match="in the middle of epoch 1 and has no recorder.pt; take a checkpoint at"):
        trainer.train(resume_from_checkpoint=str(tmp_path / "trainer" / "checkpoint-7"))


@pytest.mark.parametrize("options", [{}, {"gradient_accumulation_steps": 2}], ids=["plain", "accumulated"])
def test_a_model_that_answers_in_a_tuple_is_recorded(tmp_path, options):
    Ordered(Tuples(), arguments(tmp_path), train_dataset=Named(), callbacks=[recording(tmp_path)]).train()
    same_rows(sc.Recording.open(tmp_path / "t.zarr"), by_hand(tmp_path / "own.zarr", in_order)[0])
    PruningTrainer(Tuples(), arguments(tmp_path, **options), train_dataset=Named(), sampler=every_row()).train()


def test_pruning_smooths_labels_as_the_trainer_does_and_hears_plain_losses(tmp_path):
    how, heard = arguments(tmp_path, label_smoothing_factor=0.2, num_train_epochs=1), []

    class Hearing(Sampler):
        def report(self, ids, loss, **more):
            heard.append((ids, loss.detach().clone()))
            super().report(ids, loss, **more)

    model = Configured()
    PruningTrainer(
        model, how, train_dataset=Named(), sampler=Hearing("random:keep=1.0", examples=N, shard=False)
    ).train()
    net, data, opt = Model().net, Rows(), None
    opt = torch.optim.SGD(net.parameters(), lr=0.1)
    for ids, loss in heard:
        logits = net(data.rows[ids])
        torch.testing.assert_close(loss, F.cross_entropy(logits, data.labels[ids], reduction="none"))
        logp = logits.log_softmax(1)
        nll, smooth = -logp.gather(1, data.labels[ids][:, None]).mean(), -logp.mean()  # the LabelSmoother's sum
        (0.8 * nll + 0.2 * smooth).backward()
        opt.step()
        opt.zero_grad()
    torch.testing.assert_close(model.net.weight, net.weight)


def test_a_loss_a_row_of_one_s_own_is_recorded_where_there_are_no_classes(tmp_path):
    def squares(outputs, labels):
        return (outputs["logits"][:, 0] - labels).square()

    how, model = arguments(tmp_path, num_train_epochs=1), Single()
    how.learning_rate = 0.0
    trainer = Ordered(model, how, train_dataset=Real((N,)), callbacks=[unasked(tmp_path, losses=squares)])
    trainer.train()
    expected = (model.net(Rows.rows)[:, 0] - torch.linspace(0, 1, N)).square().detach().numpy()
    np.testing.assert_allclose(sc.Recording.open(tmp_path / "t.zarr")["loss"][0], expected, rtol=1e-5)


def test_a_recording_goes_on_in_the_middle_of_an_epoch_of_accumulated_batches(tmp_path):
    first, second = tmp_path / "whole", tmp_path / "part"
    Ordered(Model(), arguments(first, gradient_accumulation_steps=3), train_dataset=Named(),
            callbacks=[recording(first)]).train()  # fmt: skip
    how = arguments(second, save_strategy="steps", save_steps=1, gradient_accumulation_steps=3)
    with pytest.raises(KeyError):
        Ordered(Model(), how, train_dataset=Named(), callbacks=[recording(second), Killed(3)]).train()
    trainer = Ordered(Model(), how, train_dataset=Named(), callbacks=[recording(second)])
    trainer.train(resume_from_checkpoint=str(second / "trainer" / "checkpoint-3"))
    same_rows(sc.Recording.open(second / "t.zarr"), sc.Recording.open(first / "t.zarr"))


class TestRefused:
    def test_smoothed_labels_do_not_reach_the_recorder(self, tmp_path):
        how = arguments(tmp_path, label_smoothing_factor=0.1)
        with pytest.raises(SecateurError, match="label_smoothing_factor: expected 0"):
            Ordered(Configured(), how, train_dataset=Named(), callbacks=[recording(tmp_path)]).train()

    def test_a_loss_of_the_whole_batch(self, tmp_path):
        def loss(outputs, labels, num_items_in_batch=None):
            return F.cross_entropy(outputs["logits"], labels)

        how = {"train_dataset": Named(), "compute_loss_func": loss}
        with pytest.raises(SecateurError, match="compute_loss_func: expected none"):
            PruningTrainer(Model(), arguments(tmp_path), sampler=every_row(), **how)
        with pytest.raises(SecateurError, match="do not reach the model with compute_loss_func"):
            Ordered(Model(), arguments(tmp_path), callbacks=[recording(tmp_path)], **how).train()

    @pytest.mark.parametrize("kind", ["regression", "multi_label_classification"])
    def test_a_model_whose_config_says_that_it_tells_no_classes_apart(self, tmp_path, kind):
        model = Configured()
        model.config = transformers.PretrainedConfig(problem_type=kind)
        with pytest.raises(SecateurError, match=f"got problem_type {kind}; pass RecorderCallback.losses=..."):
            Ordered(model, arguments(tmp_path), train_dataset=Named(), callbacks=[recording(tmp_path)]).train()

    @pytest.mark.parametrize("shape, match", [
        ((N, 1), r"labels: expected one whole number a row .*float32 \(8, 1\); pass RecorderCallback.losses"),
        ((N,), r"labels: expected one whole number a row .*float32 \(8,\); pass RecorderCallback.losses"),
    ])  # fmt: skip
    def test_labels_that_are_no_classes(self, tmp_path, shape, match):
        with pytest.raises(SecateurError, match=match):
            Ordered(Squares(), arguments(tmp_path), train_dataset=Real(shape), callbacks=[recording(tmp_path)]).train()

    def test_a_single_answer_a_row(self, tmp_path):
        with pytest.raises(SecateurError, match=r"logits: expected 2 classes or more, got 1 \(regression\); pass"):
            Ordered(Single(), arguments(tmp_path), train_dataset=Named(), callbacks=[unasked(tmp_path)]).train()

    def test_outputs_without_logits(self, tmp_path):
        with pytest.raises(SecateurError, match="model: expected logits .* got dict of loss, scores"):
            Ordered(Renamed(), arguments(tmp_path), train_dataset=Named(), callbacks=[recording(tmp_path)]).train()

    def test_several_gpus_in_one_process(self, tmp_path):
        how = arguments(tmp_path)
        how._n_gpu = 2
        with pytest.raises(SecateurError, match="n_gpu: expected 1 in a process, got 2.*torchrun"):
            recording(tmp_path).on_train_begin(how, transformers.TrainerState(), None, model=Model())

    def test_losses_that_are_not_one_a_row(self, tmp_path):
        mean = RecorderCallback(tmp_path / "t.zarr", examples=N, losses=lambda outputs, labels: outputs["loss"])
        with pytest.raises(SecateurError, match=r"losses: expected a loss a row, shape \(8,\), got shape \(\); use"):
            Ordered(Tokens(), arguments(tmp_path), train_dataset=Named(), callbacks=[mean]).train()

    def test_an_answer_a_token(self, tmp_path):
        with pytest.raises(SecateurError, match="logits: expected one answer a row"):
            Ordered(Tokens(), arguments(tmp_path), train_dataset=Named(), callbacks=[recording(tmp_path)]).train()
        with pytest.raises(SecateurError, match="logits: expected one answer a row"):
            PruningTrainer(Tokens(), arguments(tmp_path), train_dataset=Named(), sampler=every_row()).train()


def test_an_answer_a_token_may_be_pruned_by_losses_of_one_s_own(tmp_path):
    class Mean(PruningTrainer):
        def losses(self, outputs, labels):
            return F.cross_entropy(outputs["logits"].mean(1), labels, reduction="none")

    Mean(Tokens(), arguments(tmp_path), train_dataset=Named(), sampler=every_row()).train()
