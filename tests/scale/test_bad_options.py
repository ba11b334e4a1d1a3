"""Options without sense, and folders that are taken, stop with a sentence, if they can before any work."""

import pytest

import secateur as sc
from secateur.errors import SecateurError, WrongData
from secateur.scale import Choice, Clustering, Dedup
from secateur.store.files import locked
from tests.scale.made import BAD, FEW, lists, manifest, prune, vectors

pytestmark = pytest.mark.usefixtures("our_own_errors")


# numbers that make no sense


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"clustering": Clustering(clusters=41)}, "clusters: expected at most the 40 rows there are, got 41"),
        (
            {"clustering": Clustering(clusters=20, sample=10)},
            "sample: expected at least as many rows as the 20 clusters, got 10",
        ),
        ({"keep": 0}, "keep: expected to keep a row at least, but 0 of 40 rows are 0"),
        ({"keep": -3}, "keep: expected to keep a row at least"),
        ({"keep": 0.01}, "keep: expected to keep a row at least, but 0.01 of 40 rows are 0"),
        ({"keep": 0.0}, r"keep: expected a fraction in \(0, 1\] or a count, got 0.0"),
        ({"keep": 1.5}, r"keep: expected a fraction in \(0, 1\] or a count, got 1.5"),
        ({"keep": float("nan")}, r"keep: expected a fraction in \(0, 1\] or a count, got nan"),
        ({"keep": 41}, "keep: expected at most the 40 rows there are, got 41"),
        ({"write": ["csv"]}, "write: expected shards, uids or keys, got 'csv'"),
        ({"engine": "spark"}, "engine: expected local or ray, got 'spark'"),
        ({"workers": 0}, "workers: expected 1 or more, got 0"),
    ],
)
def test_options_without_sense_are_told_before_any_work(shards, stops, tmp_path, options, said):
    stops(shards({}, {}), said, **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        (Choice, {"by": "loss"}, "by: expected density, prototypes, random, got 'loss'"),
        (Choice, {"prefer": "soft"}, "prefer: expected hard, easy, random, got 'soft'"),
        (
            Choice,
            {"by": "prototypes", "prefer": "random"},
            "prefer: prototypes go by distance, so expected hard or easy",
        ),
        (Choice, {"floor": 1.5}, r"floor: expected a part of an even share, in \[0, 1\], got 1.5"),
        (Choice, {"temperature": 0.0}, "temperature: expected a number above 0, got 0.0"),
        (Choice, {"temperature": float("nan")}, "temperature: expected a number above 0, got nan"),
        (Choice, {"temperature": float("inf")}, "temperature: expected a number above 0, got inf"),
        (Choice, {"floor": float("nan")}, r"floor: expected a part of an even share, in \[0, 1\], got nan"),
        (Clustering, {"border": float("nan")}, "border: expected a number in .0, 2., got nan"),
        (Clustering, {"border": -0.1}, "border: expected a number in .0, 2., got -0.1"),
        (Clustering, {"seed": -1}, "seed: expected a whole number from 0 .*, got -1"),
        (Dedup, {"threshold": float("nan")}, "threshold: expected a cosine from -1 to 1, got nan"),
        (
            Choice,
            {"by": "random", "floor": 0.3},
            "floor: choosing by random has none; leave it out, or choose by density or prototypes",
        ),
        (
            Choice,
            {"by": "prototypes", "temperature": 0.3},
            "temperature: choosing by prototypes has none; leave it out, or choose by density$",
        ),
        (Choice, {"by": "random", "neighbours": 5}, "neighbours: choosing by random has none"),
        (Choice, {"neighbours": 0}, "neighbours: expected a whole number from 1 .*, got 0"),
        (Clustering, {"clusters": 0}, "clusters: expected a whole number from 1 .*, got 0"),
        (Clustering, {"unit_rows": 0}, "unit_rows: expected a whole number from 1 .*, got 0"),
        (Clustering, {"on_bad": "keep"}, "on_bad: expected stop or drop, got 'keep'"),
        (Dedup, {"threshold": 1.5}, "threshold: expected a cosine from -1 to 1, got 1.5"),
        (Dedup, {"threshold": None}, "dedup: expected a threshold or a target fraction, got both or neither"),
        (Dedup, {"target": 0.5}, "dedup: expected a threshold or a target fraction, got both or neither"),
        (Dedup, {"threshold": None, "target": 0.0}, r"target: expected a fraction in \(0, 1\], got 0.0"),
        (Dedup, {"prefer": "soft"}, "prefer: expected hard, easy, random, got 'soft'"),
    ],
)
def test_settings_without_sense_are_told_when_they_are_made(kind, options, said):
    with pytest.raises(SecateurError, match=said):
        kind(**options)


def test_more_clusters_than_good_rows_in_the_sample(shards, stops):
    """Of 20 rows 15 are good."""
    how = Clustering(clusters=18, on_bad="drop")
    said = "clusters: expected at most the 15 good rows of the sample, got 18; ask for fewer, or for a larger --sample"
    stops(shards({"embedding": vectors(**BAD)}), said, clustering=how)


def test_more_is_asked_for_than_dedup_leaves(shards, stops):
    copies = {"embedding": lists([[1.0, 2.0]] * 10 + [[-2.0, 1.0]] * 10)}
    said = r"keep: 10 of 20 rows are asked for, but filter and dedup leave 2; keep at most 0\.1000, or filter less"
    stops(shards(copies), said, keep=0.5, clustering=Clustering(clusters=2))


def test_a_target_that_one_row_of_each_cluster_exceeds(shards, stops):
    said = r"target: 0\.05 of 20 rows are 1, but of each cluster one stays, 3 in all; ask for 0\.1500 or more"
    stops(shards({}), said, keep=1, dedup=Dedup(threshold=None, target=0.05))


# folders that are taken


def test_out_of_other_shards(tmp_path, shards, stops):
    place = shards({}, {})
    prune(place, tmp_path / "out", clustering=FEW)
    (place / "1.parquet").unlink()
    said = r"out: .*out was made from other shards \(fingerprint \w+, not \w+\); choose another --out, or pass --force"
    stops(place, said, kind=WrongData)
    assert prune(place, tmp_path / "out", clustering=FEW, force=True).rows == 20
    assert len(manifest(tmp_path / "out")["id"]) == 20


@pytest.mark.parametrize("force", [False, True])
def test_out_that_holds_something_else_is_never_touched(tmp_path, shards, stops, force):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    said = r"out: .*out contains other files \(thesis\.tex\); choose another --out"
    stops(shards({}), said, kind=WrongData, force=force)
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("force", [False, True])
def test_the_folder_of_another_command_is_never_touched(tmp_path, shards, stops, force):
    sc.record("digits", epochs=1, net="mlp:0.25", out=tmp_path / "out", quiet=True)
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    stops(shards({}), r"out: .*out contains other files", kind=WrongData, force=force)
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("force", [False, True])
def test_other_commands_never_touch_the_folder_of_a_scale_run(tmp_path, shards, force):
    prune(shards({}), tmp_path / "out", clustering=FEW)
    before = sorted(p.name for p in (tmp_path / "out").iterdir())
    with pytest.raises(WrongData, match="out: .*out holds the run of another command, such as scale"):
        sc.record("digits", epochs=1, net="mlp:0.25", out=tmp_path / "out", quiet=True, force=force)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == before


def test_a_second_command_is_kept_out_while_one_is_at_work(tmp_path, shards, stops):
    place = shards({})
    prune(place, tmp_path / "out", clustering=FEW)
    with locked(tmp_path / "out"):
        stops(place, "out: another command is running in .*out; wait for it", kind=WrongData)
    assert prune(place, tmp_path / "out", clustering=FEW).rows == 20


def test_ids_that_are_no_uids_are_told_before_any_work(shards, stops, tmp_path):
    said = r"uids: expected ids of 32 hexadecimal digits, got whole numbers; take kept_ids\.parquet or keys"
    stops(shards({}), said, write=["uids"])
    assert not (tmp_path / "out").exists()


def test_the_uid_that_is_none_is_the_one_that_is_named(shards, stops):
    ids = [f"{i:032x}" for i in range(19)] + ["0x" + "0" * 30]
    stops(shards({"id": ids}), r"uids: expected ids .*, got '0x0+';", write=["uids"], keep=20, dedup=None)
