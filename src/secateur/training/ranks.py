"""Several processes as one, under torch.distributed: what each saw of the examples becomes what all saw."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from secateur.errors import SecateurError

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


def joined(what: str, *, alone: bool = False) -> None:
    """Refuse to run as one of several processes that were started together and do not know of each other.

    torchrun sets RANK and WORLD_SIZE, but only `init_process_group` joins the processes; before it, each would write
    the same files. alone: rank 0 may go ahead by itself. Raises SecateurError.
    """
    own, size = os.environ.get("RANK", ""), os.environ.get("WORLD_SIZE", "")
    if not (own.isdecimal() and size.isdecimal()) or int(size) < 2 or ranks() > 1 or (alone and int(own) == 0):
        return
    raise SecateurError(
        f"{what}: this is process {own} of {size} (RANK, WORLD_SIZE), and they are not joined, so each would write the "
        "same files; call torch.distributed.init_process_group first, or unset RANK and WORLD_SIZE in a run of its own"
    )


def once(work: Callable[[], T]) -> T:
    """What rank 0's `work` gives, on every rank, which all call this; what it raises, all raise."""
    if ranks() == 1:
        joined("torch.distributed", alone=True)
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
