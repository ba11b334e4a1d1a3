"""The range of every number a user can give, declared once, in its annotation: `Annotated[float, Range(...)]`.

The same range checks values from the command line and from Python, and appears in help and documentation.
"""

import dataclasses
import inspect
import math
import numbers
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import wraps
from types import UnionType
from typing import Annotated, Any, ParamSpec, TypeVar, Union, get_args, get_origin

from secateur.errors import SecateurError

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Range:
    """The allowed values of a number: never nan or infinite, and a bool only for `FLAG`.

    above: excludes low itself; below: excludes high itself; whole: only whole numbers; count: whole numbers of
    one or more are allowed as counts, and the bounds hold for fractions.

    >>> print(Range(0, 1, above=True)), print(Range(1, 100, whole=True)), print(Range(0))
    a number in (0, 1]
    a whole number from 1 to 100
    a number of 0 or more
    (None, None, None)
    """

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    whole: bool = False
    count: bool = False

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        more = " or a whole count" if self.count else ""
        if self.low == -math.inf and self.high == math.inf:
            return kind + more
        if self.high == math.inf:
            return f"{kind} above {_told(self.low)}" if self.above else f"{kind} of {_told(self.low)} or more"
        if self.whole:
            return f"{kind} from {_told(self.low)} to {_told(self.high)}"
        left, right = "(" if self.above else "[", ")" if self.below else "]"
        return f"{kind} in {left}{_told(self.low)}, {_told(self.high)}{right}{more}"

    def __contains__(self, value: Any) -> bool:
        if isinstance(value, bool) and self != FLAG:
            return False
        if not isinstance(value, numbers.Real):
            return False
        number: Any = int(value) if isinstance(value, numbers.Integral) else float(value)
        if not abs(number) <= _MOST:  # also refuses nan
            return False
        if self.count and isinstance(value, numbers.Integral):
            return bool(1 <= number <= _COUNT)
        if self.whole and number != int(number):
            return False
        above = number > self.low if self.above else number >= self.low
        return bool(above and (number < self.high if self.below else number <= self.high))

    def check(self, value: Any, name: str) -> None:
        """Raise SecateurError for a value outside the range; name: of the knob."""
        if value not in self or (self.whole and not isinstance(value, numbers.Integral)):
            raise SecateurError(f"{name}: expected {self}, got {_shown(value)}")

    def read(self, text: str, name: str) -> int | float:
        """Parse a number. Raises SecateurError for anything else.

        >>> Range(1, whole=True).read("3", "every"), Range(0).read("0.5", "rate")
        (3, 0.5)
        >>> Range(1, whole=True).read("1e3", "batch")
        1000
        """
        try:
            value = plain_number(text)
        except ValueError:
            raise SecateurError(f"{name}: expected {self}, got {_shown(text)}") from None
        if value not in self:
            raise SecateurError(f"{name}: expected {self}, got {_shown(text)}")
        return int(value) if self.whole else value if self.count else float(value)


def plain_number(text: str) -> int | float:
    """A number as typed: an int where the text has digits alone, else a float, which may be nan or infinite.

    Raises ValueError for anything else, and for what only Python reads as a number: digits of other scripts,
    superscripts, underscores between digits.

    >>> plain_number("-3"), plain_number(" 0.5"), plain_number("1e3")
    (-3, 0.5, 1000.0)
    """
    if not text.isascii() or "_" in text:
        raise ValueError(f"expected a number in plain digits, got {text!r}")
    try:
        return int(text)
    except ValueError:
        return float(text)


def _told(value: float) -> str:
    exact = isinstance(value, int) or (value == int(value) and abs(value) < 1e15)
    return f"{int(value):,}" if exact else f"{value:g}"


def _shown(value: object) -> str:
    """The value that was given, shortened to fit one line."""
    return repr(value) if len(repr(value)) < 60 else f"{repr(value)[:57]}..."


_MOST = 1e300
_COUNT = 2**40
"""An upper bound on the number of examples."""
FLAG = Range(0, 1, whole=True)
"""Yes or no: 1 or 0."""
KEEP = Range(0, 1, above=True, count=True)
SHARE = Range(0, 1)
PART = Range(0, 1, above=True)
SOME = Range(1, 1_000_000, whole=True)
"""A count of one or more: steps, epochs, rows per batch, neighbours."""
NONE_OR_SOME = Range(0, 1_000_000, whole=True)
AMOUNT = Range(0, 1_000_000)
"""A weight, a rate, a power: not negative."""
ABOVE_0 = Range(0, above=True)
POSITIVE = Range(0, 1_000_000, above=True)
SEED = Range(0, 2**63 - 1, whole=True)
THREADS = Range(1, 4096, whole=True)
SIDE = Range(1, 16_384, whole=True)
"""Pixels per side."""
ROWS = Range(1, _COUNT, whole=True)
NONE_OR_ROWS = Range(0, _COUNT, whole=True)
BYTES = Range(1, 2**63 - 1, whole=True)


def range_of(annotation: Any) -> Range | None:
    """The range that an annotation declares, if any, also inside an optional type.

    >>> range_of(Annotated[int, SEED]) == SEED, range_of(Annotated[float, SHARE] | None) == SHARE, range_of(int)
    (True, True, None)
    """
    if get_origin(annotation) is Annotated:
        return next((part for part in annotation.__metadata__ if isinstance(part, Range)), None)
    if get_origin(annotation) in (Union, UnionType):
        return next((found for part in get_args(annotation) if (found := range_of(part))), None)
    return None


def ranges_in(function: Callable[..., Any]) -> dict[str, Range]:
    """The ranges of the parameters of a function, by name."""
    parameters = inspect.signature(function).parameters
    return {name: found for name, p in parameters.items() if (found := range_of(p.annotation))}


def fields_in(record: Any) -> Iterator[tuple[str, Range]]:
    """The ranges of the fields of a dataclass."""
    for field in dataclasses.fields(record):
        if (found := range_of(field.type)) is not None:
            yield field.name, found


def check_fields(record: Any, where: str = "") -> None:
    """Raise SecateurError if a field of a dataclass is outside its range; None means the default."""
    for name, known in fields_in(record):
        if (value := getattr(record, name)) is not None:
            known.check(value, f"{where}{name}")


def check_given(known: Mapping[str, Range], given: Mapping[str, Any]) -> None:
    """Raise SecateurError if a value is outside the range of its name; None means the default."""
    for name, found in known.items():
        if given.get(name) is not None:
            found.check(given[name], name)


def in_ranges(function: Callable[P, R]) -> Callable[P, R]:
    """Check a function's arguments against the ranges in its signature before calling it."""
    known, signature = ranges_in(function), inspect.signature(function)

    @wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:  # let python raise its own error for a bad call
            return function(*args, **kwargs)
        check_given(known, given)
        return function(*args, **kwargs)

    return checked


def split_knobs(text: str, where: str) -> dict[str, str]:
    """Parse the part of a spec after the colon, comma-separated `name=value`. Raises SecateurError for repeated names.

    >>> split_knobs("c_d=4,window=8", "dual")
    {'c_d': '4', 'window': '8'}
    """
    found: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.partition("=")
        if name in found:
            raise SecateurError(f"{where}: {name}: expected one value, got {found[name]} and {value}; leave one out")
        found[name] = value
    return found
