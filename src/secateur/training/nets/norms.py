"""Instance norm, and it in place of batch norm, as the condensation papers judge deeper nets."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.errors import SecateurError

NORMS = ("batch", "instance")
"""What `norm=` may say."""


class InstanceNorm(nn.GroupNorm):
    """Each map of each row with mean 0 and spread 1, then a scale and a shift of each channel; nothing is remembered.

    What `GroupNorm` with a group a channel makes. That is slow on a CPU where channels lie last in memory, so there
    each row is normed by batch norm, as a batch of its own.

    >>> rows = torch.tensor([0.0, 2.0, 5.0, 9.0]).view(1, 2, 1, 2)  # channels of 0 and 2, and of 5 and 9
    >>> InstanceNorm(2)(rows.to(memory_format=torch.channels_last)).detach().round(decimals=3).flatten().tolist()
    [-1.0, 1.0, -1.0, 1.0]
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(channels, channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        last = x.stride(1) == 1 and math.prod(x.shape[2:]) > 1
        if not last or x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x)
        return torch.cat([self._of_one(row) for row in torch.split(x, 1)])

    def _of_one(self, row: Tensor) -> Tensor:
        return F.batch_norm(row, None, None, self.weight, self.bias, training=True, eps=self.eps)


def with_norm(net: nn.Module, norm: str, shape: tuple[int, ...], name: str) -> nn.Module:
    """The net with that norm: of NORMS, where `batch` is what it has.

    Every batch norm gives way to an instance norm of its own scale and shift: each map of each image gets mean 0 and
    spread 1, nothing is remembered, and training and testing are alike. Source: the code of DC, which judges such nets
    so. Raises SecateurError where a map of images (channels, height, width) would have one pixel, of which instance
    norm leaves nothing.

    >>> [type(m).__name__ for m in with_norm(nn.Sequential(nn.BatchNorm2d(3)), "instance", (3, 8, 8), "own")]
    ['InstanceNorm']
    """
    if norm == "batch":
        return net
    for module in list(net.modules()):
        for child, inner in list(module.named_children()):
            if isinstance(inner, nn.BatchNorm2d):
                setattr(module, child, InstanceNorm(inner.num_features, eps=inner.eps))
    if not any(weight.is_meta for weight in net.parameters()):  # an outline computes nothing
        _check_maps(net, shape, name)
    return net


def _check_maps(net: nn.Module, shape: tuple[int, ...], name: str) -> None:
    def check(norm: nn.Module, given: tuple[Any, ...]) -> None:
        if math.prod(given[0].shape[2:]) < 2:
            raise SecateurError(
                f"net: {name} with norm=instance leaves a map of one pixel of {'x'.join(map(str, shape[1:]))} images, "
                f"and nothing of that; take norm=batch, a shallower net (convnet1), or larger images"
            )

    hooks = [m.register_forward_pre_hook(check) for m in net.modules() if isinstance(m, InstanceNorm)]
    try:
        with torch.no_grad():
            net(torch.zeros(1, *shape))
    finally:
        for hook in hooks:
            hook.remove()
