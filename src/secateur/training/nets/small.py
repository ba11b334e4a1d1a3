"""Small nets: a multi-layer perceptron, the ConvNets of the condensation papers, and the fast 3-group net."""

import itertools
import math
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.training.nets.norms import InstanceNorm


class MLP(nn.Module):
    """Two hidden layers, of so many units; flattens images."""

    def __init__(self, inputs: int, classes: int, units: tuple[int, int]) -> None:
        super().__init__()
        first, second = units
        self.hidden = nn.Sequential(nn.Linear(inputs, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU())
        self.head = nn.Linear(second, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(x.flatten(1)))

    def hidden_layers(self) -> list[tuple[nn.Linear, nn.Linear]]:
        """The two layers that each hidden layer lies between: what makes its units, and what reads them."""
        first, second = cast(nn.Linear, self.hidden[0]), cast(nn.Linear, self.hidden[2])
        return [(first, second), (second, self.head)]

    def multiply_adds(self, units: Sequence[int]) -> int:
        """Multiply-adds of one row, if the hidden layers had so many units; biases and ReLU are not counted.

        >>> MLP(64, 10, (5, 5)).multiply_adds([3, 2])
        218
        """
        sizes = [cast(nn.Linear, self.hidden[0]).in_features, *units, self.head.out_features]
        return sum(inner * outer for inner, outer in itertools.pairwise(sizes))


class Halve(nn.Module):
    """The mean of each 2x2 of a map, an odd last line or column left out.

    On a CPU by sums of slices where maps lie in memory channel by channel, which `avg_pool2d` is slow at. The two
    differ in the last digits.

    >>> Halve()(torch.arange(15.0).view(1, 1, 3, 5))
    tensor([[[[3., 5.]]]])
    """

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or x.stride(1) == 1 or torch.compiler.is_compiling():
            return F.avg_pool2d(x, 2)
        height, width = (n - n % 2 for n in x.shape[-2:])
        lines = x[..., 0:height:2, :width] + x[..., 1:height:2, :width]
        return (lines[..., ::2] + lines[..., 1::2]) * 0.25


class ConvNet(nn.Module):
    """Blocks of 3x3 convolution, affine instance norm, ReLU and average pooling; a linear head on the last map.

    Raises SecateurError for images too small for so many.
    """

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int, *, depth: int) -> None:
        super().__init__()
        channels, border = shape[0], 3 if shape[1] == 28 else 1
        sides = shape[1:]
        blocks: list[nn.Module] = []
        for block in range(depth):
            if min(sides) < 2:
                raise SecateurError(
                    f"net: convnet{depth} halves images {depth} times, and one of {shape[1]}x{shape[2]} leaves block "
                    f"{block + 1} nothing to norm; take convnet{published_depth(shape)}"
                )
            inner = channels if block == 0 else width
            blocks += [nn.Conv2d(inner, width, 3, padding=border if block == 0 else 1)]
            wider = 2 * (border - 1) if block == 0 else 0
            blocks += [InstanceNorm(width), nn.ReLU(inplace=True), Halve()]
            sides = ((sides[0] + wider) // 2, (sides[1] + wider) // 2)
        self.blocks = nn.Sequential(*blocks)
        features = width * math.prod(sides)
        self.head = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(x).flatten(1))


def published_depth(shape: Sequence[int]) -> int:
    """The blocks of a ConvNet that leave a map of 4x4, as the condensation papers have it: 3 for images of 28 and 32
    pixels a side, 4 for 64, 5 for 128. On a smaller map instance norm leaves next to nothing to tell images apart.

    >>> [published_depth((3, side, side)) for side in (8, 28, 32, 64, 128)]
    [1, 3, 3, 4, 5]
    """
    return min(max(round(math.log2(min(shape[1:]) / 4)), 1), 5)


class ConvGroup(nn.Module):
    """Two 3x3 convolutions with batch norm; the first halves the image where there is something to halve."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inner, outer, 3, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(outer, momentum=0.4, eps=1e-5)
        self.second = nn.Conv2d(outer, outer, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(outer, momentum=0.4, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if min(x.shape[-2:]) > 1:
            x = F.max_pool2d(x, 2)
        x = F.gelu(self.first_norm(x))
        return F.gelu(self.second_norm(self.second(x)))


class ResNet9(nn.Module):
    """The 3-group net of the CIFAR-10 speed runs: a 2x2 layer, three groups, a linear head on each map's maximum."""

    def __init__(self, channels: int, classes: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        self.patches = nn.Conv2d(channels, 8 * channels, 2)
        inner = (8 * channels, *widths[:2])
        self.groups = nn.Sequential(*(ConvGroup(i, o) for i, o in zip(inner, widths, strict=True)))
        self.head = nn.Linear(widths[-1], classes, bias=False)
        self.scale = 1 / math.sqrt(widths[-1])

    def forward(self, x: Tensor) -> Tensor:
        x = self.groups(F.gelu(self.patches(x)))
        return self.head(x.amax(dim=(2, 3))) * self.scale

    @torch.no_grad()
    def whiten(self, images: Tensor, *, smooth: float = 5e-4) -> None:
        """Fix the 2x2 layer to plus and minus the whitening filters of normalised images, and the rest to match.

        The filters are the eigenvectors of the covariance of 2x2 patches over the root of their eigenvalues. The 3x3
        filters start as the identity on their first channels, the scales of the norms stay at 1, the head starts with
        deviation 1: what is left to learn is learned in a few hundred steps. Source: specs of the CIFAR-10 speed runs.
        """
        channels = images.shape[1]
        patches = F.unfold(images, 2).transpose(1, 2).reshape(-1, 4 * channels)
        values, vectors = torch.linalg.eigh(torch.cov(patches.double().T))
        filters = (vectors / torch.sqrt(values + smooth)).T.flip(0).reshape(-1, channels, 2, 2)
        self.patches.weight.copy_(torch.cat((filters, -filters)))
        self.patches.weight.requires_grad_(False)
        for module in self.groups.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.dirac_(module.weight[: module.in_channels])
            if isinstance(module, (nn.BatchNorm2d, nn.GroupNorm)):
                module.weight.requires_grad_(False)
        self.head.weight.div_(self.head.weight.std())
