"""How badly a small net restores an image from half its size (Moser, Raue and Dengel, arXiv:2403.17083).

The net is SRCNN (Dong et al., arXiv:1501.00092) in its 9-1-5 form: 64 filters of 9x9, 32 of 1x1, one of 5x5, on the
luminance of the image brought down and up again by bicubic interpolation. Where we depart from it: it learns the
difference to that image, its last layer starting at zero, since 500 steps are too few for the plain net to learn the
image itself (on CIFAR-10 it stays worse than bicubic alone); borders are filled by their nearest pixel, so that every
pixel counts, of small images too; Adam; and the reduced images are not rounded to bytes.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.tensors import Tensors
from secateur.errors import NonFiniteError, SecateurError
from secateur.training.seeding import generator, initialised

_CROP, _BATCH = 33, 16
_PIXELS = 1 << 19
"""So many pixels pass through the 64 filters at once: 128 MiB."""
_LUMINANCE = (0.299, 0.587, 0.114)


class SRCNN(nn.Module):
    """Interpolated luminance (batch, 1, height, width) in, the restored one out."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 64, 9, padding=4, padding_mode="replicate")
        self.map = nn.Conv2d(64, 32, 1)
        self.restore = nn.Conv2d(32, 1, 5, padding=2, padding_mode="replicate")
        nn.init.zeros_(self.restore.weight)
        nn.init.zeros_(self.restore.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        return x + self.restore(F.relu(self.map(F.relu(self.patches(x)))))


def start_restoration(
    net: nn.Module | None, data: Tensors, *, seed: int, factor: int = 2, steps: int = 500, lr: float = 1e-3
) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """A function of raw images and labels (batch,): reconstruction (batch,), the mean squared error of each.

    Errors are of the luminance (of grey images, the image) on a scale from 0 to 1, over the whole image: the paper
    scores the sub-images of a super-resolution set, here an example is an image. `net` and the labels are not used.

    Preparing trains SRCNN for `steps` steps of 16 random crops of 33x33 (whole images where they are smaller), each
    from a usable row drawn at random, with Adam and a rate falling from `lr` to 0. factor: by how much images are
    reduced. Computed in float32; the same seed gives the same bytes. Raises SecateurError where rows are not images, or
    too small to be reduced.
    """
    _check(data, factor, steps, lr)
    with initialised(seed):
        srcnn = SRCNN().to(data.device)
    with torch.autocast(data.device.type, enabled=False):
        _train(srcnn, data, seed=seed, factor=factor, steps=steps, lr=lr)

    @torch.inference_mode()
    def probe(rows: Tensor, labels: Tensor) -> dict[str, Tensor]:
        parts = torch.split(rows, max(1, _PIXELS // rows[0, 0].numel())) if len(rows) else (rows,)
        with torch.autocast(rows.device.type, enabled=False):
            return {"reconstruction": torch.cat([_errors(srcnn, part, factor) for part in parts])}

    return probe


def degraded(images: Tensor, factor: int) -> Tensor:
    """Images reduced `factor` times and brought back to their size, bicubic; (batch, 1, height, width)."""
    height, width = images.shape[-2:]
    small = F.interpolate(images, (height // factor, width // factor), mode="bicubic", antialias=True)
    return F.interpolate(small, (height, width), mode="bicubic")


def luminance(images: Tensor) -> Tensor:
    """Raw images as brightness from 0 to 1, by ITU-R BT.601; (batch, 1 or 3, height, width) in, (batch, 1, ...) out.

    >>> round(luminance(torch.tensor([[[[255]], [[0]], [[0]]]])).item(), 3)
    0.299
    """
    images = images.float() / 255
    if images.shape[1] == 1:
        return images
    return (images * images.new_tensor(_LUMINANCE).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def _check(data: Tensors, factor: int, steps: int, lr: float) -> None:
    if len(data.shape) != 3:
        raise SecateurError(
            f"data: super-resolution needs images, whose neighbouring pixels belong together, got vectors of "
            f"{data.shape[0]}; use a method that reads labels or features"
        )
    side = min(data.shape[1:])
    if not 2 <= factor <= side:
        raise SecateurError(f"factor: expected 2 to {side}, the side of the images, got {factor}")
    if steps < 1:
        raise SecateurError(f"steps: expected at least 1, got {steps}")
    if not lr > 0:
        raise SecateurError(f"lr: expected a number above 0, got {lr}")


def _errors(srcnn: SRCNN, images: Tensor, factor: int) -> Tensor:
    whole = luminance(images)
    return (srcnn(degraded(whole, factor)) - whole).square().mean(dim=(1, 2, 3))


def _train(srcnn: SRCNN, data: Tensors, *, seed: int, factor: int, steps: int, lr: float) -> None:
    draws = generator(seed, "restoration")
    usable = torch.from_numpy(data.usable)
    plan = list(usable[torch.randint(len(usable), (steps, _BATCH), generator=draws)])
    optimizer = torch.optim.Adam(srcnn.parameters(), lr=lr)
    for step, rows in enumerate(data.batches(plan)):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        loss = _errors(srcnn, _crops(rows, draws), factor).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    if not loss.isfinite():
        raise NonFiniteError(f"restoration: the loss of SRCNN left the finite numbers; lower its lr, {lr:g}")
    srcnn.requires_grad_(False)


def _crops(images: Tensor, draws: torch.Generator) -> Tensor:
    """One random square of each image, of side 33 at most."""
    height, width = (min(_CROP, side) for side in images.shape[-2:])
    down = torch.randint(images.shape[-2] - height + 1, (len(images),), generator=draws).tolist()
    across = torch.randint(images.shape[-1] - width + 1, (len(images),), generator=draws).tolist()
    return torch.stack(
        [image[:, t : t + height, l : l + width] for image, t, l in zip(images, down, across, strict=True)]
    )
