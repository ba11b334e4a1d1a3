"""What the probes share: the checks of a batch, and a cross-entropy that keeps its digits."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from secateur.errors import NonFiniteError, SecateurError


def check_batch(net: nn.Module, rows: Tensor) -> None:
    """Raise SecateurError unless there are rows, and `net` treats them apart: eval mode, norms with statistics."""
    if not len(rows):
        raise SecateurError("rows: expected one or more, got an empty batch")
    for name, module in net.named_modules():
        if module.training:
            raise SecateurError(
                f"net: expected eval mode, but {name or 'the net'} is in training mode; call net.eval()"
            )
        if isinstance(module, _BatchNorm) and module.running_mean is None:
            raise SecateurError(
                f"net: {name} is a batch norm without running statistics, which mixes the examples of a batch; "
                "use track_running_stats=True, or another norm"
            )


def check_logits(logits: Tensor) -> None:
    """Raise SecateurError unless logits are (batch, classes) for two classes or more."""
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise SecateurError(f"net: expected logits (batch, classes) for 2 classes or more, got {tuple(logits.shape)}")


def check_labels(labels: Tensor, logits: Tensor) -> None:
    """Raise SecateurError unless labels (batch,) are class numbers of logits (batch, classes)."""
    check_logits(logits)
    if labels.shape != logits.shape[:1]:
        raise SecateurError(f"labels: expected one a row, {len(logits)}, got shape {tuple(labels.shape)}")
    wrong = (labels < 0) | (labels >= logits.shape[1])
    if wrong.any():
        row = int(wrong.int().argmax())
        raise SecateurError(
            f"labels: expected class numbers from 0 to {logits.shape[1] - 1}, the classes of the net, got "
            f"{int(labels[row])} at row {row} of the batch; leave unlabelled rows out"
        )


def finite(values: Tensor, what: str) -> Tensor:
    """The values (batch,) themselves; raises NonFiniteError, naming the row, where one is nan or infinite."""
    wrong = ~torch.isfinite(values)
    if wrong.any():
        row = int(wrong.int().argmax())
        raise NonFiniteError(
            f"{what}: expected finite numbers, got {float(values[row])} at row {row} of the batch; look for nan in the "
            "row, and for weights that have left the finite numbers"
        )
    return values


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each example (batch,), from logits (batch, classes), as softplus(log sum exp(others) - target).

    The usual form has the gradient p - 1 at the label, which float32 rounds to 6e-8 where the net is nearly sure: the
    norms of easy examples would be noise, or 0. This form keeps their seven digits.

    >>> [f"{loss:.5g}" for loss in cross_entropy(torch.tensor([[0., 0.], [30., 0.]]), torch.tensor([0, 0]))]
    ['0.69315', '9.3576e-14']
    """
    at = labels[:, None]
    others = logits.scatter(1, at, -torch.inf).logsumexp(1)
    return F.softplus(others - logits.gather(1, at)[:, 0])
