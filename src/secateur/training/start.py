"""A trained net as the start of another run."""

from pathlib import Path

import torch
from torch import Tensor, nn

from secateur.errors import SecateurError, reason
from secateur.training.nets import Normalised, load_net
from secateur.training.probes.penultimate import head_of
from secateur.training.seeding import initialised


def start_net(
    path: Path, *, rows: Tensor, classes: int, seed: int, device: torch.device, new_head: bool = False
) -> Normalised:
    """The net of an OUT folder or model file, in eval mode; its body and normalisation are kept.

    rows: a few raw rows of the data (rows, ...), to see that it takes them. Its last linear layer is drawn anew from
    `seed` where it is for another number of classes, or where `new_head`.
    """
    path = path / "model.safetensors" if path.is_dir() else path
    net = load_net(path, device=device)
    head = head_of(net)
    try:
        if rows.shape[1] != net.mean.numel():  # one value would be spread over all channels, and fit
            raise RuntimeError(f"it is for {net.mean.numel()} channels or dimensions a row")
        with torch.no_grad():
            net(rows)
    except RuntimeError as error:
        raise SecateurError(
            f"start: {path} does not take rows of shape {tuple(rows.shape[1:])} ({reason(error)}); name a net that was "
            "trained on rows of that shape"
        ) from None
    if new_head or head.out_features != classes:
        name = next(name for name, module in net.named_modules() if module is head)
        with initialised(seed):
            fresh = nn.Linear(head.in_features, classes, bias=head.bias is not None)
        net.set_submodule(name, fresh.to(device))
    return net
