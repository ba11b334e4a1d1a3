"""The nets that come with the package, all for small images, and the ways to bring your own.

Every net takes the raw rows of the data set (uint8 images or float vectors): the mean and spread of the training
data are its first layer, so that a saved net carries its own normalisation and can teach in another run.
"""

import dataclasses
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
from secateur.training.nets.sparse import SparseViT, Sparsity
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


def _vit(name: str, dims: int, heads: int) -> Callable[..., nn.Module]:
    def make(shape: Shape, classes: int, width: float, **rates: float) -> nn.Module:
        size = (_image_only(shape, name), classes, dims * max(1, round(width)))
        if not rates:
            return ViT(*size, heads=heads)
        try:
            return SparseViT(Sparsity(**rates), *size, heads=heads)
        except SecateurError as error:
            raise SecateurError(f"net {name}: {error}") from None

    return make


NETS: dict[str, Callable[..., nn.Module]] = {
    "mlp": _mlp,
    "convnet3": lambda shape, classes, width: ConvNet3(_image_only(shape, "convnet3"), classes, round(128 * width)),
    "resnet9": _resnet9,
    "resnet18": _resnet(18),
    "resnet34": _resnet(34),
    "resnet50": _resnet(50),
    "vit_tiny": _vit("vit_tiny", 192, 3),
    "vit_small": _vit("vit_small", 384, 6),
}
"""By name, made from (shape of a row, classes, width multiplier) and the options of OPTIONS."""
OPTIONS = {name: [field.name for field in dataclasses.fields(Sparsity)] for name in ("vit_tiny", "vit_small")}
"""What may follow the width, as name=number."""


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

    def pace(self, progress: float) -> None:
        """How much of a run is done, in [0, 1]: for a body that changes along it, which has this method too."""
        if (told := getattr(self.body, "pace", None)) is not None:
            told(progress)


def build(spec: str, *, shape: Shape, classes: int, mean: Tensor, spread: Tensor, seed: int) -> Normalised:
    """A fresh net, initialised from `seed`.

    spec: a name of NETS, with a width multiplier after a colon where wanted (`resnet9:0.5`), and for vision
    transformers options (`vit_tiny:tokens=0.7,attention=0.5`, `vit_tiny:2,tokens=0.7`: see Sparsity);
    `package.module:function` for your own, called as function(shape, classes) with shape (channels, height, width);
    `timm:NAME`.
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
        width, options = _asked(name, rest)
        return NETS[name](shape, classes, width, **options)
    if "." in name and rest:
        return own_net("net", spec, shape, classes)
    raise unknown("net", spec, [*NETS, "timm:NAME", "package.module:function"])


def _asked(name: str, text: str) -> tuple[float, dict[str, float]]:
    """The width, and the options of those that have some, that stand after the colon of a spec."""
    known = OPTIONS.get(name, [])
    parts = text.split(",") if known else [text]
    width = "" if known and "=" in parts[0] else parts.pop(0)
    options: dict[str, float] = {}
    for part in parts:
        key, _, value = part.partition("=")
        if key not in known:
            raise unknown(f"option of {name}", key, known)
        options[key] = _number(value, f"net {name}: {key}: expected a number, got {value!r}")
    return _number(width or "1", f"net: expected a width after the colon, as in {name}:0.5, got {width!r}"), options


def _number(text: str, otherwise: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SecateurError(otherwise) from None


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
            f"start: {path} is a {about['net']} for rows of shape {tuple(about['shape'])}, not that of the data: see "
            f"{odd[0]}"
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
