"""Where a run of condensing stands, on disk."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from secateur.condensation.frame import Canvas, Condenser, Ground, Keeping
from secateur.errors import StoreError, WrongData
from secateur.store.files import replacing
from secateur.training.checkpoint import about as checkpoint_about
from secateur.training.checkpoint import restoring


def keep(path: Path, canvas: Canvas, ground: Ground, asked: dict[str, Any]) -> None:
    """Write where a run stands: rows, momentum, the stream, the nets that go on learning, and what was asked."""
    tensors = {"images": canvas.images, "velocity": canvas.velocity, "stream": ground.generator.get_state()}
    for k, learner in enumerate(canvas.nets):
        tensors |= {f"{k:03d}.{name}": value for name, value in learner.tensors().items()}
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    about = {"about": {"asked": asked, "step": canvas.step}, "plain": {}}
    with replacing(path) as beside:
        save_file(tensors, beside, metadata={"secateur": json.dumps(about, sort_keys=True)})


def restore(path: Path, condenser: Condenser, canvas: Canvas, ground: Ground, asked: dict[str, Any]) -> None:
    """Put a run where it stood. Raises StoreError for a damaged file, WrongData for that of another run."""
    about = checkpoint_about(path)
    if about.get("asked") != asked:
        before = about.get("asked", {})
        changed = sorted(n for n in {**asked, **before} if asked.get(n) != before.get(n))
        told = "; ".join(f"{n} was {before.get(n)!r}, now {asked.get(n)!r}" for n in changed)
        raise WrongData(f"{path}: the checkpoint is of another run ({told}); name another --out, or --force")
    with restoring(path):
        _put(load_file(path), about["step"], path, condenser, canvas, ground)


def _put(
    tensors: dict[str, torch.Tensor], step: Any, path: Path, condenser: Condenser, canvas: Canvas, ground: Ground
) -> None:
    for name in ("images", "velocity"):
        value = tensors[name]
        if value.shape != canvas.images.shape or value.dtype != canvas.images.dtype:
            raise StoreError(f"{path}: holds {name} of shape {tuple(value.shape)}; delete it and run again")
    if isinstance(step, bool) or not isinstance(step, int) or step < 0:
        raise StoreError(f"{path}: stands at step {step!r}; delete it and run again")
    canvas.images, canvas.velocity = (tensors[n].to(canvas.images.device) for n in ("images", "velocity"))
    canvas.step = step
    ground.generator.set_state(tensors["stream"])
    kept: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        k, _, rest = name.partition(".")
        if rest:
            kept.setdefault(k, {})[rest] = value
    if isinstance(condenser, Keeping):
        canvas.nets = [condenser.learner(ground.net_of(0)).put(kept[k]) for k in sorted(kept)]
