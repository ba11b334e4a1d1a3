"""Frozen values by name, with knobs after a colon: `infobatch:drop=0.3`."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from secateur.errors import SecateurError
from secateur.registry import unknown

T = TypeVar("T")


def parse(what: str, spec: str, known: Mapping[str, type[T]]) -> T:
    """The dataclass of that name, its knobs read as their defaults are: text, whole numbers or numbers.

    Knobs whose default is a tuple are not to be had by text. what: how errors call such a value.

    >>> import dataclasses
    >>> Coin = dataclasses.make_dataclass("Coin", [("side", str, "heads"), ("bias", float, 0.5)], frozen=True)
    >>> parse("toy", "coin:bias=0.9", {"coin": Coin})
    Coin(side='heads', bias=0.9)
    """
    name, _, text = spec.partition(":")
    if name not in known:
        raise unknown(what, name, list(known))
    kind: Any = known[name]
    defaults = {f.name: f.default for f in dataclasses.fields(kind) if not isinstance(f.default, tuple)}
    own: dict[str, Any] = {}
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key not in defaults:
            raise unknown(f"knob of {name}", key, list(defaults))
        own[key] = _like(defaults[key], value, f"{name}: {key}")
    try:
        return known[name](**own)
    except SecateurError as error:
        raise SecateurError(f"{what} {name}: {error}") from None


def told(value: Any, known: Mapping[str, type], *, always: tuple[str, ...] = ()) -> str:
    """A value as text: its name and the knobs that are not at their default; a class of one's own by its name.

    always: knobs that are told whatever they are.
    """
    name = next((n for n, kind in known.items() if kind is type(value)), type(value).__name__)
    changed = [f for f in dataclasses.fields(value) if f.name in always or getattr(value, f.name) != f.default]
    return ":".join(filter(None, (name, ",".join(f"{f.name}={getattr(value, f.name)}" for f in changed))))


def _like(default: Any, text: str, where: str) -> Any:
    if isinstance(default, str):
        return text
    try:
        return int(text) if isinstance(default, int) or text.isdecimal() else float(text)
    except ValueError:
        raise SecateurError(f"{where}: expected a number, got {text!r}") from None
