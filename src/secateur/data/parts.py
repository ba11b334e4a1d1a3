"""Seeded, stratified parts of a data set: validation rows for choices, held-out rows where there is no test split."""

import dataclasses

import numpy as np

from secateur.data.source import Source
from secateur.errors import DataError


def stratified(labels: np.ndarray, ids: np.ndarray, fraction: float, rng: np.random.Generator) -> np.ndarray:
    """A part of `ids`, sorted: of each class its fraction, rounded, at least one example and never all of them.

    Data without labels are of one class.

    >>> len(stratified(np.repeat([0, 1], 50), np.arange(100), 0.1, np.random.default_rng(0)))
    10
    """
    part = []
    for label in np.unique(labels[ids]):
        members = ids[labels[ids] == label]
        count = min(max(round(fraction * len(members)), 1), len(members) - 1)
        part.append(rng.permutation(members)[:count])
    return np.sort(np.concatenate(part))


def hold_out(source: Source, fraction: float, rng: np.random.Generator) -> Source:
    """A source whose test split is a part of its train split; its fingerprint tells it from the whole.

    Raises DataError for data without labels, on which nothing can be tested.
    """
    source.require_labels("holding out a test split")
    train = source.train
    if len(train.usable) < 2 * len(train.classes):
        raise DataError(f"test: {len(train.usable)} examples are too few to hold some out; name a test split")
    held = stratified(train.labels, train.usable, fraction, rng)
    rest = np.setdiff1d(train.usable, held)
    mark = f"{train.fingerprint}-held-out-{fraction:g}-{int(held.sum()):x}"
    part = dataclasses.replace(train, usable=rest, fingerprint=mark)
    test = dataclasses.replace(train, name="held out", usable=held, bad={}, fingerprint=f"{mark}-test")
    return dataclasses.replace(source, train=part, _open_test=lambda: test)
