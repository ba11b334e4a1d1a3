"""The stages of a run in their order, each over the one before: what `prune` and the single commands go through."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from secateur.errors import SecateurError
from secateur.progress import Progress
from secateur.ranges import ROWS, SEED, Range
from secateur.registry import part_of
from secateur.scale import choose, cluster, dedup, filters, ids
from secateur.scale.choose import Left
from secateur.scale.engines import Engine
from secateur.scale.exchange import Bucket, buckets
from secateur.scale.filters import Filter
from secateur.scale.kmeans import Centroids
from secateur.scale.shards import Columns, Survey
from secateur.scale.stage import Stage, Summary, numbered
from secateur.scale.storage import Folders, Place, together
from secateur.scale.thresholds import asked, largest_reaching


@dataclass(frozen=True)
class Clustering:
    """How rows are clustered. clusters: by default the root of the rows; sample: rows that centroids are found from.

    border: a row is also assigned to other clusters, at most two, whose centroids are farther (1 - cosine) by no more
    than this. That finds near-duplicates across a border, and stores those rows once more on disk. 0: none.
    """

    clusters: int | None = None
    sample: int | None = None
    iterations: int = 6
    unit_rows: int = 131_072
    on_bad: str = "stop"
    seed: int = 0
    border: float = 0.005

    def __post_init__(self) -> None:
        for name in ("clusters", "sample", "iterations", "unit_rows", "seed"):
            if (value := getattr(self, name)) is not None:
                (SEED if name == "seed" else ROWS).check(value, name)
        Range(0, 2).check(self.border, "border")
        if self.on_bad not in ("stop", "drop"):
            raise SecateurError(f"on_bad: expected stop or drop, got {self.on_bad!r}")

    def counts(self, rows: int) -> tuple[int, int]:
        """How many clusters among so many rows, and from how many of them their centroids are found.

        >>> Clustering().counts(1_000_000), Clustering(clusters=3).counts(50)
        ((1000, 256000), (3, 50))
        """
        clusters = self.clusters or cluster.default_clusters(rows)
        if clusters > rows:
            raise SecateurError(f"clusters: expected at most the {rows} rows there are, got {clusters}")
        sample = self.sample or min(rows, 256 * clusters)
        if clusters > sample:
            raise SecateurError(f"sample: expected at least as many rows as the {clusters} clusters, got {sample}")
        return clusters, sample


@dataclass(frozen=True)
class Dedup:
    """Which rows are duplicates: of a cosine above `threshold`, or so many that the fraction `target` is left.

    target: of the rows that pass the filter, since these are compared.
    """

    threshold: float | None = 0.95
    target: float | None = None
    prefer: dedup.Prefer = "hard"

    def __post_init__(self) -> None:
        if (self.threshold is None) == (self.target is None):
            raise SecateurError("dedup: expected a threshold or a target fraction, got both or neither")
        if self.threshold is not None and not -1 <= self.threshold <= 1:
            raise SecateurError(f"threshold: expected a cosine from -1 to 1, got {self.threshold}")
        if self.target is not None and not 0 < self.target <= 1:
            raise SecateurError(f"target: expected a fraction in (0, 1], got {self.target}")
        if self.prefer not in dedup.PREFER:
            raise SecateurError(f"prefer: expected {', '.join(dedup.PREFER)}, got {self.prefer!r}")


@dataclass(frozen=True)
class Clustered:
    """Rows laid out by cluster."""

    fitted: Stage
    stage: Stage
    units: Sequence[Place]
    buckets: tuple[Bucket, ...]
    centroids: Centroids
    summaries: list[Summary]

    @property
    def rows(self) -> int:
        """Rows that have a cluster."""
        return sum(s["rows"] for s in self.summaries)


@dataclass(frozen=True)
class Remaining:
    """What is left after filter and dedup, bucket by bucket, and of each cluster how many and how far they spread."""

    stage: Stage
    left: tuple[Left, ...]
    sizes: np.ndarray  # (clusters,) before
    counts: np.ndarray  # (clusters,) what is left
    d_intra: np.ndarray  # (clusters,), nan where nothing is left
    summaries: list[Summary]
    threshold: float
    alike: tuple[int, ...] = ()  # duplicates at each of `dedup.LEVELS`, where any were looked for

    @property
    def rows(self) -> int:
        """Rows that are left."""
        return int(self.counts.sum())


@dataclass(frozen=True)
class Run:
    """A folder, the shards, and who does the work."""

    out: Place
    found: Survey
    columns: Columns
    engine: Engine
    progress: Progress
    bill: dict[str, dict[str, float]] = field(default_factory=dict)  # by stage
    own: Callable[[], None] = lambda: None  # raises if another command has taken OUT over
    result: Place | None = None  # where results go, if not to `out`

    @property
    def files(self) -> Place:
        """The folder of the manifest, ids and other results."""
        return self.result or self.out

    def stage(
        self, stage: Stage, what: str, work: Callable[[Any, Place], Summary], tasks: Mapping[str, Any]
    ) -> list[Summary]:
        """Do a stage, say how far it is, and put it on the bill."""
        started = time.perf_counter()
        self.own()
        with self.progress.stage(what) as advance:

            def step(done: int, total: int) -> None:
                self.own()
                advance(done, total)

            found = stage.run(self.engine, work, tasks, step)
        costs = self.bill.setdefault(stage.name, {"wall": 0.0, "seconds": 0.0, "busy": 0.0, "peak": 0, "tasks": 0})
        costs["wall"] += time.perf_counter() - started
        costs["tasks"] += len(found)
        costs["peak"] = max([costs["peak"], *(s["peak"] for s in found)])
        for name in ("seconds", "busy"):
            costs[name] += sum(s[name] for s in found)
        return found

    def clustered(self, how: Clustering) -> Clustered:
        """Sample, centroids, exchange, and a look at the ids."""
        count, wanted = how.counts(self.found.rows)
        base = {"fingerprint": self.found.fingerprint, "columns": [self.columns.id, self.columns.embedding]}
        drawn = Stage("sample", base | {"rows": wanted, "seed": how.seed, "unit_rows": how.unit_rows}, self.out)
        draws = cluster.sampling(self.found, self.columns, rows=wanted, seed=how.seed)
        self.stage(drawn, "drawing a sample", cluster.sample, draws)
        fitted = Stage("fit", {"clusters": count, "iterations": how.iterations, "seed": how.seed}, self.out, drawn)
        samples = tuple(drawn.folder / f"{name}.npy" for name in draws)
        fitting = cluster.Fitting(samples, count, how.seed, how.iterations)
        self.stage(fitted, f"finding {count} centroids", cluster.fit, numbered([fitting]))
        laid = Stage("assign", {"on_bad": how.on_bad, "border": how.border}, self.out, fitted)
        return self._assigned(laid, fitted, how)

    def _assigned(self, laid: Stage, fitted: Stage, how: Clustering) -> Clustered:
        parts = ids.ranges(self.found.rows)
        tasks = {
            name: cluster.Assigning(
                unit, self.columns, self.found.dims, fitted.folder, how.on_bad, how.border, parts, name
            )
            for name, unit in numbered(self.found.units).items()
        }
        summaries = self.stage(laid, "laying rows out by cluster", cluster.assign, tasks)
        units, looked = Folders(laid.folder, len(tasks)), Stage("ids", {}, self.out, laid)
        looking = numbered([ids.Looking(units, p) for p in range(parts)])
        for found in self.stage(looked, "looking for ids that are there twice", ids.look, looking):
            ids.tell(self.found.units, self.columns, found["twice"])
        centroids = Centroids.open(fitted.folder)
        grouped = tuple(buckets(units, len(centroids), rows=how.unit_rows))
        return Clustered(fitted, laid, units, grouped, centroids, summaries)

    def filtered(self, laid: Clustered, how: Filter | None) -> tuple[Stage, Sequence[Place] | None]:
        """Who passes the filter: a folder a unit, or None where there is no filter."""
        if how is None:
            return laid.stage, None
        read = Stage("scores", {"column": how.column}, self.out, laid.stage)
        names = numbered(self.found.units)
        scoring = {
            name: filters.Scoring(unit, self.columns, how.column, self.found.dims, place, name)
            for (name, unit), place in zip(names.items(), laid.units, strict=True)
        }
        self.stage(read, f"reading {how.column}", filters.scores, scoring)
        places = [read.folder / name / "scores.npy" for name in names]
        span = (-np.inf if how.min is None else how.min, np.inf if how.max is None else how.max)
        counted = self._bounds(read, places, how, laid.rows)
        through = Stage("filter", how.asked(), self.out, read)
        passing = {n: filters.Passing(read.folder / n, span, counted, n) for n in names}
        summaries = self.stage(through, f"filtering by {how.column}", filters.passing, passing)
        if not sum(s["passed"] for s in summaries):
            raise SecateurError(f"filter: no row passes {how.asked()}; look at the range of {how.column}")
        return through, Folders(through.folder, len(names))

    def _bounds(self, read: Stage, places: Sequence[Place], how: Filter, rows: int) -> tuple[float, float]:
        """The range in which the top, and the quantiles, of a filter lie."""
        low, high = -np.inf, np.inf

        def reaching(target: int) -> float:
            return float(largest_reaching(self._counts(read, places), target))

        if how.top is not None:
            low = max(low, reaching(max(1, part_of(how.top, rows))))
        if how.quantiles is not None:
            first, second = how.quantiles
            low = max(low, reaching(max(1, part_of(1 - first, rows))))
            high = min(high, reaching(max(1, part_of(1 - second, rows))))
        return low, high

    def _counts(self, after: Stage, places: Sequence[Place]) -> Callable[[np.ndarray], np.ndarray]:
        """Counts of the values in these files at or above thresholds."""

        def counts(thresholds: np.ndarray) -> np.ndarray:
            stage = Stage("count", asked(thresholds), self.out, after)
            tasks = numbered([filters.Counting(place, thresholds) for place in places])
            return filters.total(self.stage(stage, "counting", filters.count, tasks))

        return counts

    def remaining(self, laid: Clustered, filter: Filter | None, how: Dedup | None, *, seed: int) -> Remaining:
        """What filter and dedup leave. Duplicates are sought among the rows that pass the filter."""
        stage, passed = self.filtered(laid, filter)
        names, threshold, compared, alike = list(numbered(laid.buckets)), np.inf, None, []
        if how is not None:
            stage = Stage("dedup", {"prefer": how.prefer, "seed": seed}, self.out, stage)
            comparing = {
                n: dedup.Comparing(b, how.prefer, seed, passed, n) for n, b in zip(names, laid.buckets, strict=True)
            }
            compares = self.stage(stage, "comparing rows in clusters", dedup.compare, comparing)
            alike = [s["alike"] for s in compares]
            compared = [stage.folder / name for name in names]
            threshold = self._threshold(stage, compared, how, compares)
        each = [None] * len(names) if compared is None else compared
        left = tuple(Left(b, passed, c, float(threshold)) for b, c in zip(laid.buckets, each, strict=True))
        counted = Stage("left", {"threshold": str(threshold)}, self.out, stage)
        tasks = {n: choose.Measuring(one, n) for n, one in zip(names, left, strict=True)}
        summaries = self.stage(counted, "counting what is left", choose.measure, tasks)
        found = np.concatenate(list(together(Place.read_array, [counted.folder / f"{n}.npy" for n in names])))
        with np.errstate(invalid="ignore"):
            spread = found[:, 1] / found[:, 0]
        counts, sizes = found[:, 0].astype(np.int64), found[:, 2].astype(np.int64)
        return Remaining(
            counted, left, sizes, counts, spread, summaries, float(threshold), tuple(map(sum, zip(*alike, strict=True)))
        )

    def _threshold(self, stage: Stage, places: Sequence[Place], how: Dedup, compared: Sequence[Summary]) -> float:
        """The cosine above which the later of two rows goes."""
        if how.threshold is not None:
            return how.threshold
        assert how.target is not None
        rows, alone = (sum(s[name] for s in compared) for name in ("compared", "alone"))
        left = part_of(how.target, rows)
        if left < alone:
            raise SecateurError(
                f"target: {how.target} of {rows} rows are {left}, but of each cluster one stays, {alone} in all; ask "
                f"for {np.ceil(1e4 * alone / rows) / 1e4:.4f} or more"
            )
        if left == rows:
            return np.inf
        counts = self._counts(stage, [place / "similarity.npy" for place in places])
        return float(np.nextafter(largest_reaching(counts, rows - left), np.float32(-np.inf)))
