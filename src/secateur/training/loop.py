"""The one training loop, read top to bottom: every job that trains a net runs this."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.optim import Optimizer

from secateur.data.tensors import Tensors
from secateur.errors import NonFiniteError
from secateur.training import checkpoint
from secateur.training.machine import keep_freed_memory
from secateur.training.nets import Normalised
from secateur.training.objective import Objective, Supervised
from secateur.training.optimizers import build, set_rates
from secateur.training.recipes import Recipe
from secateur.training.sampling import Length, Sampler, even_batches, look, tell


@runtime_checkable
class Listener(Protocol):
    """Hears every batch and every end of an epoch: a Recorder, or something like it."""

    def batch(self, ids: Tensor, logits: Tensor, labels: Tensor) -> None: ...

    def end_epoch(self) -> None: ...


@dataclass
class Position:
    """Where a run stands: what it has done so far, over all the times it was started."""

    epoch: int = 0
    step: int = 0
    examples: int = 0
    seconds: float = 0.0


class Watch(NamedTuple):
    """Who is told: before each epoch (number), after each step (done, of all), after each epoch (position, loss)."""

    begin: Callable[[int], None] = lambda epoch: None
    step: Callable[[int, int], None] = lambda done, total: None
    epoch: Callable[[Position, float], None] = lambda position, loss: None


SILENT = Watch()


def train(
    net: Normalised,
    data: Tensors,
    recipe: Recipe,
    *,
    steps: int | None = None,
    epochs: int | None = None,
    sampler: Sampler,
    seed: int,
    horizon: int | None = None,
    objective: Objective | None = None,
    recorder: Listener | None = None,
    save_to: Path | None = None,
    watch: Watch = SILENT,
) -> Position:
    """Train `net` in place for `steps` steps; the schedule runs over `horizon` steps (default: `steps`).

    epochs, in place of steps: for so many epochs of the sampler, however long it makes each; the schedule then goes by
    epochs and their parts, so that it ends with the run. What the sampler wants looked at is looked at before an epoch.
    The net hears how much of the schedule is done (`pace`). objective: what the run trains for, by default `Supervised`
    by the labels alone. save_to: a checkpoint written at the end of every epoch, from which the run goes on if it is
    there; delete it when the net is safe. Raises NonFiniteError, naming epoch and step, at the end of the epoch in
    which the loss left the finite numbers; what was recorded and saved before stays.
    """
    length = Length(steps, epochs, horizon)
    objective = objective or Supervised(net, data, recipe, seed=seed)
    optimizers, at = _start(net, data, recipe, save_to, {"sampler": sampler, "objective": objective})
    while not length.over(at.epoch, at.step):
        started = time.perf_counter()
        watch.begin(at.epoch)
        net.pace(length.progress(at.epoch, at.step, 0.0))
        look(net, data, sampler, recipe)
        plan = objective.narrowed(sampler.plan(at.epoch))
        batches = even_batches(plan, recipe.batch)[: length.left(at.step)]
        objective.begin(at.epoch)
        losses = torch.zeros(len(batches), device=data.device)
        net.train()
        for k, ((ids, weights), rows) in enumerate(zip(batches, data.batches([b[0] for b in batches]), strict=True)):
            ids, progress = ids.to(data.device), length.progress(at.epoch, at.step, k / len(batches))
            net.pace(progress)
            objective.at(progress)
            logits, labels, loss, taken = objective(ids, rows)
            if taken is not None:
                ids, weights = ids[taken], None if weights is None else weights[taken.cpu()]
            mean = loss.mean() if weights is None else (loss * weights.to(loss)).mean()
            set_rates(optimizers, recipe, progress, plan.rate)
            mean.backward()  # type: ignore[no-untyped-call]
            _move(optimizers)
            objective.stepped()
            losses[k] = mean.detach()
            if recorder is not None:
                recorder.batch(ids, logits, labels)
            if sampler.listens:
                tell(sampler, ids, loss, logits, labels)
            at.step, at.examples = at.step + 1, at.examples + len(ids)
            watch.step(at.step, length.total(at.epoch, at.step, len(batches) - k - 1, len(batches)))
        _stop_if_not_finite(losses, at.epoch)
        if recorder is not None:
            recorder.end_epoch()
        at.epoch, at.seconds = at.epoch + 1, at.seconds + time.perf_counter() - started
        if save_to is not None:
            states = {"sampler": sampler.state_dict(), "objective": objective.state_dict()}
            checkpoint.save(save_to, net, optimizers, vars(at), states)
        watch.epoch(at, float(losses.mean()))
    return at


def _start(
    net: Normalised, data: Tensors, recipe: Recipe, save_to: Path | None, others: Mapping[str, Sampler | Objective]
) -> tuple[list[Optimizer], Position]:
    """Bring the net, its optimisers and what else has a state to where the run begins, or stood."""
    keep_freed_memory()
    if len(data.shape) == 3:
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizers = build(net, recipe)
    if save_to is None or not save_to.exists():
        return optimizers, Position()
    about, states = checkpoint.load(save_to, net, optimizers, tuple(others))
    with checkpoint.restoring(save_to):
        for name, other in others.items():
            if states[name]:
                other.load_state_dict(states[name])
        at = Position(**about)
        counts = (at.epoch, at.step, at.examples)
        if not (all(type(count) is int and count >= 0 for count in counts) and 0 <= at.seconds < float("inf")):
            raise ValueError(f"it stands at {at}")
    return optimizers, at


def _move(optimizers: list[Optimizer]) -> None:
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def _stop_if_not_finite(losses: Tensor, epoch: int) -> None:
    bad = ~torch.isfinite(losses)
    if bad.any():
        raise NonFiniteError(
            f"loss: became {float(losses[bad][0])} at epoch {epoch}, step {int(bad.float().argmax())} of that epoch; "
            f"what was recorded before is safe - try a lower learning rate (for example --recipe NAME:lr=...)"
        )
