"""Reading what was laid out by cluster: buckets of neighbouring clusters, whose rows lie in a slice of every unit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from secateur.scale.storage import Place, together


@dataclass(frozen=True)
class Bucket:
    """Neighbouring clusters [first, end) that a task takes together, and where their rows are: a folder a unit."""

    first: int
    end: int
    rows: int
    units: Sequence[Place]


def buckets(units: Sequence[Place], clusters: int, *, rows: int) -> list[Bucket]:
    """Clusters in their order, together up to about `rows` rows; a cluster of more has a bucket of its own."""
    sizes = np.zeros(clusters, dtype=np.int64)
    for firsts in together(lambda unit: (unit / "firsts.npy").read_array(), units):
        sizes += np.diff(firsts)
    out, first, sums = [], 0, np.concatenate([[0], np.cumsum(sizes)])
    while first < clusters:
        end = max(first + 1, int(np.searchsorted(sums, sums[first] + rows, side="right")) - 1)
        out.append(Bucket(first, end, int(sums[end] - sums[first]), units))
        first = end
    return out


@dataclass(frozen=True)
class Slices:
    """Where the clusters of a bucket lie in each unit: starts (units, clusters) and ends."""

    starts: np.ndarray
    ends: np.ndarray
    prefix: str = ""  # of the names of the parts: rows, or guests

    @classmethod
    def of(cls, bucket: Bucket, prefix: str = "") -> "Slices":
        """Read the places of a bucket's clusters."""

        def read(unit: Place) -> np.ndarray:
            return (unit / f"{prefix}firsts.npy").read_rows(bucket.first, bucket.end + 1)

        firsts = np.stack(list(together(read, bucket.units)))
        return cls(firsts[:, :-1], firsts[:, 1:], prefix)

    def __len__(self) -> int:
        return int((self.ends - self.starts).sum())

    @property
    def clusters(self) -> np.ndarray:
        """Sizes of the clusters (clusters,)."""
        return (self.ends - self.starts).sum(axis=0)

    @property
    def order(self) -> np.ndarray:
        """Of rows that lie unit by unit, the places that bring them cluster by cluster, units in their order."""
        counts = (self.ends - self.starts).ravel()
        of = np.tile(np.arange(self.starts.shape[1]), len(self.starts))
        return np.argsort(np.repeat(of, counts), kind="stable")


def part(bucket: Bucket, slices: Slices, name: str, *, source: Sequence[Place] | None = None) -> np.ndarray:
    """One part of a bucket's rows, cluster by cluster. source: folders with parts of the same order as the units'."""
    of = source if source is not None else bucket.units
    lows, highs, file = slices.starts[:, 0].tolist(), slices.ends[:, -1].tolist(), f"{slices.prefix}{name}.npy"
    found = together(lambda unit, low, high: (unit / file).read_rows(low, high), of, lows, highs)
    return np.concatenate(list(found))[slices.order]


def pieces(bucket: Bucket, slices: Slices, name: str, *, most: int) -> Iterator[np.ndarray]:
    """One part of the rows of a bucket that is a single cluster, in their order, at most so many at a time."""
    for unit, low, high in zip(bucket.units, slices.starts[:, 0], slices.ends[:, -1], strict=True):
        for start in range(int(low), int(high), most):
            yield (unit / f"{slices.prefix}{name}.npy").read_rows(start, min(start + most, int(high)))
