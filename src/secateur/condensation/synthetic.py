"""A condensed data set: a value, in the form it was learned in and in the form to look at."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from secateur.condensation.mosaic import expand
from secateur.errors import StoreError
from secateur.store.digests import verify
from secateur.store.files import replacing
from secateur.store.schemas import parsed
from secateur.store.schemas.condensed import SyntheticAbout
from secateur.training.checkpoint import damage, metadata_in, tensors_in


@dataclass(frozen=True)
class Synthetic:
    """Synthetic rows, class by class.

    images: (classes * per_class, channels, height, width) or (classes * per_class, dims), normalised float32, not
    clipped; labels: (classes * per_class,) int64; mean, spread: a value a channel (a dimension), in the units of the
    real rows: 0 to 255 for images. tiles: above 1 where an image is a mosaic of tiles x tiles, to be cut apart before
    training.
    """

    images: Tensor
    labels: Tensor
    mean: Tensor
    spread: Tensor
    tiles: int = 1

    def __repr__(self) -> str:
        """Without the pixels.

        >>> Synthetic(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), torch.zeros(1), torch.ones(1))
        Synthetic(2 rows of (1, 8, 8), 1 a class, tiles=1)
        """
        shape = tuple(self.images.shape[1:])
        return f"Synthetic({len(self.labels)} rows of {shape}, {self.per_class} a class, tiles={self.tiles})"

    @property
    def per_class(self) -> int:
        """Rows of each class."""
        return int((self.labels == 0).sum())

    def expanded(self) -> "Synthetic":
        """What nets are trained on: the tiles of mosaics as images of their own, everything else as it is."""
        if self.tiles == 1:
            return self
        return replace(
            self, images=expand(self.images, self.tiles), labels=self.labels.repeat_interleave(self.tiles**2), tiles=1
        )

    def raw(self) -> Tensor:
        """In the units of the real rows, not clipped."""
        wide = (1, -1) + (1,) * (self.images.ndim - 2)
        return self.images * self.spread.view(wide) + self.mean.view(wide)

    def display(self) -> np.ndarray:
        """To look at, in the units of the real rows: uint8 (rows, height, width, channels), clipped to what a pixel can
        be, or float32 (rows, dims).

        >>> pixel = torch.tensor([[[[-9.0]]], [[[0.5]]]])
        >>> Synthetic(pixel, torch.tensor([0, 1]), torch.tensor([100.0]), torch.tensor([50.0])).display().ravel()
        array([  0, 125], dtype=uint8)
        """
        rows = self.raw().cpu()
        if rows.ndim == 2:
            return rows.numpy()
        return rows.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()

    def save(self, path: Path, about: Mapping[str, Any] | None = None) -> None:
        """Write one safetensors file, with what else to know of it as JSON in its metadata."""
        tensors = {
            name: value.detach().cpu().contiguous().clone() for name, value in vars(self).items() if name != "tiles"
        }
        told = json.dumps({**(about or {}), "tiles": self.tiles}, sort_keys=True)
        with replacing(path) as beside:
            save_file(tensors, beside, metadata={"secateur": told})

    @classmethod
    def load(cls, path: Path) -> "Synthetic":
        """What `save` wrote. Raises StoreError for a file that is not there, or not one of these."""
        if not path.exists():
            raise StoreError(f"{path}: expected a condensed set, found none")
        verify(path)
        found, about = tensors_in(path, _WHAT, _WAY), cls.about(path)
        with damage(path, _WHAT, _WAY):
            images, labels, mean, spread = (found[name] for name in ("images", "labels", "mean", "spread"))
            held = cls(images, labels, mean, spread, about.get("tiles", 1))
            rows, width = held.images.shape[:2]
            if (fault := _fault(held, rows, width)) is not None:
                raise ValueError(fault)
            return held

    @staticmethod
    def about(path: Path) -> dict[str, Any]:
        """What was saved with it. Raises StoreError for a file that was damaged."""
        verify(path)
        return dict(parsed(metadata_in(path, _WHAT, _WAY), SyntheticAbout, path))


_WHAT, _WAY = "condensed set", "`secateur condense` with --force learns it again"


def _fault(held: Synthetic, rows: int, width: int) -> str | None:
    """What a condensed set cannot be, where it is that."""
    images, labels, tiles = held.images, held.labels, held.tiles
    if images.dtype != torch.float32 or images.ndim not in (2, 4) or labels.dtype != torch.int64:
        return f"images are {images.dtype} of shape {tuple(images.shape)}, labels {labels.dtype}"
    if labels.shape != (rows,) or not rows or not bool((labels >= 0).all()):
        return f"{rows} rows have labels of shape {tuple(labels.shape)}"
    if held.mean.shape != (width,) or held.spread.shape != (width,):
        return f"{width} channels have a mean of shape {tuple(held.mean.shape)}"
    if tiles > 1 and (images.ndim != 4 or tiles > min(images.shape[2:])):
        return f"rows of shape {tuple(images.shape[1:])} are no mosaics of {tiles} tiles a side"
    return None
