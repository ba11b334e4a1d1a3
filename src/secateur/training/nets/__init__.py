"""The nets that come with the package, all for small images, and the ways to bring your own.

Every net takes the raw rows of the data set (uint8 images or float vectors): the mean and spread of the training
data are its first layer, so that a saved net carries its own normalisation and can teach in another run.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

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


def _mlp(shape: Shape, classes: int, width: float, units: tuple[int, ...] = ()) -> nn.Module:
    first, second = units or 2 * (round(512 * width),)
    return MLP(int(torch.Size(shape).numel()), classes, (first, second))


def _vit(shape: Shape, classes: int, width: float, units: tuple[int, ...] = ()) -> nn.Module:
    return ViT(_image_only(shape, "vit_tiny"), classes, 192 * max(1, round(width)), units=units)


NETS: dict[str, Callable[[Shape, int, float], nn.Module]] = {
    "mlp": _mlp,
    "convnet3": lambda shape, classes, width: ConvNet3(_image_only(shape, "convnet3"), classes, round(128 * width)),
    "resnet9": _resnet9,
    "resnet18": _resnet(18),
    "resnet34": _resnet(34),
    "resnet50": _resnet(50),
    "vit_tiny": _vit,
}
"""By name, made from (shape of a row, classes, width multiplier)."""
_HIDDEN = {"mlp": (_mlp, 2), "vit_tiny": (_vit, 12)}
"""The nets whose hidden units may be given, a number a layer, and how many layers these are."""


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

    spec: a name of NETS, with a width multiplier after a colon where wanted (`resnet9:0.5`), and for mlp and vit_tiny
    the hidden units of each layer (`mlp:hidden=300+120`); `package.module:function` for your own, called as
    function(shape, classes) with shape (channels, height, width); `timm:NAME`.
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
        width, units = _sizes(name, rest)
        return _HIDDEN[name][0](shape, classes, width, units) if units else NETS[name](shape, classes, width)
    if "." in name and rest:
        return own_net("net", spec, shape, classes)
    raise unknown("net", spec, [*NETS, "timm:NAME", "package.module:function"])


def _sizes(name: str, text: str) -> tuple[float, tuple[int, ...]]:
    """The width multiplier, and the units of each hidden layer, none where they follow from the width.

    >>> _sizes("mlp", "0.5"), _sizes("mlp", "2,hidden=300+120"), _sizes("mlp", "")
    ((0.5, ()), (2.0, (300, 120)), (1.0, ()))
    """
    before, named, numbers = text.partition("hidden=")
    try:
        width = float(before.removesuffix(",") if named else before) if before else 1.0
        units = tuple(int(number) for number in numbers.split("+")) if named else ()
    except ValueError:
        known = f", or units as in {name}:hidden=300+120" if name in _HIDDEN else ""
        raise SecateurError(f"net: expected a width after the colon, as in {name}:0.5{known}, got {text!r}") from None
    if named and name not in _HIDDEN:
        raise SecateurError(f"net: hidden= is for {' and '.join(_HIDDEN)}, got {name}:{text}; give {name} a width")
    if named and (len(units) != _HIDDEN[name][1] or min(units) < 1):
        layers = _HIDDEN[name][1]
        raise SecateurError(f"net: {name} has {layers} hidden layers of at least one unit each, got hidden={numbers}")
    return width, units


def with_hidden(spec: str, units: Sequence[int]) -> str:
    """The spec of the same net with so many units in its hidden layers. Raises SecateurError for one that has no such.

    >>> with_hidden("vit_tiny", [5, 7]), with_hidden("mlp:0.5", [3, 2]), with_hidden("mlp:hidden=3+2", [1, 1])
    ('vit_tiny:hidden=5+7', 'mlp:0.5,hidden=3+2', 'mlp:hidden=1+1')
    """
    name, _, rest = spec.partition(":")
    if name not in _HIDDEN:
        raise SecateurError(f"net: expected {' or '.join(_HIDDEN)}, whose hidden units a spec can count, got {spec!r}")
    parts = [part for part in rest.split(",") if part and not part.startswith("hidden=")]
    return f"{name}:{','.join([*parts, 'hidden=' + '+'.join(map(str, units))])}"


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


def load_about(path: Path) -> Saved:
    """What a saved net is."""
    if not path.is_file():
        raise StoreError(f"{path}: expected a net saved by secateur, found none")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads(file.metadata()["secateur"])
        return Saved(about["net"], tuple(about["shape"]), about["classes"])
    except Exception as error:
        raise StoreError(f"{path}: not a whole net saved by secateur ({error})") from None


def load_net(path: Path, *, device: torch.device) -> Normalised:
    """Build a saved net again, in eval mode."""
    spec, shape, classes = load_about(path)
    try:
        tensors = load_file(path, device="cpu")
    except Exception as error:
        raise StoreError(f"{path}: not a whole net saved by secateur ({error})") from None
    net = build(spec, shape=shape, classes=classes, mean=tensors["mean"], spread=tensors["spread"], seed=0)
    net.load_state_dict(tensors)
    return net.to(device).eval()
