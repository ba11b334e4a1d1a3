"""How nets are asked: in parts that stay near the processor, in bfloat16 where that helps, compiled on request."""

import copy
import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value

from secateur.errors import SecateurError
from secateur.training.machine import autocast, bfloat16_helps
from secateur.training.nets.small import MLP, ConvNet

CACHED, AT_ONCE = 16 * 1024, 2560 * 1024
"""Pixels a part on a CPU, whose maps under 128 channels stay in a cache; and on other devices, in their memory."""

Tensors = dict[str, Tensor]
Vary = Callable[[Tensor], Tensor]


class Passes:
    """Forward and backward passes of ever new nets of one form.

    compiled: by `torch.compile`, which takes half a minute at the first pass of each form, on a CPU a C++ compiler too,
    and pays in runs of some hundred steps.
    """

    def __init__(self, *, compiled: bool = False) -> None:
        self.compiled = compiled
        self._forms: dict[Any, nn.Module] = {}

    def check(self, net: nn.Module) -> None:
        """Raise SecateurError for a net that is not compiled."""
        if self.compiled and not compiles(net):
            raise SecateurError(
                f"compile: ConvNets and mlp are compiled, not a {type(net).__name__}; take one of them (net=convnet3), "
                f"or leave compile out"
            )

    def features(self, net: nn.Module, rows: Tensor) -> Tensor:
        """What the net makes of rows: (rows, dims), where gradients flow to rows that ask for them."""
        rows = laid_out(rows)
        with autocast(rows.device):
            if self.compiled:
                return self._compiled(_features, net, rows)
            return net(rows).flatten(1)

    def without_graph(self, net: nn.Module, rows: Tensor) -> Tensor:
        """`features`, in parts."""
        with torch.no_grad():
            return torch.cat([self.features(net, part) for part in parts(net, rows)])

    def digest(self, net: nn.Module, rows: Tensor, last: int) -> tuple[Tensor, Tensor]:
        """Of `features`, in parts that are not kept and without a graph: their mean over all rows (dims,), and the last
        so many of each row (rows, last), in float32.

        >>> Passes().digest(nn.Identity(), torch.tensor([[1.0, 2.0, 3.0], [3.0, 4.0, 9.0]]), last=1)
        (tensor([2., 3., 6.]), tensor([[3.],
                [9.]]))
        """
        total, kept = torch.zeros((), device=rows.device), []
        with torch.no_grad():
            for part in parts(net, rows):
                made = self.features(net, part)
                total = total + made.sum(0, dtype=torch.float32)
                kept.append(made[:, -last:].float())
        return total / len(rows), torch.cat(kept)

    def gradients(self, net: nn.Module, rows: Tensor, labels: Tensor) -> tuple[Tensors, Tensor]:
        """Of the mean cross-entropy, by name of the weight; and the share of rows that the net has right (scalar).

        rows: (rows, ...), labels: (rows,). In parts.
        """
        total: Tensors = {}
        rows, right = laid_out(rows), torch.zeros((), device=rows.device)
        for some, own in zip(parts(net, rows), parts(net, rows, labels), strict=True):
            with autocast(rows.device):
                found, hits = self._gradients(net, some, own)
            total = {name: total[name] + g if total else g.float() for name, g in found.items()}
            right += hits
        return {name: g / len(rows) for name, g in total.items()}, right / len(rows)

    def _gradients(self, net: nn.Module, rows: Tensor, labels: Tensor) -> tuple[Tensors, Tensor]:
        if self.compiled:
            return self._compiled(_gradients, net, rows, labels)
        weights = {name: w for name, w in net.named_parameters() if w.requires_grad}
        logits = net(rows).float()
        found = torch.autograd.grad(F.cross_entropy(logits, labels, reduction="sum"), list(weights.values()))
        return dict(zip(weights, found, strict=True)), (logits.argmax(1) == labels).sum()

    def match(
        self, net: nn.Module, aim: Tensors, rows: Tensor, labels: Tensor, vary: Vary | None = None
    ) -> tuple[Tensor, Tensor]:
        """The distance of the gradients of the varied rows to the aim (scalar), and its own for the rows (rows, ...).

        In float32: a gradient of a gradient is lost in the rounding of bfloat16.
        """
        rows = rows.detach().requires_grad_()
        seen = laid_out(rows if vary is None else vary(rows), last=False)
        if self.compiled:
            gradient, apart = self._compiled(_match, net, aim, seen.detach(), labels)
        else:
            apart, gradient = _matched(net, aim, seen, labels)
        if vary is not None:
            (gradient,) = torch.autograd.grad(seen, rows, gradient)
        return apart, gradient

    def _compiled(self, what: Callable[..., Any], net: nn.Module, *given: Any) -> Any:
        """Nets of the first one's form, with their own weights, so that it is compiled once."""
        weights = {name: w.detach() for name, w in net.named_parameters()}
        form = (what, type(net), *weights)
        if form not in self._forms:
            self._forms[form] = copy.deepcopy(net)
        return _compiled(what)(self._forms[form], weights, *given)


@functools.cache
def _compiled(what: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(what)


def _matched(net: nn.Module, aim: Tensors, rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    weights = {name: w for name, w in net.named_parameters() if w.ndim > 1}
    loss = F.cross_entropy(net(rows), labels)
    found = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
    apart = distance([aim[name] for name in weights], list(found))
    (gradient,) = torch.autograd.grad(apart, rows)
    return apart.detach(), gradient


def _features(net: nn.Module, weights: Tensors, rows: Tensor) -> Tensor:
    return functional_call(net, weights, (rows,)).flatten(1)


def _gradients(net: nn.Module, weights: Tensors, rows: Tensor, labels: Tensor) -> tuple[Tensors, Tensor]:
    def loss(at: Tensors) -> tuple[Tensor, Tensor]:
        logits = functional_call(net, at, (rows,)).float()
        return F.cross_entropy(logits, labels, reduction="sum"), (logits.argmax(1) == labels).sum()

    return grad(loss, has_aux=True)(weights)


def _match(net: nn.Module, weights: Tensors, aim: Tensors, rows: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    def loss(at: Tensors, x: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(net, at, (x,)), labels)

    def apart(x: Tensor) -> Tensor:
        found = grad(loss)(weights, x)
        wide = [name for name, weight in weights.items() if weight.ndim > 1]
        return distance([aim[name] for name in wide], [found[name] for name in wide])

    return grad_and_value(apart)(rows)


def laid_out(rows: Tensor, *, last: bool | None = None) -> Tensor:
    """Images as nets take them soonest: with channels last in memory where a CPU multiplies bfloat16, else channel by
    channel, as vectors and what is in float32 (last=False).

    >>> rows = torch.zeros(2, 8, 8, 3).permute(0, 3, 1, 2)
    >>> laid_out(rows, last=False).stride(), laid_out(rows, last=True).stride()
    ((192, 64, 8, 1), (192, 1, 24, 3))
    """
    last = lies_last(rows.device) if last is None else last
    return rows.clone(memory_format=torch.channels_last if last and rows.ndim == 4 else torch.contiguous_format)


def lies_last(device: torch.device) -> bool:
    """Whether channels of what goes through nets lie last in memory."""
    return device.type == "cpu" and bfloat16_helps(device)


def compiles(net: nn.Module) -> bool:
    """Whether compiled passes of the net are known to be right: of ConvNets and the mlp.

    Those of a resnet9 with instance norm gave gradients that were no numbers (torch 2.13 on a CPU), and nets that keep
    statistics would keep those of the form that was compiled.
    """
    return isinstance(net, ConvNet | MLP)


def keeps_statistics(net: nn.Module) -> bool:
    """Whether a layer remembers what it saw, as batch norm does."""
    return any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in net.modules())


def parts(net: nn.Module, rows: Tensor, of: Tensor | None = None) -> tuple[Tensor, ...]:
    """The rows, or what belongs `of` each, in parts; all in one where the net mixes them.

    >>> [len(part) for part in parts(nn.Flatten(), torch.zeros(40, 3, 32, 32))]
    [16, 16, 8]
    """
    pixels = CACHED if rows.device.type == "cpu" else AT_ONCE
    size = len(rows) if net.training and keeps_statistics(net) else max(pixels // math.prod(rows.shape[2:]), 1)
    return torch.split(rows if of is None else of, max(size, 1))


def distance(real: list[Tensor], synthetic: list[Tensor]) -> Tensor:
    """Of two lists of gradients, a tensor of 2 or more axes a layer: 1 - cosine, summed over layers and output rows.

    >>> distance([torch.tensor([[1.0, 0.0], [3.0, 0.0]])], [torch.tensor([[0.0, 1.0], [9.0, 0.0]])])  # 1 + 0
    tensor(1.)
    """
    return torch.stack([_distance(a.flatten(1), b.flatten(1)) for a, b in zip(real, synthetic, strict=True)]).sum()


def _distance(a: Tensor, b: Tensor) -> Tensor:
    return (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
