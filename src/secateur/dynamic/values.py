"""What rules have in common: looking at knobs, and ranking with ties at random."""

import numpy as np

from secateur.errors import SecateurError


def highest(values: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The places of the highest values; ties at random."""
    return np.lexsort((rng.random(len(values)), -values))[:count]


def check(name: str, value: float, low: float, high: float) -> None:
    """Refuse a knob outside a closed range, by name."""
    if not low <= value <= high:
        expected = f"{low:g} or more" if high == np.inf else f"{low:g} to {high:g}"
        raise SecateurError(f"{name}: expected {expected}, got {value}")


def check_word(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a knob that is none of the words, by name."""
    if value not in known:
        raise SecateurError(f"{name}: expected one of {', '.join(known)}, got {value!r}")


def check_keep(keep: int | float) -> None:
    """Refuse what is neither a fraction nor a count."""
    if not keep > 0 or (isinstance(keep, float) and keep > 1):
        raise SecateurError(f"keep: expected a fraction in (0, 1] or a count of 1 or more, got {keep}")
