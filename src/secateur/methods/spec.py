"""A method as the user writes it: a name, and knobs of its score, selector and probes after a colon."""

import dataclasses
import inspect
from typing import Any, Literal, get_args, get_origin

from secateur.dynamic.rules import RULES
from secateur.errors import SecateurError
from secateur.methods.model import PROBED, Method, Use
from secateur.methods.rows import METHODS
from secateur.ranges import FLAG, SOME, Range, range_of, split_knobs
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
    known = knobs_of(row)
    own: dict[str, Any] = {}
    for key, value in split_knobs(text, name).items():
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


def knobs_of(row: Method) -> dict[str, Range | tuple[str, ...]]:
    """The knobs of a method, its score, selector and probes, by name: the range of a number, or the words to choose of.

    >>> str(knobs_of(METHODS["tdds"])["decay"]), knobs_of(METHODS["k-center"])["start"]
    ('a number in [0, 1]', ('random', 'mean'))
    """
    knobs: dict[str, Range | tuple[str, ...]] = {}
    if row.score is not None and Use(row.score).by_epoch:
        knobs["epochs"] = Range(-1, SOME.high, whole=True)  # -1 is the last
    entries = [get("selector", row.selector)] + ([] if row.score is None else [Use(row.score).entry])
    entries += [Use("corrected-label").entry] if row.purify else []
    knobs |= {} if row.recall else {"per_class": FLAG}  # whose selector sets the numbers of classes itself
    knobs |= {name: PROBED[name] for each in row.probes.values() for name in each}
    for entry in entries:
        for name, parameter in entry.knobs.items():
            if name not in ("keep", "rng", "cutoff_by", "initial"):
                knobs[name] = _declared(parameter, f"{entry.name}: {name}")
    return knobs


def _declared(parameter: inspect.Parameter, where: str) -> Range | tuple[str, ...]:
    """What a knob's annotation says that it may be."""
    if get_origin(parameter.annotation) is Literal:
        return get_args(parameter.annotation)
    if (found := range_of(parameter.annotation)) is None:
        raise TypeError(f"{where} declares no range; annotate it, as Annotated[float, Range(0, 1)]")
    return found


def _parse(text: str, known: Range | tuple[str, ...], where: str) -> Any:
    if isinstance(known, Range):
        return known.read(text, where)
    if text not in known:
        raise unknown(where, text, list(known))
    return text
