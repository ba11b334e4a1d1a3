"""One decorator for everything a user can name: scores, summaries, selectors.

From the signature alone come the check of what goes in and out, the command-line options and the line in the methods
table: positional parameters are what the function needs, keyword-only parameters are its knobs.
"""

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, NamedTuple, ParamSpec, TypeVar

import numpy as np

from secateur.errors import SecateurError
from secateur.fields import FIELDS, check
from secateur.ranges import check_given, range_of

P = ParamSpec("P")
Kind = Literal["score", "summary", "selector"]
COMPANIONS = ("scores", "p_mean", "recall", "validation", "n")
PER_EXAMPLE = tuple(name for name, field in FIELDS.items() if field.axes[0] == "examples")
"""A selector may ask for companions of a score, for fields with a value or a row an example, or just for how many
examples there are. recall: (classes,) on validation data; validation: (examples,), is it of the validation part?"""


class Weighted(NamedTuple):
    """What a selector with weights returns: sorted ids (keep,) and how much each counts (keep,), 0 or more.

    Where a method finds fewer examples than asked for, the rest is filled in its own order of preference with weight 0.
    """

    ids: np.ndarray
    weights: np.ndarray


R = TypeVar("R", np.ndarray, Weighted)


@dataclass(frozen=True)
class Entry:
    """One registered function, read from its own signature."""

    name: str
    kind: Kind
    fn: Callable[..., Any]
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


def summary(*, source: str, whole_set: bool = False) -> Callable[[Callable[P, np.ndarray]], Callable[P, np.ndarray]]:
    """Register a pure function of recorded arrays that is no difficulty score: selectors use it beside one."""
    return _register("summary", source, whole_set)


def selector(*, source: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Register a pure function of scores, their companions or fields to the sorted ids to keep, or to `Weighted`."""
    return _register("selector", source, True)


def _register(kind: Kind, source: str, whole_set: bool) -> Callable[[Callable[P, R]], Callable[P, R]]:
    def decorate(fn: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(fn)
        needs = tuple(n for n, p in signature.parameters.items() if p.kind is not p.KEYWORD_ONLY)
        known = (*COMPANIONS, *PER_EXAMPLE) if kind == "selector" else FIELDS
        if missing := [n for n in needs if n not in known]:
            raise TypeError(f"{fn.__name__} asks for {missing}, which nothing provides")
        guard = _guarded_selector if kind == "selector" else _guarded_score
        knobs = {n: p for n, p in signature.parameters.items() if p.kind is p.KEYWORD_ONLY}
        ranges = {n: found for n, p in knobs.items() if (found := range_of(p.annotation))}

        @wraps(fn)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            bound = signature.bind(*args, **kwargs)
            check_given(ranges, bound.arguments)
            bound.apply_defaults()
            return guard(fn, needs, bound)

        name = fn.__name__.replace("_", "-")
        ENTRIES[kind, name] = Entry(name, kind, checked, needs, knobs, source, whole_set)
        return checked

    return decorate


def _guarded_score(fn: Callable[..., Any], needs: tuple[str, ...], bound: inspect.BoundArguments) -> Any:
    arrays = {n: _wide(np.asarray(bound.arguments[n])) for n in needs}
    sizes = check(arrays)
    bound.arguments.update(arrays)
    out = fn(*bound.args, **bound.kwargs)
    assert out.shape == (sizes["examples"],), f"{fn.__name__} broke its contract: {out.shape}"
    return out


def _guarded_selector(fn: Callable[..., Any], needs: tuple[str, ...], bound: inspect.BoundArguments) -> Any:
    examples = _count_examples(needs, bound)
    keep = bound.arguments["keep"] = resolve_keep(bound.arguments["keep"], examples)
    out = fn(*bound.args, **bound.kwargs)
    ids, weights = out if isinstance(out, Weighted) else (out, None)
    sound = ids.shape == (keep,) and (np.diff(ids) > 0).all() and ids[0] >= 0 and ids[-1] < examples
    assert sound, f"{fn.__name__} broke its contract: expected {keep} sorted ids below {examples}"
    if weights is not None:
        sound = weights.shape == (keep,) and np.isfinite(weights).all() and weights.min() >= 0
        assert sound, f"{fn.__name__} broke its contract: expected {keep} weights of 0 or more"
    return out


def _count_examples(needs: tuple[str, ...], bound: inspect.BoundArguments) -> int:
    """Check what a selector is given an example and return how many examples there are."""
    if needs == ("n",):
        return int(bound.arguments["n"])
    arrays = {n: _wide(np.asarray(bound.arguments[n])) for n in needs if n not in ("recall", "n")}
    bound.arguments.update(arrays)
    first = next(iter(arrays))
    for name, array in arrays.items():
        if name not in FIELDS:
            _check_companion(name, array)
        if array.ndim and len(array) != len(arrays[first]):
            raise SecateurError(f"{name} has {len(array)} examples, but {first} has {len(arrays[first])}")
    check({n: a for n, a in arrays.items() if n in FIELDS})
    return len(arrays[first])


def _check_companion(name: str, array: np.ndarray) -> None:
    if array.ndim != 1 or not array.size:
        raise SecateurError(f"{name}: expected a value an example, got an array of shape {array.shape}")
    if np.isnan(array).any():
        raise SecateurError(f"{name}: expected numbers, got nan at example {int(np.isnan(array).argmax())}")


def part_of(fraction: float, rows: int) -> int:
    """A fraction of rows as a count, rounded half up; the one rule for all commands.

    >>> part_of(0.5, 5), part_of(0.3, 10), part_of(0.29, 100)
    (3, 3, 29)
    """
    return int(np.floor(float(fraction) * rows + 0.5))


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
    count = part_of(keep, examples)
    if count < 1:
        raise SecateurError(f"keep: {keep} of {examples} examples is less than one; keep a larger fraction or a count")
    return count


def _wide(array: np.ndarray) -> np.ndarray:
    """Half precision is computed in float32."""
    return array.astype(np.float32) if array.dtype == np.float16 else array
