"""The squared length of one layer's parameter gradient for each example, without keeping the gradient.

A form takes a layer, what went into it (batch, ...) and the gradient of the loss in what came out of it (batch, ...),
and gives (batch,): the sum of squares over those of the layer's parameters that require grad.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.training.nets.norms import InstanceNorm

NEAR, FAR = 1 << 20, 1 << 26
"""Numbers worked on at a time, as many examples as that holds: 4 MB stay near a processor's core, an accelerator wants
large products."""


def square_of_products(a: Tensor, g: Tensor) -> Tensor:
    """Squared length of sum_t g_t a_t^T for each of n examples: a (n, positions, in), g (n, positions, out) -> (n,).

    Worked out as it stands, or as the sum over t and t' of (a_t . a_t') (g_t . g_t'): the one with fewer products.

    >>> square_of_products(torch.tensor([[[3., 4.], [0., 1.]]]), torch.tensor([[[2.], [1.]]])).round()
    tensor([117.])
    """
    positions, ins, outs = a.shape[1], a.shape[2], g.shape[2]
    if positions == 1:
        return a.square().sum((1, 2)) * g.square().sum((1, 2))
    if _by_positions(positions, ins, outs):
        return (torch.bmm(a, a.mT) * torch.bmm(g, g.mT)).sum((1, 2)).clamp(min=0.0)  # rounding may leave -1e-9
    return torch.linalg.vector_norm(torch.bmm(g.mT, a), dim=(1, 2)).square()


def _by_positions(positions: int, ins: int, outs: int) -> bool:
    return positions * (ins + outs) < ins * outs


def _block(device: torch.device, positions: int, ins: int, outs: int, groups: int = 1) -> int:
    """How many examples to work on at a time."""
    product = 0 if positions == 1 else 2 * positions**2 if _by_positions(positions, ins, outs) else ins * outs
    return max(1, (NEAR if device.type == "cpu" else FAR) // (groups * (positions * (ins + outs) + product)))


def _linear(layer: nn.Linear, a: Tensor, g: Tensor) -> Tensor:
    """Weight and bias; axes between the batch and the features are positions, over which gradients add up."""
    a, g = a.reshape(len(a), -1, a.shape[-1]), g.reshape(len(g), -1, g.shape[-1])
    block = _block(a.device, a.shape[1], a.shape[2], g.shape[2])

    def weight() -> Tensor:
        return torch.cat([square_of_products(x, e) for x, e in _blocks(a, g, block)])

    return _sum(layer, g, weight, lambda: g.sum(1))


def _conv(layer: nn.Conv2d, a: Tensor, g: Tensor) -> Tensor:
    """A linear layer on patches, one for each group of channels."""
    outs = layer.out_channels // layer.groups
    block = _block(a.device, g[0, 0].numel(), layer.weight[0].numel(), outs, layer.groups)

    def weight() -> Tensor:
        squares = []
        for x, e in _blocks(a, g, block):
            pixels = torch.unflatten(e.permute(0, 2, 3, 1), 3, (layer.groups, -1)).permute(0, 3, 1, 2, 4)
            of_groups = square_of_products(_patches(layer, x), pixels.flatten(2, 3).flatten(0, 1))
            squares.append(of_groups.view(len(x), -1).sum(1))
        return torch.cat(squares)

    return _sum(layer, g, weight, lambda: g.sum((2, 3)))


def _patches(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """What each filter sees: (batch, channels, height, width) -> (batch * groups, positions, inputs of a filter)."""
    assert isinstance(layer.padding, tuple)
    (down, across), (up, left) = layer.kernel_size, layer.padding
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, left, left, up, up))  # channels last: patches are copied by the row
    x = x.unfold(1, (down - 1) * layer.dilation[0] + 1, layer.stride[0])[..., :: layer.dilation[0]]
    x = x.unfold(2, (across - 1) * layer.dilation[1] + 1, layer.stride[1])[..., :: layer.dilation[1]]
    x = torch.unflatten(x, 3, (layer.groups, -1))  # batch, y, x, group, channel, down, across
    x = x.permute(0, 3, 1, 2, 5, 6, 4)
    return x.flatten(4).flatten(2, 3).flatten(0, 1)


def _batch_norm(layer: Any, a: Tensor, g: Tensor) -> Tensor:
    """In eval mode: a scale and a shift of each channel."""
    shape = (1, -1) + (1,) * (a.ndim - 2)

    def normal() -> Tensor:
        return (a - layer.running_mean.view(shape)) * torch.rsqrt(layer.running_var + layer.eps).view(shape)

    return _sum(layer, g, lambda: _by_channel(g * normal()).square().sum(1), lambda: _by_channel(g))


def _group_norm(layer: nn.GroupNorm, a: Tensor, g: Tensor) -> Tensor:
    """A scale and a shift of each channel."""

    def weight() -> Tensor:
        return _by_channel(g * F.group_norm(a, layer.num_groups, eps=layer.eps)).square().sum(1)

    return _sum(layer, g, weight, lambda: _by_channel(g))


def _layer_norm(layer: nn.LayerNorm, a: Tensor, g: Tensor) -> Tensor:
    """A scale and a shift of each feature; axes between the batch and the features are positions."""

    def by_weight(x: Tensor) -> Tensor:
        return x.reshape(len(x), -1, layer.weight.numel()).sum(1)

    def weight() -> Tensor:
        return by_weight(g * F.layer_norm(a, layer.normalized_shape, eps=layer.eps)).square().sum(1)

    return _sum(layer, g, weight, lambda: by_weight(g))


FORMS: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], Tensor]] = {
    nn.Linear: _linear,
    nn.Conv2d: _conv,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
    nn.GroupNorm: _group_norm,
    InstanceNorm: _group_norm,
    nn.LayerNorm: _layer_norm,
}
"""By exact type: a subclass may compute something else."""


def knows(layer: nn.Module) -> bool:
    """Is there a closed form for the layer? Not where its weight is made from others, as weight and spectral norm do,
    nor for a convolution padded with anything but zeros, or by a word."""
    if isinstance(layer, nn.Conv2d) and (isinstance(layer.padding, str) or layer.padding_mode != "zeros"):
        return False
    return type(layer) in FORMS and all(name in ("weight", "bias") for name, _ in layer.named_parameters(recurse=False))


def _sum(layer: Any, g: Tensor, weight: Callable[[], Tensor], bias: Callable[[], Tensor]) -> Tensor:
    """weight: squares (batch,); bias: the gradient itself (batch, outputs). Each only where it is to be trained."""
    out = g.new_zeros(len(g))
    if layer.weight.requires_grad:
        out += weight()
    if layer.bias is not None and layer.bias.requires_grad:
        out += bias().square().sum(1)
    return out


def _blocks(a: Tensor, g: Tensor, block: int) -> Iterator[tuple[Tensor, Tensor]]:
    return zip(torch.split(a, block), torch.split(g, block), strict=True)


def _by_channel(x: Tensor) -> Tensor:
    return x.reshape(*x.shape[:2], -1).sum(2)
