"""The Trainer of transformers records the rows that a plain loop does, and trains on what a rule plans."""

import pytest
import torch
import torch.nn.functional as F
import transformers

import secateur as sc
from secateur.dynamic import Sampler
from secateur.errors import SecateurError
from secateur.integrations.transformers import PruningTrainer, RecorderCallback
from tests.integrations.conftest import BATCH, CLASSES, EPOCHS, N, Rows, by_hand, network, same_rows

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


class Named(Rows):
    def __getitem__(self, i):
        return {"id": i, "rows": self.rows[i], "labels": self.labels[i]}


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, rows, labels=None):
        logits = self.net(rows)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def arguments(folder, **options):
    return transformers.TrainingArguments(
        str(folder / "trainer"), per_device_train_batch_size=BATCH, learning_rate=0.1, max_grad_norm=0.0, use_cpu=True,
        report_to=[], disable_tqdm=True,
        **{
            "remove_unused_columns": False, "save_strategy": "no", "logging_strategy": "no",
            "num_train_epochs": EPOCHS, "optim": "sgd", "lr_scheduler_type": "constant", **options,
        },
    )  # fmt: skip


def in_order(epoch):
    return range(N)


class Ordered(transformers.Trainer):
    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def recording(folder):
    return RecorderCallback(folder / "t.zarr", examples=N, classes=CLASSES)


def test_records_the_rows_that_a_plain_loop_does(tmp_path):
    model = Model()
    Ordered(model, arguments(tmp_path), train_dataset=Named(), callbacks=[recording(tmp_path)]).train()
    expected, net = by_hand(tmp_path / "own.zarr", in_order)
    same_rows(sc.Recording.open(tmp_path / "t.zarr"), expected)
    torch.testing.assert_close(model.net.weight, net.weight)
    assert not model._forward_pre_hooks
    assert not model._forward_hooks


def test_evaluation_is_not_recorded(tmp_path):
    trainer = Ordered(
        Model(), arguments(tmp_path, eval_strategy="epoch"), train_dataset=Named(), eval_dataset=Named(),
        callbacks=[recording(tmp_path)],
    )  # fmt: skip
    trainer.train()
    same_rows(sc.Recording.open(tmp_path / "t.zarr"), by_hand(tmp_path / "own.zarr", in_order)[0])


def test_a_run_that_goes_on_from_a_checkpoint_goes_on_recording(tmp_path):
    class Killed(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **of):
            if state.epoch > 2:
                raise KeyError("killed")

    how = arguments(tmp_path, save_strategy="epoch")
    with pytest.raises(KeyError):
        Ordered(Model(), how, train_dataset=Named(), callbacks=[recording(tmp_path), Killed()]).train()
    Ordered(Model(), how, train_dataset=Named(), callbacks=[recording(tmp_path)]).train(resume_from_checkpoint=True)
    same_rows(sc.Recording.open(tmp_path / "t.zarr"), by_hand(tmp_path / "own.zarr", in_order)[0])


@pytest.mark.parametrize("rule", ["infobatch:drop=0.7", "random:keep=0.4"])
@pytest.mark.parametrize("recorded", [True, False])
def test_trains_on_what_the_rule_plans_as_a_plain_loop_would(tmp_path, rule, recorded):
    sampler, own = (Sampler(rule, examples=N, epochs=EPOCHS, seed=4, shard=False) for _ in range(2))
    model, callbacks = Model(), [recording(tmp_path)] if recorded else []
    PruningTrainer(model, arguments(tmp_path), train_dataset=Named(), callbacks=callbacks, sampler=sampler).train()

    def report(ids, losses, logits):
        confidence, answers = logits.detach().softmax(1).max(1)
        own.report(ids, losses, correct=answers == Rows.labels[ids], confidence=confidence)

    order = lambda epoch: own.plan(epoch).ids.tolist()
    expected, net = by_hand(tmp_path / "own.zarr", order, weights=own.weights, report=report)
    torch.testing.assert_close(model.net.weight, net.weight)
    if recorded:
        same_rows(sc.Recording.open(tmp_path / "t.zarr"), expected)


class TestBadInput:
    def test_columns_that_are_taken_out(self, tmp_path):
        how = arguments(tmp_path, remove_unused_columns=True)
        with pytest.raises(SecateurError, match="remove_unused_columns: expected False, so that the column id"):
            Ordered(Model(), how, train_dataset=Named(), callbacks=[recording(tmp_path)]).train()
        with pytest.raises(SecateurError, match="remove_unused_columns: expected False"):
            PruningTrainer(Model(), how, train_dataset=Named(), sampler=Sampler("random", examples=N, shard=False))

    def test_a_batch_without_ids(self, tmp_path):
        class Nameless(Named):
            def __getitem__(self, i):
                return {"rows": self.rows[i], "labels": self.labels[i]}

        with pytest.raises(SecateurError, match="batch: expected id and labels beside what the model takes, got"):
            Ordered(Model(), arguments(tmp_path), train_dataset=Nameless(), callbacks=[recording(tmp_path)]).train()
        sampler = Sampler("random", examples=N, shard=False)
        with pytest.raises(SecateurError, match="batch: expected id and labels beside what the model takes, got"):
            PruningTrainer(Model(), arguments(tmp_path), train_dataset=Nameless(), sampler=sampler).train()

    def test_a_sampler_that_shards_too(self, tmp_path):
        with pytest.raises(SecateurError, match="sampler: expected one made with shard=False"):
            PruningTrainer(Model(), arguments(tmp_path), train_dataset=Named(), sampler=Sampler("random", examples=N))
