"""The nets by name, and what may follow the name."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from secateur.errors import SecateurError, reason
from secateur.extras import optional
from secateur.ranges import Range, fields_in, plain_number, split_knobs
from secateur.registry import unknown
from secateur.training.foreign import own_net
from secateur.training.nets.norms import NORMS, with_norm
from secateur.training.nets.resnet import ResNet
from secateur.training.nets.small import MLP, ConvNet, ResNet9
from secateur.training.nets.sparse import SparseViT, Sparsity
from secateur.training.nets.vit import ViT
from secateur.training.seeding import initialised

Shape = tuple[int, ...]
MOST_CLASSES = 10**7
"""Classes that a net may have."""
MOST_VALUES = 2**31
"""Values of one row."""
MOST_WEIGHTS = 2 * 10**9
"""Weights of a net that comes with secateur: 8 GB, and four times that to train it."""


def _image_only(shape: Shape, name: str) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise SecateurError(f"net: {name} takes images, but the data are vectors of {shape[0]}; use mlp")
    return (shape[0], shape[1], shape[2])


def _scaled(units: int, width: float) -> int:
    """The units of a layer at that width: one or more."""
    scaled = round(units * width)
    if not scaled:
        raise SecateurError(f"net: width {width:g} leaves none of the {units} channels of a layer; take {1 / units:g}")
    return scaled


def _resnet9(shape: Shape, classes: int, width: float, norm: str = "batch") -> nn.Module:
    widths = (_scaled(32, width), _scaled(128, width), _scaled(128, width))
    return with_norm(ResNet9(_image_only(shape, "resnet9")[0], classes, widths), norm, shape, "resnet9")


def _resnet(layers: int) -> Callable[..., nn.Module]:
    name = f"resnet{layers}"

    def make(shape: Shape, classes: int, width: float, norm: str = "batch") -> nn.Module:
        return with_norm(ResNet(layers, _image_only(shape, name), classes, _scaled(64, width)), norm, shape, name)

    return make


def _convnet(depth: int) -> Callable[[Shape, int, float], nn.Module]:
    return lambda shape, classes, width: ConvNet(
        _image_only(shape, f"convnet{depth}"), classes, _scaled(128, width), depth=depth
    )


def _mlp(shape: Shape, classes: int, width: float, hidden: tuple[int, ...] = ()) -> nn.Module:
    first, second = hidden or 2 * (_scaled(512, width),)
    return MLP(int(torch.Size(shape).numel()), classes, (first, second))


def _vit(name: str, dims: int, heads: int) -> Callable[..., nn.Module]:
    def make(shape: Shape, classes: int, width: float, hidden: tuple[int, ...] = (), **rates: float) -> nn.Module:
        size = (_image_only(shape, name), classes, dims * int(width))
        if not rates:
            return ViT(*size, heads=heads, units=hidden)
        try:
            return SparseViT(Sparsity(**rates), *size, heads=heads, units=hidden)
        except SecateurError as error:
            raise SecateurError(f"net {name}: {error}") from None

    return make


NETS: dict[str, Callable[..., nn.Module]] = {
    "mlp": _mlp,
    **{f"convnet{depth}": _convnet(depth) for depth in range(1, 6)},
    "resnet9": _resnet9,
    "resnet18": _resnet(18),
    "resnet34": _resnet(34),
    "resnet50": _resnet(50),
    "vit_tiny": _vit("vit_tiny", 192, 3),
    "vit_small": _vit("vit_small", 384, 6),
}
"""By name, made from (shape of a row, classes, width multiplier) and the options of OPTIONS."""
HIDDEN = {"mlp": 2, "vit_tiny": 12, "vit_small": 12}
"""How many hidden layers have units that may be counted, as hidden=300+120."""
WIDTH, UNITS = Range(0, 64, above=True), Range(1, 1_000_000, whole=True)
"""How wide a net may be, and how many units a hidden layer may have."""
RATES = dict(fields_in(Sparsity))
OPTIONS = {
    **{name: ["norm"] for name in ("resnet9", "resnet18", "resnet34", "resnet50")},
    "mlp": ["hidden"],
    "vit_tiny": ["hidden", *RATES],
    "vit_small": ["hidden", *RATES],
}
"""What may follow the width, as name=value."""
WHOLE = {"vit_tiny": 3, "vit_small": 6}
"""The nets that are as wide as whole widths say, with the heads that each adds."""


def make(spec: str, shape: Shape, classes: int) -> nn.Module:
    """The net of a spec, initialised from torch's global stream."""
    name, _, rest = spec.partition(":")
    if name == "timm":
        return optional("timm", "net").create_model(rest, num_classes=classes, in_chans=shape[0])
    if name in NETS:
        _check_size(spec, shape, classes)
        return _ours(spec, shape, classes)
    if "." in name and rest:
        return own_net("net", spec, shape, classes)
    raise unknown("net", spec, [*NETS, "timm:NAME", "package.module:function"])


def _ours(spec: str, shape: Shape, classes: int) -> nn.Module:
    name, _, rest = spec.partition(":")
    width, options = asked(name, rest)
    return NETS[name](shape, classes, width, **options)


def outline(spec: str, shape: Shape, classes: int) -> nn.Module:
    """A net that comes with secateur, on the meta device: the names and shapes of its weights, without their memory.

    Raises SecateurError for one that cannot be, or that has more weights than MOST_WEIGHTS.
    """
    try:
        with initialised(0), torch.device("meta"):
            net = _ours(spec, shape, classes)
    except (RuntimeError, OverflowError) as error:  # sizes beyond what torch can count
        raise SecateurError(f"net: {spec} for rows of shape {shape} cannot be made ({reason(error)})") from None
    if (weights := sum(weight.numel() for weight in net.parameters())) > MOST_WEIGHTS:
        raise SecateurError(
            f"net: {spec} for rows of shape {shape} and {classes} classes has {weights:,} weights, more than "
            f"{MOST_WEIGHTS:,}; take a narrower one, or smaller images with --size"
        )
    return net


@functools.lru_cache(maxsize=256)
def _check_size(spec: str, shape: Shape, classes: int) -> None:
    """Raise SecateurError for a net of too many weights before any memory is taken; asked once a kind of net."""
    outline(spec, shape, classes)


def asked(name: str, text: str) -> tuple[float, dict[str, Any]]:
    """The width multiplier, and the options of a net that has some, from what stands after the colon of a spec.

    >>> asked("mlp", "0.5"), asked("mlp", "2,hidden=300+120"), asked("vit_tiny", "tokens=0.7")
    ((0.5, {}), (2.0, {'hidden': (300, 120)}), (1.0, {'tokens': 0.7}))
    """
    known = OPTIONS.get(name, [])
    parts = text.split(",") if known else [text]
    width = "" if known and "=" in parts[0] else parts.pop(0)
    options: dict[str, Any] = {}
    for key, value in split_knobs(",".join(parts), f"net {name}").items():
        if key not in known:
            raise unknown(f"option of {name}", key, known)
        if key == "hidden":
            options[key] = _units(name, value)
        elif key == "norm":
            options[key] = _norm(name, value)
        else:
            options[key] = RATES[key].read(value, f"net {name}: {key}")
    return _width(name, width or "1"), options


def _width(name: str, text: str) -> float:
    """A width that the net can have."""
    example = f"{name}:{2 if name in WHOLE else 0.5}"
    width = _number(text, f"net: expected a width after the colon, as in {example}, got {text!r}")
    if width not in WIDTH:
        raise SecateurError(f"net: expected a width after the colon, as in {example}, {WIDTH}, got {text!r}")
    if name in WHOLE and width != int(width):
        raise SecateurError(
            f"net: expected a whole width after the colon of {name}, {WHOLE[name]} heads of 64 each, got {text!r}; for "
            f"a cheaper one take tokens ({name}:tokens=0.7), or {'vit_tiny' if name != 'vit_tiny' else 'resnet9:0.25'}"
        )
    return width


def with_hidden(spec: str, units: Sequence[int]) -> str:
    """The spec of the same net with so many units in its hidden layers. Raises SecateurError for one that has no such.

    >>> with_hidden("vit_tiny", [5, 7]), with_hidden("mlp:0.5", [3, 2]), with_hidden("mlp:hidden=3+2", [1, 1])
    ('vit_tiny:hidden=5+7', 'mlp:0.5,hidden=3+2', 'mlp:hidden=1+1')
    """
    name, _, rest = spec.partition(":")
    if name not in HIDDEN:
        raise SecateurError(
            f"net: expected one of {', '.join(HIDDEN)}, whose hidden units a spec can count, got {spec!r}"
        )
    parts = [part for part in rest.split(",") if part and not part.startswith("hidden=")]
    return f"{name}:{','.join([*parts, 'hidden=' + '+'.join(map(str, units))])}"


def _units(name: str, text: str) -> tuple[int, ...]:
    layers = HIDDEN[name]
    units = text.split("+")
    if len(units) != layers or not all(
        number.isascii() and number.isdecimal() and int(number[:9]) in UNITS and len(number) < 9 for number in units
    ):
        raise SecateurError(
            f"net {name}: hidden: expected units, {UNITS}, of each of its {layers} hidden layers, as "
            f"{'+'.join(['300'] * layers)}, got {text!r}"
        )
    return tuple(map(int, units))


def _norm(name: str, text: str) -> str:
    if text not in NORMS:
        raise SecateurError(f"net {name}: norm: expected one of {', '.join(NORMS)}, got {text!r}")
    return text


def _number(text: str, otherwise: str) -> float:
    try:
        return float(plain_number(text))
    except ValueError:
        raise SecateurError(otherwise) from None
