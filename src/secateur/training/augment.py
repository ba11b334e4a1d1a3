"""Augmentation of a whole batch at once, on the device, from an explicit generator."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from secateur.errors import SecateurError
from secateur.ranges import FLAG, Range, check_fields


@dataclass(frozen=True)
class Views:
    """How a training image is varied.

    flip: mirror left-right with probability one half; None for colour images only, since grey ones are often writing.
    crop: shift by up to so many pixels each way, the border filled by reflection, or by black where `black` is set;
    None for a sixteenth of the side. cutout: side of one square set to zero.
    """

    flip: Annotated[bool | None, FLAG] = False
    crop: Annotated[int | None, Range(0, 16_384, whole=True)] = 0
    black: Annotated[bool, FLAG] = False
    cutout: Annotated[int, Range(0, 16_384, whole=True)] = 0

    def __post_init__(self) -> None:
        check_fields(self)

    def for_shape(self, shape: tuple[int, ...]) -> "Views":
        """The views for rows of that shape (channels, height, width), with nothing left open.

        >>> Views(flip=None, crop=None).for_shape((3, 32, 32)), Views(flip=None, crop=None).for_shape((1, 8, 8))
        (Views(flip=True, crop=2, black=False, cutout=0), Views(flip=False, crop=0, black=False, cutout=0))
        """
        if len(shape) != 3:
            return Views()
        side = min(shape[1:])
        flip = shape[0] == 3 if self.flip is None else self.flip
        crop = side // 16 if self.crop is None else self.crop
        if crop >= side:
            raise SecateurError(f"crop: expected fewer pixels than the side of the images, {side}, got {crop}")
        return dataclasses.replace(self, flip=flip, crop=crop)

    @property
    def vary(self) -> bool:
        """Is there more than one view of an image?"""
        return bool(self.flip or self.crop or self.cutout)

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """One random view of each image; (batch, channels, height, width) in, the same out.

        >>> x = torch.arange(4, dtype=torch.uint8).reshape(1, 1, 2, 2)
        >>> Views()(x, torch.Generator()) is x
        True
        """
        if images.ndim != 4:
            return images
        return self.place(images, self.draw(len(images), images.shape[2:], generator))

    def draw(self, count: int, size: Sequence[int], generator: torch.Generator) -> "Draws":
        """What is drawn for so many images of size (height, width)."""
        moved = cut = None
        if self.flip or self.crop:
            assert self.crop is not None
            down, across = torch.randint(-self.crop, self.crop + 1, (2, count, 1), generator=generator)
            moved = torch.cat(
                (down, across, torch.rand(count, 1, generator=generator) < (0.5 if self.flip else 0.0)), 1
            )
        if self.cutout:
            cut = torch.cat([torch.randint(side, (count, 1), generator=generator) for side in size], dim=1)
        return Draws(moved, cut)

    def place(self, images: Tensor, draws: "Draws") -> Tensor:
        """The views that were drawn, of as many images (batch, channels, height, width)."""
        if draws.moved is not None:
            images = self._shift(images, *draws.moved.unsqueeze(2).unbind(1))
        if draws.cut is not None:
            images = self._cut(images, *(draws.cut - self.cutout // 2).unsqueeze(2).unbind(1))
        return images

    def _shift(self, images: Tensor, down: Tensor, across: Tensor, mirrored: Tensor) -> Tensor:
        """Flip and crop are one gather: each output pixel names the input pixel it comes from."""
        batch, _, height, width = images.shape
        device = images.device
        rows, columns = down + torch.arange(height), across + torch.arange(width)
        columns = torch.where(mirrored > 0, columns.flip(1), columns)
        inside = _within(rows, height)[:, :, None] & _within(columns, width)[:, None, :]
        rows, columns = _reflect(rows, height).to(device), _reflect(columns, width).to(device)
        each = torch.arange(batch, device=device)[:, None, None]
        pixels = images.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]]
        if self.black:
            pixels = pixels * inside.to(device)[..., None]
        return pixels.permute(0, 3, 1, 2)

    def _cut(self, images: Tensor, top: Tensor, left: Tensor) -> Tensor:
        _, _, height, width = images.shape
        rows, columns = torch.arange(height), torch.arange(width)
        hole = ((rows >= top) & (rows < top + self.cutout))[:, :, None]
        hole = hole & ((columns >= left) & (columns < left + self.cutout))[:, None, :]
        return images.masked_fill(hole[:, None].to(images.device), 0)


class Draws(NamedTuple):
    """Of each image: how far down and across it moves and is it mirrored (images, 3), where it is cut (images, 2)."""

    moved: Tensor | None
    cut: Tensor | None

    def of(self, ids: Tensor) -> "Draws":
        """Those of some images."""
        return Draws(*(None if part is None else part[ids] for part in self))


def _within(position: Tensor, size: int) -> Tensor:
    return (position >= 0) & (position < size)


def _reflect(position: Tensor, size: int) -> Tensor:
    """Fold positions back into [0, size) without repeating the border pixel: -1 -> 1, size -> size - 2."""
    position = position.abs()
    return torch.where(position >= size, 2 * (size - 1) - position, position)
