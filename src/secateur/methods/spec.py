"""A method as the user writes it: a name, and knobs of its score, selector and probes after a colon."""

import dataclasses
from typing import Any

from secateur.dynamic.rules import RULES
from secateur.errors import SecateurError
from secateur.methods.model import Method, Use
from secateur.methods.rows import METHODS
from secateur.registry import get, unknown


def method(spec: "str | Method") -> Method:
    """A method by name, with knobs of its score or selector after a colon: `dual`, `dual:window=8,c_d=4`.

    >>> from secateur.methods import Setting
    >>> method("dual:c_d=4").selector_knobs(Setting(0.1, 16, 10))
    {'c_d': 4.0}
    """
    if isinstance(spec, Method):
        return spec
    name, _, text = spec.partition(":")
    if name in RULES and name not in METHODS:
        raise SecateurError(f"method: {name} is a rule of pruning while training: secateur train --rule {name}")
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


def default_method(*, labelled: bool) -> Method:
    """What the jobs take where no method is named: DUAL inside each class, k-center for data without labels.

    The paper's DUAL chooses over all classes at once. With ten of one size that changes nothing that can be told from
    noise; with a hundred it starves some, and loses 6 points (benchmarks/cifar100-cpu.md).

    >>> [str(default_method(labelled=known).name) for known in (True, False)], default_method(labelled=True).own
    (['dual', 'k-center'], {'per_class': 1})
    """
    return method("dual:per_class=1" if labelled else "k-center")


def _knobs(row: Method) -> dict[str, Any]:
    """The knobs of a method's score and selector, by name, with an example value each."""
    knobs: dict[str, Any] = {"epochs": 1} if row.score is not None and Use(row.score).by_epoch else {}
    entries = [get("selector", row.selector)] + ([] if row.score is None else [Use(row.score).entry])
    entries += [Use("corrected-label").entry] if row.purify else []
    knobs |= {} if row.recall else {"per_class": 1}  # whose selector sets the numbers of classes itself
    knobs |= {name: value for each in row.probes.values() for name, value in each.items()}
    for entry in entries:
        for name, parameter in entry.knobs.items():
            if name not in ("keep", "rng", "cutoff_by", "initial"):
                knobs[name] = parameter.default
    return knobs


def _parse(text: str, like: Any, where: str) -> Any:
    if isinstance(like, str):
        return text
    try:
        return int(text) if isinstance(like, int) else float(text)
    except ValueError:
        raise SecateurError(f"{where}: expected a number, got {text!r}") from None
