"""Scores over a recording of any size: a block of examples at a time."""

import numpy as np

from secateur.errors import SecateurError
from secateur.fields import FIELDS
from secateur.methods import Use
from secateur.store.recording import BLOCK, Recording


def compute(recording: Recording, use: Use) -> np.ndarray:
    """One score of every example (examples,); nan for rows that the run never saw.

    Memory does not grow with the number of examples, apart from scores of the whole set.
    """
    entry = use.entry
    labels = np.asarray(recording["labels"]) if "labels" in recording else np.zeros(recording.examples)
    size = recording.examples if entry.whole_set else BLOCK
    out = np.full(recording.examples, np.nan)
    for examples, arrays in recording.blocks(entry.needs, epochs=use.rows(recording.epochs), size=size):
        seen = labels[examples] >= 0
        if not seen.all():
            arrays = {n: a.compress(seen, axis=FIELDS[n].axes.index("examples")) for n, a in arrays.items()}
        try:
            out[examples][seen] = entry.fn(*(arrays[n] for n in entry.needs), **use.knobs)
        except SecateurError as error:
            where = f"{use.label}, examples {examples.start} to {examples.stop - 1}"
            raise type(error)(f"{where}: {error}") from None
    return out
