"""How long an example stays classifiable while a pre-trained net loses its weights (Jiang et al., arXiv:2402.05356).

The distorting-based learning complexity (DLC) of an example x of class y, over steps s = 0, 1, ...:

    L_s(x) = cross-entropy of the logits 1 / |h_s(x) - m_c| and y,     DLC(x) = mean of L_s(x) over the steps

h_s are the features of the net after s maskings, m_c the mean of the *unmasked* features over class c. Masking takes
weights away in the order of their magnitude, over all layers at once. No training; small = easy.
"""

import copy
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.tensors import Tensors
from secateur.errors import SecateurError
from secateur.training.nets import Normalised
from secateur.training.nets.head import head_of
from secateur.training.probes.penultimate import Penultimate

Schedule = Literal["geometric", "equal"]

_NEAREST = 1e-6
"""Distances are read as at least this, so that an example that is its centroid has a logit of a million, not inf."""
_BATCH = 250


def start_masking(
    net: Normalised,
    data: Tensors,
    *,
    seed: int,
    steps: int = 50,
    share: float = 0.02,
    schedule: Schedule = "geometric",
) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """A function of raw rows and labels (batch,): complexity (batch,), the DLC of each.

    Preparing is one forward pass over the usable rows of `data`, for the centroids; then `steps` forward passes an
    example. Memory: three times the net. `net` is copied and stays as it is; nothing is random, `seed` is not used.

    steps: how many states of the net are scored, the first unmasked: the paper's code also applies a 50th mask, which
    it never scores. share, schedule: `geometric` masks that share of the weights that remain (36.4 % are left after
    50 maskings; the paper's code), `equal` that share of all weights each time (none are left after 50; its text).

    What is masked: the convolutions, or the linear layers but the head, whichever hold more weights: a transformer's
    one convolution, which cuts the patches, is left whole. Computed in float32. Classes without a usable example have
    no centroid and no part in the cross-entropy. Distances count as at least 1e-6.
    """
    _check_knobs(steps, share, schedule)
    work = copy.deepcopy(net).requires_grad_(False).eval()
    if len(data.shape) == 3:
        work.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    penultimate = Penultimate(work)
    centroids, column = _centroids(penultimate, data)
    masked = _masked(work, steps, share, schedule)

    @torch.inference_mode()
    def probe(rows: Tensor, labels: Tensor) -> dict[str, Tensor]:
        targets = column[labels.to(column.device)]
        if (targets < 0).any():
            label = int(labels[int((targets < 0).int().argmax())])
            raise SecateurError(f"labels: class {label} has no example in the data, so there is no centroid to be near")
        total = torch.zeros(len(rows), device=centroids.device)
        for step in range(steps):
            for weights in masked:
                weights.at(step)
            total += _losses(_features(penultimate, rows), centroids, targets)
        return {"complexity": total / steps}

    return probe


def weights_left(weights: int, *, steps: int, share: float, schedule: Schedule) -> list[int]:
    """How many of `weights` remain in each of the scored states.

    >>> weights_left(100, steps=4, share=0.1, schedule="geometric"), weights_left(100, steps=4, share=0.1, \
schedule="equal")
    ([100, 90, 81, 73], [100, 90, 80, 70])
    """
    if schedule == "equal":
        return [weights - round(step * share * weights) for step in range(steps)]
    left = [weights]
    while len(left) < steps:
        left.append(left[-1] - round(share * left[-1]))
    return left


class _Weights(NamedTuple):
    """The weights of one layer: the work copy's own, what they were, and for how many steps each lasts."""

    own: Tensor
    whole: Tensor
    lasts: Tensor

    def at(self, step: int) -> None:
        """Bring the work copy to that step."""
        torch.mul(self.whole, self.lasts > step, out=self.own)


def _check_knobs(steps: int, share: float, schedule: str) -> None:
    if schedule not in ("geometric", "equal"):
        raise SecateurError(f"schedule: expected geometric or equal, got {schedule!r}")
    if steps < 1:
        raise SecateurError(f"steps: expected at least 1, got {steps}")
    if not 0 < share < 1:
        raise SecateurError(f"share: expected a number between 0 and 1, got {share}")
    if schedule == "equal" and share * (steps - 1) > 1 + 1e-9:
        raise SecateurError(
            f"share: {steps - 1} equal maskings of {share:g} take more than all weights; "
            f"use at most {1 / (steps - 1):.4g}, fewer steps, or schedule geometric"
        )


def _features(penultimate: Penultimate, rows: Tensor) -> Tensor:
    with torch.autocast(rows.device.type, enabled=False):
        return penultimate(rows)[0]


def _losses(features: Tensor, centroids: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of reciprocal distances; features (batch, dims), centroids (present, dims), targets (batch,)."""
    distances = torch.cdist(features, centroids, compute_mode="donot_use_mm_for_euclid_dist")
    return F.cross_entropy(1 / distances.clamp_min(_NEAREST), targets, reduction="none")


@torch.inference_mode()
def _centroids(penultimate: Penultimate, data: Tensors) -> tuple[Tensor, Tensor]:
    """Mean features of each class that has examples (present, dims), and each class's row in it (classes,), or -1."""
    sums = torch.zeros(data.classes, penultimate.head.in_features, dtype=torch.float64)
    plan = list(torch.split(torch.from_numpy(data.usable), _BATCH))
    for ids, rows in zip(plan, data.batches(plan), strict=True):
        sums.index_add_(0, data.labels[ids.to(data.device)].cpu(), _features(penultimate, rows).cpu().double())
    counts = data.labels[torch.from_numpy(data.usable).to(data.device)].cpu().bincount(minlength=data.classes)
    present = counts > 0
    column = torch.where(present, present.cumsum(0) - 1, -1)
    return (sums[present] / counts[present, None]).float().to(data.device), column.to(data.device)


def _masked(net: nn.Module, steps: int, share: float, schedule: Schedule) -> list[_Weights]:
    """The weights to mask, each with the number of steps it lasts: ranked once, so that a mask is a threshold."""
    own = _maskable(net)
    sizes = torch.cat([weights.abs().float().flatten() for weights in own]).cpu()
    gone = len(sizes) - torch.tensor(weights_left(len(sizes), steps=steps, share=share, schedule=schedule))
    lasts = torch.empty(len(sizes), dtype=torch.int32)
    lasts[sizes.argsort(stable=True)] = torch.searchsorted(gone, torch.arange(len(sizes)), right=True, out_int32=True)
    parts = torch.split(lasts, [weights.numel() for weights in own])
    return [
        _Weights(weights, weights.clone(), torch.empty_like(weights, dtype=torch.int32).copy_(part.view(weights.shape)))
        for weights, part in zip(own, parts, strict=True)
    ]


def _maskable(net: nn.Module) -> list[Tensor]:
    """The weights of the convolutions or of the linear layers but the head, whichever are more."""
    head = head_of(net)
    kinds: tuple[list[Tensor], list[Tensor]] = ([], [])
    for module in net.modules():
        linear = isinstance(module, nn.Linear)
        if (linear or isinstance(module, nn.modules.conv._ConvNd)) and module is not head:
            weights = module._parameters.get("weight")
            if weights is not None:
                kinds[linear].append(weights.data)
    chosen = max(kinds, key=lambda kind: sum(weights.numel() for weights in kind))
    if not chosen:
        raise SecateurError("net: expected convolutions or linear layers before the last to mask, found none")
    return chosen
