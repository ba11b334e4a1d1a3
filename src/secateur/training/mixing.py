"""Images mixed two by two, for a teacher that labels the mixture itself."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from secateur.errors import SecateurError


class Mixture(NamedTuple):
    """rows (batch, ...): `share` of each row and the rest of the row `partner` (batch,) of it."""

    rows: Tensor
    partner: Tensor
    share: float


def mixed(rows: Tensor, *, mixup: float, cutmix: float, draw: np.random.Generator) -> Mixture:
    """Mix a batch: mixup (arXiv:1710.09412) or cutmix (arXiv:1905.04899), with both one of them by a coin.

    The share is drawn from Beta(mixup, mixup), or Beta(cutmix, cutmix), once a batch; in a cutmix it is then what the
    box, cut off at the border, really left.

    >>> rows = torch.tensor([[0.], [8.]])
    >>> found = mixed(rows, mixup=1.0, cutmix=0.0, draw=np.random.default_rng(0))
    >>> torch.allclose(found.rows, found.share * rows + (1 - found.share) * rows[found.partner])
    True
    """
    partner = torch.from_numpy(draw.permutation(len(rows))).to(rows.device)
    if cutmix and (not mixup or draw.random() < 0.5):
        return _cut(rows, partner, float(draw.beta(cutmix, cutmix)), draw)
    share = float(draw.beta(mixup, mixup))
    return Mixture(torch.lerp(rows[partner].float(), rows.float(), share), partner, share)


def _cut(rows: Tensor, partner: Tensor, share: float, draw: np.random.Generator) -> Mixture:
    """A box of the partner, of (1 - share) of the area before it is cut off at the border, around a random place."""
    if rows.ndim != 4:
        raise SecateurError(f"cutmix: expected images, got rows of shape {tuple(rows.shape[1:])}; use mixup")
    height, width = rows.shape[2:]
    side = np.sqrt(1 - share) / 2
    y, x = draw.random(2)
    top, bottom = (round(float(np.clip(y + s, 0, 1)) * height) for s in (-side, side))
    left, right = (round(float(np.clip(x + s, 0, 1)) * width) for s in (-side, side))
    out = rows.clone()
    out[:, :, top:bottom, left:right] = rows[partner, :, top:bottom, left:right]
    return Mixture(out, partner, 1 - (bottom - top) * (right - left) / (height * width))
