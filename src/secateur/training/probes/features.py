"""What a trained net makes of each example: its features, its probabilities and its errors."""

from collections.abc import Callable

import torch
from torch import Tensor

from secateur.data.tensors import Tensors
from secateur.training.nets import Normalised
from secateur.training.probes.penultimate import Penultimate


def start_features(net: Normalised, data: Tensors, *, seed: int) -> Callable[[Tensor, Tensor], dict[str, Tensor]]:
    """A function of raw rows and labels (batch,): features (batch, dims), p_final and errors (batch, classes).

    One forward pass an example, in eval mode (in which the net is left) and without augmentation. All in float32, with
    no autocast even where bfloat16 would be faster: distances between features are differences of close numbers.
    features: what enters the last linear layer. errors: p_final minus the one-hot label. `data` and `seed` are not
    used.
    """
    penultimate = Penultimate(net)

    @torch.inference_mode()
    def probe(rows: Tensor, labels: Tensor) -> dict[str, Tensor]:
        net.eval()
        with torch.autocast(rows.device.type, enabled=False):
            features, logits = penultimate(rows)
        p = logits.softmax(dim=1)
        at = labels.to(p.device)[:, None]
        return {"features": features, "p_final": p, "errors": p.scatter_add(1, at, p.new_full(at.shape, -1.0))}

    return probe
