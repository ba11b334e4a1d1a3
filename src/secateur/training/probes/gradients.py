"""The length of each example's loss gradient in all parameters (GraNd), from one forward and one backward pass."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from secateur.errors import SecateurError
from secateur.training.probes.batch import check_batch, check_labels, cross_entropy, finite
from secateur.training.probes.layers import FORMS, knows

_AT_ONCE = 1 << 26
"""Numbers of gradients that the fallback holds at a time: 256 MB."""
_ALIKE = 1e-2
"""How far a square may be off the check by one plain gradient: TF32 moves it by 2e-3, a wrong form by far more."""
_NOTHING = 1e-4
"""The part of the whole square below which a share may be off by any factor."""


@torch.enable_grad()
def gradient_norms(net: nn.Module, rows: Tensor, labels: Tensor) -> Tensor:
    """Length of d cross-entropy(net(row), label) / d w for each example: (batch,) float32.

    w: every parameter that requires grad when this is called, as the paper has it. What a recipe freezes (the 2x2
    layer and norms of a whitened net) is left out only while it is frozen: a net loaded from disk requires grad
    throughout. net: in eval mode. rows: (batch, ...) as the net takes them. labels: (batch,) int64.

    The loss of the batch is summed and run backwards once; each layer's share comes from what went into it and the
    gradient of what came out (`layers.py`). A parameter that belongs to no layer and has a first axis of 1, such as a
    class token, is copied for each example. Where a layer is used twice, or its parameters outside it, and where
    `unknown_layers` names something, gradients are formed one by one by `torch.func.vmap`: the same numbers, more
    slowly. So they are where the longest gradient of the batch, worked out the plain way as well, disagrees.

    In float32 throughout: bfloat16 moved lengths by 2 % in the median and 8 % at worst (resnet9:0.5 after 12 epochs on
    3,000 images of CIFAR-10).

    Raises SecateurError for a net in training mode or without a parameter to train, and for labels that are no classes;
    NonFiniteError for a gradient that is no number.
    """
    check_batch(net, rows)
    if not any(p.requires_grad for p in net.parameters()):
        raise SecateurError("net: no parameter requires grad, so there is no gradient; call net.requires_grad_(True)")
    if not unknown_layers(net):
        shares = _by_layer(net, rows, labels)
        if shares and _plain_agrees(net, rows, labels, shares):
            squares = torch.stack([share.squares for share in shares]).sum(0)
            return finite(squares.sqrt(), "net: length of the loss gradient")
    return finite(_one_by_one(net, rows, labels), "net: length of the loss gradient")


@torch.enable_grad()
def unknown_layers(net: nn.Module, rows: Tensor | None = None) -> list[str]:
    """What makes `gradient_norms` slow: names of layers without a closed form, and of parameters shared by layers.

    rows: some rows of the data (batch, ...), two or more, for what only a pass through the net can tell.

    >>> unknown_layers(nn.Sequential(nn.Linear(2, 2), nn.PReLU()))
    ['1 (PReLU)']
    """
    found: list[str] = []
    owner: dict[Tensor, str] = {}
    for name, module in net.named_modules():
        own = [p for p in module.parameters(recurse=False) if p.requires_grad]
        found += [f"{name} (shares a parameter with {owner[p]})" for p in own if p in owner]
        owner |= dict.fromkeys(own, name)
        if not knows(module) and any(p.ndim < 2 or len(p) > 1 for p in own):
            found.append(f"{name} ({type(module).__name__})".strip())
    if rows is not None and not found:
        check_batch(net, rows)
        labels = net(rows).argmin(1)
        shares = _by_layer(net, rows, labels)
        if not shares or not _plain_agrees(net, rows, labels, shares):
            found.append(
                f"{type(net).__name__} (uses a layer twice, mixes rows, or uses parameters outside their layer)"
            )
    return found


class _Share(NamedTuple):
    """Squared lengths (batch,) of the gradient in some of the parameters."""

    of: list[nn.Parameter]
    squares: Tensor


class _Tape:
    """Hears every layer of one forward pass, and notes its share in the backward pass after it."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.shares: list[_Share] = []
        self.starts: list[Tensor] = []
        self.heard: set[nn.Module] = set()
        self.refused = False

    def hear(self, layer: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor], out: Tensor) -> Tensor:
        """A forward hook. The graph starts behind the first layers: nothing runs backwards through them."""
        given = next(iter((*args, *named.values())))
        self.refused |= layer in self.heard or len(out) != self.batch
        self.heard.add(layer)
        if not given.requires_grad:
            self.starts.append(out.detach().requires_grad_())
            out = self.starts[-1].clone()  # may be changed in place, which a leaf may not
        out.register_hook(lambda error: self._take(layer, given.detach(), error))  # type: ignore[no-untyped-call]
        return out

    def _take(self, layer: nn.Module, given: Tensor, error: Tensor) -> None:
        if not self.refused:
            of = [p for p in layer.parameters(recurse=False) if p.requires_grad]
            self.shares.append(_Share(of, FORMS[type(layer)](layer, given, error)))


def _by_layer(net: nn.Module, rows: Tensor, labels: Tensor) -> list[_Share]:
    """The share of every layer, and of every parameter outside one; none where layers are not used one by one."""
    tape = _Tape(len(rows))
    loose = _loose(net)
    if _used_elsewhere(net, rows[:1], loose) or not _rows_hear_their_own(net, rows[:2], loose):
        return []
    copies = {name: p.detach().expand(len(rows), *p.shape[1:]).clone().requires_grad_() for name, p in loose.items()}
    with _heard_by(tape.hear, net):
        logits = functional_call(net, copies, (rows,))
    check_labels(labels, logits)
    starts = [*tape.starts, *copies.values()]
    if tape.refused or not starts:
        return []
    found = torch.autograd.grad(cross_entropy(logits, labels).sum(), starts, allow_unused=True)
    for p, gradient in zip(loose.values(), found[len(tape.starts) :], strict=True):
        if gradient is not None:
            tape.shares.append(_Share([p], gradient.flatten(1).square().sum(1)))
    return tape.shares


@contextmanager
def _heard_by(hook: Callable[..., Tensor], net: nn.Module) -> Iterator[None]:
    """A forward hook on every layer with a closed form and something to train."""
    with ExitStack() as hooks:
        for layer in net.modules():
            if knows(layer) and any(p.requires_grad for p in layer.parameters(recurse=False)):
                hooks.enter_context(layer.register_forward_hook(hook, prepend=True, with_kwargs=True))
        yield


def _loose(net: nn.Module) -> dict[str, nn.Parameter]:
    """Parameters to train that belong to no layer, by name."""
    return {
        f"{name}.{own}".lstrip("."): p
        for name, module in net.named_modules()
        if not knows(module)
        for own, p in module.named_parameters(recurse=False)
        if p.requires_grad
    }


def _used_elsewhere(net: nn.Module, row: Tensor, loose: dict[str, nn.Parameter]) -> bool:
    """Does a layer's parameter act outside it? With the graph cut behind every layer, nothing should require grad."""
    found = []

    def cut(layer: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor], out: Tensor) -> Tensor:
        found.append(next(iter((*args, *named.values()))).requires_grad)
        return out.detach()

    with _heard_by(cut, net):
        logits = functional_call(net, {name: p.detach() for name, p in loose.items()}, (row,))
    return any(found) or logits.requires_grad


@torch.no_grad()
def _rows_hear_their_own(net: nn.Module, pair: Tensor, loose: dict[str, nn.Parameter]) -> bool:
    """Given a copy of each loose parameter a row, does a row answer as the net does, whatever the other's copy is?"""
    if not loose:
        return True
    plain = net(pair)
    row = torch.arange(len(pair), device=pair.device)
    for other in range(len(pair)):
        copies = {}
        for name, p in loose.items():
            copies[name] = p.expand(len(pair), *p.shape[1:]).clone()
            copies[name][row == other] = 2 * p + 1
        try:
            logits = functional_call(net, copies, (pair,))
        except RuntimeError:  # used in a way that copies do not allow
            return False
        off = (logits - plain).abs() if logits.shape == plain.shape else torch.full_like(plain, torch.inf)
        if (off[row != other] > _NOTHING * plain.abs().max()).any():
            return False
    return True


def _plain_agrees(net: nn.Module, rows: Tensor, labels: Tensor, shares: list[_Share]) -> bool:
    """Has the longest gradient of the batch the same shares as a plain backward pass of that example says?"""
    squares = torch.stack([share.squares for share in shares])  # (shares, batch)
    longest = int(squares.sum(0).argmax())
    one = slice(longest, longest + 1)
    weights = [p for p in net.parameters() if p.requires_grad]
    loss = cross_entropy(net(rows[one]), labels[one]).sum()
    plain = dict(zip(weights, torch.autograd.grad(loss, weights, materialize_grads=True), strict=True))
    lengths = [torch.stack([plain.pop(p).square().sum() for p in share.of]).sum() for share in shares]
    expected = torch.stack(lengths)
    off = (squares[:, longest] - expected).abs()
    return bool((off <= _ALIKE * expected + _NOTHING * expected.sum()).all())


def _one_by_one(net: nn.Module, rows: Tensor, labels: Tensor) -> Tensor:
    """Lengths (batch,) of gradients formed for some examples at a time."""
    with torch.no_grad():
        check_labels(labels, net(rows))
    weights = {name: p.detach() for name, p in net.named_parameters() if p.requires_grad}

    def loss(weights: dict[str, Tensor], row: Tensor, label: Tensor) -> Tensor:
        return cross_entropy(functional_call(net, weights, (row[None],)), label[None])[0]

    def length(row: Tensor, label: Tensor) -> Tensor:
        squares: Any = [g.square().sum() for g in grad(loss)(weights, row, label).values()]
        return torch.stack(squares).sum().sqrt()

    chunk = max(1, _AT_ONCE // sum(w.numel() for w in weights.values()))
    return vmap(length, chunk_size=chunk)(rows, labels)
