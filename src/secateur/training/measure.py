"""What one batch of logits says about its examples: a pure function from logits to recorded fields."""

from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor


def measure(
    logits: Tensor,
    labels: Tensor,
    fields: Collection[str],
    *,
    previous: Tensor | None = None,
    loss: Tensor | None = None,
) -> dict[str, Tensor]:
    """The per-epoch fields of `secateur.fields` for one batch, each (batch,).

    logits (batch, classes) float32, labels (batch,), previous: the logits of the previous epoch (batch, classes),
    nan where there is none. loss: the caller's own loss (batch,); cross-entropy where it is not given.

    >>> row = measure(torch.tensor([[0., 0.]]), torch.tensor([0]), ["p_target", "error_norm", "entropy"])
    >>> {name: round(value.item(), 4) for name, value in row.items()}
    {'p_target': 0.5, 'error_norm': 0.7071, 'entropy': 0.6931}
    """
    log_p = F.log_softmax(logits, dim=1)
    p = log_p.exp()
    at = labels[:, None]
    p_top = p.topk(2, dim=1).values
    out = {
        "p_target": p.gather(1, at)[:, 0],
        "p_other": p.scatter(1, at, -1.0).amax(1),
        "z_target": logits.gather(1, at)[:, 0],
        "z_other": logits.scatter(1, at, -torch.inf).amax(1),
        "correct": (logits.argmax(1) == labels).float(),
        "loss": -log_p.gather(1, at)[:, 0] if loss is None else loss,
        "error_norm": p.scatter_add(1, at, p.new_full(at.shape, -1.0)).norm(dim=1),
        "entropy": -(p * log_p).sum(1),
        "p_top": p_top[:, 0],
        "p_gap": p_top[:, 0] - p_top[:, 1],
    }
    if previous is not None:
        before = previous.softmax(1)
        out["kl_step"] = (p * ((p + 1e-8).log() - (before + 1e-8).log())).abs().sum(1)
        out["cos_step"] = F.cosine_similarity(p, before, dim=1)
    return {name: value for name, value in out.items() if name in fields}
