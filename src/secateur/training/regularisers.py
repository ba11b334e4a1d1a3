"""What a loss may have beside the labels: entropy where examples are hard, and how far the loss bends."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from secateur.training.nets import Normalised


def entropy(logits: Tensor) -> Tensor:
    """Entropy of each prediction in nats (batch,), from logits (batch, classes).

    >>> entropy(torch.tensor([[0., 0.], [100., 0.]])).round(decimals=4)
    tensor([0.6931, 0.0000])
    """
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


def bent(net: Normalised, rows: Tensor, labels: Tensor, *, h: float) -> tuple[Tensor, Tensor]:
    """Logits (batch, classes) in float32, and how much the loss of each row bends (batch,), to be run backwards.

    The curvature is that of `training.probes.curvature`: how much the input gradient of the cross-entropy turns over a
    step of length h, in the space the net's body sees, along its own sign; but in the net's own mode, so that batch
    norm sees the moved rows too, with a graph, and in float32 where training is in bfloat16, which is too coarse for
    differences. The direction of the step is taken as given. Source: Garg & Roy, CVPR 2023. A forward
    and two backward passes more than without, these of second order, which torch does slowly for convolutions on the
    CPU: a step of resnet9 took 22 times as long as a plain one in bfloat16, on one thread.
    """
    x = net.normalise(rows).requires_grad_()
    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        logits, before = _slope(net, x, labels)
        sign = before.detach().sign()
        length = _lengths(sign).clamp(min=1.0).view(-1, *[1] * (x.ndim - 1))
        _, after = _slope(net, x + h * sign / length, labels)
    return logits, _lengths(after - before)


def _slope(net: Normalised, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of each row's cross-entropy in x."""
    logits = net.body(x)
    return logits, torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), x, create_graph=True)[0]


def _lengths(x: Tensor) -> Tensor:
    """Over all dimensions of a row; the gradient at 0 is 0, not nan."""
    squares = x.flatten(1).square().sum(dim=1)
    return torch.where(squares > 0, squares, 1.0).sqrt() * (squares > 0)
