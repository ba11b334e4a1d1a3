"""Condensers that match gradients: DC, and DSA, which is DC with one transform on both sides."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from secateur.condensation.frame import Canvas, Ground, Watch, begin, grow
from secateur.condensation.learner import Learner
from secateur.condensation.passes import keeps_statistics
from secateur.condensation.real import Real
from secateur.condensation.synthetic import Synthetic
from secateur.errors import SecateurError
from secateur.ranges import NONE_OR_SOME, SOME, Range, check_fields

SCHEDULE = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""By rows a class: how often a net is matched, and for how many epochs it learns from the synthetic rows in between."""


@dataclass(frozen=True)
class DC:
    """Gradient matching (Zhao, Mopuri and Bilen, ICLR 2021, arXiv:2006.05929): see `dc`.

    batch: real rows of each class a match. matches, epochs: in place of SCHEDULE.
    """

    rate: Annotated[float, Range(0, 1e30, above=True)] = 0.1
    momentum: Annotated[float, Range(0, 1, below=True)] = 0.5
    init: str = "noise"
    augment: str | None = "off"
    steps: Annotated[int, NONE_OR_SOME] = 1000
    batch: Annotated[int, SOME] = 256
    matches: Annotated[int | None, SOME] = None
    epochs: Annotated[int | None, NONE_OR_SOME] = None

    def __post_init__(self) -> None:
        check_fields(self)

    def schedule(self, per_class: int) -> tuple[int, int]:
        """Matches a net, and epochs between two. Raises SecateurError for a count without a published one.

        >>> DC().schedule(10), DC(matches=2, epochs=3).schedule(7)
        ((10, 50), (2, 3))
        """
        if self.matches is not None and self.epochs is not None:
            return self.matches, self.epochs
        if per_class not in SCHEDULE:
            raise SecateurError(
                f"per_class: a schedule is published for {', '.join(map(str, SCHEDULE))}, not for {per_class}; give "
                f"one near to those with matches and epochs (--schedule MATCHES,EPOCHS, as 10,50 for 10)"
            )
        return SCHEDULE[per_class]

    def check(self, real: Real, per_class: int, net: nn.Module) -> None:
        """Images alone: on vectors nothing is known of it."""
        if len(real.shape) != 3:
            raise SecateurError(
                "data: gradient matching is published for images under a convolutional net, and these rows are "
                "vectors; use method dm, which takes vectors, or a coreset (`secateur prune --method herding`)"
            )
        self.schedule(per_class)

    def step(self, canvas: Canvas, ground: Ground) -> Tensor:
        """One net: matched, trained on the synthetic rows, matched again, as often as the schedule says."""
        learner = Learner(ground.fresh_net())
        matches, epochs = self.schedule(len(canvas.labels) // ground.real.classes)
        total = torch.zeros((), device=canvas.images.device)
        for k in range(matches):
            total += self.match(learner.net, canvas, ground)
            if k < matches - 1:
                learn(learner, canvas, ground, epochs=epochs)
        return total / matches

    def match(self, net: nn.Module, canvas: Canvas, ground: Ground) -> Tensor:
        """One step of all rows against the distance of gradients, class by class: the graph of one at a time."""
        settle(net, ground)
        rows = canvas.images.detach()
        gradient, total = torch.zeros_like(rows), torch.zeros((), device=rows.device)
        size = len(rows) // ground.real.classes
        for c, real in enumerate(ground.real.draw(self.batch, ground.generator)):
            own, vary = slice(c * size, (c + 1) * size), ground.transform()
            labels = canvas.labels[own]
            seen = real if vary is None else vary(real)
            aim, _ = ground.passes.gradients(net, seen, labels[:1].expand(len(real)))
            loss, gradient[own] = ground.passes.match(net, aim, rows[own], labels, vary)
            total += loss
        canvas.move(gradient)
        return total


class DSA(DC):
    """DC with differentiable Siamese augmentation (Zhao and Bilen, ICML 2021, arXiv:2102.08259): see `dsa`."""

    def __init__(self, **changes: Any) -> None:
        super().__init__(**({"init": "real", "augment": "auto"} | changes))


def settle(net: nn.Module, ground: Ground) -> None:
    """Where a net keeps statistics, let it see 16 real images of each class, then hold them still."""
    if keeps_statistics(net):
        net.train()
        with torch.no_grad():
            net(torch.cat(ground.real.draw(16, ground.generator)))
        net.eval()


def learn(learner: Learner, canvas: Canvas, ground: Ground, *, epochs: int, batch: int = 256) -> None:
    """Let it learn from the synthetic rows: shuffled, each image varied by itself where images are varied."""
    learner.net.train()
    rows = canvas.images.detach()
    for _ in range(epochs):
        for ids in torch.split(torch.randperm(len(rows), generator=ground.generator), batch):
            ids = ids.to(rows.device)
            vary, some = ground.transform(len(ids)), rows[ids]
            gradients, _ = ground.passes.gradients(
                learner.net, some if vary is None else vary(some), canvas.labels[ids]
            )
            learner.step(gradients)


def dc(
    data: Real,
    *,
    per_class: int,
    generator: torch.Generator,
    steps: int = 1000,
    init: str | np.ndarray | None = None,
    net: str | None = None,
    rate: float | None = None,
    batch: int = 256,
    schedule: tuple[int, int] | None = None,
    compiled: bool = False,
    watch: Watch | None = None,
) -> Synthetic:
    """Learn images whose gradients in a net are those of the real ones, along the net's training.

    A step is one net: matched with `batch` real images of each class, trained on the synthetic ones, matched again,
    as the schedule (matches, epochs in between) says; published for 1, 10, 20, 30, 40 and 50 a class. At 1 a class the
    net is never trained. The distance is that of `distance`: biases and norms count for nothing, as in the code. Starts
    from noise. Source: arXiv:2006.05929. Raises SecateurError for vectors and for counts without a schedule.

    >>> pixels = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 8, 8)
    >>> real = Real.of(pixels, torch.tensor([0, 0, 1, 1]))
    >>> dc(real, per_class=1, steps=0, generator=torch.Generator()).images.shape
    torch.Size([2, 1, 8, 8])
    """
    method = DC(batch=batch, **_scheduled(schedule))
    ground = Ground.of(data, generator, net=net, augment=method.augment, compiled=compiled)
    canvas = begin(method, ground, per_class=per_class, init=init, rate=rate)
    return grow(method, canvas, ground, steps=steps, watch=watch)


def _scheduled(schedule: tuple[int, int] | None) -> dict[str, Any]:
    return {} if schedule is None else {"matches": schedule[0], "epochs": schedule[1]}


def dsa(
    data: Real,
    *,
    per_class: int,
    generator: torch.Generator,
    steps: int = 1000,
    init: str | np.ndarray | None = None,
    net: str | None = None,
    augment: str | None = "auto",
    rate: float | None = None,
    batch: int = 256,
    schedule: tuple[int, int] | None = None,
    compiled: bool = False,
    watch: Watch | None = None,
) -> Synthetic:
    """`dc` with one transform a class and match, the same on the real and on the synthetic images.

    So the images can be trained on with augmentation, which is worth most at 10 a class. The net learns from varied
    images too, each by itself. Starts from random real images. Source: arXiv:2102.08259. Raises as `dc` does.

    >>> pixels = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 8, 8)
    >>> real = Real.of(pixels, torch.tensor([0, 0, 1, 1]))
    >>> dsa(real, per_class=1, steps=0, generator=torch.Generator()).display()[:, 0, 0, 0]  # one of each class
    array([0, 2], dtype=uint8)
    """
    method = DSA(batch=batch, **_scheduled(schedule))
    ground = Ground.of(data, generator, net=net, augment=augment, compiled=compiled)
    canvas = begin(method, ground, per_class=per_class, init=init, rate=rate)
    return grow(method, canvas, ground, steps=steps, watch=watch)
