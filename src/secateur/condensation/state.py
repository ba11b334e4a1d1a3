"""Where a run of condensing stands, on disk."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from secateur.condensation.frame import Canvas, Condenser, Ground, Keeping
from secateur.errors import StoreError, WrongData
from secateur.store.files import replacing
from secateur.store.schemas.condensed import Grown
from secateur.training.checkpoint import about as checkpoint_about
from secateur.training.checkpoint import damage, tensors_in


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
    about = checkpoint_about(path, Grown)
    if about.get("asked") != asked:
        before = about.get("asked", {})
        changed = sorted(n for n in {**asked, **before} if asked.get(n) != before.get(n))
        told = "; ".join(f"{n} was {before.get(n)!r}, now {asked.get(n)!r}" for n in changed)
        raise WrongData(f"{path}: the checkpoint is of another run ({told}); choose another --out, or --force")
    tensors = tensors_in(path, "checkpoint", "delete it to start again")
    if "images" not in tensors or tensors["images"].shape != canvas.images.shape:
        found = tuple(tensors["images"].shape) if "images" in tensors else "none"
        raise StoreError(f"{path}: holds rows of shape {found}; delete it and run again")
    with damage(path, "checkpoint", "delete it to start again"):
        if tensors["velocity"].shape != canvas.images.shape:
            raise ValueError(f"velocity has shape {tuple(tensors['velocity'].shape)}")
        canvas.images, canvas.velocity = (tensors[n].to(canvas.images.device) for n in ("images", "velocity"))
        canvas.step = int(about["step"])
        ground.generator.set_state(tensors["stream"])
        kept: dict[str, dict[str, torch.Tensor]] = {}
        for name, value in tensors.items():
            k, _, rest = name.partition(".")
            if rest:
                kept.setdefault(k, {})[rest] = value
        if isinstance(condenser, Keeping):
            canvas.nets = [condenser.learner(ground.net_of(0)).put(kept[k]) for k in sorted(kept)]
