"""Mosaics: an image of several smaller ones, which are cut apart and enlarged to be trained on."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

SIDE = 2
"""Tiles a side, as published."""
SMALLEST = 8
"""Pixels a side that a tile needs to show anything."""


def side_for(shape: Sequence[int]) -> int:
    """Tiles a side of an image (channels, height, width): 2, or 1 where that would leave them less than 8 pixels; 1 for
    vectors (dims,), which are not cut.

    >>> [side_for(shape) for shape in ((3, 8, 8), (3, 15, 32), (3, 16, 16), (3, 28, 28), (64,))]
    [1, 1, 2, 2, 1]
    """
    return SIDE if len(shape) == 3 and min(shape[1:]) >= SIDE * SMALLEST else 1


def expand(images: Tensor, side: int = SIDE) -> Tensor:
    """Every tile as an image of its own: (images, channels, height, width) -> (side^2 * images, ...), those of
    the first one first, row by row. Height and width are multiples of side; enlarged by linear interpolation.

    >>> import torch
    >>> image = torch.tensor([[1.0, 1.0, 2.0, 2.0]] * 2 + [[3.0, 3.0, 4.0, 4.0]] * 2)
    >>> expand(image[None, None]).mean((1, 2, 3))
    tensor([1., 2., 3., 4.])
    """
    count, channels, height, width = images.shape
    tiles = images.view(count, channels, side, height // side, side, width // side).permute(0, 2, 4, 1, 3, 5)
    tiles = tiles.reshape(count * side**2, channels, height // side, width // side)
    return F.interpolate(tiles, size=(height, width), mode="bilinear", align_corners=False)


def compose(images: Tensor, side: int = SIDE) -> Tensor:
    """side^2 images each into one, shrunk: (side^2 * mosaics, channels, height, width) -> (mosaics, ...).

    >>> import torch
    >>> compose(torch.arange(1.0, 5.0).view(4, 1, 1, 1).expand(4, 1, 2, 2)).flatten()
    tensor([1., 2., 3., 4.])
    """
    count, channels, height, width = images.shape
    tiles = F.interpolate(images, size=(height // side, width // side), mode="bilinear", align_corners=False)
    tiles = tiles.view(count // side**2, side, side, channels, height // side, width // side)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(count // side**2, channels, height, width)
