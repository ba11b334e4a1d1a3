"""A condenser that aligns features at every depth: CAFE, which also asks that class means tell real rows apart."""

from dataclasses import dataclass, replace
from typing import Annotated, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.condensation.distribution import class_means
from secateur.condensation.frame import Canvas, Ground, Watch, begin, grow
from secateur.condensation.gradient import learn, settle
from secateur.condensation.learner import Learner
from secateur.condensation.passes import lies_last
from secateur.condensation.real import Real
from secateur.condensation.synthetic import Synthetic
from secateur.errors import SecateurError
from secateur.ranges import AMOUNT, NONE_OR_SOME, SHARE, SOME, Range, check_fields
from secateur.training.nets.small import ConvNet

EARLY = 0.1
"""What the maps of all blocks but the last weigh; those of the last, before and after pooling, weigh 1."""
HALVED = (1200, 1600, 1800)
"""The steps of 2,000 at which the rate is halved."""
REMEMBERED = 10
"""Over how many accuracies a net's restlessness is seen."""


class Taps(nn.Module):
    """What a ConvNet makes of rows at every depth, in one line each.

    Rows -> (rows, dims): the maps behind each ReLU, then those of the last block pooled, each times the root of its
    weight, so that a squared distance of lines is the weighted sum over depths. last: dims of the pooled ones.
    """

    def __init__(self, net: ConvNet) -> None:
        super().__init__()
        self.blocks = net.blocks
        self.last = net.head.in_features
        self.by_pixel = lies_last(net.head.weight.device)

    def forward(self, x: Tensor) -> Tensor:
        maps = []
        for layer in self.blocks:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                maps.append(x)
        lines = [in_line(m, by_pixel=self.by_pixel) for m in (*maps, x)]
        return torch.cat([*(EARLY**0.5 * line for line in lines[:-2]), *lines[-2:]], 1)


def in_line(maps: Tensor, *, by_pixel: bool) -> Tensor:
    """(rows, channels, height, width) -> (rows, dims): pixel by pixel, which copies nothing where channels lie last in
    memory, or channel by channel.

    >>> maps = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # channels of 1 and 2, and of 3 and 4
    >>> in_line(maps, by_pixel=False).tolist(), in_line(maps, by_pixel=True).tolist()
    ([[1.0, 2.0, 3.0, 4.0]], [[1.0, 3.0, 2.0, 4.0]])
    """
    return (maps.permute(0, 2, 3, 1) if by_pixel else maps).flatten(1)


@dataclass(frozen=True)
class CAFE:
    """Condensing by aligning features (Wang et al., CVPR 2022, arXiv:2203.01531): see `cafe`.

    batch: real rows of each class a match. tell_apart: what the second loss weighs. calm, restless: the range of the
    last ten accuracies below which a net is done with, and above which it has learned enough for the next match. query:
    real rows of each class that accuracy is measured on. matches, epochs: of a net, and between two, at most.
    """

    rate: Annotated[float, Range(0, 1e30, above=True)] = 0.1
    momentum: Annotated[float, Range(0, 1, below=True)] = 0.5
    init: str = "noise"
    augment: str | None = "off"
    steps: Annotated[int, NONE_OR_SOME] = 2000
    batch: Annotated[int, SOME] = 256
    tell_apart: Annotated[float, AMOUNT] = 0.01
    calm: Annotated[float, SHARE] = 0.04
    restless: Annotated[float, SHARE] = 0.03
    query: Annotated[int, SOME] = 128
    matches: Annotated[int, SOME] = 50
    epochs: Annotated[int, NONE_OR_SOME] = 50

    def __post_init__(self) -> None:
        check_fields(self)

    def check(self, real: Real, per_class: int, net: nn.Module) -> None:
        """Images alone, whose depths are known."""
        if len(real.shape) != 3:
            raise SecateurError(
                "data: cafe aligns the maps of a ConvNet, and these rows are vectors; use method dm, which takes "
                "vectors, or a coreset (`secateur prune --method herding`)"
            )
        if not isinstance(net, ConvNet):
            raise SecateurError(f"net: cafe aligns the blocks of a ConvNet, got a {type(net).__name__}; take convnet3")

    def step(self, canvas: Canvas, ground: Ground) -> Tensor:
        """One net: matched and trained in turn until its accuracy comes to rest."""
        learner = Learner(ground.fresh_net())
        asked = ground.real.draw(self.query, ground.generator)
        losses: list[Tensor] = []
        heard: list[float] = []
        while len(losses) < self.matches:
            losses.append(self.match(cast(ConvNet, learner.net), canvas, ground))
            heard.append(_right(learner.net, asked, ground))
            if len(heard) >= REMEMBERED and _range(heard) < self.calm:
                break
            self._learn(learner, asked, canvas, ground)
        return torch.stack(losses).mean()

    def match(self, net: ConvNet, canvas: Canvas, ground: Ground) -> Tensor:
        """One step of all rows against both losses."""
        settle(net, ground)
        taps, rows = Taps(net), canvas.leaf()
        size, aims, last = len(rows) // ground.real.classes, [], []
        varied, own = [], list(torch.split(rows, size))
        for real, synthetic in zip(ground.real.draw(self.batch, ground.generator), own, strict=True):
            vary = ground.transform()
            aim, ends = ground.passes.digest(taps, real if vary is None else vary(real), last=taps.last)
            aims.append(aim)
            last.append(ends)
            varied.append(synthetic if vary is None else vary(synthetic))
        means = class_means(ground.passes.features(taps, torch.cat(varied)), [size] * len(own))
        loss = (torch.stack(aims) - means).square().sum()
        loss = loss + self.tell_apart * apart(last, means[:, -taps.last :])
        (gradient,) = torch.autograd.grad(loss, rows)
        canvas.move(gradient, share=0.5 ** sum(canvas.step >= at for at in HALVED))
        return loss.detach()

    def _learn(self, learner: Learner, asked: list[Tensor], canvas: Canvas, ground: Ground) -> None:
        """Epochs on the synthetic rows, until accuracy has moved."""
        heard: list[float] = []
        for _ in range(self.epochs):
            learn(learner, canvas, ground, epochs=1)
            heard.append(_right(cast(ConvNet, learner.net), asked, ground))
            if _range(heard) > self.restless:
                return


def apart(features: list[Tensor], centres: Tensor) -> Tensor:
    """How badly class means tell real rows apart: cross-entropy of inner products, summed over rows.

    features: of each class (rows, dims); centres: (classes, dims).

    >>> apart([torch.tensor([[1.0]]), torch.tensor([[0.0]])], torch.tensor([[2.0], [2.0]])).round(decimals=3)  # 2 log 2
    tensor(1.3860)
    """
    return F.cross_entropy(torch.cat(features) @ centres.T, _labels(features), reduction="sum")


def _right(net: nn.Module, asked: list[Tensor], ground: Ground) -> float:
    found = ground.passes.without_graph(net, torch.cat(asked)).argmax(1)
    return float((found == _labels(asked)).float().mean())


def _labels(rows: list[Tensor]) -> Tensor:
    """The class of each row, from the rows of each class."""
    return torch.cat([torch.full((len(own),), c, device=own.device) for c, own in enumerate(rows)])


def _range(heard: list[float]) -> float:
    """Of the last ten."""
    some = heard[-REMEMBERED:]
    return max(some) - min(some)


def cafe(
    data: Real,
    *,
    per_class: int,
    generator: torch.Generator,
    steps: int = 2000,
    init: str | np.ndarray | None = None,
    net: str | None = None,
    augment: str | None = None,
    rate: float | None = None,
    batch: int = 256,
    schedule: tuple[int, int] | None = None,
    compiled: bool = False,
    watch: Watch | None = None,
) -> Synthetic:
    """Learn images whose mean maps are those of the real ones at every depth of a net, while the net learns.

    A step is one net, matched and trained on the synthetic images in turn. A match moves all images against the sum
    over classes and depths of |mean of real maps - mean of synthetic maps|^2, the last block with weight 1 and others
    with 0.1, plus 0.01 times the cross-entropy of telling the real images apart by the synthetic class means. Between
    matches the net learns until its accuracy on real images has moved by 0.03 within ten epochs; it is done with when
    ten matches in a row left it within 0.04. The rate, 0.1, is halved after 1,200, 1,600 and 1,800 steps. augment:
    `auto` makes it "CAFE+DSA". Starts from noise. Source: arXiv:2203.01531; depth weights and thresholds from its code.
    Of the code we leave out a second copy of the last alignment, an error of the accuracy (too high by a ninth for ten
    classes) and a loss that moves nothing. Ours are the limits of a net, schedule: at most 50 matches, and 50 epochs
    between two; and that the real images that accuracy is measured on are drawn once a net. Raises SecateurError for
    vectors and for nets that are no ConvNet.

    >>> pixels = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 8, 8)
    >>> real = Real.of(pixels, torch.tensor([0, 0, 1, 1]))
    >>> cafe(real, per_class=1, steps=0, generator=torch.Generator()).images.shape
    torch.Size([2, 1, 8, 8])
    """
    method = CAFE(batch=batch)
    if schedule is not None:
        method = replace(method, matches=schedule[0], epochs=schedule[1])
    ground = Ground.of(data, generator, net=net, augment=augment or method.augment, compiled=compiled)
    canvas = begin(method, ground, per_class=per_class, init=init, rate=rate)
    return grow(method, canvas, ground, steps=steps, watch=watch)
