"""Hidden units taken out of a trained net for good, and what they did handed on to those that stay."""

import copy
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from secateur.errors import NonFiniteError, SecateurError
from secateur.registry import unknown
from secateur.training.nets import Normalised
from secateur.training.nets.small import MLP
from secateur.training.nets.vit import ViT
from secateur.training.slim import RANKS, Moments, fitting

RIDGE = 1e-3
"""Of the fit that hands on what is taken out, in mean squares of a unit of the layer."""


def slimmable(net: Normalised) -> MLP | ViT:
    """The body of a net whose hidden units can be taken out. Raises SecateurError for any other."""
    if not isinstance(net.body, (MLP, ViT)):
        raise SecateurError(
            "model: expected an mlp, a vit_tiny or a vit_small, whose hidden units can be taken out, got a "
            f"{type(net.body).__name__}; train one with --net mlp or --net vit_tiny"
        )
    return net.body


def units_of(body: MLP | ViT) -> list[int]:
    """How many units each hidden layer has."""
    return [made.out_features for made, _ in body.hidden_layers()]


@torch.inference_mode()
def look(net: Normalised, batches: Iterable[Tensor]) -> list[Moments]:
    """What the units of each hidden layer do on raw rows; tokens count as rows. Needs no labels.

    Raises SecateurError where there is no row, NonFiniteError where a unit is nan or infinite.
    """
    layers = slimmable(net).hidden_layers()
    # sums are float64 on the CPU, since some accelerators have no float64
    means = [torch.zeros(made.out_features, dtype=torch.float64) for made, _ in layers]
    products = [torch.zeros(len(mean), len(mean), dtype=torch.float64) for mean in means]
    seen: list[int] = [0] * len(layers)

    def listen(k: int, answers: Tensor) -> None:
        flat = answers.flatten(0, -2)
        means[k] += flat.sum(0).cpu().double()
        products[k] += (flat.T @ flat).cpu().double()
        seen[k] += len(flat)

    hooks = [
        reads.register_forward_pre_hook(lambda module, given, k=k: listen(k, given[0]))
        for k, (_, reads) in enumerate(layers)
    ]
    try:
        net.eval()
        for rows in batches:
            net(rows)
    finally:
        for hook in hooks:
            hook.remove()
    if not seen[0]:
        raise SecateurError("rows: expected at least one row to look at, got none")
    if not all(mean.isfinite().all() for mean in means):
        raise NonFiniteError("model: a hidden unit is nan or infinite on these rows; train the net again")
    return [Moments(mean / n, product / n) for mean, product, n in zip(means, products, seen, strict=True)]


def check_slim(net: Normalised, *, flops: float, rank: str) -> float:
    """The multiply-adds that the fraction `flops` of a net's leaves. Raises SecateurError for what cannot be had."""
    body = slimmable(net)
    if rank not in RANKS:
        raise unknown("rank", rank, list(RANKS))
    units = units_of(body)
    whole, least = body.multiply_adds(units), body.multiply_adds([1] * len(units))
    if not least <= flops * whole <= whole:
        raise SecateurError(
            f"flops: expected a fraction of the net's {whole:,} multiply-adds from "
            f"{math.ceil(1e4 * least / whole) / 1e4:g}, which leaves one unit a layer, to 1, got {flops}"
        )
    return flops * whole


def slimmed(
    net: Normalised, moments: Sequence[Moments], *, flops: float, rank: str = "r2d2", generator: torch.Generator
) -> Normalised:
    """A copy of the net with the highest units of a ranking, as many as fit the fraction `flops` of its multiply-adds.

    moments: of `look`, on rows such as the net will meet. rank: a name of RANKS; generator: what `random` draws from.
    """
    budget, out = check_slim(net, flops=flops, rank=rank), copy.deepcopy(net)
    body = slimmable(out)
    layers = body.hidden_layers()
    scores = [
        RANKS[rank](reads.weight.detach().T.cpu(), each, generator)
        for (_, reads), each in zip(layers, moments, strict=True)
    ]
    for (made, reads), kept, each in zip(layers, fitting(scores, body.multiply_adds, budget), moments, strict=True):
        hand_on(reads, kept, each)
        at = kept.to(made.weight.device)
        made.weight, made.bias = nn.Parameter(made.weight.detach()[at]), nn.Parameter(made.bias.detach()[at])
        made.out_features = len(kept)
    return out


@torch.no_grad()
def hand_on(reads: nn.Linear, kept: Tensor, moments: Moments) -> None:
    """Narrow the layer that reads some units to those kept, which take over what the others told it.

    Ours (the paper rescales the survivors; its formula is not known): the weights and bias whose answers are nearest to
    those of the whole layer in mean square over the rows looked at, with a ridge that pulls the weights to where they
    were. With every unit kept nothing changes.
    """
    weight, mean, covariance = reads.weight.cpu().double(), moments.mean, moments.covariance
    gone = torch.ones(len(mean), dtype=torch.bool).index_fill(0, kept, False).nonzero()[:, 0]
    ridge = RIDGE * moments.products.diagonal().mean() + torch.finfo(torch.float64).tiny  # some, where all units are 0
    among = covariance[kept][:, kept] + ridge * torch.eye(len(kept), dtype=torch.float64)
    taken = torch.linalg.solve(among, covariance[kept][:, gone] @ weight[:, gone].T).T
    narrow = weight[:, kept] + taken
    bias = reads.bias.cpu().double() + weight @ mean - narrow @ mean[kept]
    reads.weight = nn.Parameter(narrow.float().to(reads.weight))
    reads.bias = nn.Parameter(bias.float().to(reads.bias))
    reads.in_features = len(kept)
