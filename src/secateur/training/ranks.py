"""Several processes as one, under torch.distributed: what each saw of the examples becomes what all saw."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def rank() -> int:
    """This process's rank, 0 outside torch.distributed."""
    return dist.get_rank() if ranks() > 1 else 0


def ranks() -> int:
    """How many processes work together, 1 outside torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def barrier() -> None:
    """Wait for the other ranks, if there are any."""
    if ranks() > 1:
        dist.barrier()


def once(work: Callable[[], T]) -> T:
    """What rank 0's `work` gives, on every rank, which all call this; what it raises, all raise."""
    if ranks() == 1:
        return work()
    told: list[Any] = [None, None]
    if rank() == 0:
        try:
            told[0] = work()
        except Exception as error:
            told[1] = error
    dist.broadcast_object_list(told, src=0)
    if told[1] is not None:
        raise told[1]
    return told[0]


def merged(seen: Tensor, *tables: Tensor) -> Tensor:
    """Give every rank the rows that any has seen; returns which those are (examples,).

    seen: those of this rank. tables (examples, ...) are changed in place: a row that several saw is the lowest rank's,
    and one that nobody saw stays. Sums of one row and zeros, so nothing is rounded.
    """
    if ranks() == 1:
        return seen
    owner = torch.where(seen, rank(), ranks()).int()
    dist.all_reduce(owner, dist.ReduceOp.MIN)
    anyone, mine = owner < ranks(), owner == rank()
    for values in tables:
        wide = mine.view(-1, *(1,) * (values.ndim - 1))
        shared = torch.where(wide, values, 0).contiguous()
        dist.all_reduce(shared)
        values.copy_(torch.where(anyone.view(wide.shape), shared, values))
    return anyone
