"""The global random streams of a training that is somebody else's."""

import random  # noqa: TID251 - to give it back as it was
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def untouched(device: torch.device) -> Iterator[None]:
    """Whatever draws inside, the streams of Python, numpy and torch, on the CPU and `device`, then stand as before."""
    python, arrays = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)  # noqa: NPY002
