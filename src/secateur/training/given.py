"""Ids and labels as callers give them: one look at them, for every loop, callback and sampler."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from secateur.errors import SecateurError, reason


def whole_numbers(name: str, given: Any, end: int | None, *, once: bool = False) -> Tensor:
    """What a caller gave as (batch,) int64: a list, an array or a tensor, which stays on its device.

    end: each is to be 0 to end - 1. once: each may come a single time. Both are looked at on the CPU alone, since
    looking would make an accelerator wait.

    Raises SecateurError for truth values, fractions (2.0 is one), other shapes, numbers outside and repeated ones.
    """
    values = _tensor(name, given)
    if values.dtype == torch.bool or values.is_floating_point() or values.is_complex() or values.ndim != 1:
        way = "; pass mask.nonzero() for a mask" if values.dtype == torch.bool and name == "ids" else ""
        got = f"{values.dtype} {tuple(values.shape)}"
        raise SecateurError(f"{name}: expected whole numbers of shape (batch,), got {got}{way}")
    values = values.detach().to(torch.int64)
    if values.device.type != "cpu" or not len(values):
        return values
    if end is not None and not 0 <= int(values.min()) <= int(values.max()) < end:
        raise SecateurError(f"{name}: expected 0 to {end - 1}, got {int(values.min())} to {int(values.max())}")
    if once and int(repeats := repeated(values).sum()):
        again = int(values.sort().values[:-1][repeated(values)][0])
        raise SecateurError(
            f"{name}: expected each once in a batch, got {again} again ({int(repeats)} repeated); {ONCE}"
        )
    return values


ONCE = "ids are the row numbers in the data set, and a sampler with replacement must leave out what it drew twice"


def repeated(ids: Tensor) -> Tensor:
    """Is each of the sorted ids but the last (batch - 1,) followed by itself? Makes no accelerator wait."""
    ordered = ids.sort().values
    return ordered[1:] == ordered[:-1]


def _tensor(name: str, given: Any) -> Tensor:
    if isinstance(given, Tensor):
        return given
    try:
        if isinstance(given, (list, tuple)):
            if any(isinstance(value, (bool, np.bool_)) for value in given):
                return torch.ones(len(given), dtype=torch.bool)
            if not given:
                return torch.empty(0, dtype=torch.int64)
            if isinstance(given[0], Tensor):
                return torch.stack(list(given))
        array = np.asarray(given)
        if array.dtype.kind == "u":
            array = np.where(array > np.iinfo(np.int64).max, -1, array.astype(np.int64))
        return torch.from_numpy(np.array(array))
    except (TypeError, ValueError, RuntimeError) as error:
        raise SecateurError(f"{name}: expected whole numbers of shape (batch,), got {reason(error)}") from None
