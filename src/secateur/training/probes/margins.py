"""How far each example is from the nearest change of the net's mind (DeepFool)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.training.nets import Normalised
from secateur.training.probes.batch import check_batch, check_logits, finite


class Margins(NamedTuple):
    """distance (batch,): length of the way gone. flipped (batch,): did it change the net's answer? Where not, the
    distance is that of the way so far: a lower bound in practice, and no margin. way: from the example, and moved: the
    points reached, beyond the way by the overshoot, as the body of the net sees them (batch, ...)."""

    distance: Tensor
    flipped: Tensor
    way: Tensor
    moved: Tensor


def deepfool(
    net: Normalised, rows: Tensor, *, steps: int = 50, candidates: int = 10, overshoot: float = 0.02
) -> Margins:
    """L2 distance from each example to a point that the net classifies otherwise than the example itself.

    Each step goes straight to the nearest boundary of the net's linear form at the point reached, among the
    `candidates` best classes of the example (its own counted, all where there are fewer). Labels play no part.

    Distances are in the space that the body of the net sees: rows less the mean of the data, over their spread. One
    unit is one spread of a channel or dimension, so that margins of images and of vectors of mixed units mean the same
    everywhere, as in the field's code, which works on normalised tensors; where all channels share a spread, times it
    is raw units.

    overshoot: the point tried after each step is x + (1 + overshoot) * way, since the way itself ends on the boundary,
    where rounding decides; 0.02 as in the original code, 0 as spec and DeepCore have it (then a tie with another class
    counts as flipped). The distance is that of the way, without the overshoot: exact for a linear net.

    net: in eval mode. Examples that flip drop out of the batch. A step costs two forward passes and one backward pass a
    candidate. Source: arXiv:1511.04599. Raises SecateurError for a net in training mode and knobs out of range;
    NonFiniteError for logits that are no numbers.
    """
    _check(steps, candidates, overshoot)
    check_batch(net, rows)
    start = net.normalise(rows)
    with torch.no_grad():
        logits = net.body(start)
    check_logits(logits)
    finite(logits.sum(1), "net: sum of the logits")
    best = logits.topk(min(candidates, logits.shape[1]), dim=1).indices
    way = torch.zeros_like(start)
    active = torch.arange(len(rows), device=start.device)
    flipped = torch.zeros(len(rows), dtype=torch.bool, device=start.device)
    for _ in range(steps):
        step = _step(net.body, start[active] + (1 + overshoot) * way[active], best[active])
        way[active] += step
        with torch.no_grad():
            logits = net.body(start[active] + (1 + overshoot) * way[active])
        over = _changed(logits, best[active, 0])
        flipped[active[over]] = True
        active = active[~over & (step.flatten(1) != 0).any(1)]  # where nothing moves, nothing will
        if not len(active):
            break
    distance = finite(torch.linalg.vector_norm(way.flatten(1), dim=1), "net: distance to the boundary")
    return Margins(distance, flipped, way, start + (1 + overshoot) * way)


def _check(steps: int, candidates: int, overshoot: float) -> None:
    if steps < 1:
        raise SecateurError(f"steps: expected 1 or more, got {steps}")
    if candidates < 2:
        raise SecateurError(
            f"candidates: expected 2 or more classes, the net's own answer among them, got {candidates}"
        )
    if overshoot < 0:
        raise SecateurError(f"overshoot: expected 0 or more, got {overshoot}")


def _changed(logits: Tensor, own: Tensor) -> Tensor:
    """Does another class reach the own one? logits (batch, classes), own (batch,) -> (batch,) bool."""
    at = own[:, None]
    return logits.scatter(1, at, -torch.inf).amax(1) >= logits.gather(1, at)[:, 0]


@torch.enable_grad()
def _step(body: nn.Module, x: Tensor, best: Tensor) -> Tensor:
    """The shortest way, of the shape of x, to a boundary of the linear form of the net at x.

    best: (batch, candidates) classes, the own one first. 0 where no other class has a slope to go along.
    """
    x = x.detach().requires_grad_()
    logits = body(x).gather(1, best)
    gaps = logits[:, 1:] - logits[:, :1]  # (batch, others), below 0 until the boundary
    shortest = torch.full((len(x),), torch.inf, device=x.device)
    step, shape = torch.zeros_like(x), (-1, *[1] * (x.ndim - 1))
    for k in range(gaps.shape[1]):
        slope = torch.autograd.grad(gaps[:, k].sum(), x, retain_graph=k + 1 < gaps.shape[1])[0]
        steepness = torch.linalg.vector_norm(slope.flatten(1), dim=1)
        length = gaps[:, k].detach().abs() / steepness
        nearer = length < shortest  # not where there is no slope: x / 0 is inf, 0 / 0 is nan
        shortest = torch.where(nearer, length, shortest)
        scale = (length / steepness).view(shape)
        step = torch.where(nearer.view(shape), scale * slope, step)
    return step.detach()
