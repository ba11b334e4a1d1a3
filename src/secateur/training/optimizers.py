"""Optimisers for a recipe: torch's own SGD and AdamW, and orthogonalised momentum for filters."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, AdamW, Optimizer

from secateur.training.machine import bfloat16_helps
from secateur.training.recipes import Recipe


class Muon(Optimizer):
    """Orthogonalised momentum for filter banks and matrices.

    Each bank (out, in, height, width) is read as the matrix (out, in*height*width). Its Nesterov momentum is
    replaced by the nearest matrix with equal singular values (five-term Newton-Schulz iteration), and the bank
    itself is scaled to norm sqrt(out) before the step, so that `lr` means the same for every layer. torch.optim.Muon
    takes matrices only and does not rescale, hence this one. Source: Jordan et al., the CIFAR-10 speed runs (2024).
    """

    def __init__(self, group: dict[str, Any], *, momentum: float = 0.6) -> None:
        super().__init__([group], {"momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every bank once."""
        for group in self.param_groups:
            banks = [bank for bank in group["params"] if bank.grad is not None]
            if not banks:
                continue
            slopes = [bank.grad for bank in banks]
            velocities = [self._velocity(bank) for bank in banks]
            torch._foreach_mul_(velocities, group["momentum"])
            torch._foreach_add_(velocities, slopes)
            directions = torch._foreach_add(slopes, velocities, alpha=group["momentum"])
            ahead = [orthogonalise(d.flatten(1)).view_as(d) for d in directions]
            sizes = torch._foreach_norm(banks)
            torch._foreach_reciprocal_(sizes)
            torch._foreach_mul_(sizes, [len(bank) ** 0.5 for bank in banks])
            torch._foreach_mul_(banks, sizes)
            torch._foreach_add_(banks, ahead, alpha=-group["lr"])

    def _velocity(self, bank: Tensor) -> Tensor:
        state = self.state[bank]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(bank)
        return state["momentum_buffer"]


def orthogonalise(matrix: Tensor, *, iterations: int = 3) -> Tensor:
    """A matrix with the row and column spaces of the given one and singular values near 1; (rows, columns).

    The quintic iteration x -> 3.4445 x - 4.7750 x^3 + 2.0315 x^5 on the singular values, after scaling the matrix to
    norm 1. Three iterations bring values between 0.1 and 1 to about 0.7 to 1.2, which is near enough for a direction.
    """
    x = matrix.bfloat16() if bfloat16_helps(matrix.device) else matrix
    x = x / (x.norm() + 1e-7)
    wide = x if x.shape[0] <= x.shape[1] else x.T
    for _ in range(iterations):
        gram = wide @ wide.T
        both = torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        wide = torch.addmm(wide, both, wide, beta=3.4445)
    return (wide if wide.shape == matrix.shape else wide.T).to(matrix.dtype)


def build(net: nn.Module, recipe: Recipe) -> list[Optimizer]:
    """The optimisers that `recipe` asks for, over the parameters of `net` that learn.

    Every group carries `initial_lr`, which the loop scales by the schedule, and `until`, the share of the run after
    which the group stands still.
    """
    if recipe.optimizer == "muon":
        return _muon(net, recipe)
    learning = [p for p in net.parameters() if p.requires_grad]
    if recipe.optimizer == "adamw":
        matrices, vectors = [p for p in learning if p.ndim > 1], [p for p in learning if p.ndim <= 1]
        groups = [_group(matrices, recipe.lr, recipe.weight_decay), _group(vectors, recipe.lr, 0.0)]
        return [AdamW([g for g in groups if g["params"]])]
    return [
        SGD([_group(learning, recipe.lr, recipe.weight_decay)], momentum=recipe.momentum, nesterov=recipe.momentum > 0)
    ]


_STILL = 1e-30
"""Rates up to here move no weight in float32, whatever the decay."""


def _muon(net: nn.Module, recipe: Recipe) -> list[Optimizer]:
    """Filters and matrices by orthogonalised momentum; biases, norms, embeddings and the head by SGD.

    The head's rate is stated for logits scaled by 1 / sqrt(inputs), as `resnet9` has them; without that scale the same
    rate acts `inputs` times as strongly, so it is divided by them. Decay is stated per unit of rate, so that a rate
    that falls does not take it along.
    """
    heads = [m for m in net.modules() if isinstance(m, nn.Linear) and m.weight.requires_grad][-1:]
    head: list[Tensor] = [m.weight for m in heads]
    scaled = any(hasattr(m, "scale") for m in net.modules())
    head_lr = recipe.head_lr / (1 if scaled or not heads else heads[0].in_features)
    named = [(n, p) for n, p in net.named_parameters() if p.requires_grad and not any(p is h for h in head)]
    banks = [p for n, p in named if p.ndim in (2, 4)]
    early = [p for n, p in named if p.ndim not in (2, 4) and n.endswith("patches.bias")]
    vectors = [p for n, p in named if p.ndim not in (2, 4) and not n.endswith("patches.bias")]

    def decay(rate: float) -> float:
        return recipe.weight_decay / rate if rate > _STILL else 0.0

    groups = [
        _group(early, recipe.bias_lr, decay(recipe.bias_lr), recipe.first_until),
        _group(vectors, recipe.bias_lr, decay(recipe.bias_lr)),
        _group(head, head_lr, decay(head_lr)),
    ]
    sgd = SGD([g for g in groups if g["params"]], momentum=recipe.head_momentum, nesterov=recipe.head_momentum > 0)
    muon = Muon(_group(banks, recipe.lr), momentum=recipe.momentum)
    return [muon, sgd] if banks else [sgd]


def _group(params: Sequence[Tensor], lr: float, decay: float = 0.0, until: float = 1.0) -> dict[str, Any]:
    return {"params": list(params), "lr": lr, "initial_lr": lr, "weight_decay": decay, "until": until}


def set_rates(optimizers: list[Optimizer], recipe: Recipe, progress: float, times: float = 1.0) -> None:
    """Set every group's learning rate for `progress` in [0, 1) of the schedule; times: what it is multiplied by."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            own = progress / group["until"] if group["until"] else 1.0
            group["lr"] = times * group["initial_lr"] * (recipe.lr_factor(own) if own < 1 else 0.0)
