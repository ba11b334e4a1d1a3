"""What rules have in common: looking at knobs, and ranking with ties at random."""

import numpy as np

from secateur.errors import SecateurError


def highest(values: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """The places of the highest values; ties at random."""
    return np.lexsort((rng.random(len(values)), -values))[:count]


def check_word(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a knob that is none of the words, by name."""
    if value not in known:
        raise SecateurError(f"{name}: expected one of {', '.join(known)}, got {value!r}")
