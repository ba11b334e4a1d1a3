"""Pre-training by imitation: a student learns to have a teacher's features, and no label is looked at."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from secateur.dynamic.plans import Plan
from secateur.errors import SecateurError
from secateur.ranges import POSITIVE, Range, check_fields
from secateur.training.machine import autocast
from secateur.training.objective import Aim, Answer, Material, Objective
from secateur.training.probes.penultimate import Penultimate
from secateur.training.sampling import even_batches
from secateur.training.seeding import generator, rng


@dataclass(frozen=True)
class Imitation(Aim):
    """A student's features come near a teacher's, turned into the student's dimensions, for fine-tuning after it.

    The target of a view is u = (teacher's features - mean) V, V the first right singular vectors of the teacher's
    centred features on up to `rows` rows, one for each dimension of the student; then sign(u) |u / temperature| ^
    (1 / power), since the variances of u are very unequal. The loss is `weight` times the mean squared error over
    dimensions. Teacher and student see the same view.

    KDEP (He et al., CVPR 2022, arXiv:2203.05180), who take weight 3 with a strong teacher and 20 with one supervised on
    ImageNet. Their features are pooled before the last ReLU; ours are what enters the head, after it, and so mostly not
    negative: the mean of the batch is taken off student and target alike, which leaves the student's own level free.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"teacher"})
    classifies: ClassVar[bool] = False
    weight: Annotated[float, POSITIVE] = 3.0
    temperature: Annotated[float, POSITIVE] = 0.1
    power: Annotated[float, Range(1, 1_000)] = 3.0
    rows: Annotated[int, Range(2, 1_000_000, whole=True)] = 10_000

    def __post_init__(self) -> None:
        check_fields(self)

    def objective(self, given: Material) -> Objective:
        """Imitation of the teacher given."""
        assert given.teacher is not None
        student, teacher = Penultimate(given.net), Penultimate(given.teacher)
        wide, narrow = teacher.head.in_features, student.head.in_features
        if wide < narrow:
            raise SecateurError(
                f"teacher: expected at least as many features as the student's {narrow}, got {wide}; take a wider "
                f"teacher, or a narrower net with --net NAME:WIDTH"
            )
        return Imitating(given, self, student, teacher)


class Imitating(Objective):
    """The student's distance from the aligned teacher; mean (dims of the teacher,) and axes (those, the student's)."""

    def __init__(self, given: Material, how: Imitation, student: Penultimate, teacher: Penultimate) -> None:
        self.given, self.how, self.student, self.teacher = given, how, student, teacher
        self.labels = torch.from_numpy(given.data.split.labels).to(given.data.device)  # told on, not learned from
        self.mean: Tensor | None = None
        self.axes: Tensor | None = None
        self.begin(0)

    def begin(self, epoch: int) -> None:
        """Views of an epoch have a stream of their own."""
        self._views = generator(self.given.seed, "views", epoch)

    def narrowed(self, plan: Plan) -> Plan:
        """All of it; the first one says which rows the teacher is aligned on."""
        if self.axes is None:
            ids = rng(self.given.seed, "alignment").permutation(plan.ids)[: self.how.rows]
            parts = [ids for ids, _ in even_batches(Plan(ids), self.given.recipe.batch)]
            features = torch.cat([self._asked(rows) for rows in self.given.data.batches(parts)])
            self.mean, self.axes = aligned(features, self.student.head.in_features)
        return plan

    def __call__(self, ids: Tensor, rows: Tensor) -> Answer:
        """The answer to one batch; its logits are those of a head that does not learn."""
        assert self.mean is not None
        assert self.axes is not None
        rows = self.given.recipe.views(rows, self._views)
        target = powered((self._asked(rows) - self.mean) @ self.axes, self.how.temperature, self.how.power)
        with autocast(rows.device):
            features, logits = self.student(rows)
        apart = centred(features.float()) - centred(target)
        return Answer(logits.float(), self.labels[ids], self.how.weight * apart.square().mean(dim=1))

    @torch.no_grad()
    def _asked(self, rows: Tensor) -> Tensor:
        with autocast(rows.device):
            return self.teacher(rows)[0].float()

    def state_dict(self) -> dict[str, Tensor]:
        """The alignment: worked out again, it could differ in its last bits."""
        return {} if self.mean is None or self.axes is None else {"mean": self.mean, "axes": self.axes}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state_dict` stood."""
        device = self.given.data.device
        self.mean = state["mean"].to(device)
        self.axes = state["axes"].to(device).T.contiguous().T  # by columns, as `aligned` gives it: to the same bits


def aligned(features: Tensor, dims: int) -> tuple[Tensor, Tensor]:
    """Mean (wide,) of features (rows, wide), and the first `dims` right singular vectors (wide, dims) around it.

    In float64, as eigenvectors of the products of columns; each points to where its largest entry is positive.

    >>> mean, axes = aligned(torch.tensor([[1., 1.], [2., 2.], [3., 3.]]), 1)
    >>> mean, axes.T
    (tensor([2., 2.]), tensor([[0.7071, 0.7071]]))
    """
    whole = features.double()
    mean = whole.mean(dim=0)
    around = whole - mean
    _, vectors = torch.linalg.eigh(around.T @ around)  # smallest first
    axes = vectors.flip(1)[:, :dims]
    signs = axes.gather(0, axes.abs().argmax(dim=0, keepdim=True)).sign()
    return mean.to(features), (axes * signs).to(features)


def powered(u: Tensor, temperature: float, power: float) -> Tensor:
    """Power temperature scaling: sign(u) |u / temperature| ^ (1 / power), of each number.

    >>> powered(torch.tensor([0.8, -2.7, 0.0]), 0.1, 3.0)
    tensor([ 2., -3.,  0.])
    """
    return u.sign() * (u / temperature).abs() ** (1 / power)


def centred(x: Tensor) -> Tensor:
    """Without the mean of the batch."""
    return x - x.mean(dim=0)
