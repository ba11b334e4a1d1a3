"""Scores over a recording of any size: a block of examples at a time."""

from collections.abc import Mapping

import numpy as np

from secateur.errors import SecateurError, StoreError
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
            _check_gaps(use, np.flatnonzero(seen) + examples.start, arrays)
            where = f"{use.label}, examples {examples.start} to {examples.stop - 1}"
            raise type(error)(f"{where}: {error}") from None
    return out


def _check_gaps(use: Use, ids: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
    """Explain a score that failed for missing rows: an example has none before the first epoch that visits it."""
    for name, values in arrays.items():
        if FIELDS[name].probe != "recorder" or FIELDS[name].axes != ("epochs", "examples"):
            continue
        none = values == 255 if FIELDS[name].dtype == "bool" else np.isnan(values)
        if name in ("kl_step", "cos_step"):  # undefined in the first epoch
            none = none[1:]
        if not none.any():
            continue
        late = none.any(axis=0)
        raise StoreError(
            f"{use.label}: {int(late.sum())} examples, the first with id {ids[late.argmax()]}, were not visited in "
            "every epoch, as the score requires; likely the DataLoader had drop_last=True, or a sampler that "
            "skips rows: record again with drop_last=False"
        )
