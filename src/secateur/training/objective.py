"""What a batch is trained for: its views, mixtures and attacks, the labels, and what a teacher says."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from secateur.data.tensors import Tensors
from secateur.training.adversarial import Attack
from secateur.training.distill import Distill, divergence
from secateur.training.machine import autocast
from secateur.training.mixing import Mixture, mixed
from secateur.training.nets import Normalised
from secateur.training.recipes import Recipe
from secateur.training.seeding import generator, rng


class Answer(NamedTuple):
    """What the net said of a batch: logits (batch, classes) in float32, the labels, and the loss of each (batch,)."""

    logits: Tensor
    labels: Tensor
    loss: Tensor


class Objective(ABC):
    """Rows and their ids to the net's answer, with a loss to be averaged and run backwards: what a run trains for."""

    def begin(self, epoch: int) -> None:  # noqa: B027 - most need not know
        """An epoch begins: take up its random streams."""

    def at(self, progress: float) -> None:  # noqa: B027
        """Before each batch: how much of the run is done, in [0, 1)."""

    @abstractmethod
    def __call__(self, ids: Tensor, rows: Tensor) -> Answer:
        """One batch, ids (batch,) and raw rows on the device; the net is in training mode."""

    def stepped(self) -> None:  # noqa: B027
        """The net has moved."""

    def state_dict(self) -> dict[str, Tensor]:
        """What a run that goes on needs beside the net; nothing where the epoch and the net say it all."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Go on where `state_dict` stood."""


class Supervised(Objective):
    """Cross-entropy with the labels, and with what a teacher says.

    distill: what the student hears of the teacher; where it mixes images, the labels' part of the loss mixes too.
    adversary: perturbs every view before the net sees it; the teacher is asked about the view as it was, as in Goldblum
    et al. (arXiv:1905.09747).
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
    ) -> None:
        self.net, self.data, self.recipe, self.seed = net, data, recipe, seed
        self.teacher, self.distill, self.adversary = teacher, distill, adversary
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Views, attacks and mixtures of an epoch have streams of their own."""
        self._views, self._noise = generator(self.seed, "views", epoch), generator(self.seed, "adversary", epoch)
        self._mix = rng(self.seed, "mix", epoch)

    def __call__(self, ids: Tensor, rows: Tensor) -> Answer:
        """One batch; ids and rows on the device."""
        labels, mixture = self.data.labels[ids], None
        rows = self.recipe.views(rows, self._views)
        if self.distill is not None and self.distill.mixes:
            mixture = mixed(rows, mixup=self.distill.mixup, cutmix=self.distill.cutmix, draw=self._mix)
            rows = mixture.rows
        seen = rows if self.adversary is None else self.adversary(self.net, rows, labels, ids, self._noise)
        with autocast(self.data.device):
            logits = self.net(seen).float()
        loss = self._cross_entropy(logits, labels, mixture)
        if self.distill is not None and self.teacher is not None:
            told = divergence(logits, _heard(self.teacher, rows), self.distill.t)
            loss = (1 - self.distill.a) * loss + self.distill.a * told
        return Answer(logits, labels, loss)

    def _cross_entropy(self, logits: Tensor, labels: Tensor, mixture: Mixture | None) -> Tensor:
        """Of a mixture with the labels of both its parts."""
        how: Any = {"label_smoothing": self.recipe.smoothing, "reduction": "none"}
        own = F.cross_entropy(logits, labels, **how)
        if mixture is None:
            return own
        return torch.lerp(F.cross_entropy(logits, labels[mixture.partner], **how), own, mixture.share)


@torch.no_grad()
def _heard(teacher: nn.Module, rows: Tensor) -> Tensor:
    """What the teacher says of the very view the student sees, or would see without an adversary."""
    with autocast(rows.device):
        return teacher(rows).float()
