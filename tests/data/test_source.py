"""Data sets come in, in every form, as the same rows."""

import numpy as np
import pytest
import torch
from PIL import Image

from secateur.data.parts import hold_out, stratified
from secateur.data.source import default_memory, open_data
from secateur.errors import DataError
from tests.data.made import CLASSES, image_table, pixels, png, write_folder, write_parquet

EXPECTED = np.stack([pixels(i) for i in range(12)])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep what `datasets` caches inside the test's folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))


def by_label(split):
    """Rows in an order that all forms share: a folder of images is read class by class."""
    order = np.lexsort((np.arange(len(split)), split.labels))
    return split.values[order], split.labels[order]


@pytest.fixture
def forms(tmp_path):
    table = image_table()
    table.save_to_disk(str(tmp_path / "saved"))
    import datasets

    datasets.disable_progress_bars()
    return {
        "folder": str(write_folder(tmp_path / "folder")),
        "split folders": str(write_folder(tmp_path / "split", split="train")),
        "parquet": str(write_parquet(tmp_path / "p" / "data.parquet")),
        "glob": str(write_parquet(tmp_path / "g" / "data-0.parquet").with_name("*.parquet")),
        "folder of parquet": str(write_parquet(tmp_path / "d" / "train.parquet").parent),
        "saved": str(tmp_path / "saved"),
        "table": table,
        "arrays": (EXPECTED, [CLASSES[i % 3] for i in range(12)]),
        "channels first": (np.moveaxis(EXPECTED, -1, 1), np.arange(12) % 3),
        "torch": torch.utils.data.TensorDataset(torch.from_numpy(EXPECTED), torch.arange(12) % 3),
        "as torchvision": [(torch.from_numpy(x).permute(2, 0, 1) / 255, i % 3) for i, x in enumerate(EXPECTED)],
    }


class AsDataset(torch.utils.data.Dataset):
    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


@pytest.mark.parametrize(
    "form",
    ["folder", "split folders", "parquet", "glob", "folder of parquet", "saved", "table", "arrays", "channels first",
     "torch", "as torchvision"],
)  # fmt: skip
def test_every_form_gives_the_same_rows(forms, form):
    data = AsDataset(forms[form]) if form == "as torchvision" else forms[form]
    split = open_data(data).train
    values, labels = by_label(split)
    order = np.lexsort((np.arange(12), np.arange(12) % 3))
    np.testing.assert_array_equal(values, EXPECTED[order])
    np.testing.assert_array_equal(labels, np.sort(np.arange(12) % 3))
    assert split.shape == (8, 8, 3)
    named = form not in ("channels first", "torch", "as torchvision")
    assert split.classes == (CLASSES if named else ("0", "1", "2"))


def test_digits_need_no_network_and_test_on_the_last_360():
    source = open_data("digits")
    assert (len(source.train), len(source.test)) == (1437, 360)
    assert source.train.shape == (8, 8, 1)
    from sklearn.datasets import load_digits

    bunch = load_digits()
    np.testing.assert_array_equal(source.test.labels, bunch.target[-360:])
    np.testing.assert_array_equal(source.train.values[5, ..., 0], np.rint(bunch.images[5] * 255 / 16))


def test_splits_are_known_by_their_names(tmp_path):
    write_parquet(tmp_path / "d" / "train.parquet", n=12)
    write_parquet(tmp_path / "d" / "test-00000-of-00001.parquet", n=6)
    source = open_data(str(tmp_path / "d"))
    assert (len(source.train), len(source.test)) == (12, 6)
    folder = open_data(str(write_folder(write_folder(tmp_path / "f", split="train"), n=6, split="val")))
    assert (len(folder.train), len(folder.test)) == (12, 6)


def test_a_test_set_is_never_mixed_into_train(tmp_path):
    """Files of a glob that are all named after splits are split, not joined."""
    write_parquet(tmp_path / "train.parquet", n=12)
    write_parquet(tmp_path / "test.parquet", n=6)
    assert len(open_data(str(tmp_path / "*.parquet")).train) == 12


def test_classes_named_like_splits_are_classes_when_others_are_not(tmp_path):
    for name in ("train", "bus"):
        (tmp_path / "f" / name).mkdir(parents=True)
        for i in range(3):
            (tmp_path / "f" / name / f"{i}.png").write_bytes(png(pixels(i)))
    assert open_data(str(tmp_path / "f")).train.classes == ("bus", "train")


def test_columns_are_named_where_they_cannot_be_guessed(tmp_path):
    table = image_table().add_column("fine", [i % 2 for i in range(12)]).rename_column("label", "coarse")
    import datasets

    table = table.cast_column("fine", datasets.ClassLabel(names=["a", "b"]))
    table.to_parquet(str(tmp_path / "t.parquet"))
    with pytest.raises(
        DataError, match="label: the columns coarse, fine could all hold the labels; choose one with --label"
    ):
        open_data(str(tmp_path / "t.parquet"))
    assert open_data(str(tmp_path / "t.parquet"), label="fine").train.classes == ("a", "b")
    with pytest.raises(DataError, match="label: expected one of the columns .* got 'colour'"):
        open_data(str(tmp_path / "t.parquet"), label="colour")
    with pytest.raises(DataError, match="input: expected one of the columns .* got 'pixels'"):
        open_data(str(tmp_path / "t.parquet"), label="fine", input="pixels")


def test_vectors_are_rows_of_floats(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(9, 5)).astype(np.float32)
    split = open_data((vectors, np.arange(9) % 3)).train
    assert split.shape == (5,)
    np.testing.assert_array_equal(split.values, vectors)
    import datasets

    table = datasets.Dataset.from_dict({"embedding": vectors.tolist(), "label": [i % 3 for i in range(9)]})
    np.testing.assert_allclose(open_data(table).train.values, vectors)


class TestFingerprint:
    def test_the_same_data_has_the_same_in_every_table_form(self, forms):
        assert open_data(forms["parquet"]).fingerprint == open_data(forms["saved"]).fingerprint
        assert open_data(forms["parquet"]).fingerprint == open_data(forms["table"]).fingerprint

    def test_a_byte_a_label_or_the_order_changes_it(self):
        base = open_data(image_table()).fingerprint
        encoded = [png(pixels(i)) for i in range(12)]
        other = [*encoded[:5], png(pixels(99)), *encoded[6:]]
        assert open_data(image_table(encoded=other)).fingerprint != base
        swapped = [encoded[3], *encoded[1:3], encoded[0], *encoded[4:]]
        assert open_data(image_table(encoded=swapped)).fingerprint != base
        relabelled = image_table().map(lambda row, i: {"label": 2 if i == 0 else row["label"]}, with_indices=True)
        assert open_data(relabelled).fingerprint != base

    def test_it_does_not_depend_on_memory(self):
        assert open_data(image_table(), memory=1).fingerprint == open_data(image_table()).fingerprint


class TestImages:
    def table(self, *extra):
        return image_table(encoded=[*[png(pixels(i)) for i in range(9)], *extra], n=9 + len(extra))

    def test_grey_among_colour_is_repeated_over_the_channels(self):
        grey = pixels(50, channels=1)
        split = open_data(self.table(png(grey), png(grey), png(grey))).train
        assert split.shape == (8, 8, 3)
        np.testing.assert_array_equal(split.values[9], np.repeat(grey[..., None], 3, 2))

    def test_colour_among_grey_makes_all_colour(self):
        grey = [png(pixels(i, channels=1)) for i in range(9)]
        split = open_data(image_table(encoded=[*grey, *[png(pixels(i)) for i in range(3)]])).train
        assert split.shape == (8, 8, 3)
        np.testing.assert_array_equal(split.values[9], pixels(0))

    def test_all_grey_stays_grey(self):
        assert open_data(image_table(encoded=[png(pixels(i, channels=1)) for i in range(12)])).train.shape == (8, 8, 1)

    def test_transparency_is_laid_on_white(self):
        clear = np.zeros((8, 8, 4), dtype=np.uint8)
        split = open_data(self.table(png(clear), png(clear), png(clear))).train
        assert (split.values[9] == 255).all()

    def test_palettes_become_colour(self):
        import io

        buffer = io.BytesIO()
        Image.fromarray(pixels(3)).quantize(8).save(buffer, format="PNG")
        split = open_data(self.table(*[buffer.getvalue()] * 3)).train
        expected = np.asarray(Image.open(io.BytesIO(buffer.getvalue())).convert("RGB"))
        np.testing.assert_array_equal(split.values[9], expected)

    @pytest.mark.parametrize("deep", ["grey", "colour"])
    def test_sixteen_bits_are_refused_with_a_way_out(self, deep):
        import io
        import struct
        import zlib

        if deep == "grey":
            encoded = png(np.full((8, 8), 40_000, dtype=np.uint16))
        else:  # Pillow reads these and drops the lower half without a word; it cannot write them
            chunk = lambda kind, body: (
                struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            )
            header = struct.pack(">IIBBBBB", 8, 8, 16, 2, 0, 0, 0)
            body = zlib.compress(b"".join(b"\0" + bytes(8 * 6) for _ in range(8)))
            encoded = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
            assert Image.open(io.BytesIO(encoded)).mode == "RGB"
        with pytest.raises(DataError, match="row 9: image has more than 8 bits per channel .* convert the images"):
            open_data(self.table(encoded))

    def test_mixed_sizes_say_how_to_bring_them_to_one(self):
        table = self.table(*[png(pixels(1, size=12))] * 3)
        with pytest.raises(DataError, match=r"train row 9: image of 12x12 pixels, but others have 8x8; .*--size 8"):
            open_data(table)
        split = open_data(table, size=8).train
        assert split.shape == (8, 8, 3)
        np.testing.assert_array_equal(split.values[0], pixels(0))

    def test_oblong_images_are_cut_to_their_middle_square(self):
        wide = np.zeros((8, 16, 3), dtype=np.uint8)
        wide[:, 4:12] = 200
        split = open_data(image_table(encoded=[png(wide)] * 12), size=8).train
        assert (split.values == 200).all()

    def test_orientation_is_applied(self):
        import io

        image, buffer = Image.fromarray(pixels(0)), io.BytesIO()
        exif = Image.Exif()
        exif[0x0112] = 3  # turned by 180 degrees
        image.save(buffer, format="PNG", exif=exif)
        split = open_data(self.table(*[buffer.getvalue()] * 3)).train
        np.testing.assert_array_equal(split.values[9], pixels(0)[::-1, ::-1])


class TestBadRows:
    def table(self):
        encoded = [png(pixels(i)) for i in range(15)]
        encoded[4] = encoded[4][:60]
        encoded[7] = b"not an image"
        encoded[8] = None
        return image_table(encoded=encoded, n=15)

    def test_all_of_them_are_named_with_their_reason(self):
        message = (
            r"3 rows that cannot be used - row 4: image is broken.*; row 7: image is not an image; row 8: no image"
        )
        with pytest.raises(DataError, match=message):
            open_data(self.table())

    @pytest.mark.parametrize("memory", [None, 1], ids=["in memory", "streamed"])
    def test_skipping_lists_them_and_keeps_their_numbers(self, memory):
        split = open_data(self.table(), on_bad="skip", memory=memory).train
        assert sorted(split.bad) == [4, 7, 8]
        assert len(split) == 15
        np.testing.assert_array_equal(split.usable, [0, 1, 2, 3, 5, 6, *range(9, 15)])

    def test_missing_labels_are_bad_rows(self):
        import datasets

        table = datasets.Dataset.from_dict({"x": np.eye(6).tolist(), "label": [0, 1, None, 0, 1, float("nan")]})
        with pytest.raises(DataError, match="2 rows that cannot be used - row 2: no label; row 5: no label"):
            open_data(table)
        split = open_data(table, on_bad="skip").train
        assert split.classes == ("0", "1")
        assert split.labels.tolist() == [0, 1, -1, 0, 1, -1]

    def test_a_class_label_of_minus_one_is_missing_but_a_number_is_a_class(self):
        table = image_table()
        hidden = table.map(lambda row, i: {"label": -1 if i == 3 else row["label"]}, with_indices=True)
        with pytest.raises(DataError, match="row 3: no label"):
            open_data(hidden)
        assert open_data((np.eye(6), [-1, 1, -1, 1, -1, 1])).train.classes == ("-1", "1")

    def test_vectors_with_nan_are_bad_rows(self):
        x = np.eye(6)
        x[2, 2] = np.nan
        with pytest.raises(DataError, match="row 2: vector holds nan or inf"):
            open_data((x, np.arange(6) % 2))


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    def test_nothing_of_that_name(self):
        with pytest.raises(DataError, match="no file or folder ./nowhere, no file matches it, and it is no hub name"):
            open_data("./nowhere")

    def test_an_empty_folder(self, tmp_path):
        with pytest.raises(DataError, match="contains no parquet files and no folders of images"):
            open_data(str(tmp_path))

    def test_an_empty_split(self):
        with pytest.raises(DataError, match="train: the split is empty"):
            open_data((np.zeros((0, 3)), []))

    def test_one_class(self):
        with pytest.raises(DataError, match=r"expected at least 2 classes, got 1 \(7\)"):
            open_data((np.eye(4), [7] * 4))

    def test_a_class_with_one_example(self):
        with pytest.raises(
            DataError, match="1 class has a single example, .*: 'owl'; .*--on-rare drop.*--on-rare keep"
        ):
            open_data((np.eye(5), ["cat", "cat", "dog", "dog", "owl"]))

    def test_every_class_with_one_example_is_named(self):
        with pytest.raises(DataError, match="2 classes have a single example, .*: 'ibis', 'owl';"):
            open_data((np.eye(6), ["cat", "cat", "dog", "dog", "owl", "ibis"]))

    def test_regression_targets(self):
        with pytest.raises(DataError, match="label: expected classes, got the number 0.5 at train row 1"):
            open_data((np.eye(3), [1.0, 0.5, 2.0]))

    def test_a_split_that_does_not_exist(self, tmp_path):
        write_parquet(tmp_path / "train.parquet")
        with pytest.raises(DataError, match="split: expected one of the splits train, got 'big'"):
            open_data(str(tmp_path), split="big")
        with pytest.raises(DataError, match="test: expected one of the splits train, got 'exam'"):
            open_data(str(tmp_path), test="exam")
        with pytest.raises(DataError, match="test: 'train' is the split to prune"):
            open_data(str(tmp_path), test="train")

    def test_a_test_class_that_train_does_not_have(self):
        train, test = (np.eye(4), ["a", "b", "a", "b"]), (np.eye(4)[:2], ["a", "c"])
        with pytest.raises(DataError, match="the test split has the classes c, which train does not have"):
            _ = open_data(train, test=test).test

    def test_a_dataset_that_augments(self):
        class Noisy(AsDataset):
            def __getitem__(self, i):
                return torch.rand(3), i % 2

        with pytest.raises(DataError, match="another input each time a row is read"):
            open_data(Noisy(range(6)))

    def test_images_that_were_normalised(self):
        items = AsDataset([(torch.randn(3, 8, 8), i % 2) for i in range(6)])
        with pytest.raises(DataError, match="images must be uint8, or 8-bit values divided by 255"):
            open_data(items)

    def test_what_is_no_data_at_all(self):
        with pytest.raises(DataError, match="data: expected a path, a hub name, .* got int"):
            open_data(7)

    def test_inputs_and_labels_of_different_length(self):
        with pytest.raises(DataError, match="data: 4 inputs, but 3 labels"):
            open_data((np.eye(4), [0, 1, 0]))

    def test_a_parquet_file_cut_off(self, tmp_path):
        path = write_parquet(tmp_path / "x.parquet")
        path.write_bytes(path.read_bytes()[:-50])
        with pytest.raises(DataError, match="could not be read as parquet"):
            open_data(str(path))

    def test_on_bad_has_two_values(self):
        with pytest.raises(DataError, match="on_bad: expected stop or skip, got 'ignore'"):
            open_data("digits", on_bad="ignore")


def test_validation_is_stratified_and_never_takes_a_whole_class():
    labels = np.repeat([0, 1, 2], [100, 30, 2])
    part = stratified(labels, np.arange(132), 0.1, np.random.default_rng(0))
    np.testing.assert_array_equal(np.bincount(labels[part]), [10, 3, 1])


def test_held_out_rows_are_a_test_split_of_their_own():
    source = open_data((np.random.default_rng(0).normal(size=(50, 3)), np.arange(50) % 2))
    assert source.test is None
    part = hold_out(source, 0.2, np.random.default_rng(0))
    assert len(part.train.usable) == 40
    assert len(part.test.usable) == 10
    assert not set(part.train.usable) & set(part.test.usable)
    assert part.fingerprint != source.fingerprint
    assert len(part.train) == 50


def test_half_of_the_memory_is_the_default():
    assert 2**28 < default_memory() < 2**45
