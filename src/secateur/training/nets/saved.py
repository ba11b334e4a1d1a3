"""Nets on disk, without pickle, and without trust: see `metadata`."""

import json
from collections.abc import Collection
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from secateur.errors import SecateurError, StoreError, reason
from secateur.store.digests import verify
from secateur.store.files import replacing
from secateur.training.nets.built import Normalised, build
from secateur.training.nets.head import head_of
from secateur.training.nets.metadata import Saved, check_tensors, compare, load_about, trusted_spec
from secateur.training.nets.zoo import Shape

OPTION = "--net (net= in Python)"
"""How users name a net of their own that a file holds, unless a command says otherwise."""


def save_net(net: Normalised, path: Path, *, spec: str, shape: Shape, classes: int) -> None:
    """Write a net and what is needed to build it again; no pickle."""
    about = json.dumps({"net": spec, "shape": list(shape), "classes": classes}, sort_keys=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    with replacing(path) as beside:
        save_file(tensors, beside, metadata={"secateur": about})


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


def load_net(
    path: Path, *, device: torch.device, named: Collection[str | None] = (), option: str = OPTION
) -> Normalised:
    """Build a saved net again, in eval mode.

    named: the nets that the user named. A file may say that it holds a net that comes with secateur; any other net is
    built only where exactly its spec is among these, and from the user's text. option: how they are named.

    Raises StoreError for a file that is damaged or not the net that it says it is, SecateurError for a net that is
    neither ours nor named.
    """
    (_, shape, classes), tensors, spec = _read(path, named, option)
    net = build(spec, shape=shape, classes=classes, mean=tensors["mean"], spread=tensors["spread"], seed=0)
    compare(path, tensors, net.state_dict())
    net.load_state_dict(tensors)
    return net.to(device).eval()


def spec_in(path: Path, asked: str | None = None, named: Collection[str | None] = ()) -> str:
    """What a saved net is, to be built again. asked: what it should be, which the user named; named: see `load_net`.

    Raises SecateurError where it is something else than what was asked for, or neither ours nor named.
    """
    told = load_about(path).spec
    if asked not in (None, told):
        raise SecateurError(f"start: {path} is a {told}, and the net asked for is {asked}; leave --net out")
    return _read(path, (asked, *named), OPTION)[2]


def adopt(net: Normalised, path: Path, *, new_head: bool = False) -> Normalised:
    """Put a saved net's weights, and its normalisation, into a fresh one of its kind.

    The head stays fresh where the saved one is for another number of classes, or where `new_head`. Raises SecateurError
    where anything else does not fit.
    """
    verify(path)
    about, tensors, own = load_about(path), _tensors(path), net.state_dict()
    check_tensors(path, tensors, about)
    head = head_of(net)
    heads = [name for name, module in net.named_modules() if module is head]
    fits = {name: value for name, value in tensors.items() if name in own and _alike(value, own[name])}
    of_head = {name for name in own if name.rpartition(".")[0] in heads}
    if odd := sorted(own.keys() - fits.keys() - of_head):
        raise SecateurError(
            f"start: {path} is a {about.spec} for rows of shape {about.shape}, not that of the data: see {odd[0]}"
        )
    net.load_state_dict(own | {name: value for name, value in fits.items() if not (new_head and name in of_head)})
    return net


def _alike(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.dtype == other.dtype


def _read(path: Path, named: Collection[str | None], option: str) -> tuple[Saved, dict[str, Tensor], str]:
    """What a file says, its tensors, and the spec to build it by: all of it checked against each other."""
    verify(path)
    about = load_about(path)
    spec = trusted_spec(path, about.spec, named, option=option)
    tensors = _tensors(path)
    check_tensors(path, tensors, about)
    return about, tensors, spec


def _tensors(path: Path) -> dict[str, Tensor]:
    """On the CPU."""
    try:
        return load_file(path, device="cpu")
    except Exception as error:
        raise StoreError(f"{path}: not a whole net saved by secateur ({reason(error)})") from None
