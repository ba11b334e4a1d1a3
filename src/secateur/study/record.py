"""Watching a short training run: the recording, and the proxy it trains, which can teach."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from secateur.data.tensors import Tensors
from secateur.errors import SecateurError
from secateur.store.files import remove
from secateur.store.recording import Recording
from secateur.study.budget import full_steps
from secateur.study.session import Session, session
from secateur.training import checkpoint
from secateur.training.loop import Position, Watch
from secateur.training.loop import train as run_loop
from secateur.training.machine import autocast
from secateur.training.nets import Normalised, save_net
from secateur.training.recipes import Recipe, recipe
from secateur.training.recorder import Recorder
from secateur.training.sampling import Shuffled


def record(
    data: Any,
    *,
    epochs: int | None = None,
    net: str | None = None,
    recipe: str | Recipe = "sgd",
    seed: int = 0,
    out: str | Path = "secateur-out",
    fields: Sequence[str] | None = None,
    eval_pass: bool = False,
    device: str = "auto",
    threads: int | None = None,
    force: bool = False,
    quiet: bool = False,
    **reading: Any,
) -> Recording:
    """Train a net on all of the data for a few epochs and record what each epoch says about each example.

    epochs: the recipe's own by default. fields: see `secateur.Recorder`. eval_pass: record a second pass after each
    epoch, in eval mode and without augmentation, in place of the training pass. The trained proxy is saved beside the
    recording. Run again, it goes on where it stood. reading: how to read the data, see `secateur.open_data`.
    """
    with session(data, out, device=device, threads=threads, force=force, quiet=quiet, reading=reading) as work:
        return record_in(
            work, epochs=epochs, net=net, recipe_spec=recipe, seed=seed, fields=fields, eval_pass=eval_pass
        )


def record_in(
    work: Session,
    *,
    epochs: int | None,
    net: str | None,
    recipe_spec: str | Recipe,
    seed: int,
    fields: Sequence[str] | None = None,
    eval_pass: bool = False,
) -> Recording:
    """`record` inside a session."""
    if epochs is not None and epochs < 1:
        raise SecateurError(f"epochs: expected at least 1, got {epochs}")
    usable = work.source.train.usable
    chosen = recipe(recipe_spec).for_data(len(usable), work.train.shape)
    chosen = dataclasses.replace(chosen, epochs=chosen.epochs if epochs is None else epochs)
    spec = work.net_name(net)
    asked = {
        "net": spec,
        "recipe": dataclasses.asdict(chosen),
        "seed": seed,
        "fields": None if fields is None else sorted(fields),
        "eval_pass": eval_pass,
    }
    asked = dict(json.loads(json.dumps(asked)))  # as run.json gives it back
    if not work.out.begin("record", asked):
        _run(work, spec, chosen, asked)
    remove(work.out / "state" / "record.safetensors")
    return Recording.open(work.out / "recording.zarr")


def _run(work: Session, spec: str, chosen: Recipe, asked: dict[str, Any]) -> None:
    state, store = work.out / "state" / "record.safetensors", work.out / "recording.zarr"
    net = work.build_net(spec, seed=asked["seed"], whiten=chosen.whiten)
    recorder = None if store.exists() and Recording.open(store).complete else _recorder(work, asked, state)
    listener = CleanPass(recorder, net, work.train) if recorder and asked["eval_pass"] else recorder
    steps = full_steps(chosen, len(work.source.train.usable))
    with work.progress.stage(f"recording {chosen.epochs} epochs of {spec}") as advance:
        try:
            done = run_loop(
                net,
                work.train,
                chosen,
                steps=steps,
                horizon=None if chosen.horizon is None else steps // chosen.epochs * chosen.horizon,
                sampler=Shuffled(work.source.train.usable, asked["seed"]),
                seed=asked["seed"],
                recorder=listener,
                save_to=state,
                watch=Watch(advance, lambda at, loss: _log(work, at, loss)),
            )
        except SecateurError:
            if recorder is not None:
                recorder.flush()
            raise
    save_net(net, work.out / "model.safetensors", spec=spec, shape=work.train.shape, classes=work.train.classes)
    if recorder is not None:
        recorder.close()
    work.out.end("record", seconds=done.seconds, examples=done.examples, steps=done.step)


def _recorder(work: Session, asked: dict[str, Any], state: Path) -> Recorder:
    """A recorder that stands where the checkpoint stands."""
    return Recorder(
        work.out / "recording.zarr",
        examples=len(work.source.train),
        classes=work.train.classes,
        fields=asked["fields"],
        data=work.source.fingerprint,
        resume=checkpoint.about(state)["epoch"] if state.exists() else 0,
        provenance=asked,
    )


def _log(work: Session, at: Position, loss: float) -> None:
    work.out.log("epoch", stage="record", epoch=at.epoch - 1, step=at.step, loss=loss, seconds=at.seconds)


class CleanPass:
    """Stands in for a recorder: ignores the training pass, and records one in eval mode at the end of each epoch."""

    def __init__(self, recorder: Recorder, net: Normalised, data: Tensors) -> None:
        self.recorder, self.net, self.data = recorder, net, data

    def batch(self, ids: Tensor, logits: Tensor, labels: Tensor) -> None:
        """The training pass is not recorded."""

    @torch.inference_mode()
    def end_epoch(self) -> None:
        """See every usable example once, as it is."""
        self.net.eval()
        plan = [torch.from_numpy(self.data.usable[k : k + 1000]) for k in range(0, len(self.data.usable), 1000)]
        for ids, rows in zip(plan, self.data.batches(plan), strict=True):
            ids = ids.to(self.data.device)
            with autocast(self.data.device):
                logits = self.net(rows)
            self.recorder.batch(ids, logits, self.data.labels[ids])
        self.recorder.end_epoch()
