"""The rules by name."""

import dataclasses
from typing import Any

from secateur.dynamic.parts import Esps, Redraw, Swap
from secateur.dynamic.plans import Rule
from secateur.dynamic.running import EpsGreedy, Ucb
from secateur.dynamic.skipping import InfoBatch, Kakurenbo
from secateur.errors import SecateurError
from secateur.registry import unknown

RULES: dict[str, type[Rule]] = {
    "random": Redraw,
    "infobatch": InfoBatch,
    "kakurenbo": Kakurenbo,
    "eps-greedy": EpsGreedy,
    "ucb": Ucb,
    "esps": Esps,
    "swap": Swap,
}


def rule(spec: "str | Rule") -> Rule:
    """A rule by name, with knobs after a colon: `infobatch`, `random:keep=0.3`, `kakurenbo:hide=0.4,rate=realised`.

    >>> rule("infobatch:drop=0.3")
    InfoBatch(drop=0.3, stop=0.875, draw='apart')
    """
    if isinstance(spec, Rule):
        return spec
    name, _, text = spec.partition(":")
    if name not in RULES:
        raise unknown("rule", name, list(RULES))
    defaults = {f.name: f.default for f in dataclasses.fields(RULES[name]) if not isinstance(f.default, tuple)}
    own: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in defaults:
            raise unknown(f"knob of {name}", key, list(defaults))
        own[key] = _like(defaults[key], value, f"{name}: {key}")
    try:
        return RULES[name](**own)
    except SecateurError as error:
        raise SecateurError(f"rule {name}: {error}") from None


def spec_of(rule: Rule) -> str:
    """A rule as text: its name, keep and the knobs that are not at their default; a class of one's own by its name.

    >>> spec_of(InfoBatch(drop=0.3)), spec_of(Redraw())
    ('infobatch:drop=0.3', 'random:keep=0.5')
    """
    name = next((n for n, kind in RULES.items() if kind is type(rule)), type(rule).__name__)
    changed = [f for f in dataclasses.fields(rule) if f.name == "keep" or getattr(rule, f.name) != f.default]
    return ":".join(filter(None, (name, ",".join(f"{f.name}={getattr(rule, f.name)}" for f in changed))))


def _like(default: Any, text: str, where: str) -> Any:
    if isinstance(default, str):
        return text
    try:
        return int(text) if isinstance(default, int) or text.isdecimal() else float(text)
    except ValueError:
        raise SecateurError(f"{where}: expected a number, got {text!r}") from None
