"""What is kept comes out in the form it came in, ready to load, and inside of its folder."""

import csv
import gc
import json
import os

import numpy as np
import pytest

from secateur.data.source import open_data
from secateur.data.writers.kept import write_kept
from secateur.errors import SecateurError
from tests.data.made import CLASSES, image_table, pixels, png, write_folder, write_parquet


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()


@pytest.fixture(autouse=True)
def closed():
    """`datasets` leaves metadata.csv open, which Python tells when it collects what is left."""
    yield
    gc.collect()


pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


def load(line):
    """Run the line that the report shows."""
    import datasets

    return eval(line, {"datasets": datasets})


IDS = np.array([1, 4, 5, 11])


def test_parquet_keeps_every_column_and_the_encoded_bytes(tmp_path):
    table = image_table().add_column("source", [f"s{i}" for i in range(12)])
    (tmp_path / "in").mkdir()
    table.to_parquet(str(tmp_path / "in" / "x.parquet"))
    kept = load(write_kept(open_data(str(tmp_path / "in")), IDS, tmp_path / "kept"))
    assert kept["source"] == ["s1", "s4", "s5", "s11"]
    assert kept.features["label"].names == list(CLASSES)
    np.testing.assert_array_equal(np.asarray(kept[2]["image"]), pixels(5))


def test_a_folder_becomes_a_folder_of_the_same_files(tmp_path):
    source = open_data(str(write_folder(tmp_path / "in", split="train")))
    kept = load(write_kept(source, IDS, tmp_path / "kept"))
    names = sorted(p.relative_to(tmp_path / "kept").as_posix() for p in (tmp_path / "kept").rglob("*.png"))
    assert len(names) == 4
    assert all(name.split("/")[0] in CLASSES for name in names)
    for k, i in enumerate(IDS):
        expected = source.train.values[i]
        np.testing.assert_array_equal(np.asarray(kept[k]["image"]), expected)
        assert kept[k]["label"] == source.train.labels[i]


def test_two_files_of_one_name_in_a_class_are_both_kept(tmp_path):
    for k, sub in enumerate(("a", "b")):
        for name in CLASSES[:2]:
            folder = tmp_path / "in" / sub / name
            folder.mkdir(parents=True)
            (folder / "x.png").write_bytes(png(pixels(k)))
    rows = [f"{sub}/{name}/x.png,{name}" for sub in ("a", "b") for name in CLASSES[:2]]
    (tmp_path / "in" / "metadata.csv").write_text("\n".join(["file_name,label", *rows]))
    source = open_data(str(tmp_path / "in"))
    kept = load(write_kept(source, np.arange(4), tmp_path / "kept"))
    assert len(kept) == 4


def test_a_saved_set_is_saved_again_without_an_index_in_between(tmp_path):
    image_table().save_to_disk(str(tmp_path / "in"))
    kept = load(write_kept(open_data(str(tmp_path / "in")), IDS, tmp_path / "kept"))
    assert kept._indices is None
    np.testing.assert_array_equal(np.asarray(kept[0]["image"]), pixels(1))


def test_arrays_become_lossless_parquet(tmp_path):
    x = np.stack([pixels(i) for i in range(12)])
    kept = load(write_kept(open_data((x, np.arange(12) % 3)), IDS, tmp_path / "kept"))
    np.testing.assert_array_equal(np.asarray(kept[3]["image"]), x[11])
    assert kept["label"] == [1, 1, 2, 2]


def test_vectors_become_lists_of_float32(tmp_path):
    x = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    kept = load(write_kept(open_data((x, np.arange(12) % 3)), IDS, tmp_path / "kept"))
    np.testing.assert_array_equal(np.array(kept["features"], dtype=np.float32), x[IDS])


def test_writing_again_replaces_what_was_kept(tmp_path):
    source = open_data(str(write_parquet(tmp_path / "in" / "x.parquet")))
    write_kept(source, IDS, tmp_path / "kept")
    kept = load(write_kept(source, IDS[:1], tmp_path / "kept"))
    assert len(kept) == 1


def test_a_kept_set_can_be_pruned_again(tmp_path):
    source = open_data(str(write_parquet(tmp_path / "in" / "x.parquet", n=24)))
    write_kept(source, np.arange(0, 24, 2), tmp_path / "kept")
    again = open_data(str(tmp_path / "kept"))
    np.testing.assert_array_equal(again.train.values, source.train.values[::2])


HOSTILE = ("../../evil", "/evil", "..", "a/b", "x" * 300)


def write_with_metadata(root, labels, kind="csv", sub=""):
    """Images below root with their labels in a metadata file."""
    rows = []
    for i, label in enumerate(labels):
        name = f"{sub}{i:03d}.png"
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(png(pixels(i)))
        rows.append({"file_name": name, "label": label, "caption": f'the image {i}, "{i}"'})
    if kind == "csv":
        with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    else:
        (root / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return root


def everything(root):
    return sorted(str(p.relative_to(root)) for p in root.rglob("*") if "cache" not in p.parts)


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_label_in_a_metadata_file_never_becomes_a_path(tmp_path, kind):
    labels = [*HOSTILE, "cat"] * 2
    root = write_with_metadata(tmp_path / "deep" / "in", labels, kind)
    before = everything(tmp_path)
    folder = tmp_path / "deep" / "out" / "kept"
    kept = load(write_kept(open_data(str(root), label="label"), IDS, folder))
    assert kept["label"] == [labels[i] for i in IDS]
    assert kept["caption"] == [f'the image {i}, "{i}"' for i in IDS]
    for k, i in enumerate(IDS):
        np.testing.assert_array_equal(np.asarray(kept[k]["image"]), pixels(i))
    new = [name for name in everything(tmp_path) if name not in before]
    assert all(name.startswith("deep/out") for name in new)
    assert sorted(p.name for p in folder.iterdir()) == [*(f"{i:03d}.png" for i in IDS), f"metadata.{kind}"]


def test_what_a_metadata_file_says_more_of_images_is_kept_with_them(tmp_path):
    root = write_with_metadata(tmp_path / "in", ["cat", "dog"] * 6, "jsonl", sub="some folder/")
    source = open_data(str(root), label="label")
    ids = np.array([0, 1, 4, 5])
    write_kept(source, ids, tmp_path / "kept")
    again = open_data(str(tmp_path / "kept"), label="label")
    np.testing.assert_array_equal(again.train.values, source.train.values[ids])
    assert (tmp_path / "kept" / "metadata.jsonl").exists()


def test_images_without_labels_keep_what_a_metadata_file_says_of_them(tmp_path):
    root = write_with_metadata(tmp_path / "in", ["cat", "dog"] * 6)
    kept = load(write_kept(open_data(str(root), label="none"), IDS, tmp_path / "kept"))
    assert kept["label"] == [("cat", "dog")[i % 2] for i in IDS]


ODD = {
    "parquet": ['a"b', "a'b c", "a[b]", "\u00fc\u96ea", "a*b", "a?{x}\\", "**", "a\nb", '");import os;("'],
    "folder": ['a"b', "a[b] c", "a*b", "\u96ea\n"],
    "saved": ['a"b', "a[b]*"],
}


@pytest.mark.parametrize(("form", "name"), [(form, name) for form, names in ODD.items() for name in names])
def test_the_line_that_loads_it_works_for_any_name_of_the_folder(tmp_path, form, name):
    if form == "parquet":
        write_parquet(tmp_path / "in" / "x.parquet")
    elif form == "folder":
        write_folder(tmp_path / "in")
    else:
        image_table().save_to_disk(str(tmp_path / "in"))
    source = open_data(str(tmp_path / "in"))
    line = write_kept(source, IDS, tmp_path / name / "kept")
    write_kept(source, IDS[:1], tmp_path / "axb" / "kept")  # what a pattern might find instead
    kept = load(line)
    assert line.isprintable()
    for k, i in enumerate(IDS):
        np.testing.assert_array_equal(np.asarray(kept[k]["image"]), source.train.values[i])
        assert kept[k]["label"] == source.train.labels[i]


@pytest.mark.parametrize("name", ["-a\nb.png", "x" * 250 + ".png", "\x1b[2J*[b]?.png"])
def test_odd_file_names_are_kept_in_their_class(tmp_path, name):
    for folder in ("in/cat", "in/dog"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / name).write_bytes(png(pixels(0)))
        (tmp_path / folder / "other.png").write_bytes(png(pixels(1)))
    write_kept(open_data(str(tmp_path / "in")), np.arange(4), tmp_path / "kept")
    found = [p.relative_to(tmp_path / "kept").parts for p in (tmp_path / "kept").rglob("*.png")]
    assert sorted(place[0] for place in found) == ["cat", "cat", "dog", "dog"]
    assert all(len(os.fsencode(place[1])) <= 255 for place in found)


def test_a_link_to_an_image_is_kept_as_the_image(tmp_path):
    write_folder(tmp_path / "in")
    first = next((tmp_path / "in").rglob("*.png"))
    first.rename(tmp_path / "elsewhere.png")
    first.symlink_to(tmp_path / "elsewhere.png")
    write_kept(open_data(str(tmp_path / "in")), np.arange(12), tmp_path / "kept")
    assert not [p for p in (tmp_path / "kept").rglob("*") if p.is_symlink()]


@pytest.mark.parametrize("into", ["pipe", "/dev/zero", "gone"])
def test_an_image_that_became_a_pipe_or_a_device_is_refused_and_nothing_is_written(tmp_path, into):
    source = open_data(str(write_folder(tmp_path / "in")))
    write_kept(source, IDS, tmp_path / "kept")
    before = everything(tmp_path / "kept")
    path = sorted((tmp_path / "in" / "dog").iterdir())[0]
    path.unlink()
    if into == "pipe":
        os.mkfifo(path)
    elif into != "gone":
        path.symlink_to(into)
    with pytest.raises(SecateurError, match="kept: .*(no longer a regular file|cannot be read)"):
        write_kept(source, np.arange(12), tmp_path / "kept")
    assert everything(tmp_path / "kept") == before
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "cache") == ["in", "kept"]
