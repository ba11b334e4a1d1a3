"""Data without labels come in and go out in every form, and nothing trains on them unawares."""

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from secateur.data.parts import hold_out, stratified
from secateur.data.source import UNLABELLED, open_data
from secateur.data.tensors import Tensors
from secateur.data.writers.kept import write_kept
from secateur.errors import DataError
from tests.data.made import image_table, pixels, png, write_folder

EXPECTED = np.stack([pixels(i) for i in range(12)])
VECTORS = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
IDS = np.array([1, 4, 5, 11])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()


class Bare(torch.utils.data.Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def write_flat(root, names=None):
    """root/name.png, in the order of the names."""
    root.mkdir(parents=True)
    for i, name in enumerate(names or [f"{i:03d}" for i in range(12)]):
        (root / f"{name}.png").write_bytes(png(pixels(i)))
    return root


def images():
    return image_table().remove_columns("label")


def parquet(path, table):
    table.to_parquet(str(path / "x.parquet"))
    return str(path / "x.parquet")


def saved(path, table):
    table.save_to_disk(str(path / "saved"))
    return str(path / "saved")


FORMS = {
    "flat folder": lambda path: str(write_flat(path / "flat")),
    "split folder": lambda path: str(write_flat(path / "split" / "train").parent),
    "parquet": lambda path: parquet(path, images()),
    "parquet with labels": lambda path: parquet(path, image_table()),
    "saved": lambda path: saved(path, images()),
    "table": lambda path: images(),
    "splits": lambda path: datasets.DatasetDict(train=images()),
    "array": lambda path: EXPECTED,
    "tensor": lambda path: torch.from_numpy(EXPECTED),
    "arrays with labels": lambda path: (EXPECTED, np.arange(12) % 3),
    "bare": lambda path: Bare(EXPECTED),
    "bare tensors": lambda path: Bare([torch.from_numpy(x).permute(2, 0, 1) for x in EXPECTED]),
    "bare PIL images": lambda path: Bare([Image.fromarray(x) for x in EXPECTED]),
    "single": lambda path: torch.utils.data.TensorDataset(torch.from_numpy(EXPECTED)),
    "pairs with labels": lambda path: Bare([(x, i % 3) for i, x in enumerate(EXPECTED)]),
    "dicts": lambda path: Bare([{"pixels": x} for x in EXPECTED]),
    "dicts with labels": lambda path: Bare([{"image": x, "y": i % 3} for i, x in enumerate(EXPECTED)]),
}


def opened(form, path):
    """Forms that come with labels are asked to be read without."""
    return open_data(FORMS[form](path), label="none" if "with labels" in form else None)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_rows_and_says_that_it_has_no_labels(form, tmp_path):
    source = opened(form, tmp_path)
    np.testing.assert_array_equal(source.train.values, EXPECTED)
    assert not source.labelled
    assert source.classes == UNLABELLED
    assert source.train.labels.tolist() == [0] * 12
    assert source.train.usable.tolist() == list(range(12))


def test_a_table_of_float_vectors_alone(tmp_path):
    datasets.Dataset.from_dict({"embedding": VECTORS.tolist()}).to_parquet(str(tmp_path / "x.parquet"))
    for data in (str(tmp_path / "x.parquet"), VECTORS, Bare(VECTORS)):
        source = open_data(data)
        assert not source.labelled
        np.testing.assert_allclose(source.train.values, VECTORS)


def test_subfolders_are_classes_unless_no_labels_are_asked_for(tmp_path):
    folder = str(write_folder(tmp_path / "in"))
    assert open_data(folder).classes == ("cat", "dog", "owl")
    source = open_data(folder, label="none")
    assert (source.labelled, len(source.train)) == (False, 12)


def test_digits_can_be_read_without_their_labels():
    source = open_data("digits", label="none")
    assert (source.labelled, source.test.labelled, source.classes) == (False, False, UNLABELLED)
    np.testing.assert_array_equal(source.train.values, open_data("digits").train.values)


class TestFingerprint:
    def test_it_tells_data_apart_by_bytes_and_order(self):
        base = open_data(EXPECTED).fingerprint
        assert open_data(EXPECTED.copy()).fingerprint == base
        assert open_data(EXPECTED[::-1].copy()).fingerprint != base
        other = EXPECTED.copy()
        other[3, 0, 0, 0] ^= 1
        assert open_data(other).fingerprint != base

    def test_the_same_images_with_labels_are_other_data(self):
        assert open_data(image_table()).fingerprint != open_data(images()).fingerprint

    def test_it_does_not_depend_on_memory(self):
        assert open_data(images(), memory=1).fingerprint == open_data(images()).fingerprint


def test_unreadable_rows_are_skipped_with_label_minus_one():
    encoded = [png(pixels(i)) for i in range(12)]
    encoded[4] = b"not an image"
    table = image_table(encoded=encoded).remove_columns("label")
    with pytest.raises(DataError, match="1 rows that cannot be used - row 4: image is not an image"):
        open_data(table)
    split = open_data(table, on_bad="skip").train
    assert split.labels.tolist() == [0, 0, 0, 0, -1, 0, 0, 0, 0, 0, 0, 0]
    assert split.usable.tolist() == [0, 1, 2, 3, *range(5, 12)]


def load(line):
    """Run the line that the report shows."""
    return eval(line, {"datasets": datasets})


@pytest.mark.parametrize("form", FORMS)
def test_what_is_kept_loads_again_in_id_order_and_reads_as_it_came(form, tmp_path):
    table = load(write_kept(opened(form, tmp_path), IDS, tmp_path / "kept"))
    np.testing.assert_array_equal([np.asarray(image) for image in table["image"]], EXPECTED[IDS])
    assert ("label" in table.column_names) == (form == "parquet with labels")  # all columns of the input stay
    again = open_data(str(tmp_path / "kept"), label="none" if form == "parquet with labels" else None)
    np.testing.assert_array_equal(again.train.values, EXPECTED[IDS])
    assert not again.labelled


def test_kept_vectors_have_no_column_of_labels(tmp_path):
    table = load(write_kept(open_data(VECTORS), IDS, tmp_path / "kept"))
    assert table.column_names == ["features"]
    np.testing.assert_array_equal(np.array(table["features"], dtype=np.float32), VECTORS[IDS])


class TestKeptFolders:
    def test_a_flat_folder_stays_flat(self, tmp_path):
        write_kept(open_data(str(write_flat(tmp_path / "in"))), IDS, tmp_path / "kept")
        assert sorted(p.name for p in (tmp_path / "kept").iterdir()) == ["001.png", "004.png", "005.png", "011.png"]

    def test_file_names_like_splits_lose_no_rows(self, tmp_path):
        """`datasets` takes names such as test_1.png for splits where it is left to guess."""
        flat = write_flat(tmp_path / "in [1]", ["a", "b", "test_1", "train_2", "val-3"])
        table = load(write_kept(open_data(str(flat), split="all"), np.arange(5), tmp_path / "kept [1]"))
        np.testing.assert_array_equal([np.asarray(image) for image in table["image"]], EXPECTED[:5])

    def test_classes_named_like_splits_lose_no_rows(self, tmp_path):
        for name in ("bus", "test"):
            write_flat(tmp_path / "in" / name, ["0", "1"])
        table = load(write_kept(open_data(str(tmp_path / "in"), split="all"), np.arange(4), tmp_path / "kept"))
        assert table["label"] == [0, 0, 1, 1]

    def test_subfolders_read_without_labels_stay_where_they_were(self, tmp_path):
        """In id order too, though two of them hold files of one name."""
        for name in ("b", "a/c", "test"):
            write_flat(tmp_path / "in" / "train" / name, ["0", "1"])
        source = open_data(str(tmp_path / "in"), label="none")
        table = load(write_kept(source, np.array([0, 3, 4]), tmp_path / "kept"))
        kept = sorted(p.relative_to(tmp_path / "kept").as_posix() for p in (tmp_path / "kept").rglob("*.png"))
        assert kept == ["a/c/0.png", "b/1.png", "test/0.png"]
        np.testing.assert_array_equal([np.asarray(image) for image in table["image"]], source.train.values[[0, 3, 4]])
        assert table.column_names == ["image"]


class TestNothingGoesByFakeLabels:
    def test_tensors_give_rows_but_neither_labels_nor_classes(self):
        data = Tensors(open_data(VECTORS).train, torch.device("cpu"))
        torch.testing.assert_close(data.sample(IDS), torch.from_numpy(VECTORS[IDS]))
        assert len(data) == 12
        for name in ("labels", "classes"):
            with pytest.raises(
                DataError, match="label: training or testing a net needs labels, and the data have none"
            ):
                getattr(data, name)

    def test_the_guard_names_what_needs_labels_and_what_does_not(self):
        source = open_data(VECTORS)
        with pytest.raises(
            DataError, match=r"label: method dual needs labels, .*--label.*; these work without: k-center"
        ):
            source.require_labels("method dual", without="k-center, random")
        with pytest.raises(DataError, match="a folder of its own$"):
            source.require_labels("method dual")
        open_data((VECTORS, np.arange(12) % 3)).require_labels("method dual")

    def test_no_test_split_is_held_out_of_them(self):
        with pytest.raises(DataError, match="holding out a test split needs labels"):
            hold_out(open_data(VECTORS), 0.2, np.random.default_rng(0))

    def test_a_validation_part_is_drawn_from_the_whole(self):
        train = open_data(VECTORS).train
        assert len(stratified(train.labels, train.usable, 0.25, np.random.default_rng(0))) == 3

    def test_a_run_that_trains_stops_at_once(self, tmp_path):
        import secateur as sc

        with pytest.raises(DataError, match="needs labels"):
            sc.record(VECTORS, out=tmp_path / "out", quiet=True)
        assert not (tmp_path / "out" / "recording.zarr").exists()


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    def test_unclear_columns_name_both_ways_out(self, tmp_path):
        table = images().add_column("a", list(range(12))).add_column("b", list(range(12)))
        with pytest.raises(
            DataError, match=r"a, b could all hold the labels; choose one with --label, or .* --label none"
        ):
            open_data(table)
        assert not open_data(table, label="none").labelled

    @pytest.mark.parametrize("column", [list(range(12)), [i + 0.5 for i in range(12)], [7] * 12], ids=str)
    def test_a_column_that_is_no_label_names_the_way_out(self, column):
        with pytest.raises(DataError, match="--label none"):
            open_data(images().add_column("other", column))

    def test_a_column_called_none(self):
        table = images().add_column("none", [i % 2 for i in range(12)])
        with pytest.raises(DataError, match="'none' means no labels, but a column is called so too"):
            open_data(table, label="none")

    def test_images_beside_folders_of_images(self, tmp_path):
        folder = write_folder(tmp_path / "in")
        (folder / "stray.png").write_bytes(png(pixels(0)))
        with pytest.raises(DataError, match="contains both images and folders of images; .* --label none"):
            open_data(str(folder))
        assert len(open_data(str(folder), label="none").train) == 13

    def test_a_test_split_that_differs_in_having_labels(self):
        labelled = (VECTORS, np.arange(12) % 3)
        with pytest.raises(DataError, match="label: the test split has no labels, but train has them"):
            _ = open_data(labelled, test=VECTORS).test
        with pytest.raises(DataError, match="label: the test split has labels, but train has none"):
            _ = open_data(VECTORS, test=labelled).test

    def test_no_row_that_can_be_read(self):
        with pytest.raises(DataError, match="train: none of the 3 rows can be read"):
            open_data(np.full((3, 2), np.nan), on_bad="skip")

    def test_items_of_many_keys(self):
        with pytest.raises(DataError, match="items have the keys image, other; .* label='none' for the input alone"):
            open_data(Bare([{"image": x, "other": 1} for x in EXPECTED]))

    def test_arrays_that_are_neither_images_nor_vectors(self):
        with pytest.raises(DataError, match=r"expected images or vectors, got inputs of shape \(4,\)"):
            open_data(np.zeros(4))
        with pytest.raises(DataError, match=r"expected images or vectors, got inputs of shape \(\)"):
            open_data(np.float64(3))

    def test_a_folder_of_nothing_names_both_layouts(self, tmp_path):
        (tmp_path / "notes.txt").write_text("no image")
        with pytest.raises(DataError, match=r"no folders of images; expected .*CLASS/IMAGE, or images without labels"):
            open_data(str(tmp_path))
