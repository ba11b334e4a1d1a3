"""Adversarial training: perturbed views of a batch, each example within a budget of its own.

Lengths (eps, step_size, budgets, margins) are fractions of the pixel range, as in the literature: an L2 eps of 0.5 is
128 of 255 levels, 8/255 in Linf is 8 levels of every pixel. Vectors have no such range: theirs are in the units of the
data, and nothing is clamped.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.ranges import AMOUNT, NONE_OR_SOME, POSITIVE, check_fields, split_knobs
from secateur.registry import unknown
from secateur.training.machine import autocast

Norm = Literal["l2", "linf"]
Rule = Literal["margin", "constant"]
PIXELS = 255.0
_TINY = 1e-12


@dataclass(frozen=True)
class Adversary:
    """A projected gradient attack (Madry et al., arXiv:1706.06083); with one step, FGSM (Goodfellow et al. 2015).

    steps: 0 changes nothing; with several, the first starts at a random place of the ball, as theirs. step_size: of an
    example that has the whole eps, one with less takes smaller steps in proportion; 2.5 eps / steps by default.

    eps_rule: `margin` gives example i the budget min(eps, margin_i), so that it reaches the boundary at most. PUMA
    (arXiv:2405.06298) lowers the budget of the examples near the boundary by a rule that is not published where we
    could read it; this one is ours. Margins are L2 lengths, so it is the default for `l2` and refused for `linf`, where
    the default is `constant`: eps to all.
    """

    norm: Norm
    eps: Annotated[float, AMOUNT]
    steps: Annotated[int, NONE_OR_SOME] = 10
    step_size: Annotated[float | None, POSITIVE] = None
    eps_rule: Rule | None = None

    def __post_init__(self) -> None:
        for name, value, known in (("norm", self.norm, Norm), ("rule", self.eps_rule or "margin", Rule)):
            if value not in get_args(known):
                raise unknown(f"adversary: {name}", str(value), list(get_args(known)))
        check_fields(self, "adversary: ")
        if self.norm == "linf" and self.eps_rule == "margin":
            raise SecateurError("adversary: rule=margin compares eps with L2 margins; take l2, or rule=constant")

    @property
    def rule(self) -> Rule:
        """The rule of the budgets, its default filled in."""
        return self.eps_rule or ("margin" if self.norm == "l2" else "constant")

    @property
    def share(self) -> float:
        """How much of its budget an example moves in a step.

        >>> Adversary("l2", 0.5, steps=5).share, Adversary("l2", 0.5, steps=5, step_size=0.1).share
        (0.5, 0.2)
        """
        if self.step_size is not None and self.eps:
            return self.step_size / self.eps
        return 2.5 / max(1, self.steps)

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Refuse, for images (channels, height, width), an eps that is wider than all of their pixel space."""
        widest = math.sqrt(math.prod(shape)) if self.norm == "l2" else 1.0
        if len(shape) == 3 and self.eps > widest:
            raise SecateurError(
                f"adversary: eps counts in fractions of the pixel range, so {self.eps:g} is more than there is "
                f"({widest:.4g}); of 255 levels, write eps={self.eps:g}/255"
            )


def parse(spec: "str | Adversary | None") -> Adversary | None:
    """`off`, or a norm and its parts: `l2:eps=0.5,steps=3`, `linf:eps=8/255,step_size=2/255`, `l2:eps=1,rule=constant`.

    >>> parse("linf:eps=51/255,steps=3"), parse("off")
    (Adversary(norm='linf', eps=0.2, steps=3, step_size=None, eps_rule=None), None)
    """
    if spec is None or spec == "off":
        return None
    if isinstance(spec, Adversary):
        return spec
    norm, _, rest = spec.partition(":")
    parts = split_knobs(rest, "adversary")
    readers: dict[str, Callable[[str], Any]] = {"eps": _number, "steps": int, "step_size": _number, "rule": str}
    try:
        values = {name: readers[name](text) for name, text in parts.items()}
        eps, rule = values.pop("eps"), values.pop("rule", None)
    except (KeyError, ValueError, ZeroDivisionError, OverflowError):
        raise SecateurError(
            f"adversary: expected off, or a norm with eps and perhaps steps, step_size and rule, "
            f"as l2:eps=0.5,steps=3 or linf:eps=8/255, got {spec!r}"
        ) from None
    return Adversary(cast(Norm, norm), eps, eps_rule=rule, **values)


def _number(text: str) -> float:
    over, _, under = text.partition("/")
    return float(over) / float(under or 1)


def budgets(adversary: Adversary, examples: int, margins: np.ndarray | None = None) -> Tensor:
    """How far each example may be moved (examples,) float32; margins (examples,): its L2 distance to the boundary.

    >>> budgets(Adversary("l2", 0.5), 3, np.array([0.2, 0.5, 7.0]))
    tensor([0.2000, 0.5000, 0.5000])
    """
    if adversary.rule == "constant":
        return torch.full((examples,), adversary.eps)
    if margins is None:
        raise SecateurError(
            "adversary: rule=margin needs the margin of every example, and none are given; pass margins (margin_l2 in "
            "the units of eps), or give every example the whole eps with rule=constant"
        )
    if margins.shape != (examples,):
        raise SecateurError(f"margins: expected shape ({examples},), a value an example, got {margins.shape}")
    if (bad := ~(margins >= 0)).any():
        where = int(bad.argmax())
        raise SecateurError(f"margins: expected lengths of 0 or more, got {margins[where]} at example {where}")
    return torch.from_numpy(np.minimum(margins, adversary.eps).astype(np.float32))


@dataclass(frozen=True)
class Attack:
    """What a training run calls on each batch: an adversary, and the budget of each example (examples,)."""

    adversary: Adversary
    budgets: Tensor

    @classmethod
    def of(cls, adversary: Adversary, examples: int, margins: np.ndarray | None, device: torch.device) -> "Attack":
        """On so many examples, with the budgets of the adversary's rule."""
        return cls(adversary, budgets(adversary, examples, margins).to(device))

    def __call__(self, net: nn.Module, rows: Tensor, labels: Tensor, ids: Tensor, generator: torch.Generator) -> Tensor:
        """The rows of these ids, perturbed."""
        return perturbed(net, rows, labels, self.budgets[ids], self.adversary, generator=generator)


def perturbed(
    net: nn.Module, rows: Tensor, labels: Tensor, budgets: Tensor, adversary: Adversary, *, generator: torch.Generator
) -> Tensor:
    """Rows moved to where the cross-entropy of their labels is higher, raw as they came, but float32.

    rows: images (batch, channels, height, width) with pixels from 0 to 255, where they stay, not rounded to whole
    levels; or vectors (batch, dims). labels, budgets: (batch,). generator: on the CPU, whatever the device. The net is
    attacked in eval mode and left in the mode it was in: the running statistics of batch norm stay as they are, and no
    example's view depends on the rest of its batch (for training, Pang et al., arXiv:2010.00467, find this the better
    of the two habits).
    """
    images, was_training = rows.ndim == 4, net.training
    start, each = rows.float(), (-1,) + (1,) * (rows.ndim - 1)
    radius = (budgets * (PIXELS if images else 1.0)).view(each)
    moved = start
    if adversary.steps > 1:
        moved = _inside(start, start + radius * _random(start, adversary.norm, generator), radius, adversary.norm)
    net.eval()
    for _ in range(adversary.steps):
        uphill = _direction(_gradient(net, moved, labels), adversary.norm)
        moved = _inside(start, moved + adversary.share * radius * uphill, radius, adversary.norm)
    net.train(was_training)
    return moved


def _gradient(net: nn.Module, rows: Tensor, labels: Tensor) -> Tensor:
    """Of each example's log-odds against its label: the way its cross-entropy rises, where an answer is sure too.

    Cross-entropy is log(1 + odds), and its own gradient vanishes in float32 where the odds do.
    """
    with torch.enable_grad():
        rows = rows.detach().requires_grad_()
        with autocast(rows.device):
            logits = net(rows).float()
        at = labels[:, None]
        against = logits.scatter(1, at, -torch.inf).logsumexp(dim=1) - logits.gather(1, at)[:, 0]
        return torch.autograd.grad(against.sum(), rows)[0]


def _direction(gradient: Tensor, norm: str) -> Tensor:
    """The step of length 1 that rises most; zero where the gradient is."""
    return gradient.sign() if norm == "linf" else gradient / _length(gradient)


def _random(like: Tensor, norm: str, generator: torch.Generator) -> Tensor:
    """A place in the unit ball for each row: uniform for linf; for l2 uniform in direction and in distance."""
    if norm == "linf":
        return (2 * torch.rand(like.shape, generator=generator) - 1).to(like.device)
    direction = torch.randn(like.shape, generator=generator)
    far = torch.rand((len(like),) + (1,) * (like.ndim - 1), generator=generator)
    return (direction * (far / _length(direction))).to(like.device)


def _inside(start: Tensor, moved: Tensor, radius: Tensor, norm: str) -> Tensor:
    """The nearest place within the radius; of an image, within the pixel range too, which is never farther away."""
    delta = moved - start
    delta = delta.clamp(-radius, radius) if norm == "linf" else delta * (radius / _length(delta)).clamp(max=1)
    return (start + delta).clamp(0, PIXELS) if start.ndim == 4 else start + delta


def _length(rows: Tensor) -> Tensor:
    """L2 of each row, (batch, 1, ...)."""
    return rows.flatten(1).norm(dim=1).clamp_min(_TINY).view((-1,) + (1,) * (rows.ndim - 1))
