"""How the loss of fine-tuning would fall, by a linear model of the net: numbers in, numbers out, nothing is trained."""

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.errors import NonFiniteError

WINDOW = 20
"""Steps whose batches are averaged into one loss: single batches are too noisy to say that a target is reached."""


@torch.no_grad()
def simulate(
    features: Tensor,
    outputs: Tensor,
    labels: Tensor,
    *,
    batches: Iterable[Tensor],
    rates: Sequence[float],
    momentum: float = 0.0,
    smoothing: float = 0.0,
    weights: Tensor | None = None,
) -> Tensor:
    """Mean cross-entropy of each batch just before its step: (steps,), in nats, with the labels as they are.

    The linear model: the logits of example i are outputs[i] + features[i] @ change, where change (dims, classes) begins
    at 0 and SGD moves it. features: (examples, dims). outputs: logits at the start (examples, classes). batches: places
    in these, one tensor a step; rates: the learning rate of each. smoothing: of the labels that steps go by. weights:
    (examples,) by which the loss of an example counts in its step.

    With momentum 0 a step on all rows is f <- f - rate * Theta @ dL/df for Theta_ij = (features_i . features_j) I, the
    function-space step of Zancato et al. (arXiv:2008.12478, from memory) - through the dims x classes weights instead
    of the examples x examples matrix, which is the same and cheaper. Departs from the paper: batches are drawn, where
    it adds Brownian noise of their covariance, and Nesterov's momentum is stepped, where it raises the rate to
    rate / (1 - momentum), which is too fast in the first 1 / (1 - momentum) steps. Weight decay is left out.

    Raises NonFiniteError where a loss is no number.

    >>> one, none, label = torch.ones(1, 1), torch.zeros(1, 2), torch.tensor([0])
    >>> simulate(one, none, label, batches=[label] * 2, rates=[1.0, 1.0])  # log 2, then log(1 + 1 / e)
    tensor([0.6931, 0.3133])
    """
    classes = outputs.shape[1]
    aims = F.one_hot(labels, classes).to(outputs) * (1 - smoothing) + smoothing / classes
    change = outputs.new_zeros(features.shape[1], classes)
    velocity, losses = torch.zeros_like(change), outputs.new_empty(len(rates))
    for step, (rows, rate) in enumerate(zip(batches, rates, strict=True)):
        seen = features[rows]
        logits = outputs[rows] + seen @ change
        losses[step] = F.cross_entropy(logits, labels[rows])
        errors = (logits.softmax(dim=1) - aims[rows]) / len(rows)
        if weights is not None:
            errors = errors * weights[rows, None]
        slope = seen.T @ errors
        velocity = momentum * velocity + slope
        change = change - rate * (slope + momentum * velocity)
    if not (finite := torch.isfinite(losses)).all():
        at = int((~finite).int().argmax())
        raise NonFiniteError(
            f"loss: the linear model's became {float(losses[at])} at step {at}; lower the learning rate, for example "
            "--recipe sgd:lr=0.05"
        )
    return losses


def smoothed(losses: Tensor, *, window: int = WINDOW) -> Tensor:
    """The mean of each loss and those before it, up to `window` of them: (steps,), float64.

    >>> smoothed(torch.tensor([4., 2., 0., 1.]), window=2)
    tensor([4.0000, 3.0000, 1.0000, 0.5000], dtype=torch.float64)
    """
    total = F.pad(losses.double().cumsum(0), (1, 0))
    last = torch.arange(1, len(losses) + 1, device=losses.device)
    first = (last - window).clamp(min=0)
    return (total[last] - total[first]) / (last - first)


def reach(losses: Tensor, target: float, *, window: int = WINDOW) -> int | None:
    """The steps taken until the smoothed loss is at or below the target, or None; losses[t] is that after t steps.

    >>> reach(torch.tensor([4., 2., 0., 1.]), 1.0, window=2), reach(torch.tensor([4., 2.]), 1.0)
    (2, None)
    """
    there = smoothed(losses, window=window) <= target
    return int(there.int().argmax()) if there.any() else None
