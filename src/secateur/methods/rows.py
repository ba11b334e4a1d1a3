"""The published methods as rows: what to record, a score, a selector, and the paper's knobs."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import secateur.scores
import secateur.select  # noqa: F401
from secateur.errors import SecateurError
from secateur.registry import Entry, get, unknown

Published = Literal["cifar10", "cifar100", "imagenet"]


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

        >>> Setting(0.1, 16, 10).fit(30, 10), Setting(0.1, 90, 10).fit(30, 10)
        ({'epochs': 16, 'window': 5}, {'epochs': 30, 'window': 10})
        """
        if self.epochs >= epochs:
            return {"epochs": epochs, "window": window}
        return {"epochs": self.epochs, "window": max(3, round(window * self.epochs / epochs))}


@dataclass(frozen=True)
class Use:
    """A score as a method uses it: over the first `epochs` (the last one if -1, all if None), with knobs."""

    score: str
    epochs: int | None = None
    knobs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def entry(self) -> Entry:
        """The registered function."""
        kind: Literal["score", "summary"] = "summary" if self.score in ("p-mean", "corrected-label") else "score"
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
    """One row. `score_knobs` and `select_knobs` give the paper's values for a setting; `own` are the user's.

    companions: what the selector asks for beside the scores, by parameter. inside: the selector that serves a class
    floor. recall: the selector needs the recall of each class on validation data, hence a second run. purify: the mean
    logits suggest a label for each example, and examples they suggest none for (`outlier`) are left out first.
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

    def fields(self, setting: Setting) -> tuple[str, ...]:
        """What must be recorded."""
        uses = [u for u in (self.use(setting), *self.companion_uses(setting).values(), *self.also(setting)) if u]
        needed = dict.fromkeys(n for u in uses for n in u.entry.needs)
        return tuple(needed)

    def _use(self, score: str, knobs: Knobs, setting: Setting) -> Use:
        known = Use(score).entry.knobs
        values = knobs(setting) | {k: v for k, v in self.own.items() if k in known or k == "epochs"}
        return Use(score, values.pop("epochs", None), values)


def _dual_epochs(setting: Setting) -> dict[str, Any]:
    return setting.fit(60 if setting.published == "imagenet" else 30, 10)


def _whole_run(setting: Setting) -> dict[str, Any]:
    """Dyn-Unc reads the whole run in windows of 10; a recording too short for that is cut as DUAL's is."""
    return {} if setting.epochs >= 30 else {"window": setting.fit(30, 10)["window"]}


def _tdds_epochs(setting: Setting) -> dict[str, Any]:
    return setting.fit(*setting.by_ratio({0.3: (90, 10), 0.5: (70, 10), 0.7: (60, 20), 0.8: (20, 10), 0.9: (10, 5)}))


def _ccs_cutoff(setting: Setting) -> dict[str, Any]:
    ratios = (0.3, 0.5, 0.7, 0.8, 0.9)
    cutoffs: dict[Published, tuple[float, ...]] = {
        "cifar10": (0.0, 0.0, 0.1, 0.1, 0.3),
        "cifar100": (0.1, 0.2, 0.2, 0.4, 0.5),
        "imagenet": (0.0, 0.1, 0.2, 0.2, 0.3),
    }
    if setting.keep >= 0.85:
        return {"cutoff": 0.0}  # nothing to spare for a cut-off
    return {"cutoff": setting.by_ratio(dict(zip(ratios, cutoffs[setting.published], strict=True)))}


def _beta_constant(setting: Setting) -> dict[str, Any]:
    return {"c_d": {"cifar10": 5.5, "cifar100": 4.0, "imagenet": 11.0}[setting.published]}


def _first_ten(setting: Setting) -> dict[str, Any]:
    return {"epochs": min(10, setting.epochs)}


def _last(setting: Setting) -> dict[str, Any]:
    return {"epochs": -1}


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("random", "random", "A uniform draw: the baseline to beat.", ()),
        Method(
            "el2n", "hardest", "Length of the error vector over the first ten epochs.", ("el2n",), "el2n", _first_ten
        ),
        Method("forgetting", "hardest", "How often an example is unlearned.", ("forgetting",), "forgetting"),
        Method("aum", "hardest", "Small margins in logits over the whole run.", ("aum",), "aum"),
        Method("entropy", "hardest", "Undecided at the end of the run.", ("entropy",), "entropy", _last),
        Method(
            "dyn-unc", "hardest", "Spread of the label's probability in windows.", ("dyn-unc",), "dyn-unc", _whole_run
        ),
        Method("tdds", "hardest", "Spread of the change between epochs in windows.", ("tdds",), "tdds", _tdds_epochs),
        Method(
            "dual",
            "beta",
            "Uncertain and hard in the first epochs; easier examples the less is kept.",
            ("dual",),
            "dual",
            _dual_epochs,
            _beta_constant,
            {"p_mean": ("p-mean", lambda setting: {"epochs": _dual_epochs(setting)["epochs"]})},
        ),
        Method(
            "ccs",
            "ccs",
            "Even coverage of the margins after a cut-off of the hardest.",
            ("ccs",),
            "aum-prob",
            select_knobs=_ccs_cutoff,
            inside="random",
        ),
        Method(
            "drop", "drop", "More of the classes that validation errs on, at random inside.", ("drop",), recall=True
        ),
        Method(
            "reid",
            "hardest",
            "Entropy of the mean logits, outliers left out (object re-identification).",
            ("reid",),
            "soft-label-entropy",
            purify=True,
        ),
    )
}


def method(spec: "str | Method") -> Method:
    """A method by name, with knobs of its score or selector after a colon: `dual`, `dual:window=8,c_d=4`.

    >>> method("dual:c_d=4").selector_knobs(Setting(0.1, 16, 10))
    {'c_d': 4.0}
    """
    if isinstance(spec, Method):
        return spec
    name, _, text = spec.partition(":")
    if name not in METHODS:
        raise unknown("method", name, list(METHODS))
    row = METHODS[name]
    known = _knobs(row)
    own: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in known:
            raise unknown(f"knob of {name}", key, list(known))
        own[key] = _parse(value, known[key], f"{name}: {key}")
    return dataclasses.replace(row, own=own) if own else row


def _knobs(row: Method) -> dict[str, Any]:
    """The knobs of a method's score and selector, by name, with an example value each."""
    knobs: dict[str, Any] = {} if row.score is None else {"epochs": 1}
    entries = [get("selector", row.selector)] + ([] if row.score is None else [Use(row.score).entry])
    entries += [Use("corrected-label").entry] if row.purify else []
    for entry in entries:
        for name, parameter in entry.knobs.items():
            if name not in ("keep", "rng", "cutoff_by"):
                knobs[name] = parameter.default
    return knobs


def _parse(text: str, like: Any, where: str) -> Any:
    if isinstance(like, str):
        return text
    try:
        return int(text) if isinstance(like, int) else float(text)
    except ValueError:
        raise SecateurError(f"{where}: expected a number, got {text!r}") from None
