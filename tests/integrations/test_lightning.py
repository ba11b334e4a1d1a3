"""Lightning's Trainer records the rows that a plain loop does, and trains on what a rule plans."""

import lightning.pytorch as lightning
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

import secateur as sc
from secateur.dynamic import Sampler
from secateur.errors import SecateurError
from secateur.integrations.lightning import PruningCallback, RecorderCallback
from tests.integrations.conftest import BATCH, CLASSES, EPOCHS, N, Rows, by_hand, network, same_rows

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


class Module(lightning.LightningModule):
    def __init__(self, sampler=None, without=()):
        super().__init__()
        self.net, self.sampler, self.without = network(), sampler, without

    def training_step(self, batch, batch_idx):
        ids, rows, labels = batch
        logits = self.net(rows)
        losses = F.cross_entropy(logits, labels, reduction="none")
        weights = 1 if self.sampler is None else self.sampler.weights(ids)
        out = {"loss": (losses * weights).mean(), "losses": losses.detach(), "logits": logits}
        return {name: value for name, value in out.items() if name not in self.without}

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(module, loader, folder, callbacks, *, epochs=EPOCHS, resume=None, **options):
    trainer = lightning.Trainer(
        max_epochs=epochs, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, callbacks=callbacks,
        enable_model_summary=False, default_root_dir=folder, **{"enable_checkpointing": False, **options},
        reload_dataloaders_every_n_epochs=1 if any(isinstance(c, PruningCallback) for c in callbacks) else 0,
    )  # fmt: skip
    trainer.fit(module, loader, ckpt_path=resume, weights_only=False)
    return trainer


def in_order():
    return DataLoader(Rows(), BATCH)


def recording(folder):
    return RecorderCallback(folder / "l.zarr", examples=N, classes=CLASSES)


def test_records_the_rows_that_a_plain_loop_does(tmp_path):
    fit(Module(), in_order(), tmp_path, [recording(tmp_path)])
    expected, _ = by_hand(tmp_path / "own.zarr", lambda epoch: range(N))
    same_rows(sc.Recording.open(tmp_path / "l.zarr"), expected)


class Killed(lightning.Callback):
    """Breaks in the middle of the third epoch."""

    def on_train_batch_end(self, trainer, *rest):
        if trainer.current_epoch == 2:
            raise KeyError("killed")


def test_a_run_that_goes_on_from_a_checkpoint_goes_on_recording(tmp_path):
    saving = lightning.callbacks.ModelCheckpoint(tmp_path, "stood")
    with pytest.raises(KeyError):
        fit(Module(), in_order(), tmp_path, [recording(tmp_path), saving, Killed()], enable_checkpointing=True)
    fit(Module(), in_order(), tmp_path, [recording(tmp_path)], resume=tmp_path / "stood.ckpt")
    expected, _ = by_hand(tmp_path / "own.zarr", lambda epoch: range(N))
    same_rows(sc.Recording.open(tmp_path / "l.zarr"), expected)


def looked(sampler, net):
    """What is due, looked at by hand."""
    if len(due := torch.from_numpy(sampler.due)):
        data = Rows()
        with torch.no_grad():
            report(sampler)(due, *losses_and_logits(net, data.rows[due], data.labels[due]))


def losses_and_logits(net, rows, labels):
    logits = net(rows)
    return F.cross_entropy(logits, labels, reduction="none"), logits


def report(sampler):
    def tell(ids, losses, logits):
        confidence, answers = logits.detach().softmax(1).max(1)
        sampler.report(ids, losses, correct=answers == Rows.labels[ids], confidence=confidence)

    return tell


@pytest.mark.parametrize("rule", ["infobatch:drop=0.7", "random:keep=0.4"])
def test_trains_on_what_the_rule_plans_as_a_plain_loop_would(tmp_path, rule):
    sampler, own = (Sampler(rule, examples=N, epochs=EPOCHS, seed=4) for _ in range(2))
    module = Module(sampler)
    loader = DataLoader(Rows(), BATCH, sampler=sampler)
    fit(module, loader, tmp_path, [recording(tmp_path), PruningCallback(sampler)])
    order = lambda epoch: own.plan(epoch).ids.tolist()
    expected, net = by_hand(tmp_path / "own.zarr", order, weights=own.weights, report=report(own))
    same_rows(sc.Recording.open(tmp_path / "l.zarr"), expected)
    torch.testing.assert_close(module.net.weight, net.weight)
    assert not (sc.Recording.open(tmp_path / "l.zarr")["seen"][1] == 1).all()


def test_what_is_due_is_looked_at_in_eval_mode_before_the_epoch(tmp_path):
    seen = []

    class Looking(Sampler):
        def report(self, ids, loss, **more):
            seen.append((sorted(ids.tolist()), module.training))
            super().report(ids, loss, **more)

    sampler = Looking("eps-greedy:every=2,keep=0.5", examples=N)
    module = Module(sampler)

    def look(of, batch):
        losses, logits = losses_and_logits(of.net, batch[1], batch[2])
        return {"losses": losses, "logits": logits}

    loader = DataLoader(Rows(), BATCH, sampler=sampler)
    fit(module, loader, tmp_path, [PruningCallback(sampler, look=look)], epochs=3)
    looks = [ids for ids, training in seen if not training]
    assert len(looks) == 8  # four batches of 30 rows before epochs 0 and 2
    assert sorted(i for ids in looks[4:] for i in ids) == list(range(N))


def test_the_rate_of_the_rule_is_that_of_the_step_and_of_nothing_else(tmp_path):
    sampler = Sampler("random:keep=0.5", examples=N)
    type(sampler).rate, kept = property(lambda self: 3.0), type(sampler).rate
    try:
        module, seen = Module(sampler), []
        loader = DataLoader(Rows(), N, sampler=sampler)
        start = module.net.weight.detach().clone()
        trainer = fit(module, loader, tmp_path, [PruningCallback(sampler)], epochs=1)
    finally:
        type(sampler).rate = kept
    data, net, ids = Rows(), network(), sampler.plan(0).ids
    F.cross_entropy(net(data.rows[ids]), data.labels[ids]).backward()
    torch.testing.assert_close(module.net.weight, start - 3 * 0.1 * net.weight.grad)
    assert trainer.optimizers[0].param_groups[0]["lr"] == 0.1
    assert not seen


def test_a_pruned_run_goes_on_from_a_checkpoint(tmp_path):
    def run(epochs, resume=None):
        sampler = Sampler("infobatch:drop=0.7", examples=N, epochs=EPOCHS, seed=1)
        module = Module(sampler)
        loader = DataLoader(Rows(), BATCH, sampler=sampler)
        return fit(module, loader, tmp_path, [PruningCallback(sampler)], epochs=epochs, resume=resume), module

    _, whole = run(EPOCHS)
    for at in (1, 2):
        run(at)[0].save_checkpoint(tmp_path / "stood.ckpt")
        _, parts = run(EPOCHS, tmp_path / "stood.ckpt")
        torch.testing.assert_close(parts.net.weight, whole.net.weight, rtol=0, atol=0)


class TestBadInput:
    def test_logits_that_are_not_returned(self, tmp_path):
        with pytest.raises(
            SecateurError, match=r'training_step: expected it to return .*"logits": .*, got loss, losses'
        ):
            fit(Module(without=("logits",)), in_order(), tmp_path, [recording(tmp_path)])

    def test_losses_that_are_not_returned(self, tmp_path):
        sampler = Sampler("random", examples=N)
        loader = DataLoader(Rows(), BATCH, sampler=sampler)
        with pytest.raises(SecateurError, match=r'training_step: expected it to return .*"losses"'):
            fit(Module(sampler, without=("losses",)), loader, tmp_path, [PruningCallback(sampler)])

    def test_a_trainer_that_counts_batches_but_once(self, tmp_path):
        sampler = Sampler("random", examples=N)
        trainer = lightning.Trainer(max_epochs=1, accelerator="cpu", logger=False, callbacks=[PruningCallback(sampler)])
        with pytest.raises(SecateurError, match="reload_dataloaders_every_n_epochs: expected 1"):
            trainer.fit(Module(sampler), DataLoader(Rows(), BATCH, sampler=sampler))

    def test_a_loader_with_another_sampler(self, tmp_path):
        with pytest.raises(SecateurError, match="sampler: the training loader has another; give it sampler=sampler"):
            fit(Module(), in_order(), tmp_path, [PruningCallback(Sampler("random", examples=N))])

    @pytest.mark.parametrize("name, value, got", [
        ("logits", torch.zeros(BATCH, 4, CLASSES), r"\(batch, classes\), one row an example, got shape \(8, 4, 3\)"),
        ("logits", [[0.0]], r"\(batch, classes\), one row an example, got list"),
        ("losses", torch.zeros(BATCH, 4), r"\(batch,\), one row an example, got shape \(8, 4\)"),
        ("losses", torch.tensor(1.0), r"\(batch,\), one row an example, got shape \(\)"),
    ])  # fmt: skip
    def test_what_is_not_one_answer_a_row(self, tmp_path, name, value, got):
        class Other(Module):
            def training_step(self, batch, batch_idx):
                return super().training_step(batch, batch_idx) | {name: value}

        sampler = Sampler("random", examples=N)
        loader = DataLoader(Rows(), BATCH, sampler=sampler)
        with pytest.raises(SecateurError, match=f'training_step: expected "{name}" of shape {got}; for an answer'):
            fit(Other(sampler), loader, tmp_path, [PruningCallback(sampler)])
        if name == "logits":
            with pytest.raises(SecateurError, match=f'training_step: expected "{name}" of shape {got}; for an answer'):
                fit(Other(), in_order(), tmp_path, [recording(tmp_path)])


class KilledInAnEpoch(lightning.Callback):
    def on_train_batch_start(self, trainer, *rest):
        if trainer.global_step == 7:
            raise KeyError("killed")


def test_going_on_in_the_middle_of_an_epoch_of_a_plain_loader_is_refused(tmp_path):
    """Lightning would start the loader over, and the last rows would never come."""
    saving = lightning.callbacks.ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    with pytest.raises(KeyError, match="killed"):
        fit(Module(), in_order(), tmp_path, [recording(tmp_path), saving, KilledInAnEpoch()], enable_checkpointing=True)
    with pytest.raises(SecateurError, match="ckpt_path: .*middle of an epoch"):
        fit(Module(), in_order(), tmp_path, [recording(tmp_path)], resume=tmp_path / "step=6.ckpt")
