"""Instance norm in place of batch norm, as the condensation papers judge deeper nets."""

import math
from typing import Any

import torch
from torch import nn

from secateur.errors import SecateurError

NORMS = ("batch", "instance")
"""What `norm=` may say."""


def with_norm(net: nn.Module, norm: str, shape: tuple[int, ...], name: str) -> nn.Module:
    """The net with that norm: of NORMS, where `batch` is what it has.

    Every batch norm gives way to an instance norm of its own scale and shift: each map of each image gets mean 0 and
    spread 1, nothing is remembered, and training and testing are alike. Source: the code of DC, which judges such nets
    so. Raises SecateurError where a map of images (channels, height, width) would have one pixel, of which instance
    norm leaves nothing.

    >>> [type(m).__name__ for m in with_norm(nn.Sequential(nn.BatchNorm2d(3)), "instance", (3, 8, 8), "own")]
    ['GroupNorm']
    """
    if norm == "batch":
        return net
    for module in list(net.modules()):
        for child, inner in list(module.named_children()):
            if isinstance(inner, nn.BatchNorm2d):
                setattr(module, child, nn.GroupNorm(inner.num_features, inner.num_features, eps=inner.eps))
    _check_maps(net, shape, name)
    return net


def _check_maps(net: nn.Module, shape: tuple[int, ...], name: str) -> None:
    def check(norm: nn.Module, given: tuple[Any, ...]) -> None:
        if math.prod(given[0].shape[2:]) < 2:
            raise SecateurError(
                f"net: {name} with norm=instance leaves a map of one pixel of {'x'.join(map(str, shape[1:]))} images, "
                f"and nothing of that; take norm=batch, a shallower net (convnet1), or larger images"
            )

    hooks = [m.register_forward_pre_hook(check) for m in net.modules() if isinstance(m, nn.GroupNorm)]
    try:
        with torch.no_grad():
            net(torch.zeros(1, *shape))
    finally:
        for hook in hooks:
            hook.remove()
