"""The nets that come with the package, all for small images, and the ways to bring your own.

Every net takes the raw rows of the data set (uint8 images or float vectors): the mean and spread of the training
data are its first layer, so that a saved net carries its own normalisation and can teach in another run.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from secateur.errors import SecateurError, StoreError
from secateur.registry import unknown
from secateur.store.files import replacing
from secateur.training.foreign import optional, own_net
from secateur.training.nets.resnet import ResNet
from secateur.training.nets.small import MLP, ConvNet3, ResNet9
from secateur.training.nets.vit import ViT
from secateur.training.seeding import initialised

Shape = tuple[int, ...]


def _image_only(shape: Shape, name: str) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise SecateurError(f"net: {name} takes images, but the data are vectors of {shape[0]}; use mlp")
    return (shape[0], shape[1], shape[2])


def _resnet9(shape: Shape, classes: int, width: float) -> nn.Module:
    widths = (round(32 * width), round(128 * width), round(128 * width))
    return ResNet9(_image_only(shape, "resnet9")[0], classes, widths)


def _resnet(layers: int) -> Callable[[Shape, int, float], nn.Module]:
    return lambda shape, classes, width: ResNet(
        layers, _image_only(shape, f"resnet{layers}"), classes, round(64 * width)
    )


def _mlp(shape: Shape, classes: int, width: float) -> nn.Module:
    return MLP(int(torch.Size(shape).numel()), classes, round(512 * width))


NETS: dict[str, Callable[[Shape, int, float], nn.Module]] = {
    "mlp": _mlp,
    "convnet3": lambda shape, classes, width: ConvNet3(_image_only(shape, "convnet3"), classes, round(128 * width)),
    "resnet9": _resnet9,
    "resnet18": _resnet(18),
    "resnet34": _resnet(34),
    "resnet50": _resnet(50),
    "vit_tiny": lambda shape, classes, width: ViT(_image_only(shape, "vit_tiny"), classes, 192 * max(1, round(width))),
}
"""By name, made from (shape of a row, classes, width multiplier)."""


def default_net(shape: Shape, device: torch.device | None = None) -> str:
    """The net to use where none is named: by the size of the images.

    >>> default_net((20,)), default_net((3, 32, 32)), default_net((3, 224, 224))
    ('mlp', 'resnet9', 'resnet18')
    """
    if len(shape) != 3:
        return "mlp"
    if min(shape[1:]) > 64:
        return "resnet18"
    return "resnet9:2" if device is not None and device.type == "cuda" else "resnet9"


class Normalised(nn.Module):
    """A net behind the normalisation of the data it was made for."""

    mean: Tensor
    spread: Tensor

    def __init__(self, body: nn.Module, mean: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)

    def normalise(self, rows: Tensor) -> Tensor:
        """Raw rows as the body sees them: float32, mean 0 and spread 1 a channel (a dimension, for vectors)."""
        shape = (1, -1) + (1,) * (rows.ndim - 2)
        return (rows.float() - self.mean.view(shape)) / self.spread.view(shape)

    def forward(self, rows: Tensor) -> Tensor:
        return self.body(self.normalise(rows))


def build(spec: str, *, shape: Shape, classes: int, mean: Tensor, spread: Tensor, seed: int) -> Normalised:
    """A fresh net, initialised from `seed`.

    spec: a name of NETS, with a width multiplier after a colon where wanted (`resnet9:0.5`); `package.module:function`
    for your own, called as function(shape, classes) with shape (channels, height, width); `timm:NAME`.
    mean, spread: a value a channel, of the training data.
    """
    with initialised(seed):
        body = _body(spec, shape, classes)
    return Normalised(body, mean, spread)


def _body(spec: str, shape: Shape, classes: int) -> nn.Module:
    name, _, rest = spec.partition(":")
    if name == "timm":
        return optional("timm", "net").create_model(rest, num_classes=classes, in_chans=shape[0])
    if name in NETS:
        try:
            width = float(rest or 1)
        except ValueError:
            raise SecateurError(f"net: expected a width after the colon, as in {name}:0.5, got {rest!r}") from None
        return NETS[name](shape, classes, width)
    if "." in name and rest:
        return own_net("net", spec, shape, classes)
    raise unknown("net", spec, [*NETS, "timm:NAME", "package.module:function"])


def save_net(net: Normalised, path: Path, *, spec: str, shape: Shape, classes: int) -> None:
    """Write a net and what is needed to build it again; no pickle."""
    about = json.dumps({"net": spec, "shape": list(shape), "classes": classes}, sort_keys=True)
    tensors = {name: value.detach().cpu().contiguous() for name, value in net.state_dict().items()}
    with replacing(path) as beside:
        save_file(tensors, beside, metadata={"secateur": about})


def load_net(path: Path, *, device: torch.device) -> Normalised:
    """Build a saved net again, in eval mode."""
    about, tensors = _saved(path)
    net = build(
        about["net"],
        shape=tuple(about["shape"]),
        classes=about["classes"],
        mean=tensors["mean"],
        spread=tensors["spread"],
        seed=0,
    )
    net.load_state_dict(tensors)
    return net.to(device).eval()


def spec_in(path: Path, asked: str | None = None) -> str:
    """What a saved net is. asked: what it should be; raises SecateurError where it is something else."""
    spec = str(_saved(path)[0]["net"])
    if asked not in (None, spec):
        raise SecateurError(f"start: {path} is a {spec}, and the net asked for is {asked}; leave --net out")
    return spec


def adopt(net: Normalised, path: Path) -> Normalised:
    """Put a saved net's weights, and its normalisation, into a fresh one of its kind.

    The head stays fresh where the saved one is for another number of classes. Raises SecateurError where anything else
    does not fit.
    """
    about, tensors = _saved(path)
    own = net.state_dict()
    heads = [name for name, module in net.named_modules() if isinstance(module, nn.Linear)][-1:]
    fits = {name: value for name, value in tensors.items() if name in own and value.shape == own[name].shape}
    if odd := sorted(name for name in own if name not in fits and name.rpartition(".")[0] not in heads):
        raise SecateurError(
            f"start: {path} is a {about['net']} for rows of shape {tuple(about['shape'])} and does not fit the data: "
            f"see {odd[0]}"
        )
    net.load_state_dict(own | fits)
    return net


def _saved(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What is told of a saved net, and its tensors on the CPU."""
    if not path.is_file():
        raise StoreError(f"{path}: expected a net saved by secateur, found none")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["secateur"])
        return dict(about), load_file(path, device="cpu")
    except Exception as error:
        raise StoreError(f"{path}: not a whole net saved by secateur ({error})") from None
