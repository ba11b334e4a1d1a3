"""One pruning of made-up shards, shared by the tests that read what is left of it."""

import os
from types import SimpleNamespace

import pytest

from secateur.scale import Clustering
from tests.scale.made import made, prune, write


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
    clustering = Clustering(clusters=12, unit_rows=64)
    out = folder / "out"
    result = prune(shards, out, keep=0.3, clustering=clustering, write=["shards", "uids", "keys"])
    return SimpleNamespace(data=data, shards=shards, out=out, result=result, clustering=clustering)
