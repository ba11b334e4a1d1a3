"""A condensed data set: a value, in the form it was learned in and in the form to look at."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from secateur.condensation.mosaic import expand
from secateur.errors import StoreError, reason
from secateur.store.files import replacing


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
        try:
            tensors, tiles = load_file(path), cls.about(path).get("tiles", 1)
        except Exception as error:
            raise StoreError(f"{path}: expected a condensed set, could not read one ({reason(error)})") from None
        if fault := _fault(tensors, tiles):
            raise StoreError(f"{path}: expected a condensed set, {fault}; the file is damaged")
        return cls(**tensors, tiles=tiles)

    @staticmethod
    def about(path: Path) -> dict[str, Any]:
        """What was saved with it. Raises StoreError for a file that is not one of these."""
        try:
            with safe_open(path, framework="pt") as file:
                return dict(json.loads((file.metadata() or {}).get("secateur", "{}")))
        except Exception as error:
            raise StoreError(f"{path}: expected a condensed set, could not read one ({reason(error)})") from None


def _fault(tensors: Mapping[str, Tensor], tiles: Any) -> str | None:
    """What is wrong with the tensors of a file, in words."""
    if tensors.keys() != {"images", "labels", "mean", "spread"}:
        return f"it holds {', '.join(sorted(tensors)) or 'nothing'}"
    images, labels = tensors["images"], tensors["labels"]
    if images.ndim not in (2, 4) or not images.numel() or images.dtype != torch.float32:
        return f"its images are {str(images.dtype).removeprefix('torch.')} of shape {tuple(images.shape)}"
    if labels.shape != images.shape[:1] or labels.dtype != torch.int64 or int(labels.min()) < 0:
        return "its labels are not a class for each row"
    units = (tensors["mean"], tensors["spread"])
    if any(u.shape != images.shape[1:2] or u.dtype != torch.float32 or not torch.isfinite(u).all() for u in units):
        return "its mean and spread are not numbers for each channel"
    sides = images.shape[2:]
    if isinstance(tiles, bool) or not isinstance(tiles, int) or not 1 <= tiles <= min(sides, default=1):
        return f"its images cannot be cut into {tiles!r} tiles a side"
    return None
