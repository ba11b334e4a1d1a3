"""`scale embed` has OUT to itself: embeddings of two runs are never mixed, and a refused run changes nothing."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from torch import nn

from secateur.errors import SecateurError, WrongData
from secateur.scale import How, lease
from secateur.scale import embed as module
from secateur.scale.embed import embed
from secateur.scale.storage import Place, expand
from secateur.scale.texts import embed_texts
from secateur.store.files import locked
from tests.training.test_saved_names import HERE as NETS
from tests.training.test_saved_names import saved

HERE = "tests.scale.test_embedded"
ROWS = np.arange(40, dtype=np.float32).reshape(10, 4)


def twice(shape):
    class Twice(nn.Module):
        def forward(self, rows):
            return 2 * rows

    return Twice()


def lengths():
    return lambda texts: np.array([[len(text), 1.0] for text in texts])


def embedded(out, by="input", **options):
    return embed(ROWS, out=str(out), quiet=True, **{"by": by, "rows": 3} | options)


def captions(folder):
    folder.mkdir()
    pq.write_table(pa.table({"caption": ["a", "bb"]}), folder / "0.parquet")
    return lambda out, **options: embed_texts(
        str(folder), text="caption", by=f"{HERE}:lengths", out=str(out), quiet=True, **options
    )


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"}


def numbers(places):
    found = []
    for place in places:
        with place.open() as file:
            found += pq.read_table(file)["embedding"].to_pylist()
    return np.array(found)


@pytest.mark.parametrize("kind", ["data", "texts"])
def test_a_second_command_in_the_same_folder_is_refused(tmp_path, kind):
    job = embedded if kind == "data" else captions(tmp_path / "in")
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"), pytest.raises(WrongData, match="another command is running"):
        job(tmp_path / "out")
    assert content(tmp_path / "out") == {}


@pytest.mark.parametrize("kind", ["data", "texts"])
@pytest.mark.parametrize("name", ["part-00000.parquet", "part-000000.parquet", "notes.txt"])
def test_force_deletes_no_file_of_a_folder_that_is_not_of_embeddings(tmp_path, kind, name):
    job = embedded if kind == "data" else captions(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"mine")
    with pytest.raises(WrongData, match=f"contains other files .{name}"):
        job(tmp_path / "out", force=True)
    assert content(tmp_path / "out") == {name: b"mine"}
    assert not (tmp_path / "out" / ".lock").exists()


@pytest.mark.parametrize("name", ["part-000004.parquet", "other.parquet"])
@pytest.mark.parametrize("options", [{}, {"force": True}, {"by": f"{HERE}:twice", "force": True}])
def test_a_shard_that_is_none_of_the_run_stops_it_and_stays(tmp_path, name, options):
    embedded(tmp_path)
    (tmp_path / name).write_bytes((tmp_path / "part-000000.parquet").read_bytes())
    before = content(tmp_path)
    with pytest.raises(WrongData, match=f"contains .*{name}, which this run did not write"):
        embedded(tmp_path, **options)
    assert content(tmp_path) == before


def test_a_shard_that_comes_in_between_is_told_at_the_end(tmp_path, monkeypatch):
    write = module._write

    def beside(place, *rest):
        write(place, *rest)
        write(Place(str(tmp_path / "part-000009.parquet")), *rest)

    monkeypatch.setattr(module, "_write", beside)
    with pytest.raises(WrongData, match=r"part-000009.parquet was added to .* during the run"):
        embedded(tmp_path)


def test_a_shard_without_embeddings_is_not_taken_for_one_that_is_done(tmp_path):
    embedded(tmp_path)
    pq.write_table(pa.table({"id": [1]}), tmp_path / "part-000001.parquet")
    with pytest.raises(WrongData, match="part-000001.parquet has no embeddings of this run; delete it"):
        embedded(tmp_path)


def test_force_replaces_the_shards_and_leaves_what_else_is_there(tmp_path):
    embedded(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    many = embedded(tmp_path, by=f"{HERE}:twice", rows=5, force=True)
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == ["part-000000.parquet", "part-000001.parquet"]
    assert (numbers(many) == 2 * ROWS).all()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_run_that_is_stopped_while_it_replaces_others_never_mixes_them(tmp_path, monkeypatch):
    embedded(tmp_path)

    def full(*given):
        raise SecateurError("disk full")

    with monkeypatch.context() as patch, pytest.raises(SecateurError, match="disk full"):
        patch.setattr("secateur.scale.claim.Claim.begin", full)
        embedded(tmp_path, by=f"{HERE}:twice", force=True)
    assert (numbers(embedded(tmp_path)) == ROWS).all()


def test_another_net_in_the_same_model_file_makes_other_embeddings(tmp_path):
    data, model = np.zeros((4, 1, 8, 8), np.uint8), tmp_path / "run" / "model.safetensors"
    given = {"by": str(tmp_path / "run"), "net": f"{NETS}:own", "out": str(tmp_path / "out"), "quiet": True}
    saved(model)
    (place,) = embed(data, **given)
    assert numbers([place]).shape == (4, 3)
    saved(model, spec="mlp:0.01")
    with pytest.raises(WrongData, match="contains other embeddings .model was"):
        embed(data, **given)


def test_a_net_of_one_s_own_is_named_with_net(tmp_path):
    saved(tmp_path / "model.safetensors")
    given = {"by": str(tmp_path), "out": str(tmp_path / "out"), "quiet": True}
    data = np.zeros((4, 1, 8, 8), np.uint8)
    with pytest.raises(SecateurError, match="--net"):
        embed(data, **given)
    assert len(embed(data, **given, net=f"{NETS}:own")) == 1


@pytest.fixture
def store(bucket, tmp_path, monkeypatch):
    monkeypatch.setenv(lease.TTL, "1")
    monkeypatch.setattr(lease, "_is_dead", lambda record: False)  # both writers are this process
    return Place(bucket) / tmp_path.name


@pytest.mark.parametrize("options", [{}, {"claiming": How(take_over=True)}])
def test_of_two_commands_on_a_store_one_succeeds_and_its_shards_are_whole(store, monkeypatch, options):
    write, ends = module._write, []

    def late(place, *rest):
        """The first is stopped before its second shard, and another with other options comes meanwhile."""
        if place.name == "part-000001.parquet" and not ends:
            ends.append("started")
            try:
                ends.append(embedded(store.url, by=f"{HERE}:twice", force=True, **options))
            except WrongData as error:
                ends.append(str(error))
        write(place, *rest)

    monkeypatch.setattr(module, "_write", late)
    if options:
        with pytest.raises(WrongData, match="another command took over"):
            embedded(store.url)
        assert (numbers(ends[1]) == 2 * ROWS).all()
        assert expand(store.url) == ends[1]
    else:
        first = embedded(store.url)
        assert "another command is running" in ends[1]
        assert (numbers(first) == ROWS).all()
        assert expand(store.url) == first


def test_on_a_store_other_embeddings_stop_a_run_and_the_same_go_on(store):
    first = embedded(store.url)
    assert first[0].url.startswith(f"{store.url}/generation/")
    with pytest.raises(WrongData, match="contains other embeddings .by was 'input'"):
        embedded(store.url, by=f"{HERE}:twice")
    first[1].remove()
    assert embedded(store.url) == first
    assert (numbers(first) == ROWS).all()
    last = embedded(store.url, by=f"{HERE}:twice", force=True)
    assert expand(store.url) == last
    assert not first[0].exists()


def test_a_store_without_conditional_writes_needs_a_word_that_there_is_one_writer():
    out = Place("memory://embedded")
    with pytest.raises(SecateurError, match="--unsafe-single-writer"):
        embedded(out.url)
    assert (numbers(embedded(out.url, claiming=How(single_writer=True))) == ROWS).all()
    out.remove()
