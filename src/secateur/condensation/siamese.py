"""Differentiable Siamese augmentation: one transform drawn once and applied alike to a real and a synthetic batch."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.errors import SecateurError
from secateur.registry import unknown

FAMILIES = ("color", "crop", "cutout", "flip", "scale", "rotate")
_NUMBERS = {"color": 3, "crop": 2, "cutout": 2, "flip": 1, "scale": 2, "rotate": 1}
"""How many uniform numbers each family takes."""


@dataclass(frozen=True)
class Draw:
    """One transform of a whole batch: its family, and its numbers in [0, 1).

    u: (1, numbers) for the same of every image, (images, numbers) for each its own.
    """

    family: str
    u: Tensor

    def __call__(self, images: Tensor) -> Tensor:
        """Normalised images (batch, channels, height, width) transformed; gradients flow through.

        >>> Draw("flip", torch.zeros(1, 1))(torch.tensor([[[[1., 2.]]]]))
        tensor([[[[2., 1.]]]])
        """
        return _APPLY[self.family](images, self.u.to(images.device))


def families(text: str | None, shape: tuple[int, ...]) -> tuple[str, ...]:
    """The families by name, joined with `_`; `auto` drops flip for grey images, which are often writing, and all for
    vectors; None or `off` are none. Raises SecateurError for names that are not there.

    >>> families("auto", (1, 28, 28)), families("crop_flip", (3, 32, 32)), families("auto", (20,))
    (('color', 'crop', 'cutout', 'scale', 'rotate'), ('crop', 'flip'), ())
    """
    if text is None or text == "off":
        return ()
    if text == "auto":
        return tuple(f for f in FAMILIES if f != "flip" or shape[0] == 3) if len(shape) == 3 else ()
    chosen = tuple(text.split("_"))
    for name in chosen:
        if name not in FAMILIES:
            raise unknown("augment", name, [*FAMILIES, "auto", "off"])
    if len(shape) != 3:
        raise SecateurError(f"augment: {text} is for images, and the rows are vectors; leave it out")
    return chosen


def draw(chosen: tuple[str, ...], generator: torch.Generator, *, count: int | None = None) -> Draw | None:
    """One family for the batch, and the numbers of it: the same for all images, or for each of `count` its own.

    None where there is nothing to choose from. Source: arXiv:2102.08259, mode "S" of its code; the generator is a
    private one, where the code seeds the global stream with the clock.
    """
    if not chosen:
        return None
    family = chosen[int(torch.randint(len(chosen), (1,), generator=generator))]
    return Draw(family, torch.rand(count or 1, _NUMBERS[family], generator=generator))


def _each(u: Tensor) -> list[Tensor]:
    return [column.view(-1, 1, 1, 1) for column in u.unbind(1)]


def _color(x: Tensor, u: Tensor) -> Tensor:
    """Brightness, then saturation, then contrast."""
    light, saturation, contrast = _each(u)
    x = x + (light - 0.5)
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (2 * saturation)
    middle = x.mean((1, 2, 3), keepdim=True)
    return middle + (x - middle) * (contrast + 0.5)


def shift(side: int) -> int:
    """The most pixels that crop moves an image of that side.

    >>> shift(32), shift(28)
    (4, 4)
    """
    return math.floor(0.125 * side + 0.5)


def hole(side: int) -> int:
    """The side of what cutout cuts out of an image of that side.

    >>> hole(32), hole(28)
    (16, 14)
    """
    return math.floor(0.5 * side + 0.5)


def _crop(x: Tensor, u: Tensor) -> Tensor:
    """Move by whole pixels; what comes in is 0."""
    height, width = x.shape[2:]
    down, across = shift(height), shift(width)
    x = F.pad(x, (across, across, down, down))
    top, left = (u[:, 0] * (2 * down + 1)).long(), (u[:, 1] * (2 * across + 1)).long()
    if len(u) == 1:
        return x[:, :, int(top) : int(top) + height, int(left) : int(left) + width]
    rows = top[:, None] + torch.arange(height, device=x.device)
    columns = left[:, None] + torch.arange(width, device=x.device)
    each = torch.arange(len(x), device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2).contiguous()


def _cutout(x: Tensor, u: Tensor) -> Tensor:
    """A square of zeros, whose centre lies anywhere, so that it may hang over the border."""
    inside = []
    for axis, column in zip((2, 3), u.unbind(1), strict=True):
        side, cut = x.shape[axis], hole(x.shape[axis])
        start = (column * (side + 1 - cut % 2)).long() - cut // 2
        at = torch.arange(side, device=x.device)
        inside.append((at >= start[:, None]) & (at < start[:, None] + cut))
    return x * ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])


def _flip(x: Tensor, u: Tensor) -> Tensor:
    return torch.where(u.view(-1, 1, 1, 1) < 0.5, x.flip(3), x)


def _scale(x: Tensor, u: Tensor) -> Tensor:
    """Along each axis by its own factor; above 1 the image shrinks."""
    across, down = (1 / 1.2 + u * (1.2 - 1 / 1.2)).unbind(1)
    zero = torch.zeros_like(across)
    return _affine(x, torch.stack((across, zero, zero, zero, down, zero), 1))


def _rotate(x: Tensor, u: Tensor) -> Tensor:
    """By up to 15 degrees either way."""
    angle = (u[:, 0] - 0.5) * math.radians(30)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _affine(x, torch.stack((cos, -sin, zero, sin, cos, zero), 1))


def _affine(x: Tensor, matrix: Tensor) -> Tensor:
    grid = F.affine_grid(matrix.view(-1, 2, 3), [len(matrix), *x.shape[1:]], align_corners=False)
    return F.grid_sample(x, grid.expand(len(x), -1, -1, -1).to(x), padding_mode="zeros", align_corners=False)


_APPLY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "color": _color, "crop": _crop, "cutout": _cutout, "flip": _flip, "scale": _scale, "rotate": _rotate,
}  # fmt: skip
