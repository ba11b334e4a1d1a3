"""Condensers that match distributions: DM, which brings class means of features under random nets together."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from secateur.condensation.frame import Canvas, Ground, Watch, begin, grow
from secateur.condensation.passes import Passes
from secateur.condensation.real import Real
from secateur.condensation.synthetic import Synthetic
from secateur.errors import SecateurError


@dataclass(frozen=True)
class DM:
    """Distribution matching (Zhao and Bilen, WACV 2023, arXiv:2110.04181): see `dm`.

    batch: real rows of each class a step.
    """

    rate: float = 1.0
    momentum: float = 0.5
    init: str = "real"
    augment: str | None = "auto"
    steps: int = 20_000
    batch: int = 256

    def check(self, real: Real, per_class: int) -> None:
        """Everything can be matched: images, and vectors under an mlp."""

    def step(self, canvas: Canvas, ground: Ground) -> Tensor:
        """One fresh net, one transform a class, one step of all rows."""
        net = features_of(ground.fresh_net())
        real = ground.real.draw(self.batch, ground.generator)
        rows = canvas.leaf()
        synthetic = list(torch.split(rows, len(rows) // ground.real.classes))
        transforms = [ground.transform() for _ in real]
        for k, vary in enumerate(transforms):
            if vary is not None:
                real[k], synthetic[k] = vary(real[k]), vary(synthetic[k])
        loss = mismatch(net, real, synthetic, ground.passes)
        (gradient,) = torch.autograd.grad(loss, rows)
        canvas.move(gradient)
        return loss.detach()


def features_of(net: nn.Module) -> nn.Module:
    """The net without its head: what would enter it comes out. Its weights take no gradients."""
    if not isinstance(getattr(net, "head", None), nn.Linear):
        raise SecateurError(f"net: expected one that ends in a linear layer named head, {type(net).__name__} does not")
    net.head = nn.Identity()
    return net.requires_grad_(False)


def mismatch(net: nn.Module, real: list[Tensor], synthetic: list[Tensor], passes: Passes | None = None) -> Tensor:
    """The squared distances between the class means of real and of synthetic features, summed over classes.

    net: rows -> (rows, dims); real, synthetic: the rows of each class. All classes go through the net as one batch, and
    no graph is kept of the real ones. Features may be in bfloat16: the same rounded weights on both sides, so that what
    differs is the rows; means and distances are in float32.

    >>> one = [torch.tensor([[1.0], [3.0]]), torch.tensor([[0.0]])]
    >>> mismatch(nn.Identity(), one, [torch.tensor([[5.0]]), torch.tensor([[1.0]])])  # (2 - 5)^2 + (0 - 1)^2
    tensor(10.)
    """
    passes = Passes() if passes is None else passes
    aim = class_means(passes.without_graph(net, torch.cat(real)), [len(r) for r in real])
    features = passes.features(net, torch.cat(synthetic))
    return (aim - class_means(features, [len(s) for s in synthetic])).square().sum()


def class_means(features: Tensor, sizes: list[int]) -> Tensor:
    """The mean of each run of rows: (rows, dims) and so many rows a class -> (classes, dims) in float32."""
    if len(set(sizes)) == 1:
        return features.float().view(len(sizes), sizes[0], -1).mean(1)
    return torch.stack([part.float().mean(0) for part in torch.split(features, sizes)])


def dm(
    data: Real,
    *,
    per_class: int,
    generator: torch.Generator,
    steps: int = 20_000,
    init: str | np.ndarray | None = None,
    net: str | None = None,
    augment: str | None = "auto",
    rate: float | None = None,
    batch: int = 256,
    watch: Watch | None = None,
) -> Synthetic:
    """Learn rows whose mean feature, class by class, is that of the real ones, under ever new random nets.

    The cheapest condenser: no net is trained, and it takes vectors too. A step draws a net (its features are what
    enters the head), `batch` real rows of each class and one Siamese transform a class, and moves all synthetic rows
    against the gradient of sum over classes |mean of real features - mean of synthetic features|^2. rate: 1 as
    published for up to 50 a class, 10 for CIFAR-10 from 100 a class on. init: random real rows, as published.
    Source: arXiv:2110.04181; steps are `steps`, where its code does one more. Raises SecateurError for what cannot be,
    NonFiniteError where the rows would leave the finite numbers.

    >>> rows = torch.tensor([[0.0], [1.0], [8.0], [9.0]])
    >>> real = Real.of(rows, torch.tensor([0, 0, 1, 1]))
    >>> small = dm(real, per_class=1, generator=torch.Generator().manual_seed(0), steps=50, rate=0.05)
    >>> small.labels.tolist(), [round(float(x)) for x in small.display().ravel()]  # near the means, 0.5 and 8.5
    ([0, 1], [0, 8])
    """
    ground = Ground.of(data, generator, net=net, augment=augment)
    method = DM(batch=batch)
    canvas = begin(method, ground, per_class=per_class, init=init, rate=rate)
    return grow(method, canvas, ground, steps=steps, watch=watch)
