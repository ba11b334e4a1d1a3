"""Recording and pruning while training in Lightning: one callback each. Needs the extra `lightning`.

class Net(LightningModule):
    def training_step(self, batch, batch_idx):
        ids, rows, labels = batch                                    # the data set returns the row number
        logits = self(rows)
        return {"loss": cross_entropy(logits, labels), "logits": logits}

Trainer(callbacks=[RecorderCallback("run/recording.zarr", examples=50_000, classes=10)])
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Subset

from secateur.dynamic.sampler import Sampler
from secateur.errors import SecateurError
from secateur.integrations.rates import follow
from secateur.training.recorder import Recorder

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError:
    raise SecateurError('integrations.lightning: needs lightning; pip install "secateur[lightning]"') from None

Part = Callable[[Any], Tensor]
"""Takes a part out of a batch."""


def first(batch: Any) -> Tensor:
    """Of a batch (ids, rows, labels) the ids, of a mapping `id`."""
    return batch["id"] if isinstance(batch, Mapping) else batch[0]


def last(batch: Any) -> Tensor:
    """Of a batch (ids, rows, labels) the labels, of a mapping `label`."""
    return batch["label"] if isinstance(batch, Mapping) else batch[-1]


class RecorderCallback(Callback):  # type: ignore[misc]
    """Records what `training_step` returns as `logits`, for every score of secateur.

    path, and what else `secateur.Recorder` takes (examples, classes, fields, data). ids, labels: where they are in a
    batch; by default (ids, ..., labels), or `id` and `label`. A run that goes on from a checkpoint goes on recording
    where the checkpoint stood. Resume from the end of an epoch: in the middle of one, Lightning starts a plain loader
    over and stops early, so that is refused unless the loader or its sampler resumes by itself.
    """

    def __init__(self, path: str | Path, *, ids: Part = first, labels: Part = last, **recording: Any) -> None:
        self.path, self.ids, self.labels, self.recording = path, ids, labels, recording
        self.recorder: Recorder | None = None
        self._state: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the recording, or go on with it."""
        if (
            self._state
            and "seen" in self._state
            and self._state["seen"].any()
            and not _resumes(trainer.train_dataloader)
        ):
            raise SecateurError(
                "ckpt_path: this checkpoint is from the middle of an epoch, where Lightning starts a plain DataLoader "
                "over and never reaches the remaining rows; resume from one saved at the end of an epoch, or use a "
                "loader with load_state_dict"
            )
        self.recorder = Recorder(self.path, **_asked(self.recording, trainer), **self._going_on())

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record one batch."""
        assert self.recorder is not None
        self.recorder.batch(self.ids(batch), _returned(outputs, "logits", 2), self.labels(batch))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the epoch."""
        assert self.recorder is not None
        self.recorder.end_epoch()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the recording."""
        assert self.recorder is not None
        self.recorder.close()

    def state_dict(self) -> dict[str, Any]:
        """Where the recording stands, in the middle of an epoch too; every rank calls it."""
        return {} if self.recorder is None else dict(self.recorder.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._state = state_dict or None

    def _going_on(self) -> dict[str, Any]:
        if self._state is None:
            return {}
        if "rows" in self._state:
            return {"state": self._state}
        return {"resume": int(self._state["epochs"])}  # a checkpoint from before a batch, or of an earlier version


def _resumes(loader: Any) -> bool:
    """Whether a loader goes on in the middle of an epoch."""
    return hasattr(loader, "load_state_dict") or isinstance(getattr(loader, "sampler", None), Sampler)


class PruningCallback(Callback):  # type: ignore[misc]
    """Tells the sampler of the training loader how each batch went; its state is in the checkpoint.

    Give the loader `sampler=sampler`, multiply each loss by `sampler.weights(ids)` and return the unweighted ones:

        losses = cross_entropy(logits, labels, reduction="none")
        return {"loss": (losses * self.sampler.weights(ids)).mean(), "losses": losses.detach(), "logits": logits}

    ids, labels: where they are in a batch. logits are needed by rules that ask for right answers or confidence. look:
    (module, batch) -> the same mapping, to look at examples that the rule wants seen without training on them
    (`kakurenbo`, `eps-greedy`, `ucb`); without it, these go by what training last said. The learning rate is multiplied
    by the rule's in each step. Epochs differ in length: pass `reload_dataloaders_every_n_epochs=1` to the Trainer, and
    with several devices `use_distributed_sampler=False`.
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        ids: Part = first,
        labels: Part = last,
        look: Callable[[Any, Any], Mapping[str, Tensor]] | None = None,
    ) -> None:
        self.sampler, self.ids, self.labels, self.look = sampler, ids, labels, look

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The optimisers follow the rule's learning rate."""
        if trainer.reload_dataloaders_every_n_epochs != 1:
            raise SecateurError(
                "reload_dataloaders_every_n_epochs: expected 1, so that the Trainer counts the batches of each epoch"
            )
        for optimizer in trainer.optimizers:
            follow(optimizer, self.sampler)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what is due, before the epoch is planned."""
        loader = trainer.train_dataloader
        if getattr(loader, "sampler", None) is not self.sampler:
            raise SecateurError(
                "sampler: the training loader has another; give it sampler=sampler, shuffle=False, and the Trainer "
                "use_distributed_sampler=False"
            )
        if self.look is None or not len(due := self.sampler.due):
            return
        was_training = pl_module.training
        pl_module.eval()
        part = DataLoader(Subset(loader.dataset, due.tolist()), loader.batch_size, collate_fn=loader.collate_fn)
        with torch.no_grad():
            for batch in part:
                moved = trainer.strategy.batch_to_device(batch)
                self._report(self.look(pl_module, moved), moved)
        pl_module.train(was_training)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report one batch."""
        self._report(outputs, batch)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Name the next epoch, whose batches are counted before it begins."""
        self.sampler.set_epoch(trainer.current_epoch + 1)

    def _report(self, outputs: Any, batch: Any) -> None:
        losses, more = _returned(outputs, "losses", 1), {}
        if "logits" in outputs:
            confidence, answers = _returned(outputs, "logits", 2).softmax(dim=-1).max(dim=-1)
            more = {"correct": answers == self.labels(batch), "confidence": confidence}
        self.sampler.report(self.ids(batch), losses, **more)

    def state_dict(self) -> dict[str, Any]:
        """The sampler's."""
        return dict(self.sampler.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The sampler goes on."""
        self.sampler.load_state_dict(state_dict)


def _asked(recording: Mapping[str, Any], trainer: Trainer) -> dict[str, Any]:
    """What a recorder is asked for: a sampler that prunes leaves rows out on purpose."""
    prunes = isinstance(getattr(trainer.train_dataloader, "sampler", None), Sampler)
    return {"partial": prunes} | dict(recording)


def _returned(outputs: Any, name: str, axes: int) -> Tensor:
    """A part of what training_step returned, with one row an example."""
    if not isinstance(outputs, Mapping) or name not in outputs:
        got = ", ".join(map(str, outputs)) if isinstance(outputs, Mapping) else type(outputs).__name__
        raise SecateurError(f'training_step: expected it to return {{"loss": ..., "{name}": ...}}, got {got}')
    part = outputs[name]
    if not isinstance(part, Tensor) or part.ndim != axes:
        shape = "(batch, classes)" if axes == 2 else "(batch,)"
        got = f"shape {tuple(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
        raise SecateurError(
            f'training_step: expected "{name}" of shape {shape}, one row an example, got {got}; for an answer a token '
            "return the mean over each row's tokens as its loss, and no logits"
        )
    return part.detach()
