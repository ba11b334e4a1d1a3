"""Residual nets of 18, 34 and 50 layers, with a 3x3 stem for small images."""

import torch.nn.functional as F
from torch import Tensor, nn

_SMALL = 64
"""Images up to this side keep their resolution through the stem."""
_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}


def _conv(inner: int, outer: int, size: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inner, outer, size, stride, size // 2, bias=False)
    if not conv.weight.is_meta:  # an outline has no weights to draw, and torch would take seconds to draw none
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(outer))


class Residual(nn.Module):
    """A chain of convolutions beside a shortcut: two 3x3, or 1x1-3x3-1x1 in the bottleneck of 50 layers."""

    def __init__(self, inner: int, width: int, stride: int, *, bottleneck: bool) -> None:
        super().__init__()
        outer = width * (4 if bottleneck else 1)
        if bottleneck:
            chain = [_conv(inner, width, 1), _conv(width, width, 3, stride), _conv(width, outer, 1)]
        else:
            chain = [_conv(inner, width, 3, stride), _conv(width, outer, 3)]
        self.chain = nn.ModuleList(chain)
        self.shortcut = _conv(inner, outer, 1, stride) if stride > 1 or inner != outer else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for conv in self.chain[:-1]:
            out = F.relu(conv(out))
        return F.relu(self.chain[-1](out) + self.shortcut(x))


class ResNet(nn.Module):
    """He et al. 2016; `width` channels in the first stage, doubled in each of the next three."""

    def __init__(self, layers: int, shape: tuple[int, int, int], classes: int, width: int = 64) -> None:
        super().__init__()
        small = min(shape[1:]) <= _SMALL
        self.stem = _conv(shape[0], width, 3) if small else _conv(shape[0], width, 7, 2)
        self.pool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        bottleneck = layers >= 50
        stages: list[nn.Module] = []
        inner = width
        for stage, blocks in enumerate(_BLOCKS[layers]):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(Residual(inner, width << stage, stride, bottleneck=bottleneck))
                inner = (width << stage) * (4 if bottleneck else 1)
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(inner, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stages(self.pool(F.relu(self.stem(x))))
        return self.head(x.mean(dim=(2, 3)))
