"""Frozen values by name, with knobs after a colon: `infobatch:drop=0.3`."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from secateur.errors import SecateurError
from secateur.ranges import fields_in, split_knobs
from secateur.registry import unknown

T = TypeVar("T")


def parse(what: str, spec: str, known: Mapping[str, type[T]]) -> T:
    """The dataclass of that name, its knobs read by their ranges, or as the text they are.

    Knobs whose default is a tuple are not to be had by text. what: how errors call such a value.

    >>> import dataclasses
    >>> from typing import Annotated
    >>> from secateur.ranges import SHARE
    >>> knobs = [("side", str, "heads"), ("bias", Annotated[float, SHARE], 0.5)]
    >>> Coin = dataclasses.make_dataclass("Coin", knobs, frozen=True)
    >>> parse("toy", "coin:bias=0.9", {"coin": Coin})
    Coin(side='heads', bias=0.9)
    """
    name, _, text = spec.partition(":")
    if name not in known:
        raise unknown(what, name, list(known))
    kind: Any = known[name]
    words = [f.name for f in dataclasses.fields(kind) if isinstance(f.default, str)]
    numbers = dict(fields_in(kind))
    own: dict[str, Any] = {}
    for key, value in split_knobs(text, f"{what} {name}").items():
        if key not in words and key not in numbers:
            raise unknown(f"knob of {name}", key, [*words, *numbers])
        own[key] = value if key in words else numbers[key].read(value, f"{what} {name}: {key}")
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
