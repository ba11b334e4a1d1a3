"""Recording while training with the Trainer of transformers: its callback, and what a model's answer is."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from secateur.dynamic.sampler import Sampler
from secateur.errors import SecateurError
from secateur.training.recorder import Recorder

try:
    from transformers import TrainerCallback, TrainingArguments
except ImportError:
    raise SecateurError('integrations.transformers: needs it; pip install "secateur[transformers]"') from None

RECORDER_STATE = "recorder.pt"
"""The file of a checkpoint that holds what the recorder knows of the epoch under way."""


class RecorderCallback(TrainerCallback):  # type: ignore[misc]
    """Records the logits of every training batch, for every score of secateur.

    path, and what else `secateur.Recorder` takes (examples, classes, fields, data). The data set has a column `id`, the
    row number, which is taken out of the batch before the model sees it, and `labels`. A run that goes on from a
    checkpoint goes on recording there, in the middle of an epoch too.

    The model gives one answer a row: logits (batch, classes) in a mapping, or in a tuple, for whole labels (batch,).
    losses: for any other model (a language model, regression, several labels a row) a function of its outputs and the
    labels that gives a loss a row (batch,), which is then all that is recorded.

    Refused before the first step: an answer a token, regression and several labels a row without `losses`, several GPUs
    in one process, and `label_smoothing_factor` and `compute_loss_func`, with which the Trainer keeps the labels from
    the model.
    """

    def __init__(
        self, path: str | Path, *, losses: Callable[[Any, Any], Tensor] | None = None, **recording: Any
    ) -> None:
        self.path, self.losses, self.recording = path, losses, recording
        self.recorder: Recorder | None = None
        self._hooks: list[RemovableHandle] = []
        self._batch: tuple[Tensor, Tensor] | None = None
        self.pruning = False  # a PruningTrainer says so

    def on_train_begin(self, args: TrainingArguments, state: Any, control: Any, **of: Any) -> None:
        """Open the recording, or go on with it, and listen to the model."""
        model: nn.Module = of["model"]
        self._refuse(args, model)
        prunes = isinstance(getattr(of.get("train_dataloader"), "sampler", None), Sampler)
        asked = {"partial": self.pruning or prunes} | self.recording
        self.recorder = Recorder(self.path, **asked, **_going_on(args, state))
        if self.recorder.epochs < math.floor((state.epoch or 0) + 1e-6):  # saved with the last step of an epoch
            self.recorder.end_epoch()
        self._hooks = [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after),
        ]

    def _refuse(self, args: TrainingArguments, model: nn.Module) -> None:
        """What can be seen, before the first batch, to have no logits and label a row."""
        if args.remove_unused_columns:
            raise SecateurError("remove_unused_columns: expected False, so that the column id reaches the batch")
        if args.label_smoothing_factor and not self.pruning:
            raise SecateurError(
                "label_smoothing_factor: expected 0, since the Trainer then keeps the labels from the model, where the "
                "recorder looks; smooth in the model's own loss, or train with a PruningTrainer"
            )
        if args.n_gpu > 1:
            raise SecateurError(
                f"n_gpu: expected 1 in a process, got {args.n_gpu}, whose batches nobody puts together; start with "
                "torchrun, one process a GPU, or set CUDA_VISIBLE_DEVICES"
            )
        if self.losses is None and (told := _no_classes(getattr(model, "config", None))):
            raise SecateurError(f"model: expected one that tells two classes or more apart, got {told}; {LOSSES}")

    def _before(self, model: nn.Module, args: Any, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        ids = given.pop("id", None)
        if model.training:
            if ids is None or "labels" not in given:
                raise SecateurError(
                    f"batch: expected id and labels beside what the model takes, got {', '.join(given)}; labels do not "
                    "reach the model with compute_loss_func: leave it out, or override compute_loss"
                )
            self._batch = ids, given["labels"]
        return args, given

    def _after(self, model: nn.Module, args: Any, outputs: Any) -> None:
        if self._batch is not None and self.recorder is not None:
            (ids, labels), self._batch = self._batch, None
            if self.losses is not None:
                self.recorder.batch(ids, loss=a_loss_a_row(self.losses(outputs, labels), len(ids)))
            else:
                self.recorder.batch(ids, *classified(outputs, labels))

    def on_epoch_end(self, args: TrainingArguments, state: Any, control: Any, **of: Any) -> None:
        """Write the epoch."""
        assert self.recorder is not None
        self.recorder.end_epoch()

    def on_save(self, args: TrainingArguments, state: Any, control: Any, **of: Any) -> None:
        """Put what is known of the epoch under way into the checkpoint."""
        assert self.recorder is not None
        held = self.recorder.state_dict()  # every rank: it is merged first
        if args.should_save and (folder := _checkpoint(args, state)).is_dir():
            torch.save(held, folder / RECORDER_STATE)

    def on_train_end(self, args: TrainingArguments, state: Any, control: Any, **of: Any) -> None:
        """Close the recording and leave the model alone."""
        for hook in self._hooks:
            hook.remove()
        assert self.recorder is not None
        self.recorder.close()


def _checkpoint(args: TrainingArguments, state: Any) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}"


def _going_on(args: TrainingArguments, state: Any) -> dict[str, Any]:
    """Where a recorder is to go on, of a run that goes on from a checkpoint."""
    if not state.global_step:
        return {}
    path = _checkpoint(args, state) / RECORDER_STATE
    if path.exists():
        held = torch.load(path, weights_only=True)
        return {"state": held} if "rows" in held else {"resume": int(held["epochs"])}
    epoch = state.epoch or 0.0
    if abs(epoch - round(epoch)) > 1e-6:
        raise SecateurError(
            f"resume_from_checkpoint: {path.parent} stands in the middle of epoch {math.floor(epoch)} and has no "
            f"{RECORDER_STATE}; take a checkpoint at the end of an epoch, or one saved with this RecorderCallback"
        )
    return {"resume": round(epoch)}


def _no_classes(config: Any) -> str:
    """What a model's config says that it answers in place of one class a row; empty if it says nothing of the kind."""
    kind = getattr(config, "problem_type", None)
    return f"problem_type {kind}" if kind in ("regression", "multi_label_classification") else ""


def classified(outputs: Any, labels: Any) -> tuple[Tensor, Tensor]:
    """The logits (batch, classes) and the labels (batch,); raises SecateurError for what are no classes."""
    logits, labels = one_a_row(outputs).detach(), torch.as_tensor(labels)
    if logits.shape[1] < 2:
        raise SecateurError(f"logits: expected 2 classes or more, got {logits.shape[1]} (regression); {LOSSES}")
    if labels.ndim != 1 or labels.is_floating_point():
        got = f"{labels.dtype} {tuple(labels.shape)}"
        raise SecateurError(f"labels: expected one whole number a row (batch,), got {got}; {LOSSES}")
    return logits, labels


def a_loss_a_row(losses: Any, rows: int) -> Tensor:
    """What a caller's `losses` gave (batch,); raises SecateurError for anything else."""
    if not isinstance(losses, Tensor) or losses.shape != (rows,):
        got = f"shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else type(losses).__name__
        raise SecateurError(f'losses: expected a loss a row, shape ({rows},), got {got}; use reduction="none"')
    return losses.detach()


LOSSES = "pass RecorderCallback(losses=...), a function of (outputs, labels) that gives a loss a row, to record that"


def logits_of(outputs: Any) -> Tensor:
    """What a model said: of a mapping its `logits`, of a tuple the first that is more than a number a row."""
    if isinstance(outputs, Mapping):
        found, got = outputs.get("logits"), f"{type(outputs).__name__} of {', '.join(map(str, outputs))}"
    else:
        many, got = outputs if isinstance(outputs, (tuple, list)) else [outputs], type(outputs).__name__
        found = next((part for part in many if isinstance(part, Tensor) and part.ndim > 1), None)
    if not isinstance(found, Tensor):
        raise SecateurError(f"model: expected logits (batch, classes) among its outputs, got {got}")
    return found


def one_a_row(outputs: Any) -> Tensor:
    """The logits (batch, classes); raises SecateurError for a model with more than one answer a row."""
    logits = logits_of(outputs)
    if logits.ndim != 2:
        raise SecateurError(
            f"logits: expected one answer a row, (batch, classes), got shape {tuple(logits.shape)}; for a language"
            f" model {LOSSES}, and override PruningTrainer.losses to prune"
        )
    return logits
