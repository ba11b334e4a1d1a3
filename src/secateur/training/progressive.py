"""Progressive Teacher: a running mean of the net says which labels to believe, and what the unlabelled rows show."""

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from secateur.data.tensors import Tensors
from secateur.dynamic.plans import Plan
from secateur.ranges import AMOUNT, NONE_OR_SOME, PART, Range, check_fields
from secateur.training.checkpoint import under
from secateur.training.machine import autocast
from secateur.training.nets import Normalised
from secateur.training.objective import Aim, Answer, Material, Objective
from secateur.training.sampling import even_batches
from secateur.training.seeding import generator, rng


@dataclass(frozen=True)
class Progressive(Aim):
    """A mean teacher that leaves out the labels it finds hardest to believe (Jiang & Deng, arXiv:2205.14361).

    Of each labelled batch only the share `clean(progress)` with the smallest loss under the teacher counts in the
    cross-entropy; noise: the share of wrong labels expected, all of which are left out from the share `ramp` of the run
    on. All rows, those left out and a batch from the pool too, pull the net's probabilities towards the teacher's, by
    `pull(progress)`: `weight`, reached after the share `rise` of the run. size: rows of the pool in each step, 0 for as
    many as the recipe's batch. Without a pool it is a mean teacher on the labelled rows, robust against wrong labels.

    decay: of the teacher's weights, at most; see `follow`. The algorithm and its ramps are from memory of the paper,
    which takes 0.999; noise, weight, ramp and rise are ours, tried on a validation part of the digits.
    """

    takes: ClassVar[frozenset[str]] = frozenset({"unlabelled"})
    noise: Annotated[float, Range(0, 1, below=True)] = 0.0
    weight: Annotated[float, AMOUNT] = 10.0
    ramp: Annotated[float, PART] = 0.5
    rise: Annotated[float, PART] = 0.4
    decay: Annotated[float, Range(0, 1, below=True)] = 0.999
    size: Annotated[int, NONE_OR_SOME] = 0

    def __post_init__(self) -> None:
        check_fields(self)

    def clean(self, progress: float) -> float:
        """The share of the labels that is believed.

        >>> [Progressive(noise=0.3, ramp=0.5).clean(p) for p in (0.0, 0.25, 1.0)]
        [1.0, 0.85, 0.7]
        """
        return 1 - self.noise * min(progress / self.ramp, 1.0)

    def pull(self, progress: float) -> float:
        """How much agreement with the teacher counts: weight * exp(-5 (1 - progress / rise)^2), then weight.

        >>> [round(Progressive(weight=10.0, rise=0.5).pull(p), 4) for p in (0.0, 0.25, 0.75)]
        [0.0674, 2.865, 10.0]
        """
        return self.weight * math.exp(-5 * (1 - min(progress / self.rise, 1.0)) ** 2)

    def follow(self, step: int) -> float:
        """What the teacher keeps of itself at a step, from 1: min(decay, (step + 1) / (step + 10)).

        A mean over about the last ninth of the steps, so that a run of a few hundred does not carry its beginning
        along, as 0.999 would; a run of 9,000 reaches the paper's.

        >>> Progressive().follow(8), Progressive().follow(20_000)
        (0.5, 0.999)
        """
        return min(self.decay, (step + 1) / (step + 10))

    def objective(self, given: Material) -> Objective:
        """The teacher, started as the net itself."""
        return ProgressiveTeacher(given, self)


class ProgressiveTeacher(Objective):
    """Cross-entropy with the labels that the teacher believes, and agreement with it everywhere.

    The teacher runs in training mode, on views of its own, and its normalisation keeps running statistics of its own:
    the weights alone are averaged, since averaged statistics would be those of other weights. Net and teacher see
    labelled and unlabelled rows in one batch, as mean teachers do. Where rows have weights, these hold for the loss of
    an example, agreement included; the pool's part is divided equally among them.
    """

    def __init__(self, given: Material, how: Progressive) -> None:
        self.net, self.data, self.pool = given.net, given.data, given.unlabelled
        self.recipe, self.seed, self.how = given.recipe, given.seed, how
        self.teacher = copy.deepcopy(given.net).requires_grad_(False).train()
        self._step, self._progress = 0, 0.0
        self._drawn: Iterator[Tensor] | None = None
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """The views of net and teacher have streams of their own."""
        self._views, self._others = generator(self.seed, "views", epoch), generator(self.seed, "teacher views", epoch)

    def at(self, progress: float) -> None:
        """Labels are left out, and agreement counts, by how much of the run is done."""
        self._progress = progress

    def __call__(self, ids: Tensor, rows: Tensor) -> Answer:
        """The answer to the labelled rows; the loss of each has its part of the pool's."""
        labels, count = self.data.labels[ids], len(ids)
        if self.pool is not None:
            rows = torch.cat((rows, self._draw(self.pool)))
        logits, believed = self._ask(rows)
        apart = (logits.softmax(dim=1) - believed.softmax(dim=1)).square().sum(dim=1)
        agreement = (apart[:count] * count + apart[count:].sum()) / len(rows)
        loss = self._cross_entropy(logits[:count], believed[:count], labels)
        return Answer(logits[:count], labels, loss + self.how.pull(self._progress) * agreement)

    def _ask(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (batch, classes) of the net and of the teacher, each for a view of its own."""
        with autocast(rows.device):
            logits = self.net(self.recipe.views(rows, self._views)).float()
            with torch.no_grad():
                believed = self.teacher(self.recipe.views(rows, self._others)).float()
        return logits, believed

    def _cross_entropy(self, logits: Tensor, believed: Tensor, labels: Tensor) -> Tensor:
        """Of each (batch,), 0 for those left out, so that the mean over the batch is that over the others."""
        doubt = F.cross_entropy(believed, labels, reduction="none")
        clean = max(1, round(self.how.clean(self._progress) * len(labels)))
        counted = torch.zeros_like(doubt)
        counted[doubt.argsort(stable=True)[:clean]] = len(labels) / clean
        return counted * F.cross_entropy(logits, labels, label_smoothing=self.recipe.smoothing, reduction="none")

    def stepped(self) -> None:
        """The teacher follows the net."""
        self._step += 1
        share = 1 - self.how.follow(self._step)
        with torch.no_grad():
            for own, other in zip(self.teacher.parameters(), self.net.parameters(), strict=True):
                own.lerp_(other, share)

    def best(self, net: Normalised) -> Normalised:
        """The teacher."""
        return self.teacher

    def _draw(self, pool: Tensors) -> Tensor:
        """Rows of the pool, the next of its own epochs."""
        if self._drawn is None:
            self._drawn = self._laps(pool)
        return next(self._drawn)

    def _laps(self, pool: Tensors) -> Iterator[Tensor]:
        """From where the run stands: the pool in an order of its own, again and again, in batches alike in size."""
        step = self._step
        while True:
            size = self.how.size or self.recipe.batch
            laps, done = divmod(step, -(-len(pool.usable) // size))
            order = rng(self.seed, "pool", laps).permutation(pool.usable)
            plan = [ids for ids, _ in even_batches(Plan(order), size)][done:]
            yield from pool.batches(plan)
            step += len(plan)

    def state_dict(self) -> dict[str, Tensor]:
        """The teacher, and how many steps it followed: which says where the pool stands."""
        net = {f"teacher.{name}": value for name, value in self.teacher.state_dict().items()}
        return net | {"step": torch.tensor(self._step)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state_dict` stood."""
        self.teacher.load_state_dict(under("teacher.", state))
        self._step, self._drawn = int(state["step"]), None
