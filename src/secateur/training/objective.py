"""What a batch is trained for: its views, mixtures and attacks, the labels, and what a teacher says."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.tensors import Tensors
from secateur.dynamic.plans import Plan
from secateur.training.adversarial import Attack
from secateur.training.distill import Distill, divergence
from secateur.training.machine import autocast
from secateur.training.mixing import Mixture, mixed
from secateur.training.nets import Normalised
from secateur.training.recipes import Recipe
from secateur.training.regularisers import bent, entropy
from secateur.training.seeding import generator, rng
from secateur.training.soft import SoftLabels


class Answer(NamedTuple):
    """What the net said of a batch: logits (batch, classes) in float32, the labels, and the loss of each (batch,).

    taken: where only some were trained on, their places in the batch; all of the above is of these alone.
    """

    logits: Tensor
    labels: Tensor
    loss: Tensor
    taken: Tensor | None = None


class Objective(ABC):
    """Rows and their ids to the net's answer, with a loss to be averaged and run backwards: what a run trains for."""

    def begin(self, epoch: int) -> None:  # noqa: B027 - most need not know
        """An epoch begins: take up its random streams."""

    def narrowed(self, plan: Plan) -> Plan:
        """Before each epoch: what of its plan is worth visiting, by default all of it."""
        return plan

    def at(self, progress: float) -> None:  # noqa: B027
        """Before each batch: how much of the run is done, in [0, 1)."""

    @abstractmethod
    def __call__(self, ids: Tensor, rows: Tensor) -> Answer:
        """One batch, ids (batch,) and raw rows on the device; the net is in training mode."""

    def stepped(self) -> None:  # noqa: B027
        """The net has moved."""

    def learned(self) -> dict[str, Tensor]:
        """What was learned of every example beside the net, by name, each (examples,); nothing by default."""
        return {}

    def best(self, net: Normalised) -> Normalised:
        """After the run: the net to test and to keep, by default the one that was trained."""
        return net

    def state_dict(self) -> dict[str, Tensor]:
        """What a run that goes on needs beside the net; nothing where the epoch and the net say it all."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Go on where `state_dict` stood."""


@dataclass(frozen=True)
class Material:
    """What objectives are made of; net and data on their device.

    unlabelled: a pool beside the data, whose labels are not looked at. validation: ids that the sampler never visits.
    difficulty: (examples,) in [0, 1], 1 for the hardest. soft: what the teacher said before, to be heard in its place.
    fresh: another net for the same data, of a spec and a seed.
    """

    net: Normalised
    data: Tensors
    recipe: Recipe
    seed: int
    teacher: nn.Module | None = None
    distill: Distill | None = None
    adversary: Attack | None = None
    unlabelled: Tensors | None = None
    validation: np.ndarray | None = None
    difficulty: Tensor | None = None
    soft: SoftLabels | None = None
    fresh: Callable[[str, int], Normalised] | None = None


@dataclass(frozen=True)
class Aim(ABC):
    """What a run is to train for, as a value: `supervised:entropy=0.2`. Makes the objective when there is a net.

    needs: what of the material must be there; takes: what else may be. classifies: does the net learn the classes of
    the data? Where not, it is not tested, its teacher may know other classes, and the data need no labels.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    takes: ClassVar[frozenset[str]] = frozenset()
    classifies: ClassVar[bool] = True

    @property
    def sees(self) -> frozenset[str]:
        """What it would look at, as its knobs are."""
        return self.needs | self.takes

    @abstractmethod
    def objective(self, given: Material) -> Objective:
        """The objective of one run."""


class Supervised(Objective):
    """Cross-entropy with the labels, and with what a teacher says.

    distill: what the student hears of the teacher; where it mixes images, the labels' part of the loss mixes too.
    adversary: perturbs every view before the net sees it; the teacher is asked about the view as it was, as in Goldblum
    et al. (arXiv:1905.09747). soft: kept answers of the teacher, and the views they are about. hopeful: how much the
    entropy of an example's prediction is taken off its loss (examples,). curvature: how much of how far the loss bends
    over a step of h is added.
    """

    def __init__(
        self,
        net: Normalised,
        data: Tensors,
        recipe: Recipe,
        *,
        seed: int,
        teacher: nn.Module | None = None,
        distill: Distill | None = None,
        adversary: Attack | None = None,
        soft: SoftLabels | None = None,
        hopeful: Tensor | None = None,
        curvature: float = 0.0,
        h: float = 3.0,
    ) -> None:
        self.net, self.data, self.recipe, self.seed = net, data, recipe, seed
        self.teacher, self.distill, self.adversary, self.soft = teacher, distill, adversary, soft
        self.hopeful, self.curvature, self.h = hopeful, curvature, h
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Views, attacks and mixtures of an epoch have streams of their own."""
        if self.soft is not None:
            self.soft.turn_to(epoch)
        self._views, self._noise = generator(self.seed, "views", epoch), generator(self.seed, "adversary", epoch)
        self._mix = rng(self.seed, "mix", epoch)

    def __call__(self, ids: Tensor, rows: Tensor) -> Answer:
        """One batch; ids and rows on the device."""
        return self.judge(ids, self.views(ids, rows))

    def views(self, ids: Tensor, rows: Tensor) -> Tensor:
        """One random view of each row, or the one that the teacher's kept answers are about."""
        return self.recipe.views(rows, self._views) if self.soft is None else self.soft.shown(ids, rows)

    def judge(self, ids: Tensor, rows: Tensor) -> Answer:
        """The answer to views of the rows of `ids`."""
        labels, mixture, distill = self.data.labels[ids], None, self.distill
        if distill is not None and distill.mixes:
            mixture = mixed(rows, mixup=distill.mixup, cutmix=distill.cutmix, draw=self._mix)
            rows = mixture.rows
        seen = rows if self.adversary is None else self.adversary(self.net, rows, labels, ids, self._noise)
        logits, bend = self._answer(seen, labels)
        loss = self._cross_entropy(logits, labels, mixture)
        if distill is not None and self.teacher is not None:
            said = heard(self.teacher, rows) if self.soft is None else self.soft(ids)
            loss = (1 - distill.a) * loss + distill.a * divergence(logits, said, distill.t)
        if self.hopeful is not None:
            loss = loss - self.hopeful[ids] * entropy(logits)
        return Answer(logits, labels, loss if bend is None else loss + self.curvature * bend)

    def _answer(self, seen: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.curvature:
            return bent(self.net, seen, labels, h=self.h)
        with autocast(self.data.device):
            return self.net(seen).float(), None

    def _cross_entropy(self, logits: Tensor, labels: Tensor, mixture: Mixture | None) -> Tensor:
        """Of a mixture with the labels of both its parts."""
        how: Any = {"label_smoothing": self.recipe.smoothing, "reduction": "none"}
        own = F.cross_entropy(logits, labels, **how)
        if mixture is None:
            return own
        return torch.lerp(F.cross_entropy(logits, labels[mixture.partner], **how), own, mixture.share)


@torch.no_grad()
def heard(teacher: nn.Module, rows: Tensor) -> Tensor:
    """What the teacher says of the very view the student sees, or would see without an adversary."""
    with autocast(rows.device):
        return teacher(rows).float()
