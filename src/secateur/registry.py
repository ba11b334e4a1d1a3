"""One decorator for everything a user can name: scores, summaries, selectors.

From the signature alone come the check of what goes in and out, the command-line options and the line in the methods
table: positional parameters are what the function needs, keyword-only parameters are its knobs.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Literal, ParamSpec

import numpy as np

from secateur.errors import SecateurError
from secateur.fields import FIELDS, check

P = ParamSpec("P")
Kind = Literal["score", "summary", "selector"]
INPUTS = ("scores", "labels", "p_mean", "recall", "n")
"""What a selector may ask for: scores, their companions, or just the number of examples."""


@dataclass(frozen=True)
class Entry:
    """One registered function, read from its own signature."""

    name: str
    kind: Kind
    fn: Callable[..., np.ndarray]
    needs: tuple[str, ...]
    knobs: Mapping[str, inspect.Parameter]
    source: str
    whole_set: bool

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return (inspect.getdoc(self.fn) or "").split("\n")[0]


ENTRIES: dict[tuple[Kind, str], Entry] = {}


def get(kind: Kind, name: str) -> Entry:
    """The entry of that name, or an error with the nearest names."""
    try:
        return ENTRIES[kind, name]
    except KeyError:
        raise unknown(kind, name, [n for k, n in ENTRIES if k == kind]) from None


def unknown(what: str, name: str, known: list[str]) -> SecateurError:
    """The error for a name nobody registered.

    >>> print(unknown("score", "duel", ["dual", "aum"]))
    score: expected one of aum, dual, got 'duel'; did you mean dual?
    """
    near = difflib.get_close_matches(name, known, n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    return SecateurError(f"{what}: expected one of {', '.join(sorted(known))}, got {name!r}{hint}")


def score(*, source: str, whole_set: bool = False) -> Callable[[Callable[P, np.ndarray]], Callable[P, np.ndarray]]:
    """Register a pure function of recorded arrays: higher means harder. Its parameters name its fields.

    whole_set: the score of an example depends on the other examples, so it is never computed in blocks.
    """
    return _register("score", source, whole_set)


def summary(*, source: str) -> Callable[[Callable[P, np.ndarray]], Callable[P, np.ndarray]]:
    """Register a pure function of recorded arrays that is no difficulty score: selectors use it beside one."""
    return _register("summary", source, False)


def selector(*, source: str) -> Callable[[Callable[P, np.ndarray]], Callable[P, np.ndarray]]:
    """Register a pure function of scores and their companions to the sorted ids to keep."""
    return _register("selector", source, True)


def _register(kind: Kind, source: str, whole_set: bool) -> Callable[[Callable[P, np.ndarray]], Callable[P, np.ndarray]]:
    def decorate(fn: Callable[P, np.ndarray]) -> Callable[P, np.ndarray]:
        signature = inspect.signature(fn)
        needs = tuple(n for n, p in signature.parameters.items() if p.kind is not p.KEYWORD_ONLY)
        known = INPUTS if kind == "selector" else FIELDS
        if missing := [n for n in needs if n not in known]:
            raise TypeError(f"{fn.__name__} asks for {missing}, which nothing provides")
        guard = _guarded_selector if kind == "selector" else _guarded_score

        @wraps(fn)
        def checked(*args: P.args, **kwargs: P.kwargs) -> np.ndarray:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            return guard(fn, needs, bound)

        knobs = {n: p for n, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}
        name = fn.__name__.replace("_", "-")
        ENTRIES[kind, name] = Entry(name, kind, checked, needs, knobs, source, whole_set)
        return checked

    return decorate


def _guarded_score(fn: Callable[..., np.ndarray], needs: tuple[str, ...], bound: inspect.BoundArguments) -> np.ndarray:
    arrays = {n: _wide(np.asarray(bound.arguments[n])) for n in needs}
    sizes = check(arrays)
    bound.arguments.update(arrays)
    out = fn(*bound.args, **bound.kwargs)
    assert out.shape == (sizes["examples"],), f"{fn.__name__} broke its contract: {out.shape}"
    return out


def _guarded_selector(
    fn: Callable[..., np.ndarray], needs: tuple[str, ...], bound: inspect.BoundArguments
) -> np.ndarray:
    examples = _count_examples(needs, bound)
    keep = bound.arguments["keep"] = resolve_keep(bound.arguments["keep"], examples)
    out = fn(*bound.args, **bound.kwargs)
    sound = out.shape == (keep,) and (np.diff(out) > 0).all() and out[0] >= 0 and out[-1] < examples
    assert sound, f"{fn.__name__} broke its contract: expected {keep} sorted ids below {examples}"
    return out


def _count_examples(needs: tuple[str, ...], bound: inspect.BoundArguments) -> int:
    """Check the per-example arrays of a selector and return how many examples there are."""
    examples = None
    for name in needs:
        if name == "recall":
            continue
        if name == "n":
            return int(bound.arguments["n"])
        array = bound.arguments[name] = np.asarray(bound.arguments[name])
        if array.ndim != 1 or not array.size:
            raise SecateurError(f"{name}: expected a value an example, got an array of shape {array.shape}")
        if np.isnan(array).any():
            raise SecateurError(f"{name}: expected numbers, got nan at example {int(np.isnan(array).argmax())}")
        if examples not in (None, len(array)):
            raise SecateurError(f"{name} has {len(array)} examples, but {needs[0]} has {examples}")
        examples = len(array)
    assert examples is not None
    return examples


def resolve_keep(keep: int | float, examples: int) -> int:
    """How many examples `keep` asks for: an int is a count, a float in (0, 1] a fraction, rounded half up.

    >>> resolve_keep(0.1, 50_000), resolve_keep(500, 50_000), resolve_keep(1.0, 10), resolve_keep(1, 10)
    (5000, 500, 10, 1)
    """
    if isinstance(keep, (bool, np.bool_)) or not isinstance(keep, (int, float, np.integer, np.floating)):
        raise SecateurError(f"keep: expected a count or a fraction, got {keep!r}")
    if isinstance(keep, (int, np.integer)):
        if not 0 < keep <= examples:
            raise SecateurError(f"keep: expected a count from 1 to {examples}, the examples there are, got {keep}")
        return int(keep)
    if not 0 < keep <= 1:
        raise SecateurError(f"keep: expected a fraction in (0, 1] or a whole count, got {keep}")
    count = int(np.floor(float(keep) * examples + 0.5))
    if count < 1:
        raise SecateurError(f"keep: {keep} of {examples} examples is less than one; keep a larger fraction or a count")
    return count


def _wide(array: np.ndarray) -> np.ndarray:
    """Half precision is computed in float32."""
    return array.astype(np.float32) if array.dtype == np.float16 else array
