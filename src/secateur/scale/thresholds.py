"""An exact threshold over values that no single machine holds: three rounds of counting."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt32

Counts = Callable[[np.ndarray], np.ndarray]
"""Thresholds (n,) float32, rising, to how much each of them keeps (n,) int64, falling."""
_ROUNDS = ((21, 11), (10, 11), (0, 10))


def values(keys: UInt32[np.ndarray, " n"]) -> Float32[np.ndarray, " n"]:
    """The float32 numbers in their order, by their place in it; what would be nan is the infinity beside it.

    >>> values(np.array([0, 0x80000000, 0xBF800000, 0xFFFFFFFF], dtype=np.uint32))
    array([-inf,   0.,   1.,  inf], dtype=float32)
    """
    bits = np.where(keys & 0x80000000, keys & 0x7FFFFFFF, ~keys).astype(np.uint32)
    found = bits.view(np.float32)
    infinity = np.where(keys & 0x80000000, np.inf, -np.inf).astype(np.float32)
    return np.where(np.isnan(found), infinity, found)


def asked(thresholds: np.ndarray) -> dict[str, Any]:
    """What tells the thresholds of a round from those of another; beyond all numbers the ends alone are the same.

    >>> asked(np.array([0.25, 0.5]))
    {'thresholds': ['0.25', '0.5', 2]}
    """
    return {"thresholds": [str(thresholds[0]), str(thresholds[-1]), len(thresholds)]}


def largest_reaching(counts: Counts, target: int) -> np.float32:
    """The largest float32 threshold that keeps at least `target`; -inf must.

    >>> rows = np.array([.5, .25, .75], dtype=np.float32)
    >>> largest_reaching(lambda t: (rows[:, None] >= t).sum(axis=0), 2)
    np.float32(0.5)
    """
    low = 0
    for shift, bits in _ROUNDS:
        keys = np.uint32(low) + (np.arange(1 << bits, dtype=np.uint32) << np.uint32(shift))
        reached = np.flatnonzero(counts(values(keys)) >= target)
        low = int(keys[reached[-1]]) if len(reached) else low
    return np.float32(values(np.array([low], dtype=np.uint32))[0])
