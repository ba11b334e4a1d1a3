"""What is kept comes out in the form it came in, ready to load."""

import numpy as np
import pytest

from secateur.data.kept import write_kept
from secateur.data.source import open_data
from tests.data.made import CLASSES, image_table, pixels, png, write_folder, write_parquet


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()


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
