"""What a published method is: what to record, a score, a selector, and the knobs of its paper for a setting."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import secateur.scores
import secateur.select  # noqa: F401
from secateur.errors import SecateurError
from secateur.fields import FIELDS
from secateur.ranges import PART, POSITIVE, SOME, Range
from secateur.registry import Entry, get

Published = Literal["cifar10", "cifar100", "imagenet"]
SUMMARIES = ("p-mean", "corrected-label", "rmd-weights")
"""Functions of recorded arrays that are no scores."""
WITHOUT_LABELS = ("features", "restoration")
"""Probes that read no label where the features are given, or come from another net."""

PROBED: Mapping[str, Range | tuple[str, ...]] = {
    "runs": SOME,
    "epochs": SOME,
    "h": POSITIVE,
    "steps": SOME,
    "share": PART,
    "part": Range(0, 1, above=True, below=True),
    "schedule": ("geometric", "equal"),
}
"""What the knobs of probes may be."""


@dataclass(frozen=True)
class Setting:
    """What a method's knobs may depend on."""

    keep: float  # fraction
    epochs: int  # recorded
    classes: int

    @property
    def published(self) -> Published:
        """The published data set whose knobs apply: the nearest by number of classes.

        >>> [Setting(0.1, 16, classes).published for classes in (2, 30, 100, 1000)]
        ['cifar10', 'cifar10', 'cifar100', 'imagenet']
        """
        return "cifar10" if self.classes <= 30 else "cifar100" if self.classes <= 300 else "imagenet"

    def by_ratio(self, table: Mapping[float, Any]) -> Any:
        """The entry for the published pruning ratio (1 - keep) nearest to this one; the lower of two as near.

        >>> Setting(0.15, 16, 10).by_ratio({0.7: "a", 0.8: "b", 0.9: "c"})
        'b'
        """
        return table[min(table, key=lambda ratio: (abs(round(1 - self.keep - ratio, 6)), ratio))]

    def fit(self, epochs: int, window: int) -> dict[str, int]:
        """A published (epochs, window) on this recording: all of a shorter one, the window shrunk in proportion.

        A window of 5 ranks better than the 3 that proportion gives 8 epochs (benchmarks/recordings.md), so it does not
        shrink below 5 where there are 6 epochs, nor below 3.

        >>> Setting(0.1, 16, 10).fit(30, 10), Setting(0.1, 90, 10).fit(30, 10), Setting(0.1, 8, 10).fit(30, 10)
        ({'epochs': 16, 'window': 5}, {'epochs': 30, 'window': 10}, {'epochs': 8, 'window': 5})
        """
        if self.epochs >= epochs:
            return {"epochs": epochs, "window": window}
        least = max(3, min(5, self.epochs - 1))
        return {"epochs": self.epochs, "window": min(window, max(least, round(window * self.epochs / epochs)))}


@dataclass(frozen=True)
class Use:
    """A score as a method uses it: over the first `epochs` (the last one if -1, all if None), with knobs."""

    score: str
    epochs: int | None = None
    knobs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def entry(self) -> Entry:
        """The registered function."""
        kind: Literal["score", "summary"] = "summary" if self.score in SUMMARIES else "score"
        return get(kind, self.score)

    @property
    def label(self) -> str:
        """Its column in scores.parquet: the function's name and what differs from its defaults.

        >>> Use("dual", 16, {"window": 5}).label, Use("entropy", -1).label, Use("aum").label
        ('dual(epochs=16, window=5)', 'entropy(last epoch)', 'aum')
        """
        knobs = {k: v for k, v in self.knobs.items() if v != self.entry.knobs[k].default}
        parts = [] if self.epochs is None else ["last epoch" if self.epochs == -1 else f"epochs={self.epochs}"]
        parts += [f"{k}={v}" for k, v in knobs.items()]
        return self.score.replace("-", "_") + (f"({', '.join(parts)})" if parts else "")

    @property
    def by_epoch(self) -> bool:
        """Does it read a value an epoch?"""
        return any("epochs" in FIELDS[n].axes for n in self.entry.needs)

    def rows(self, epochs: int) -> slice:
        """Which of `epochs` recorded rows it reads."""
        if self.epochs == -1:
            return slice(epochs - 1, epochs)
        return slice(0, epochs if self.epochs is None else min(self.epochs, epochs))


Knobs = Callable[[Setting], dict[str, Any]]


def _none(setting: Setting) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Method:
    """One row.

    when: what it is good for, in a sentence. `score_knobs` and `select_knobs` give the paper's values for a setting;
    `own` are the user's. companions: what the selector asks for beside the scores, by parameter. inside: the selector
    that serves a class floor. recall: the selector needs the recall of each class on validation data, hence a second
    run. purify: the mean logits suggest a label for each example, and examples they suggest none for (`outlier`) are
    left out first. per_class: the selector chooses inside each class, classes keeping their shares of the data;
    `per_class=0` after the colon chooses over all, and `per_class=1` inside classes where the paper does not. probes:
    knobs of the probes that fill its fields, by probe, with their defaults. labels: `help` where a method that names
    them works without, too. adversarial: it is of adversarial training, and nothing else without. half_a_run: half the
    epochs of the recording recipe serve it nearly as well.
    """

    name: str
    selector: str
    summary: str
    cite: tuple[str, ...]
    score: str | None = None
    score_knobs: Knobs = _none
    select_knobs: Knobs = _none
    companions: Mapping[str, tuple[str, Knobs]] = field(default_factory=dict)
    inside: str | None = None
    recall: bool = False
    purify: bool = False
    per_class: bool = False
    probes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    labels: Literal["need", "help"] = "need"
    adversarial: bool = False
    half_a_run: bool = False
    when: str = ""
    own: Mapping[str, Any] = field(default_factory=dict)

    def use(self, setting: Setting) -> Use | None:
        """The score for a setting; None for a method without one."""
        return None if self.score is None else self._use(self.score, self.score_knobs, setting)

    def companion_uses(self, setting: Setting) -> dict[str, Use]:
        """What the selector asks for beside the scores, by parameter."""
        return {name: self._use(score, knobs, setting) for name, (score, knobs) in self.companions.items()}

    def also(self, setting: Setting) -> tuple[Use, ...]:
        """What is worked out beside the score, for the user to see."""
        return (self._use("corrected-label", _none, setting),) if self.purify else ()

    def selector_knobs(self, setting: Setting) -> dict[str, Any]:
        """Keyword arguments of the selector, apart from keep, rng and the companions."""
        known = get("selector", self.selector).knobs
        return self.select_knobs(setting) | {k: v for k, v in self.own.items() if k in known}

    @property
    def by_class(self) -> bool:
        """Is it to choose inside each class?"""
        return bool(self.own.get("per_class", self.per_class))

    def fields(self, setting: Setting) -> tuple[str, ...]:
        """What must be recorded, or filled in by a probe."""
        uses = [u for u in (self.use(setting), *self.companion_uses(setting).values(), *self.also(setting)) if u]
        needed = dict.fromkeys(n for u in uses for n in u.entry.needs)
        needed |= dict.fromkeys(n for n in get("selector", self.selector).needs if n in FIELDS)
        return tuple(needed)

    def probed(self, setting: Setting) -> dict[str, dict[str, Any]]:
        """The probes that must run, by name, with their knobs."""
        names = dict.fromkeys(FIELDS[n].probe for n in self.fields(setting))
        knobs = {name: dict(self.probes.get(name, {})) for name in names if name != "recorder"}
        return {name: {k: self.own.get(k, v) for k, v in each.items()} for name, each in knobs.items()}

    @property
    def needs_labels(self) -> bool:
        """Does it need the class of every example: for a score, a selector, or the run that is recorded?"""
        if self.recall or self.purify:
            return True
        needed = set(self.fields(Setting(0.5, 30, 10))) - ({"labels"} if self.labels == "help" else set())
        return any(n == "labels" or FIELDS[n].probe not in WITHOUT_LABELS for n in needed)

    def refuse_without_adversary(self) -> None:
        """Raise SecateurError for a method of adversarial training, where none is to happen."""
        if self.adversarial:
            raise SecateurError(
                f"method: {self.name} prunes for adversarial training; name an adversary, as --adversary "
                f"l2:eps=0.5,steps=3, or take deepfool, which is the same score without"
            )

    def _use(self, score: str, knobs: Knobs, setting: Setting) -> Use:
        use = Use(score)
        values = knobs(setting) | {
            k: v for k, v in self.own.items() if k in use.entry.knobs or (k == "epochs" and use.by_epoch)
        }
        return Use(score, values.pop("epochs", None), values)
