"""The ranges of options."""

import math
from typing import Any

from secateur.errors import SecateurError


def whole(name: str, value: Any, *, low: int = 1, high: int = 2**63 - 1) -> None:
    """Raise SecateurError where an option is no whole number in its range.

    >>> whole("epochs", 3)
    >>> whole("epochs", 2.5)
    Traceback (most recent call last):
    ...
    secateur.errors.SecateurError: epochs: expected a whole number, 1 or more, got 2.5
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        span = f"{low} or more" if high == 2**63 - 1 else f"from {low} to {high}"
        kind = "" if isinstance(value, int) and not isinstance(value, bool) else "a whole number, "
        raise SecateurError(f"{name}: expected {kind}{span}, got {value!r}")


def number(name: str, value: Any, *, low: float = -math.inf, high: float = math.inf, above: bool = False) -> None:
    """Raise SecateurError where an option is no finite number in its range; above: `low` itself is outside.

    >>> number("lr", float("nan"), low=0, above=True)
    Traceback (most recent call last):
    ...
    secateur.errors.SecateurError: lr: expected a finite number above 0, got nan
    """
    plain = not isinstance(value, bool) and isinstance(value, (int, float))
    if not (plain and math.isfinite(value) and low <= value <= high and not (above and value == low)):
        first = f" above {low:g}" if above else f", {low:g} or more" if low > -math.inf else ""
        last = "" if high == math.inf else f" and at most {high:g}" if first else f" of at most {high:g}"
        raise SecateurError(f"{name}: expected a finite number{first}{last}, got {value!r}")
