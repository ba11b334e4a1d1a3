"""What a run can train for, by name."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

from secateur import specs
from secateur.errors import SecateurError
from secateur.ranges import AMOUNT, POSITIVE, check_fields
from secateur.training.filtered import Filtered
from secateur.training.imitation import Imitation
from secateur.training.objective import Aim, Material, Objective, Supervised
from secateur.training.progressive import Progressive
from secateur.training.weights import BetaWeighted


@dataclass(frozen=True)
class Plain(Aim):
    """The labels, a teacher and an adversary where there are any, and two regularisers.

    entropy: times an example's difficulty, and times the entropy of its prediction, is taken off its loss, so that the
    net stays unsure of what is hard (Cui et al., arXiv:2304.10127, who take 0.2 to 0.3 with difficulties by
    `scores.rmd_weights`). curvature: times how far the loss bends over a step of length h is added to it (Garg & Roy,
    CVPR 2023, who tune it on held-out data; so should you).
    """

    takes: ClassVar[frozenset[str]] = frozenset({"teacher", "adversary", "difficulty"})
    entropy: Annotated[float, AMOUNT] = 0.0
    curvature: Annotated[float, AMOUNT] = 0.0
    h: Annotated[float, POSITIVE] = 3.0

    def __post_init__(self) -> None:
        check_fields(self)

    @property
    def sees(self) -> frozenset[str]:
        """Difficulties only where entropy goes by them."""
        return self.takes if self.entropy else self.takes - {"difficulty"}

    def objective(self, given: Material) -> Objective:
        """Cross-entropy and what is added to it."""
        hopeful = None
        if self.entropy:
            if given.difficulty is None:
                raise SecateurError(
                    "difficulty: supervised:entropy needs how hard each example is, got none; pass difficulty="
                    "secateur.scores.rmd_weights(features, labels), or --difficulty OUT of a folder with features"
                )
            hopeful = self.entropy * given.difficulty
        return Supervised(
            given.net, given.data, given.recipe, seed=given.seed, teacher=given.teacher, distill=given.distill,
            adversary=given.adversary, soft=given.soft, hopeful=hopeful, curvature=self.curvature, h=self.h,
        )  # fmt: skip


AIMS: dict[str, type[Aim]] = {
    "supervised": Plain,
    "filtered": Filtered,
    "beta": BetaWeighted,
    "imitate": Imitation,
    "progressive": Progressive,
}


def aim(spec: "str | Aim") -> Aim:
    """An aim by name, with knobs after a colon: `supervised`, `supervised:entropy=0.2`, `filtered:passing=0.5`.

    >>> aim("supervised:entropy=0.2")
    Plain(entropy=0.2, curvature=0.0, h=3.0)
    """
    return spec if isinstance(spec, Aim) else specs.parse("objective", spec, AIMS)


def spec_of(aim: Aim) -> str:
    """An aim as text: its name and the knobs that are not at their default.

    >>> spec_of(Plain(entropy=0.2)), spec_of(Plain())
    ('supervised:entropy=0.2', 'supervised')
    """
    return specs.told(aim, AIMS)
