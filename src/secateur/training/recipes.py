"""How a net trains, as frozen records. The recipe that records and the one that trains are chosen apart."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from secateur.ranges import AMOUNT, FLAG, SHARE, SOME, Range, check_fields, fields_in, split_knobs
from secateur.registry import unknown
from secateur.training.augment import Views

PLAIN = Views()
Optimizer = Literal["sgd", "adamw", "muon"]
Schedule = Literal["linear", "triangular", "cosine"]
_WORDS: dict[str, tuple[str, ...]] = {"optimizer": get_args(Optimizer), "schedule": get_args(Schedule)}


@dataclass(frozen=True)
class Recipe:
    """Everything about a training run but the net, the data and the seed.

    epochs: the length of a run over the full data set, from which budgets are counted. batch: examples a step; smaller
    data sets take smaller batches (`for_data`). lr, momentum, weight_decay: of the main optimiser, `sgd` with
    Nesterov momentum, `adamw`, or `muon` for filters and matrices with `sgd` for the rest. schedule: `linear` falls
    from lr to 0; `triangular` rises until the share `peak` of the run, then falls to 0; `cosine` falls along half a
    cosine. horizon: the epochs the schedule is laid out over, where a run stops before its end. smoothing: of the
    labels.

    For `muon`: bias_lr and head_lr of its SGD part, head_momentum; whiten starts nets that can be at the whitening
    filters of the data, and the first layer's bias stands still after the share first_until of the run.
    batch_by_keep: pairs (keep, batch) for pruned runs at or below that keep, as some papers do. keep_power: a run on
    the fraction keep takes lr / keep**keep_power: few examples seen often want larger steps (benchmarks/recipes.md).
    """

    name: str
    epochs: Annotated[int, SOME]
    optimizer: Optimizer
    lr: Annotated[float, Range(0, 1e9)]
    weight_decay: Annotated[float, AMOUNT]
    schedule: Schedule
    batch: Annotated[int, SOME] = 500
    momentum: Annotated[float, Range(0, 1, below=True)] = 0.9
    peak: Annotated[float, Range(0, 1, above=True, below=True)] = 0.2
    smoothing: Annotated[float, Range(0, 1, below=True)] = 0.0
    views: Views = PLAIN
    horizon: Annotated[int | None, SOME] = None
    whiten: Annotated[bool, FLAG] = False
    bias_lr: Annotated[float, Range(0, 1e9)] = 0.0
    head_lr: Annotated[float, Range(0, 1e9)] = 0.0
    head_momentum: Annotated[float, Range(0, 1, below=True)] = 0.85
    first_until: Annotated[float, SHARE] = 1.0
    batch_by_keep: tuple[tuple[float, int], ...] = ()
    keep_power: Annotated[float, Range(0, 10)] = 0.0

    def __post_init__(self) -> None:
        check_fields(self)

    @classmethod
    def restored(cls, saved: dict[str, Any]) -> "Recipe":
        """A recipe from what `dataclasses.asdict` made of it, through JSON or not."""
        batches = tuple((float(keep), int(batch)) for keep, batch in saved["batch_by_keep"])
        return cls(**saved | {"views": Views(**saved["views"]), "batch_by_keep": batches})

    def lr_factor(self, progress: float) -> float:
        """What the learning rate is multiplied by at `progress` in [0, 1) of the schedule.

        >>> RECIPES["sgd"].lr_factor(0.2), RECIPES["fast"].lr_factor(0.25), RECIPES["paper"].lr_factor(0.5)
        (1.0, 0.75, 0.5)
        """
        if self.schedule == "triangular":
            return min(progress / self.peak, (1 - progress) / (1 - self.peak))
        if self.schedule == "cosine":
            return 0.5 + 0.5 * math.cos(math.pi * progress)
        return 1 - progress

    def for_data(self, examples: int, shape: tuple[int, ...]) -> "Recipe":
        """The recipe for a full data set of so many rows of that shape: at least some 25 steps an epoch.

        A smaller batch takes a learning rate smaller in proportion (`sgd`), or by the root (`adamw`, and the SGD part
        of `muon`); the steps of `muon` have the same length whatever the batch, and its rate stays.

        >>> [RECIPES["sgd"].for_data(n, (3, 32, 32)).batch for n in (50_000, 12_500, 1_437)]
        [500, 500, 58]
        """
        batch = min(self.batch, max(16, math.ceil(examples / 25)))
        ratio = batch / self.batch
        scale = {"sgd": ratio, "adamw": ratio**0.5, "muon": 1.0}[self.optimizer]
        return dataclasses.replace(
            self,
            batch=batch,
            lr=self.lr * scale,
            bias_lr=self.bias_lr * ratio**0.5,
            head_lr=self.head_lr * ratio**0.5,
            views=self.views.for_shape(shape),
        )

    def for_keep(self, keep: float) -> "Recipe":
        """The recipe for a run on the fraction `keep` of the data.

        >>> RECIPES["paper"].for_keep(0.1).batch, round(RECIPES["fast"].for_keep(0.1).lr, 2)
        (32, 0.24)
        """
        batches = [batch for limit, batch in sorted(self.batch_by_keep) if keep <= limit + 1e-9]
        return dataclasses.replace(self, batch=next(iter(batches), self.batch), lr=self.lr / keep**self.keep_power)


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "sgd",
            16,
            "sgd",
            lr=0.6,
            weight_decay=5e-4,
            schedule="triangular",
            smoothing=0.1,
            views=Views(flip=None, crop=None),
        ),
        Recipe(
            "fast",
            16,
            "muon",
            lr=0.12,
            momentum=0.6,
            weight_decay=1e-3,
            schedule="linear",
            smoothing=0.1,
            views=Views(flip=None, crop=None),
            whiten=True,
            bias_lr=0.106,
            head_lr=1.4,
            first_until=3 / 8,
            keep_power=0.3,
        ),
        Recipe(
            "paper",
            200,
            "sgd",
            lr=0.1,
            weight_decay=5e-4,
            schedule="cosine",
            batch=128,
            views=Views(flip=True, crop=4, black=True),
            horizon=200,
            batch_by_keep=((0.2, 64), (0.1, 32)),
        ),
    )
}
"""`sgd` records: it learns slowly, which tells examples apart. `fast` trains: the most accuracy for few steps.
`paper` is the fixed-epochs protocol of DUAL and TDDS on CIFAR."""


def recipe(spec: "str | Recipe") -> Recipe:
    """A recipe by name, with changes after a colon: `fast`, `sgd:lr=0.3,crop=4`, `paper:epochs=100`.

    >>> recipe("sgd:lr=0.3,crop=4").views.crop
    4
    """
    if isinstance(spec, Recipe):
        return spec
    name, _, changes = spec.partition(":")
    if name not in RECIPES:
        raise unknown("recipe", name, list(RECIPES))
    base = RECIPES[name]
    values: dict[str, Any] = {}
    views: dict[str, Any] = {}
    of_views, of_recipe = dict(fields_in(Views)), dict(fields_in(Recipe))
    for key, text in split_knobs(changes, f"recipe {name}").items():
        where = f"recipe {name}: {key}"
        if key in _WORDS:
            if text not in _WORDS[key]:
                raise unknown(where, text, list(_WORDS[key]))
            values[key] = text
        elif key in of_views:
            views[key] = _read(of_views[key], text, where)
        elif key in of_recipe:
            values[key] = _read(of_recipe[key], text, where)
        else:
            raise unknown(f"recipe {name}", key, [*_WORDS, *of_recipe, *of_views])
    return dataclasses.replace(base, views=dataclasses.replace(base.views, **views), **values)


def _read(known: Range, text: str, where: str) -> Any:
    number = known.read(text, where)
    return bool(number) if known == FLAG else number
