"""A net that learns while rows are condensed."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

NET_RATE = 0.01


@dataclass
class Learner:
    """A net under SGD: rate 0.01, with momentum and decay if asked for.

    velocity: by name of the weight, empty before the first step; accuracy: of its last lesson, in percent; 0 before.
    """

    net: nn.Module
    momentum: float = 0.0
    decay: float = 0.0
    velocity: dict[str, Tensor] = field(default_factory=dict)
    accuracy: float = 0.0

    @torch.no_grad()
    def step(self, gradients: dict[str, Tensor]) -> None:
        """One step against the gradients, by name of the weight.

        >>> net = nn.Linear(1, 1, bias=False).requires_grad_(False)
        >>> learner, before = Learner(net, momentum=0.5), float(net.weight)
        >>> for _ in range(2):
        ...     learner.step({"weight": torch.tensor([[1.0]])})
        >>> round(before - float(net.weight), 4)  # 0.01 * (1 + 1.5)
        0.025
        """
        weights = dict(self.net.named_parameters())
        for name, gradient in gradients.items():
            gradient = gradient + self.decay * weights[name]
            before = self.velocity.get(name)
            self.velocity[name] = gradient if before is None else self.momentum * before + gradient
            weights[name].sub_(self.velocity[name], alpha=NET_RATE)

    def tensors(self) -> dict[str, Tensor]:
        """All there is to it, by name."""
        held = {f"net.{name}": value for name, value in self.net.state_dict().items()}
        held |= {f"velocity.{name}": value for name, value in self.velocity.items()}
        return held | {"accuracy": torch.tensor(self.accuracy, dtype=torch.float64)}

    def put(self, tensors: dict[str, Tensor]) -> "Learner":
        """The learner whose `tensors` these are, in the net of this one."""
        named: dict[str, dict[str, Tensor]] = {"net": {}, "velocity": {}}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            if kind in named:
                named[kind][rest] = value
        self.net.load_state_dict(named["net"])
        device = next(self.net.parameters()).device
        self.velocity = {name: value.to(device) for name, value in named["velocity"].items()}
        self.accuracy = float(tensors["accuracy"])
        return self
