"""What all condensers share: images that move by momentum, a fresh net when asked for, and the loop over steps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from secateur.condensation.learner import Learner
from secateur.condensation.mosaic import SIDE
from secateur.condensation.passes import Passes
from secateur.condensation.real import Real, start
from secateur.condensation.siamese import Draw, draw, families
from secateur.condensation.synthetic import Synthetic
from secateur.errors import NonFiniteError, SecateurError
from secateur.training.nets.small import published_depth
from secateur.training.nets.zoo import make
from secateur.training.seeding import initialised


@dataclass
class Canvas:
    """The synthetic rows while they are learned: SGD with momentum, no decay, no clipping.

    images, velocity: (classes * per_class, ...) float32; labels: (classes * per_class,). step: how many are done.
    nets: those a method keeps from step to step. tiles: a side of an image.
    """

    images: Tensor
    labels: Tensor
    velocity: Tensor
    rate: float
    momentum: float
    step: int = 0
    tiles: int = 1
    nets: list[Learner] = field(default_factory=list)

    def move(self, gradient: Tensor, *, share: float = 1.0) -> None:
        """One step against the gradient, by a share of the rate. Raises NonFiniteError, and leaves the rows as they
        were, where they would not stay finite.
        """
        velocity = self.momentum * self.velocity + gradient
        images = self.images.detach() - share * self.rate * velocity
        if not bool(torch.isfinite(images).all()):
            raise NonFiniteError(
                f"images: would leave the finite numbers at step {self.step}; the last good ones are kept - try a "
                f"lower rate than {self.rate:g} (--rate)"
            )
        self.images, self.velocity = images, velocity

    def leaf(self) -> Tensor:
        """The rows as the start of a graph."""
        return self.images.detach().requires_grad_()


@dataclass(frozen=True)
class Ground:
    """What a condenser works on: the real rows, the spec of its nets, what may vary an image, a stream of its own, and
    how nets are asked.
    """

    real: Real
    net: str
    chosen: tuple[str, ...]
    generator: torch.Generator
    passes: Passes = field(default_factory=Passes)

    @classmethod
    def of(
        cls,
        real: Real,
        generator: torch.Generator,
        *,
        net: str | None = None,
        augment: str | None,
        compiled: bool = False,
    ) -> "Ground":
        """net: where none is named the ConvNet of `published_depth` for images, for vectors `mlp`; augment: see
        `siamese.families`.
        """
        named = net or (f"convnet{published_depth(real.shape)}" if len(real.shape) == 3 else "mlp")
        return cls(real, named, families(augment, real.shape), generator, Passes(compiled=compiled))

    def fresh_net(self) -> nn.Module:
        """A net from its default initialisation, on the device; it takes normalised rows."""
        return self.net_of(int(torch.randint(2**31, (1,), generator=self.generator)))

    def net_of(self, seed: int) -> nn.Module:
        """The net of a seed."""
        with initialised(seed):
            return make(self.net, self.real.shape, self.real.classes).to(self.real.rows.device)

    def transform(self, count: int | None = None) -> Draw | None:
        """One random transform; see `siamese.draw`."""
        return draw(self.chosen, self.generator, count=count)


@runtime_checkable
class Condenser(Protocol):
    """A published way to learn the rows: frozen, with its paper's defaults."""

    @property
    def rate(self) -> float: ...
    @property
    def momentum(self) -> float: ...
    @property
    def init(self) -> str: ...
    @property
    def augment(self) -> str | None: ...
    @property
    def steps(self) -> int: ...

    def check(self, real: Real, per_class: int, net: nn.Module) -> None:
        """Raise SecateurError for what it cannot do."""
        ...

    def step(self, canvas: Canvas, ground: Ground) -> Tensor:
        """Move the canvas, once or more often; returns the loss (scalar) before."""
        ...


@runtime_checkable
class Keeping(Protocol):
    """A condenser whose nets go on learning from step to step, in `Canvas.nets`."""

    def learner(self, net: nn.Module) -> Learner:
        """One of them, before its first lesson."""
        ...


@runtime_checkable
class Tiling(Protocol):
    """A condenser whose images are mosaics."""

    def side(self, shape: tuple[int, ...]) -> int:
        """Tiles a side of an image (channels, height, width)."""
        ...


Watch = Callable[[Canvas, Tensor], None]
"""Is told after each step: the canvas, and the loss of the step."""


def begin(
    method: Condenser, ground: Ground, *, per_class: int, init: str | np.ndarray | None, rate: float | None
) -> Canvas:
    """The canvas before the first step. Raises SecateurError for what the method cannot do with these data."""
    net = ground.net_of(0)
    method.check(ground.real, per_class, net)
    ground.passes.check(net)
    if rate is not None and not 0 < rate < float("inf"):
        raise SecateurError(f"rate: expected a number above 0, got {rate}")
    chosen, shape = method.init if init is None else init, ground.real.shape
    side = side_of(method, shape, uncut=SIDE)
    images = start(ground.real, per_class=per_class, generator=ground.generator, init=chosen, side=side)
    labels = torch.arange(ground.real.classes, device=images.device).repeat_interleave(per_class)
    still, tiles = torch.zeros_like(images), side_of(method, shape)
    return Canvas(images, labels, still, rate or method.rate, method.momentum, tiles=tiles)


def side_of(method: Condenser, shape: tuple[int, ...], *, uncut: int = 1) -> int:
    """Tiles a side of an image (channels, height, width); `uncut` where the method does not cut images."""
    return method.side(shape) if isinstance(method, Tiling) else uncut


def grow(method: Condenser, canvas: Canvas, ground: Ground, *, steps: int, watch: Watch | None = None) -> Synthetic:
    """Go on until `steps` steps are done. Raises NonFiniteError with the canvas at its last good state."""
    if steps < 0:
        raise SecateurError(f"steps: expected 0 or more, got {steps}")
    while canvas.step < steps:
        loss = method.step(canvas, ground)
        canvas.step += 1
        if watch is not None:
            watch(canvas, loss)
    return finished(canvas, ground.real)


def finished(canvas: Canvas, real: Real) -> Synthetic:
    """The rows as they stand."""
    return Synthetic(canvas.images, canvas.labels, real.mean, real.spread, tiles=canvas.tiles)
