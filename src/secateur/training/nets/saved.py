"""Nets on disk, without pickle."""

import json
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from secateur.errors import SecateurError, StoreError
from secateur.store.digests import verify
from secateur.store.files import replacing
from secateur.training.nets.built import Normalised, build
from secateur.training.nets.head import head_of
from secateur.training.nets.zoo import Shape


def save_net(net: Normalised, path: Path, *, spec: str, shape: Shape, classes: int) -> None:
    """Write a net and what is needed to build it again; no pickle."""
    about = json.dumps({"net": spec, "shape": list(shape), "classes": classes}, sort_keys=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    with replacing(path) as beside:
        save_file(tensors, beside, metadata={"secateur": about})


class Saved(NamedTuple):
    """What a file says of the net in it: its spec, the shape of a row, how many classes."""

    spec: str
    shape: Shape
    classes: int


def model_in(path: Path) -> Path:
    """The model file of an OUT folder, or the file itself: the recorded or slim net, or else the one that was trained.

    Raises StoreError for a folder of several trained nets.
    """
    if not path.is_dir() or (path / "model.safetensors").exists():
        return path / "model.safetensors" if path.is_dir() else path
    trained = sorted(path.glob("cells/*/model.safetensors"))
    if len(trained) > 1:
        several = ", ".join(str(file.parent) for file in trained[:3])
        raise StoreError(f"{path}: holds {len(trained)} trained nets; name the folder of one, as {several}")
    return trained[0] if trained else path / "model.safetensors"


def load_about(path: Path) -> Saved:
    """What a saved net is."""
    if not path.is_file():
        raise StoreError(f"{path}: expected a net saved by secateur, found none")
    verify(path)
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["secateur"])
        return Saved(about["net"], tuple(about["shape"]), about["classes"])
    except Exception as error:
        raise StoreError(f"{path}: not a whole net saved by secateur ({error})") from None


def load_net(path: Path, *, device: torch.device) -> Normalised:
    """Build a saved net again, in eval mode."""
    (spec, shape, classes), tensors = load_about(path), _tensors(path)
    net = build(spec, shape=shape, classes=classes, mean=tensors["mean"], spread=tensors["spread"], seed=0)
    net.load_state_dict(tensors)
    return net.to(device).eval()


def spec_in(path: Path, asked: str | None = None) -> str:
    """What a saved net is. asked: what it should be; raises SecateurError where it is something else."""
    spec = load_about(path).spec
    if asked not in (None, spec):
        raise SecateurError(f"start: {path} is a {spec}, and the net asked for is {asked}; leave --net out")
    return spec


def adopt(net: Normalised, path: Path, *, new_head: bool = False) -> Normalised:
    """Put a saved net's weights, and its normalisation, into a fresh one of its kind.

    The head stays fresh where the saved one is for another number of classes, or where `new_head`. Raises SecateurError
    where anything else does not fit.
    """
    about, tensors, own = load_about(path), _tensors(path), net.state_dict()
    head = head_of(net)
    heads = [name for name, module in net.named_modules() if module is head]
    fits = {name: value for name, value in tensors.items() if name in own and value.shape == own[name].shape}
    of_head = {name for name in own if name.rpartition(".")[0] in heads}
    if odd := sorted(own.keys() - fits.keys() - of_head):
        raise SecateurError(
            f"start: {path} is a {about.spec} for rows of shape {about.shape}, not that of the data: see {odd[0]}"
        )
    net.load_state_dict(own | {name: value for name, value in fits.items() if not (new_head and name in of_head)})
    return net


def _tensors(path: Path) -> dict[str, Tensor]:
    """On the CPU."""
    try:
        return load_file(path, device="cpu")
    except Exception as error:
        raise StoreError(f"{path}: not a whole net saved by secateur ({error})") from None
