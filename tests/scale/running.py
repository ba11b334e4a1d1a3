"""What the tests of runs share: small shards, one pruning of them, and engines that kill and count."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from secateur.scale import Clustering, cluster, prune
from secateur.scale.engines import Engine
from secateur.scale.stage import Job
from secateur.scale.storage import Place

DIMS, GROUP = 8, 64
SHARDS = (200, 150, 0, 130)  # rows
UNITS = 8  # of 64 rows, four in the first shard, three in the second, and three in the last: see CLUSTERING
CLUSTERING = Clustering(clusters=6, unit_rows=GROUP)
TRACKED = ("manifest.parquet", "kept_ids.parquet", "kept")


def write_shards(folder):
    """Some clouds of points, of which every fifth is there again a little beside; ids in no order."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, DIMS))
    rows = centres[rng.integers(5, size=sum(SHARDS))] + 0.4 * rng.normal(size=(sum(SHARDS), DIMS))
    rows[::5] = rows[1::5] + 0.001
    ids, start = rng.permutation(10 * len(rows))[: len(rows)], 0
    for number, count in enumerate(SHARDS):
        part = slice(start, start + count)
        table = {
            "id": pa.array(ids[part], pa.int64()),
            "url": pa.array([f"http://example.org/{i}" for i in ids[part]]),
            "embedding": pa.array(list(rows[part].astype(np.float16)), pa.list_(pa.float16())),
        }
        with Place(f"{folder}/{number}.parquet").writing() as file:
            pq.write_table(pa.table(table), file, row_group_size=GROUP)
        start += count
    return f"{folder}/*.parquet"


def pruned(shards, out, engine, keep=0.4):
    """The pruning that all of them do."""
    return prune(shards, keep=keep, out=str(out), clustering=CLUSTERING, write=["shards"], engine=engine, quiet=True)


def content(out):
    """Everything that must come out the same: name to bytes, hidden files of other writers included."""
    found = {p.relative_to(out).as_posix(): p.read_bytes() for n in TRACKED for p in (Path(out) / n).rglob("*")}
    assert {name.partition("/")[0] for name in found} == set(TRACKED)
    return found


@dataclass(frozen=True)
class Deadly(Engine):
    """Another engine, whose worker is killed in the middle of a unit, once; `folder` remembers that."""

    inner: Engine
    folder: Path

    def map(self, work, tasks):
        return self.inner.map(_deadly, [(self.folder / "killed", work, task) for task in tasks])


def _deadly(given):
    flag, work, job = given
    if isinstance(job, Job) and job.folder.name.startswith("assign-") and job.name == "000002" and not flag.exists():
        flag.touch()
        cluster.write_keys = die  # of its files, some are there and some are not
    return work(job)


def die(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Counting(Engine):
    """Another engine; `log` has a line for each task that was begun."""

    inner: Engine
    log: Path

    def map(self, work, tasks):
        return self.inner.map(_counted, [(self.log, work, task) for task in tasks])


def _counted(given):
    log, work, job = given
    if isinstance(job, Job):  # else what was written is only looked at
        with log.open("a") as lines:
            lines.write(f"{job.folder.name}/{job.name}\n")
    return work(job)
