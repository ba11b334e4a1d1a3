"""Recording and pruning while training with the Trainer of transformers, for classification. Needs its extra.

args = TrainingArguments("run", remove_unused_columns=False, ...)    # so that the column `id` reaches the batch
Trainer(model, args, train_dataset=rows, callbacks=[RecorderCallback("run/recording.zarr", examples=len(rows))])
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.hooks import RemovableHandle

from secateur.dynamic.sampler import Sampler
from secateur.errors import SecateurError
from secateur.integrations.rates import follow
from secateur.training.recorder import Recorder

try:
    from transformers import Trainer, TrainerCallback, TrainingArguments
except ImportError:
    raise SecateurError('integrations.transformers: needs it; pip install "secateur[transformers]"') from None


class RecorderCallback(TrainerCallback):  # type: ignore[misc]
    """Records the logits of every training batch, for every score of secateur.

    path, and what else `secateur.Recorder` takes (examples, classes, fields, data). The data set has a column `id`, the
    row number, which is taken out of the batch before the model sees it, and `labels`. A run that goes on from a
    checkpoint at the end of an epoch goes on recording there.
    """

    def __init__(self, path: str | Path, **recording: Any) -> None:
        self.path, self.recording = path, recording
        self.recorder: Recorder | None = None
        self._hooks: list[RemovableHandle] = []
        self._batch: tuple[Tensor, Tensor] | None = None

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **of: Any) -> None:
        """Open the recording, or go on with it, and listen to the model."""
        if args.remove_unused_columns:
            raise SecateurError("remove_unused_columns: expected False, so that the column id reaches the batch")
        done = round(state.epoch or 0)
        self.recorder = Recorder(self.path, resume=done or False, **self.recording)
        model: nn.Module = of["model"]
        self._hooks = [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after),
        ]

    def _before(self, model: nn.Module, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        ids = given.pop("id", None)
        if model.training:
            if ids is None or "labels" not in given:
                raise SecateurError(
                    f"batch: expected id and labels beside what the model takes, got {', '.join(given)}"
                )
            self._batch = ids, given["labels"]
        return args, given

    def _after(self, model: nn.Module, args: Any, outputs: Any) -> None:
        if self._batch is not None and self.recorder is not None:
            self.recorder.batch(self._batch[0], outputs["logits"].detach(), self._batch[1])
            self._batch = None

    def on_epoch_end(self, args: TrainingArguments, state: Any, control: Any, **of: Any) -> None:
        """Write the epoch."""
        assert self.recorder is not None
        self.recorder.end_epoch()

    def on_train_end(self, args: TrainingArguments, state: Any, control: Any, **of: Any) -> None:
        """Close the recording and leave the model alone."""
        for hook in self._hooks:
            hook.remove()
        assert self.recorder is not None
        self.recorder.close()


class PruningTrainer(Trainer):  # type: ignore[misc]
    """A Trainer that trains on what the sampler chooses, and tells it how each batch went.

    sampler: `secateur.dynamic.Sampler(..., shard=False)`, since the Trainer shards the loader itself. The data set has
    a column `id`, the row number, and `labels`; `TrainingArguments(remove_unused_columns=False)`. `losses` may be
    overridden for models whose logits are not (batch, classes). Rules go by what training last said of an example.
    The Trainer lays its learning rate out over the steps of an unpruned run: with a rule that skips, the run ends
    before the schedule does. Its checkpoints do not hold the sampler's state.
    """

    def __init__(self, *args: Any, sampler: Sampler, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.args.remove_unused_columns:
            raise SecateurError("remove_unused_columns: expected False, so that the column id reaches the batch")
        if sampler.shard:
            raise SecateurError("sampler: expected one made with shard=False; the Trainer shards the loader itself")
        self.sampler = sampler

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """The Trainer's, following the rule's learning rate."""
        made = self.optimizer is None
        optimizer = super().create_optimizer(*args, **kwargs)
        if made:
            follow(optimizer, self.sampler)
        return optimizer

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        return self.sampler

    def losses(self, outputs: Any, labels: Tensor) -> Tensor:
        """A loss an example (batch,)."""
        return cross_entropy(outputs["logits"].float(), labels, reduction="none")

    def compute_loss(
        self, model: nn.Module, inputs: dict[str, Any], return_outputs: bool = False, **rest: Any
    ) -> Tensor | tuple[Tensor, Any]:
        """The mean of the weighted losses; reports them as they were."""
        if "id" not in inputs or "labels" not in inputs:
            raise SecateurError(f"batch: expected id and labels beside what the model takes, got {list(inputs)}")
        ids = inputs["id"]
        if not any(isinstance(c, RecorderCallback) for c in self.callback_handler.callbacks):  # which takes it out
            inputs = {name: value for name, value in inputs.items() if name != "id"}
        outputs = model(**inputs)
        each = self.losses(outputs, inputs["labels"])
        if not model.training:
            return (each.mean(), outputs) if return_outputs else each.mean()
        with torch.no_grad():
            confidence, answers = outputs["logits"].float().softmax(dim=-1).max(dim=-1)
        self.sampler.report(ids, each, correct=answers == inputs["labels"], confidence=confidence)
        mean = (each * self.sampler.weights(ids)).mean()
        return (mean, outputs) if return_outputs else mean
