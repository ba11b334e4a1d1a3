"""How the loss bends around each example, by a finite difference of its input gradient (SLo-Curves)."""

import torch
from torch import Tensor

from secateur.training.nets import Normalised
from secateur.training.probes.batch import check_batch, check_labels, cross_entropy, finite


def curvature(net: Normalised, rows: Tensor, labels: Tensor, *, h: float = 3.0) -> Tensor:
    """How much the input gradient turns over a step along its own sign: (batch,) float32, 0 or more.

    gamma(x) = |grad L(x + h z) - grad L(x)| with z = sign(grad L(x)) scaled to length 1, and lengths over all
    dimensions of an example. x is what the body of the net sees: rows less the mean of the data, over their spread; h
    is a length in that space, 3 as in the work on curvature regularisation that the paper builds on (its own value
    could not be read). Not divided by h, as published: compare values of one h only. Where the gradient is exactly
    zero there is no direction, and the curvature is 0.

    net: in eval mode. rows: raw, (batch, ...). labels: (batch,) int64. Two forward and two backward passes. Source:
    Garg & Roy, CVPR 2023. Raises SecateurError for a net in training mode and labels that are no classes;
    NonFiniteError for a curvature that is no number.
    """
    check_batch(net, rows)
    x = net.normalise(rows)
    before = _gradient(net, x, labels)
    sign = before.sign()
    lengths = _lengths(sign).clamp(min=1.0)  # 0 where the gradient is zero, else the root of a count
    step = h * sign / lengths.view(-1, *[1] * (x.ndim - 1))
    return finite(_lengths(_gradient(net, x + step, labels) - before), "net: curvature of the loss")


@torch.enable_grad()
def _gradient(net: Normalised, x: Tensor, labels: Tensor) -> Tensor:
    """Gradient of each example's loss in its normalised input, of the shape of x."""
    x = x.detach().requires_grad_()
    logits = net.body(x)
    check_labels(labels, logits)
    return torch.autograd.grad(cross_entropy(logits, labels).sum(), x)[0]


def _lengths(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x.flatten(1), dim=1)
