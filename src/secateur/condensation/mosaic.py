"""Mosaics: an image of four smaller ones, which are cut apart and enlarged to be trained on."""

import torch.nn.functional as F
from torch import Tensor

SIDE = 2
"""Tiles a side."""


def expand(images: Tensor) -> Tensor:
    """Every tile as an image of its own: (images, channels, height, width) -> (4 * images, ...), the four of the first
    one first, row by row. Height and width are even; enlarged by linear interpolation.

    >>> import torch
    >>> image = torch.tensor([[1.0, 1.0, 2.0, 2.0]] * 2 + [[3.0, 3.0, 4.0, 4.0]] * 2)
    >>> expand(image[None, None]).mean((1, 2, 3))
    tensor([1., 2., 3., 4.])
    """
    count, channels, height, width = images.shape
    tiles = images.view(count, channels, SIDE, height // SIDE, SIDE, width // SIDE).permute(0, 2, 4, 1, 3, 5)
    tiles = tiles.reshape(count * SIDE**2, channels, height // SIDE, width // SIDE)
    return F.interpolate(tiles, size=(height, width), mode="bilinear", align_corners=False)


def compose(images: Tensor) -> Tensor:
    """Four images each into one, shrunk: (4 * mosaics, channels, height, width) -> (mosaics, ...).

    >>> import torch
    >>> compose(torch.arange(1.0, 5.0).view(4, 1, 1, 1).expand(4, 1, 2, 2)).flatten()
    tensor([1., 2., 3., 4.])
    """
    count, channels, height, width = images.shape
    tiles = F.interpolate(images, size=(height // SIDE, width // SIDE), mode="bilinear", align_corners=False)
    tiles = tiles.view(count // SIDE**2, SIDE, SIDE, channels, height // SIDE, width // SIDE)
    return tiles.permute(0, 3, 1, 4, 2, 5).reshape(count // SIDE**2, channels, height, width)
