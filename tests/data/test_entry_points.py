"""The same labels, pixels and vectors are read alike, and refused alike, whichever way they come in."""

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from secateur.data.decoding.labels import class_name
from secateur.data.decoding.pixels import as_array, vector
from secateur.data.source import open_data
from secateur.errors import DataError
from tests.data.made import image_table, pixels, png

pytestmark = pytest.mark.usefixtures("our_own_errors")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()


class Items(torch.utils.data.Dataset):
    def __init__(self, items, targets=None):
        self.items = items
        if targets is not None:
            self.targets = targets

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


X = np.eye(6, dtype=np.float32)


def a_table(x, y):
    return datasets.Dataset.from_dict({"x": [list(map(float, v)) for v in x], "label": list(y)})


def a_file(x, y, tmp_path):
    a_table(x, y).to_parquet(str(tmp_path / "x.parquet"))
    return str(tmp_path / "x.parquet")


LABELLED = {
    "arrays": lambda x, y, path: (x, np.array(y)),
    "an array and a list": lambda x, y, path: (x, list(y)),
    "tensors": lambda x, y, path: (torch.from_numpy(x), torch.tensor(y)),
    "a Dataset of pairs": lambda x, y, path: Items(list(zip(x, y, strict=True))),
    "a Dataset of dicts": lambda x, y, path: Items([{"x": a, "label": b} for a, b in zip(x, y, strict=True)]),
    "labels as tensors": lambda x, y, path: Items([(a, torch.tensor(b)) for a, b in zip(x, y, strict=True)]),
    "labels of numpy": lambda x, y, path: Items([(a, np.array(b)) for a, b in zip(x, y, strict=True)]),
    "targets": lambda x, y, path: Items(list(zip(x, y, strict=True)), targets=list(y)),
    "a table": lambda x, y, path: a_table(x, y),
    "a table for torch": lambda x, y, path: a_table(x, y).with_format("torch"),
    "a table for numpy": lambda x, y, path: a_table(x, y).with_format("numpy"),
    "a table for pandas": lambda x, y, path: a_table(x, y).with_format("pandas"),
    "a table for arrow": lambda x, y, path: a_table(x, y).with_format("arrow"),
    "a table with an index": lambda x, y, path: a_table(x[::-1], y[::-1]).select(range(len(y) - 1, -1, -1)),
    "a file": a_file,
}
TEXT = [form for form in LABELLED if form not in ("tensors", "labels as tensors")]


@pytest.mark.parametrize("form", LABELLED)
@pytest.mark.parametrize(
    "y, classes",
    [([0, 1, 2] * 2, ("0", "1", "2")), ([0.0, 1.0, 2.0] * 2, ("0", "1", "2")), ([False, True, True] * 2, ("0", "1")),
     ([-1, 10, 9] * 2, ("-1", "9", "10"))],
    ids=["ints", "whole floats", "bools", "negative"],
)  # fmt: skip
def test_labels_have_the_same_classes_whichever_way_they_come_in(form, y, classes, tmp_path):
    source = open_data(LABELLED[form](X, y, tmp_path))
    assert source.classes == classes
    assert [source.classes[k] for k in source.train.labels] == [str(int(v)) for v in y]
    np.testing.assert_array_equal(source.train.values, X)


@pytest.mark.parametrize("form", TEXT)
def test_text_is_a_label_too(form, tmp_path):
    assert open_data(LABELLED[form](X, ["b", "a", "10"] * 2, tmp_path)).classes == ("10", "a", "b")


@pytest.mark.parametrize("form", LABELLED)
def test_numbers_that_are_no_classes_are_refused_with_their_row(form, tmp_path):
    with pytest.raises(
        DataError, match="label: expected classes, got the number 1.5 at train row 1: looks like a regression target"
    ):
        open_data(LABELLED[form](X, [0.0, 1.5, 2.0] * 2, tmp_path))


@pytest.mark.parametrize("form", LABELLED)
def test_nan_is_a_missing_label(form, tmp_path):
    with pytest.raises(DataError, match="train has 1 rows that cannot be used - row 4: no label"):
        open_data(LABELLED[form](X, [0.0, 1.0, 0.0, 1.0, float("nan"), 1.0], tmp_path))


@pytest.mark.parametrize("form", ["an array and a list", "a Dataset of pairs", "a table", "a file"])
@pytest.mark.parametrize("missing", [None, "", "  "])
def test_an_empty_label_is_missing(form, missing, tmp_path):
    with pytest.raises(DataError, match="row 4: no label"):
        open_data(LABELLED[form](X, ["a", "b", "a", "b", missing, "b"], tmp_path))


@pytest.mark.parametrize("form", [f for f in LABELLED if f != "targets"])
def test_one_hot_labels_are_refused_with_a_hint(form, tmp_path):
    with pytest.raises(DataError, match="argmax"):
        open_data(LABELLED[form](X, np.eye(2)[[0, 1, 0, 1, 0, 1]].tolist(), tmp_path))


@pytest.mark.parametrize(
    "value, message",
    [({"a": 1}, "got a dict"), (np.zeros(1), "an array of one number"), ([1], "one number"), (b"\xff", "not UTF-8"),
     (1j, "got a complex"), (float("inf"), "the number inf"), (1e300, r"the number 1e\+300"), (object(), "a object")],
)  # fmt: skip
def test_what_is_no_label_is_refused(value, message):
    with pytest.raises(DataError, match=message):
        class_name(value)


def test_whole_numbers_of_any_size_are_classes():
    assert open_data((X, [2**70, 5] * 3)).classes == ("5", str(2**70))


def test_a_declared_class_that_does_not_exist_is_refused():
    table = image_table().cast_column("label", datasets.Value("int64"))
    odd = table.map(lambda row, i: {"label": 7 if i == 3 else row["label"]}, with_indices=True)
    with pytest.raises(DataError, match="expected a class from 0 to 2, as the column declares, got 7 at train row 3"):
        open_data(datasets.Dataset(odd.data, info=datasets.DatasetInfo(features=image_table().features)))


UNLABELLED = {
    "an array": lambda v: np.array(v),
    "tensors": lambda v: Items([torch.tensor(row) for row in v]),
    "a table": lambda v: datasets.Dataset.from_dict({"x": v}),
}


@pytest.mark.parametrize("form", UNLABELLED)
@pytest.mark.parametrize("odd", [float("nan"), float("inf"), 1e300])
def test_vectors_that_are_not_finite_in_float32_are_bad_rows(form, odd):
    data = [[1.0, 2.0]] * 3 + [[1.0, odd]]
    if form == "tensors" and odd == 1e300:
        data = [[1.0, 2.0]] * 3 + [[1.0, float("inf")]]  # a tensor of float32 already
    with pytest.raises(DataError, match="row 3: vector holds nan or inf, or a number beyond float32"):
        open_data(UNLABELLED[form](data))


@pytest.mark.parametrize(
    "row, message",
    [(["a"], "text"), ([[1.0]], "nested lists"), ([], "empty"), ([None], "nan"), ([1j], "complex")],
)
def test_what_is_no_vector_is_refused(row, message):
    with pytest.raises(DataError, match=message):
        vector(row)


GREY = pixels(3, channels=1)
RGB = pixels(3)
PIXELS = {
    "uint8": RGB, "int64": RGB.astype(np.int64), "floats": RGB / 255, "float32": (RGB / 255).astype(np.float32),
    "channels first": np.moveaxis(RGB, -1, 0), "a tensor": torch.from_numpy(RGB).permute(2, 0, 1) / 255,
    "int32": RGB.astype(np.int32), "PIL": Image.fromarray(RGB),
    "with a gradient": (torch.from_numpy(RGB) / 255).requires_grad_(),
}  # fmt: skip


@pytest.mark.parametrize("form", PIXELS)
def test_pixels_of_every_type_are_the_same(form):
    np.testing.assert_array_equal(as_array(PIXELS[form]), RGB)


def test_grey_images_and_masks():
    for image in (GREY, GREY[..., None], GREY[None], GREY / 255, Image.fromarray(GREY)):
        np.testing.assert_array_equal(as_array(image), GREY[..., None])
    mask = GREY > 100
    for image in (mask, Image.fromarray(mask)):
        np.testing.assert_array_equal(as_array(image), mask[..., None] * np.uint8(255))


def test_an_image_of_pillow_is_read_as_its_file_would_be():
    clear = Image.fromarray(np.zeros((8, 8, 4), dtype=np.uint8))
    palette = Image.fromarray(RGB).quantize(8)
    assert (as_array(clear) == 255).all()
    np.testing.assert_array_equal(as_array(palette), np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize(
    "image, message",
    [(RGB.astype(np.uint16), "more than 8 bits"), (RGB.astype(np.float32), "images must be uint8"),
     (RGB.astype(np.int64) - 9, "images must be uint8"), (np.full((8, 8, 3), np.nan), "images must be uint8"),
     (np.zeros((8, 8, 4), np.uint8), "1 or 3 channels"), (np.zeros((2, 2, 2, 2)), "an image or a vector"),
     (Image.fromarray(np.full((8, 8), 40_000, np.uint16)), "more than 8 bits"), ("text", "an image or a vector")],
)  # fmt: skip
def test_what_are_no_pixels_is_refused_alike(image, message):
    with pytest.raises(DataError, match=message):
        as_array(image)
    with pytest.raises(DataError, match=message):
        open_data(Items([(image, i % 2) for i in range(4)]))
    if isinstance(image, np.ndarray) and image.ndim == 3:
        with pytest.raises(DataError, match=message):
            open_data((np.stack([image] * 4), [0, 1] * 2))


class TestTorchDatasets:
    def test_targets_that_disagree_with_the_items_stop(self):
        items = [(x, i % 2) for i, x in enumerate(X)]
        with pytest.raises(DataError, match="item 0 of the Dataset has the label 0, but its `targets` say 1"):
            open_data(Items(items, targets=[1, 0] * 3))

    def test_targets_of_another_length_are_of_something_else(self):
        assert open_data(Items([(x, i % 2) for i, x in enumerate(X)], targets=[5])).classes == ("0", "1")

    def test_an_item_that_cannot_be_read_is_a_bad_row(self):
        class Broken(Items):
            def __getitem__(self, i):
                return 1 / 0 if i == 3 else (X[i], i % 2)

        with pytest.raises(DataError, match="item 3 of the Dataset cannot be read .ZeroDivisionError"):
            open_data(Broken(X))
        odd = [*[(x, i % 2) for i, x in enumerate(X)], (np.full(6, np.nan), 0)]
        assert list(open_data(Items(odd), on_bad="skip").train.bad) == [6]

    def test_an_empty_one(self):
        with pytest.raises(DataError, match="train: the split is empty"):
            open_data(Items([]))


class Stream(torch.utils.data.IterableDataset):
    def __len__(self):
        return 3

    def __iter__(self):
        return iter(X)


NO_ROWS = {
    "a stream of torch": lambda: Stream(),
    "a stream of datasets": lambda: a_table(X, [0, 1] * 3).to_iterable_dataset(),
    "a frame": lambda: a_table(X, [0, 1] * 3).to_pandas(),
    "a table of arrow": lambda: a_table(X, [0, 1] * 3).data.table,
    "a dict": lambda: {"train": X},
    "a DataLoader": lambda: torch.utils.data.DataLoader(Items(X)),
}


@pytest.mark.parametrize("form", NO_ROWS)
def test_what_has_no_rows_by_number_is_refused_with_the_way_out(form):
    with pytest.raises(DataError, match="is not supported; .*pass"):
        open_data(NO_ROWS[form]())


class TestTables:
    def test_a_transform_is_not_lost_in_silence(self):
        with pytest.raises(DataError, match="the table has a transform"):
            open_data(image_table().with_transform(lambda rows: rows))

    @pytest.mark.parametrize("kind", ["torch", "numpy", "pandas", "arrow"])
    def test_images_are_read_whatever_the_format_and_have_one_fingerprint(self, kind):
        table = image_table()
        assert open_data(table.with_format(kind)).fingerprint == open_data(table).fingerprint

    def test_an_index_of_pandas_is_no_label(self):
        assert not open_data(a_table(X, range(6)).rename_column("label", "__index_level_0__")).labelled

    @pytest.mark.parametrize("name", ["caption", "text", "id"])
    def test_a_caption_is_no_label_unless_it_is_asked_for(self, name):
        table = a_table(X, ["a", "b"] * 3).rename_column("label", name)
        with pytest.raises(DataError, match=f"the only column besides the input is {name}; name it with --label"):
            open_data(table)
        assert open_data(table, label=name).classes == ("a", "b")

    def test_a_declared_class_beside_a_label_is_not_preferred(self):
        table = image_table(columns=("image", "attr")).add_column("label", [i % 2 for i in range(12)])
        with pytest.raises(DataError, match="attr, label could all hold the labels"):
            open_data(table)

    @pytest.mark.parametrize("cell", [[1, 0], {"a": 1}], ids=["lists", "structs"])
    def test_columns_that_cannot_be_labels_are_refused(self, cell):
        table = datasets.Dataset.from_dict({"x": X.tolist(), "label": [cell] * 6})
        with pytest.raises(DataError, match="label holds|label: .*holds|could all hold the labels"):
            open_data(table, input="x", label="label")

    def test_columns_that_cannot_be_inputs_are_refused(self):
        table = datasets.Dataset.from_dict({"x": [[[1.0]]] * 6, "s": ["a"] * 6, "label": [0, 1] * 3})
        for name in ("x", "s"):
            with pytest.raises(
                DataError, match=f"input: expected a column of images or of lists of numbers, but {name}"
            ):
                open_data(table, input=name)
        with pytest.raises(DataError, match="input: no column of images or number lists among x"):
            open_data(table)

    def test_a_test_split_of_its_own_beside_data_with_splits_is_refused(self, tmp_path):
        table = image_table()
        with pytest.raises(DataError, match="test: the data have the splits train; name one"):
            open_data(datasets.DatasetDict(train=table), test=table)
        with pytest.raises(DataError, match="has splits of its own"):
            open_data("digits", test=table)


def test_pixels_of_a_file_and_of_an_array_are_the_same():
    assert (open_data(image_table(encoded=[png(pixels(i)) for i in range(12)])).train.values[5] == pixels(5)).all()
