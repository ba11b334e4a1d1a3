"""`scale select` gives what `prune` would, and does nothing again that was done."""

import shutil

import pyarrow.parquet as pq
import pytest

from secateur.errors import DataError, SecateurError, WrongData
from secateur.scale import Choice, Columns, Dedup, Filter, select
from secateur.scale.engines import Local
from tests.scale.made import FEW, made, prune, write
from tests.scale.running import Counting, content

DONE = {"sample", "fit", "assign", "ids", "scores", "count", "filter", "dedup", "left"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with everything in it that a run may ask for, and the options it had."""
    folder = tmp_path_factory.mktemp("again")
    data, shards = made(), folder / "shards"
    write(shards, data)
    for path in shards.iterdir():
        found = pq.read_table(path)
        pq.write_table(
            found.rename_columns(
                ["key" if n == "id" else "vec" if n == "embedding" else n for n in found.column_names]
            ),
            path,
        )
    how = {
        "clustering": FEW, "columns": Columns("key", "vec"), "filter": Filter("clip", quantiles=(0.1, 0.95), top=0.8),
        "dedup": Dedup(None, 0.9, "easy"),
    }  # fmt: skip
    prune(shards, folder / "out", keep=0.3, write=["shards"], **how)
    return shards, folder / "out", how


@pytest.mark.parametrize(
    ("asked", "keep", "choice"),
    [
        ({"keep": 0.2}, 0.2, Choice()),
        ({"keep": 0.2, "temperature": 0.5}, 0.2, Choice(temperature=0.5)),
        ({"by": "random"}, None, Choice("random")),
        ({"keep": 50, "by": "prototypes", "floor": 0.2, "prefer": "easy"}, 50, Choice("prototypes", "easy", 0.2)),
    ],
)
def test_it_gives_the_bytes_of_a_fresh_run_and_clusters_and_compares_nothing(finished, tmp_path, asked, keep, choice):
    shards, out, how = finished
    fresh, copy, log = tmp_path / "fresh", shutil.copytree(out, tmp_path / "copy"), tmp_path / "log"
    expected = prune(shards, fresh, keep=keep, choice=choice, write=["shards"], **how)
    found = select(str(copy), write=["shards"], quiet=True, engine=Counting(Local(1), log), **asked)
    assert content(copy) == content(fresh)
    assert (found.kept, found.duplicates, found.filtered) == (expected.kept, expected.duplicates, expected.filtered)
    begun = {line.partition("/")[0].partition("-")[0] for line in log.read_text().splitlines()}
    assert begun
    assert not begun & DONE


def test_twice_and_back_it_is_the_first_again(finished, tmp_path):
    _, out, _ = finished
    copy = shutil.copytree(out, tmp_path / "copy")
    select(str(copy), keep=0.1, by="random", quiet=True)
    assert not (copy / "kept").exists()  # they were of another selection
    select(str(copy), keep=0.3, by="density", write=["shards"], quiet=True)
    assert content(copy) == content(out)


class TestBadInput:
    def test_an_out_of_nothing_and_one_of_something_else(self, tmp_path):
        with pytest.raises(WrongData, match="out: expected the OUT of a scale command, got .*, which has no run.json"):
            select(str(tmp_path / "none"), keep=0.1)
        (tmp_path / "run.json").write_text('{"data": {}}')
        with pytest.raises(WrongData, match="out: expected the OUT of a scale command"):
            select(str(tmp_path), keep=0.1)

    def test_a_run_that_is_not_finished(self, tmp_path):
        shards = write(tmp_path / "shards", made(40, planted=0))
        with pytest.raises(SecateurError, match="keep"):
            prune(shards, tmp_path / "out", keep=40, clustering=FEW, dedup=Dedup(None, 0.5))
        with pytest.raises(WrongData, match="is not finished; run its command again, it goes on"):
            select(str(tmp_path / "out"), keep=0.1)

    def test_one_whose_stages_were_deleted(self, finished, tmp_path):
        copy = shutil.copytree(finished[1], tmp_path / "copy")
        shutil.rmtree(copy / "stages")
        with pytest.raises(
            WrongData, match="has no stages/ any more, so all would be done again; that is `scale prune`"
        ):
            select(str(copy), keep=0.1)

    def test_shards_that_are_gone_and_shards_that_changed(self, tmp_path):
        shards = write(tmp_path / "shards", made(60, planted=0))
        prune(shards, tmp_path / "out", keep=0.5, clustering=FEW)
        first = sorted((tmp_path / "shards").iterdir())[0]
        pq.write_table(pq.read_table(first).slice(1), first)
        with pytest.raises(WrongData, match="was made from other shards"):
            select(str(tmp_path / "out"), keep=0.1)
        first.unlink()
        with pytest.raises(DataError, match=first.name):
            select(str(tmp_path / "out"), keep=0.1)

    def test_more_than_dedup_left(self, finished, tmp_path):
        copy = shutil.copytree(finished[1], tmp_path / "copy")
        before = content(copy)
        with pytest.raises(SecateurError, match=r"keep: .* rows are asked for, but filter and dedup leave \d+"):
            select(str(copy), keep=0.99)
        assert content(copy) == before

    def test_what_the_way_of_choosing_does_not_have(self, finished):
        with pytest.raises(SecateurError, match="temperature: choosing by random has none; leave it out, or choose by"):
            select(str(finished[1]), keep=0.1, by="random", temperature=0.3)
