"""One pruning of made-up shards, shared by the tests that read what is left of it."""

import os
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest

from secateur.errors import SecateurError
from secateur.scale import Clustering
from tests.scale.made import FEW, made, prune, table, write
from tests.scale.store import serving


@pytest.fixture(scope="package", autouse=True)
def _a_disk_that_does_not_wait():
    """A pruning has each of its fifty files on the disk before the next; here that would be most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(scope="package")
def pruned(tmp_path_factory):
    """400 rows in three shards, ids as strings, units of 64 rows, kept by density; shards and both lists written."""
    folder = tmp_path_factory.mktemp("scale")
    data = made(strings=True)
    shards = write(folder / "shards", data)
    clustering = Clustering(clusters=12, unit_rows=64, border=0.0)
    out = folder / "out"
    result = prune(shards, out, keep=0.3, clustering=clustering, write=["shards", "uids", "keys"])
    return SimpleNamespace(data=data, shards=shards, out=out, result=result, clustering=clustering)


@pytest.fixture(scope="module")
def bucket():
    """A server that speaks S3, and a bucket on it."""
    with serving():
        yield "s3://bucket"


@pytest.fixture
def shards(tmp_path):
    """Write shards of 20 rows each, as many as are given; {} is as it should be, other columns come instead."""

    def of(*several, strings=False):
        (tmp_path / "shards").mkdir()
        data = made(20 * len(several), planted=0, strings=strings)
        for number, columns in enumerate(several):
            rows = slice(20 * number, 20 * number + 20)
            shard = table(data, rows, **columns) if isinstance(columns, dict) else columns
            pq.write_table(shard, tmp_path / "shards" / f"{number}.parquet")
        return tmp_path / "shards"

    return of


@pytest.fixture
def stops(tmp_path):
    """That a pruning stops with this sentence."""

    def with_sentence(shards, said, *, kind=SecateurError, **options):
        with pytest.raises(kind, match=said):
            prune(shards, tmp_path / "out", **{"clustering": FEW} | options)

    return with_sentence
