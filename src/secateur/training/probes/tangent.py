"""A net's linear model where it stands: how its logits would follow small steps of its weights."""

import copy
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.modules.batchnorm import _BatchNorm

from secateur.errors import SecateurError
from secateur.training.nets.head import head_of
from secateur.training.probes.batch import check_batch, check_logits
from secateur.training.probes.penultimate import Penultimate

SUMS = 1021
"""Numbers a gradient is folded to. A prime, so that the strides of filters do not fall on the same few sums."""
CONTRASTS = 2
_AT_ONCE = 1 << 24
"""Numbers of gradients held at a time: 64 MB."""


class Tangent(NamedTuple):
    """The logits of a few rows (rows, classes), and features (rows, dims) by whose products steps move them."""

    features: Tensor
    outputs: Tensor


def settled(net: nn.Module, batches: Iterable[Tensor]) -> nn.Module:
    """A copy in eval mode whose batch norms have the mean statistics of these batches, which training would bring.

    The loop trains by the statistics of each batch; those a saved net has are of the data it comes from.
    """
    net = copy.deepcopy(net).eval()
    for module in net.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            module.reset_running_stats()
            module.momentum = None  # torch's word for the mean of all batches
            module.train()
    with torch.no_grad():
        for rows in batches:
            net(rows)
    return net.eval()


@torch.no_grad()
def last_layer(net: nn.Module, rows: Tensor) -> Tangent:
    """The model in the weights of the last linear layer alone: exact, if nothing else were trained.

    Logits are c times what that layer gives (c: 1 / sqrt(dims) in resnet9). Features are c times what enters it, and c
    once more for its bias if it has one. net: in eval mode. rows: (rows, ...) as the net takes them.

    Raises SecateurError where a net has no linear layer or its logits are not in proportion to it.
    """
    check_batch(net, rows)
    entered, logits = Penultimate(net)(rows)
    check_logits(logits)
    if head_of(net).bias is not None:
        entered = F.pad(entered, (0, 1), value=1.0)
    return Tangent(_scale(net, rows[:1]) * entered, logits)


@torch.no_grad()
def whole_net(
    net: nn.Module, rows: Tensor, *, generator: torch.Generator, sums: int = SUMS, contrasts: int = CONTRASTS
) -> Tangent:
    """The model in all weights that require grad, as far as every logit moves alike and apart from the others.

    The last layer as in `last_layer`. Of the other weights, the gradient of `contrasts` random unit combinations of the
    logits that sum to 0 (adding to all logits alike changes no probability), each folded to `sums` numbers under random
    signs: products of folded gradients are those of the gradients, give or take their lengths' over sqrt(sums).
    Averaged, this is the mean block of the kernel for one logit: the shortcut of within-logit blocks of Zancato et al.
    (arXiv:2008.12478, from memory), taken because it needs `contrasts` gradients a row instead of one a class. What
    one logit's step does to another is left out; with it, forecasts were nearer to real runs for the first nats and
    farther for the last (benchmarks/log.md).

    net, rows and errors: as in `last_layer`. generator: on the CPU; signs and contrasts come from it.
    """
    model = last_layer(net, rows)
    known = {id(p) for p in head_of(net).parameters()}
    weights = {n: p.detach() for n, p in net.named_parameters() if p.requires_grad and id(p) not in known}
    if not weights:
        return model
    count = sum(p.numel() for p in weights.values())
    folds = -(-count // sums)
    signs = (2.0 * torch.randint(0, 2, (folds, sums), generator=generator) - 1).to(rows.device)

    def answer(weights: dict[str, Tensor], row: Tensor, contrast: Tensor) -> Tensor:
        return functional_call(net, weights, (row[None],))[0] @ contrast

    def folded(row: Tensor, contrast: Tensor) -> Tensor:
        slopes: Any = grad(answer)(weights, row, contrast)
        flat = torch.cat([slope.flatten() for slope in slopes.values()])
        return (F.pad(flat, (0, folds * sums - count)).view(folds, sums) * signs).sum(0)

    chunked = vmap(folded, in_dims=(0, None), chunk_size=max(1, _AT_ONCE // count))
    drawn = torch.randn(contrasts, model.outputs.shape[1], generator=generator)
    drawn = F.normalize(drawn - drawn.mean(dim=1, keepdim=True)).to(rows.device)
    return Tangent(
        torch.cat([model.features, *(chunked(rows, c) / contrasts**0.5 for c in drawn)], dim=1), model.outputs
    )


def _scale(net: nn.Module, row: Tensor) -> Tensor:
    """What the net multiplies the output of its last layer by, seen by giving that layer another output."""
    head = head_of(net)
    given = torch.arange(1.0, head.out_features + 1, device=row.device)
    listener = head.register_forward_hook(lambda layer, inputs, out: given.expand_as(out))
    try:
        factors = net(row)[0] / given
    finally:
        listener.remove()
    if not torch.allclose(factors, factors[:1], rtol=1e-4):
        raise SecateurError(
            "net: expected logits in proportion to what its last linear layer gives, got a factor of "
            f"{float(factors[0]):.3g} for one class and {float(factors[-1]):.3g} for another; end the net in that layer"
        )
    return factors[0]
