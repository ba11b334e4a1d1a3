"""Every random stream of a run, derived from one seed and the name of what it is for.

Streams are named by purpose and epoch instead of being carried along, so that a resumed run draws what the
uninterrupted one would have drawn without storing any generator's state.
"""

import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import numpy as np
import torch


def entropy(seed: int, *purpose: str | int) -> np.random.SeedSequence:
    """The seed of one named stream: `entropy(0, "crop", 3)` and `entropy(0, "crop", 4)` are unrelated."""
    words = [zlib.crc32(p.encode()) if isinstance(p, str) else p for p in purpose]
    return np.random.SeedSequence([seed, *words])


def rng(seed: int, *purpose: str | int) -> np.random.Generator:
    """A numpy generator for one purpose.

    >>> rng(0, "split").integers(100) == rng(0, "split").integers(100)
    np.True_
    """
    return np.random.default_rng(entropy(seed, *purpose))


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A torch generator, on the CPU, for one purpose: draws do not depend on the device that trains."""
    state = entropy(seed, *purpose).generate_state(2, np.uint32)
    return torch.Generator().manual_seed(int(state[0]) << 32 | int(state[1]))


@contextmanager
def lent(seed: int, *purpose: str | int) -> Iterator[None]:
    """Some of torch draws from the global CPU stream alone: seed it inside, give it back untouched after."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(int(entropy(seed, *purpose).generate_state(1)[0]))
        yield


def initialised(seed: int) -> AbstractContextManager[None]:
    """The stream lent to weight initialisers."""
    return lent(seed, "weights")
