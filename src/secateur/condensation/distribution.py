"""Condensers that bring class means of features together: DM under random nets, IDM under nets that learn."""

from dataclasses import dataclass
from typing import Annotated, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.condensation.frame import Canvas, Ground, Watch, begin, grow
from secateur.condensation.learner import Learner
from secateur.condensation.mosaic import expand, side_for
from secateur.condensation.passes import Passes
from secateur.condensation.real import Real
from secateur.condensation.synthetic import Synthetic
from secateur.errors import SecateurError
from secateur.ranges import AMOUNT, NONE_OR_SOME, SIDE, SOME, Range, check_fields


@dataclass(frozen=True)
class DM:
    """Distribution matching (Zhao and Bilen, WACV 2023, arXiv:2110.04181): see `dm`.

    batch: real rows of each class a step.
    """

    rate: Annotated[float, Range(0, 1e30, above=True)] = 1.0
    momentum: Annotated[float, Range(0, 1, below=True)] = 0.5
    init: str = "real"
    augment: str | None = "auto"
    steps: Annotated[int, NONE_OR_SOME] = 20_000
    batch: Annotated[int, SOME] = 256

    def __post_init__(self) -> None:
        check_fields(self)

    def check(self, real: Real, per_class: int, net: nn.Module) -> None:
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


@dataclass(frozen=True)
class IDM:
    """Improved distribution matching (Zhao, Li, Qin and Yu, CVPR 2023, arXiv:2307.09742): see `idm`.

    batch: real rows of each class a step, by default 256, and all up to 5,000 at 1 a class. classify: what the
    cross-entropy weighs for each percent of a net's accuracy, by default 0.1 from 50 a class on and 0.5 below. fresh: a
    new net joins every so many steps, by default 5 at 1 a class and 30 above. nets: at most; lessons: steps that a net
    learns when it is its turn. tiles: a side of an image, by default `mosaic.side_for` it.
    """

    rate: Annotated[float, Range(0, 1e30, above=True)] = 0.2
    momentum: Annotated[float, Range(0, 1, below=True)] = 0.5
    init: str = "mosaic"
    augment: str | None = "auto"
    steps: Annotated[int, NONE_OR_SOME] = 20_000
    batch: Annotated[int | None, SOME] = None
    classify: Annotated[float | None, AMOUNT] = None
    fresh: Annotated[int | None, SOME] = None
    nets: Annotated[int, SOME] = 100
    lessons: Annotated[int, NONE_OR_SOME] = 10
    tiles: Annotated[int | None, SIDE] = None

    def __post_init__(self) -> None:
        check_fields(self)

    def check(self, real: Real, per_class: int, net: nn.Module) -> None:
        """Images that can be cut."""
        if len(real.shape) != 3:
            raise SecateurError("data: idm cuts images into tiles, and these rows are vectors; use method dm")
        if self.classify is not None and not 0 <= self.classify < float("inf"):
            raise SecateurError(f"classify: expected a weight of 0 or more, got {self.classify}")
        side, (height, width) = self.side(real.shape), real.shape[1:]
        if not isinstance(side, int) or side < 1 or height % side or width % side:
            raise SecateurError(
                f"tiles: {height}x{width} cannot be cut into {side} a side; take another number, 1 to leave images "
                f"whole (--tiles 1), or resize them"
            )

    def side(self, shape: tuple[int, ...]) -> int:
        """Tiles a side of an image (channels, height, width).

        >>> IDM().side((3, 32, 32)), IDM().side((1, 8, 8)), IDM(tiles=2).side((1, 8, 8))
        (2, 1, 2)
        """
        return side_for(shape) if self.tiles is None else self.tiles

    def published(self, per_class: int) -> tuple[int, float, int]:
        """batch, classify, fresh.

        >>> IDM().published(1), IDM().published(10), IDM(batch=64, fresh=2).published(50)
        ((5000, 0.5, 5), (256, 0.5, 30), (64, 0.1, 2))
        """
        batch = self.batch or (5000 if per_class == 1 else 256)
        classify = (0.1 if per_class >= 50 else 0.5) if self.classify is None else self.classify
        return batch, classify, self.fresh or (5 if per_class == 1 else 30)

    def step(self, canvas: Canvas, ground: Ground) -> Tensor:
        """The rows, class by class, under one of the nets; then two of them learn."""
        batch, classify, fresh = self.published(len(canvas.labels) // ground.real.classes)
        if not canvas.nets or canvas.step % fresh == 0:
            for _ in range(1 if canvas.nets else 3):
                canvas.nets.append(self.learner(ground.fresh_net()))
            del canvas.nets[: -self.nets]
        loss = self._match(_one_of(canvas, ground), canvas, ground, batch=batch, classify=classify)
        for _ in range(2):
            self._teach(_one_of(canvas, ground), ground)
        return loss

    def doubt(self, canvas: Canvas) -> str | None:
        """What speaks against the rows: most nets were right about 99 % of their last lesson or more, where the
        cross-entropy weighs most and pulls rows to what is most typical (on the digits: benchmarks/condense.md).
        """
        _, classify, _ = self.published(int((canvas.labels == 0).sum()))
        usual = float(np.median([learner.accuracy for learner in canvas.nets])) if canvas.nets else 0.0
        if not classify or usual < 99:
            return None
        return (
            f"the nets of idm were right about {usual:.1f} % of the data in the end, where its cross-entropy weighs "
            f"most; on the digits long runs lost by it: compare with --classify 0, in --condense-with classify=0"
        )

    def learner(self, net: nn.Module) -> Learner:
        """One of the queue, before its first lesson."""
        return Learner(headed(net), momentum=0.9, decay=5e-4)

    def _match(self, by: Learner, canvas: Canvas, ground: Ground, *, batch: int, classify: float) -> Tensor:
        body, head = by.net.eval().children()
        drawn = ground.real.draw(batch, ground.generator)
        transforms = [ground.transform() for _ in drawn]
        varied = [real if vary is None else vary(real) for real, vary in zip(drawn, transforms, strict=True)]
        aims = class_means(ground.passes.without_graph(body, torch.cat(varied)), [len(v) for v in varied])
        total, size = torch.zeros((), device=aims.device), len(canvas.images) // len(aims)
        for c, (aim, vary) in enumerate(zip(aims, transforms, strict=True)):
            rows = canvas.leaf()
            tiles = expand(rows[c * size : (c + 1) * size], canvas.tiles)
            features = ground.passes.features(body, tiles if vary is None else vary(tiles)).float()
            labels = torch.full((len(features),), c, device=rows.device)
            error = F.cross_entropy(head(features), labels)
            loss = (aim - features.mean(0)).square().sum() + classify * by.accuracy * error
            canvas.move(torch.autograd.grad(loss, rows)[0])
            total += loss.detach()
        return total

    def _teach(self, learner: Learner, ground: Ground, size: int = 256) -> None:
        """Some steps on real rows as they are, from all classes."""
        learner.net.train()
        real, right = ground.real, []
        for _ in range(self.lessons):
            places = torch.randperm(len(real.rows), generator=ground.generator)[:size].to(real.rows.device)
            gradients, hits = ground.passes.gradients(
                learner.net, real.normalise(real.rows[places]), real.labels[places]
            )
            learner.step(gradients)
            right.append(hits)
        learner.accuracy = 100 * float(torch.stack(right).mean())


def headed(net: nn.Module) -> nn.Sequential:
    """The net as two: what makes features of rows, and the linear layer that makes logits of those."""
    head = getattr(net, "head", None)
    body = features_of(net)
    return nn.Sequential(body, cast(nn.Linear, head)).requires_grad_(True)


def _one_of(canvas: Canvas, ground: Ground) -> Learner:
    return canvas.nets[int(torch.randint(len(canvas.nets), (1,), generator=ground.generator))]


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
    compiled: bool = False,
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
    >>> near = [abs(float(x) - mean) < 1 for x, mean in zip(small.display().ravel(), (0.5, 8.5), strict=True)]
    >>> small.labels.tolist(), near
    ([0, 1], [True, True])
    """
    ground = Ground.of(data, generator, net=net, augment=augment, compiled=compiled)
    method = DM(batch=batch)
    canvas = begin(method, ground, per_class=per_class, init=init, rate=rate)
    return grow(method, canvas, ground, steps=steps, watch=watch)


def idm(
    data: Real,
    *,
    per_class: int,
    generator: torch.Generator,
    steps: int = 20_000,
    init: str | np.ndarray | None = None,
    net: str | None = None,
    augment: str | None = "auto",
    rate: float | None = None,
    batch: int | None = None,
    tiles: int | None = None,
    classify: float | None = None,
    compiled: bool = False,
    watch: Watch | None = None,
) -> Synthetic:
    """Learn mosaics of smaller images, by `dm` under nets that have learned a little, and by their answers.

    tiles: a side of an image, 2 as published: each is four (`Synthetic.expanded` cuts them apart), `per_class`
    counts what is stored, and four times as many are trained on. Images of less than 16 pixels, whose quarters
    would show nothing, stay whole where nothing is said. A queue holds up to 100 nets; a step takes one of them,
    moves the images class by class against |mean of real features - mean of synthetic features|^2 + w * the net's
    accuracy in percent * the cross-entropy of the synthetic images, w (classify) 0.5 and from 50 a class on 0.1,
    then lets two nets learn from ten batches of 256 real rows. Where nets are soon right about everything, as on
    digits, a lower w did better: benchmarks/condense.md. Source: arXiv:2307.09742; the settings, by rows a class,
    are those of its commands for CIFAR-10. accuracy is that of a net's last ten batches, where the code takes the
    mean since it last evaluated; and the rows are those of the last step, where the code keeps those that did best
    on the test split. Raises SecateurError for vectors, and sides that cannot be cut so.

    >>> pixels = torch.arange(8, dtype=torch.uint8).view(8, 1, 1, 1).expand(8, 1, 16, 16)
    >>> real = Real.of(pixels, torch.arange(2).repeat_interleave(4))
    >>> held = idm(real, per_class=1, steps=0, generator=torch.Generator())
    >>> len(held.images), sorted(held.expanded().display()[:4, 0, 0, 0].tolist())
    (2, [0, 1, 2, 3])
    """
    method = IDM(batch=batch, tiles=tiles, classify=classify)
    ground = Ground.of(data, generator, net=net, augment=augment, compiled=compiled)
    canvas = begin(method, ground, per_class=per_class, init=init, rate=rate)
    return grow(method, canvas, ground, steps=steps, watch=watch)
