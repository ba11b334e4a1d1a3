"""What the machine offers: a device, a number format for the matrix products, memory that stays allocated."""

import contextlib
import ctypes
import functools
from typing import Any

import torch

from secateur.errors import SecateurError, reason


def pick_device(name: str = "auto") -> torch.device:
    """The device of that name; `auto` takes an accelerator where there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SecateurError(
            f"device: expected auto, cpu, cuda or mps on this machine, got {name!r} ({reason(error)})"
        ) from None
    return device


@functools.cache
def bfloat16_helps(device: torch.device) -> bool:
    """Does the device multiply bfloat16 in hardware?"""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Forward passes in bfloat16 where that helps: twice the speed on processors with the instructions."""
    if bfloat16_helps(device):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next step instead of handing it back to the system.

    Every step frees and asks for the same hundreds of megabytes; without this each page is faulted in anew
    (benchmarks/step.md: a step of resnet9 takes 1.3 times as long). Does nothing where there is no glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        mmap_max, trim_threshold, top_pad = -4, -1, -2  # malloc.h
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, 2**31 - 1)
        mallopt(top_pad, 1 << 26)
