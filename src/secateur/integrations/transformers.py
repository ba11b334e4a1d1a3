"""Recording and pruning while training with the Trainer of transformers, for classification. Needs its extra.

args = TrainingArguments("run", remove_unused_columns=False, ...)    # so that the column `id` reaches the batch
Trainer(model, args, train_dataset=rows, callbacks=[RecorderCallback("run/recording.zarr", examples=len(rows))])
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Subset

from secateur.dynamic.sampler import Sampler
from secateur.errors import SecateurError
from secateur.integrations.answers import RecorderCallback, logits_of, one_a_row
from secateur.integrations.pace import Pace
from secateur.integrations.rates import follow
from secateur.integrations.streams import untouched
from secateur.training.ranks import rank, ranks

try:
    from transformers import Trainer, TrainingArguments
    from transformers import __version__ as version
except ImportError:
    raise SecateurError('integrations.transformers: needs it; pip install "secateur[transformers]"') from None

__all__ = ["PruningTrainer", "RecorderCallback"]

STATE = "sampler.pt"
"""The file of a checkpoint that holds the sampler's state, and where the run stood."""


class PruningTrainer(Trainer):  # type: ignore[misc]
    """A Trainer that trains on what the sampler chooses, and tells it how each batch went.

    sampler: `secateur.dynamic.Sampler(..., shard=False)`, since the Trainer shards the loader itself. The data set has
    a column `id`, the row number, and `labels`; `TrainingArguments(remove_unused_columns=False)`. `losses` may be
    overridden for models whose logits are not (batch, classes).

    Examples that the rule wants looked at are: before the epoch, in eval mode, in batches of the evaluation's size, as
    the data set gives them. The random streams of training are left as they were.

    With `num_train_epochs` the learning rate goes by epochs and their parts, so that it ends with the run however many
    steps the rule skips; a warm-up given in steps is in those of the first epoch. With `max_steps` it is that many
    steps, and a schedule over them. A scheduler of your own (`optimizers=`) is stepped as ever.

    Checkpoints hold the sampler's state. A run that goes on from one ends where it would have ended: to the bit, in the
    middle of an epoch too, where the loading of rows draws no random numbers; where it does, at the end of an epoch.

    Under torchrun each process gets its part of one plan. The Trainer fills the last batch up from the first examples
    of the epoch, which then count once in all; `dataloader_drop_last=True` leaves the rest out. Tried with two
    processes on CPUs; not with FSDP or DeepSpeed.
    """

    def __init__(self, *args: Any, sampler: Sampler, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not hasattr(Trainer, "_run_epoch"):
            raise SecateurError(f"transformers: expected 5.4 or newer, got {version}; pip install -U transformers")
        if self.args.remove_unused_columns:
            raise SecateurError("remove_unused_columns: expected False, so that the column id reaches the batch")
        if sampler.shard:
            raise SecateurError("sampler: expected one made with shard=False; the Trainer shards the loader itself")
        self._refuse_losses()
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, RecorderCallback):
                callback.pruning = True
        self.sampler, self._pace = sampler, Pace(1)
        self._shares: Tensor | None = None  # of each example (examples,), where several processes share a batch out
        self._trained = 0
        self.model_accepts_loss_kwargs = False  # compute_loss is a mean over its batch, whatever the model takes
        if self.optimizer is not None:
            follow(self.optimizer, sampler)

    def _refuse_losses(self) -> None:
        """The loss of a whole batch cannot be weighted by example."""
        if self.compute_loss_func is not None:
            raise SecateurError(
                "compute_loss_func: expected none, since it gives one loss for the batch and pruning weighs each; "
                "override PruningTrainer.losses, which gives a loss an example"
            )
        if self.args.label_smoothing_factor and type(self).losses is not PruningTrainer.losses:
            raise SecateurError("label_smoothing_factor: expected 0 with a `losses` of your own; smooth in it")

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """The Trainer's, following the rule's learning rate."""
        made = self.optimizer is None
        optimizer = super().create_optimizer(*args, **kwargs)
        if made:
            follow(optimizer, self.sampler)
        return optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The Trainer's; of a run that is counted in epochs, its steps are parts of an epoch."""
        if self.args.max_steps > 0:
            return super().create_scheduler(num_training_steps, optimizer)
        made, end = self.lr_scheduler is None, math.ceil(self.args.num_train_epochs * self._pace.nominal)
        scheduler = super().create_scheduler(end, optimizer)
        if made and isinstance(scheduler, LambdaLR):
            scheduler.lr_lambdas = [self._by_epoch(factor, end) for factor in scheduler.lr_lambdas]
        return scheduler

    def _by_epoch(self, factor: Callable[..., float], end: int) -> Callable[[int], float]:
        return lambda counted: factor(min(self._pace.at(counted), end))

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        return self.sampler

    def set_initial_training_values(self, args: TrainingArguments, dataloader: Any) -> tuple[Any, ...]:
        """The Trainer's, of the first epoch; with `max_steps`, as many epochs as these can be."""
        self.sampler.set_epoch(0)
        epochs, steps, *others = super().set_initial_training_values(args, dataloader)
        self._pace, self._trained = Pace(steps), 0
        return (args.max_steps if args.max_steps > 0 else epochs, steps, *others)

    def _init_training_state(self, *given: Any) -> tuple[int, int]:
        epoch, batches = super()._init_training_state(*given)
        *_, checkpoint, _ = given
        if checkpoint is None:
            return epoch, batches
        if not (path := Path(checkpoint) / STATE).exists():
            raise SecateurError(
                f"resume_from_checkpoint: {checkpoint} has no {STATE}; expected a checkpoint of a PruningTrainer, "
                "saved with save_only_model=False"
            )
        saved = torch.load(path, weights_only=True)
        self.sampler.load_state_dict(saved["sampler"])
        self._pace = Pace(**saved["pace"])
        epoch, steps = self._pace.stands(self.state.global_step)
        return epoch, 0 if self.args.ignore_data_skip else steps * self.args.gradient_accumulation_steps

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        saved = {"sampler": self.sampler.state_dict(), "pace": vars(self._pace)}  # every rank: it is merged first
        if self.args.should_save:
            torch.save(saved, Path(output_dir) / STATE)

    def _run_epoch(self, **of: Any) -> None:
        """The Trainer's, of an epoch that is as long as its plan."""
        epoch, loader = of["epoch"], of["train_dataloader"]
        resumed = epoch == of["epochs_trained"] and of["steps_trained_in_current_epoch"] > 0
        self.sampler.set_epoch(epoch)
        if not resumed:
            self._look()
        batches = len(loader)
        steps = math.ceil(batches / self.args.gradient_accumulation_steps)
        self._begin(epoch, steps, resumed)
        self._shares = self._shared_out(self.sampler.plan(epoch).ids, loader)
        super()._run_epoch(**of | {"steps_in_epoch": batches, "num_update_steps_per_epoch": steps})

    def _begin(self, epoch: int, steps: int, resumed: bool) -> None:
        if not steps:
            raise SecateurError(f"dataloader_drop_last: epoch {epoch} has less than a batch; expected False")
        if resumed and steps != self._pace.steps:
            raise SecateurError(
                f"resume_from_checkpoint: expected epochs as they were, but the one it is in had {self._pace.steps} "
                f"steps and now has {steps}; keep the size of the batches, or take a checkpoint at the end of an epoch"
            )
        if not resumed:
            counted = getattr(self.lr_scheduler, "last_epoch", 0)
            self._pace = Pace(self._pace.nominal, epoch, steps, before=self.state.global_step, counted=counted)
        if self.args.max_steps <= 0:  # as far as can be known: all epochs to come as long as this one
            left = math.ceil(self.args.num_train_epochs * steps) - epoch * steps
            self.state.max_steps = self._pace.before + left

    def _shared_out(self, ids: np.ndarray, loader: Any) -> Tensor | None:
        """What each visit of an example counts (examples,): the last batch is filled up from the first, for all."""
        if self.args.world_size == 1 or self.args.dataloader_drop_last:
            return None
        whole = -(-len(ids) // loader.total_batch_size) * loader.total_batch_size
        visits = np.bincount(np.resize(ids, whole), minlength=self.sampler.examples)
        return torch.from_numpy(1 / np.maximum(visits, 1).astype(np.float32)).to(self.args.device)

    def _look(self) -> None:
        """Report what is due, in eval mode; each process its part, all as many."""
        if not len(due := self.sampler.due):
            return
        mine = np.resize(due, -(-len(due) // ranks()) * ranks())[rank() :: ranks()]
        how = {"collate_fn": self.data_collator, "num_workers": self.args.dataloader_num_workers}
        model, was_training = self.model, self.model.training
        model.eval()
        with untouched(self.args.device), torch.no_grad():
            for batch in DataLoader(Subset(self.train_dataset, mine.tolist()), self.args.eval_batch_size, **how):
                inputs = self._prepare_inputs(batch)
                with self.compute_loss_context_manager():
                    self._report(inputs, *self._forward(model, inputs))
        model.train(was_training)

    def losses(self, outputs: Any, labels: Tensor) -> Tensor:
        """A loss an example (batch,)."""
        return cross_entropy(one_a_row(outputs).float(), labels, reduction="none")

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **rest: Any
    ) -> Tensor | tuple[Tensor, Any]:
        """The mean of the weighted losses; reports them as they were."""
        outputs, each = self._forward(model, inputs)
        if model.training:
            self._report(inputs, outputs, each)
            self._trained += len(each) * self.args.world_size
            shares = 1 if self._shares is None else self._shares[inputs["id"]]
            if smooth := self.args.label_smoothing_factor:  # in training alone: what is reported is plain
                logits = one_a_row(outputs).float()
                each = cross_entropy(logits, inputs["labels"], reduction="none", label_smoothing=smooth)
            each = each * self.sampler.weights(inputs["id"]) * shares
        return (each.mean(), outputs) if return_outputs else each.mean()

    def _forward(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[Any, Tensor]:
        """What the model says, and a loss an example."""
        if "id" not in inputs or "labels" not in inputs:
            raise SecateurError(f"batch: expected id and labels beside what the model takes, got {list(inputs)}")
        given = dict(inputs)
        if not any(isinstance(c, RecorderCallback) for c in self.callback_handler.callbacks):  # which takes it out
            del given["id"]
        outputs = model(**given)
        return outputs, self.losses(outputs, inputs["labels"])

    def _report(self, inputs: dict[str, Any], outputs: Any, losses: Tensor) -> None:
        logits, more = logits_of(outputs), {}
        if logits.ndim == 2:
            with torch.no_grad():
                confidence, answers = logits.float().softmax(dim=-1).max(dim=-1)
            more = {"correct": answers == inputs["labels"], "confidence": confidence}
        self.sampler.report(inputs["id"], losses, **more)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """The Trainer's, which would count the examples that were skipped too."""
        if "train_samples_per_second" in logs:
            logs["train_samples_per_second"] = round(self._trained / logs["train_runtime"], 3)
        super().log(logs, *args, **kwargs)
