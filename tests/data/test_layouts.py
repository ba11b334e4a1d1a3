"""Every layout of files is read by a rule, or stops with the way out. No file is read here: names are enough."""

import pytest

from secateur.data.layouts.listing import HIDDEN, SAVED, Listing
from secateur.data.layouts.places import Asked
from secateur.data.layouts.rules import BOOKKEEPING, EMPTY, OTHER, UNREAD, Described, lay_out
from secateur.errors import DataError

NONE = Asked(label="none")
EVERYTHING = Asked(split="all")
BY_NAME = Asked(split="train", test="test")
GLOB = Asked(chosen=True)


def listing(names, folders=()):
    files = sorted(names.split())
    inside = {f.rsplit("/", k)[0] for f in files for k in range(1, f.count("/") + 1)}
    return Listing(tuple(files), tuple(sorted(inside | set(folders))))


def read(names, asked=Asked(), described=Described(), folders=()):  # noqa: B008
    """{split: {file: class}}, or {split: [files]} where there are no classes."""
    found = lay_out(listing(names, folders), "DATA", asked=asked, described=described)
    return {
        name: list(part.files) if part.classes is None else dict(zip(part.files, part.classes, strict=True))
        for name, part in found.splits.items()
    }


def ignored(names, asked=Asked(), described=Described(), folders=()):  # noqa: B008
    return lay_out(listing(names, folders), "DATA", asked=asked, described=described).ignored


CLASSES = {"cat/0.png": "cat", "dog/1.png": "dog"}
TRAIN = {"train/cat/0.png": "cat", "train/dog/1.png": "dog"}
TEST = {"test/cat/2.png": "cat", "test/dog/3.png": "dog"}
SPLIT = " ".join([*TRAIN, *TEST])

IMAGES = {
    "class folders": ("cat/0.png dog/1.png", {"train": CLASSES}),
    "images directly": ("0.png 1.png", {"train": ["0.png", "1.png"]}),
    "splits of class folders": (SPLIT, {"train": TRAIN, "test": TEST}),
    "capital letters": (
        "Train/cat/0.png Train/dog/1.png Validation/cat/2.png",
        {"train": {"Train/cat/0.png": "cat", "Train/dog/1.png": "dog"}, "validation": {"Validation/cat/2.png": "cat"}},
    ),
    "three splits": (f"{SPLIT} val/cat/4.png", {"train": TRAIN, "test": TEST, "validation": {"val/cat/4.png": "cat"}}),
    "splits without classes": ("train/0.png test/1.png", {"train": ["train/0.png"], "test": ["test/1.png"]}),
    "train alone": ("train/cat/0.png train/dog/1.png", {"train": TRAIN}),
    "a wrapper": ("set/cat/0.png set/dog/1.png", {"train": {"set/cat/0.png": "cat", "set/dog/1.png": "dog"}}),
    "a wrapper of splits": (
        "a/b/train/cat/0.png a/b/test/cat/1.png",
        {"train": {"a/b/train/cat/0.png": "cat"}, "test": {"a/b/test/cat/1.png": "cat"}},
    ),
    "a wrapper in a split": (
        "train/images/cat/0.png train/images/dog/1.png",
        {"train": {"train/images/cat/0.png": "cat", "train/images/dog/1.png": "dog"}},
    ),
    "a class called train": ("train/0.png bus/1.png", {"train": {"bus/1.png": "bus", "train/0.png": "train"}}),
    "a class with a word in it": (
        "train_station/0.png cat/1.png", {"train": {"cat/1.png": "cat", "train_station/0.png": "train_station"}},
    ),
    "words in the names of split folders": (
        "my_train/cat/0.png my_test/cat/1.png",
        {"train": {"my_train/cat/0.png": "cat"}, "test": {"my_test/cat/1.png": "cat"}},
    ),
    "hive": ("label=cat/0.png label=a%20b/1.png", {"train": {"label=a%20b/1.png": "a b", "label=cat/0.png": "cat"}}),
    "hive with splits": (
        "split=train/label=cat/0.png split=test/label=cat/1.png",
        {"train": {"split=train/label=cat/0.png": "cat"}, "test": {"split=test/label=cat/1.png": "cat"}},
    ),
    "a missing label": (
        "label=__HIVE_DEFAULT_PARTITION__/0.png label=cat/1.png",
        {"train": {"label=__HIVE_DEFAULT_PARTITION__/0.png": None, "label=cat/1.png": "cat"}},
    ),
    "endings in capitals": ("cat/0.JPG dog/1.Png", {"train": {"cat/0.JPG": "cat", "dog/1.Png": "dog"}}),
    "underscores": ("_noise/0.png cat/_1.png", {"train": {"_noise/0.png": "_noise", "cat/_1.png": "cat"}}),
}  # fmt: skip

TABLES = {
    "one": ("x.parquet", {"train": ["x.parquet"]}),
    "shards": ("a-0.parquet a-1.parquet", {"train": ["a-0.parquet", "a-1.parquet"]}),
    "split files": ("train.parquet test.parquet", {"train": ["train.parquet"], "test": ["test.parquet"]}),
    "split folders": ("train/0.parquet test/0.parquet", {"train": ["train/0.parquet"], "test": ["test/0.parquet"]}),
    "the hub": (
        "README.md data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet data/dev-00000-of-00001.parquet",
        {
            "train": ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
            "validation": ["data/dev-00000-of-00001.parquet"],
        },
    ),
    "Spark": (
        "_SUCCESS part-00000-3f.c000.snappy.parquet part-00001-3f.c000.snappy.parquet _temporary/0/part-2.parquet",
        {"train": ["part-00000-3f.c000.snappy.parquet", "part-00001-3f.c000.snappy.parquet"]},
    ),
    "Spark, written by split": (
        "split=train/part-0.parquet split=test/part-0.parquet",
        {"train": ["split=train/part-0.parquet"], "test": ["split=test/part-0.parquet"]},
    ),
    "digits beside the word": (
        "train1.parquet train2.parquet test1.parquet",
        {"train": ["train1.parquet", "train2.parquet"], "test": ["test1.parquet"]},
    ),
    "words that only look alike": ("contest.parquet", {"train": ["contest.parquet"]}),
    "endings in capitals": ("TRAIN.PARQUET Test.Parquet", {"train": ["TRAIN.PARQUET"], "test": ["Test.Parquet"]}),
}  # fmt: skip


@pytest.mark.parametrize(
    "layout", [*IMAGES.values(), *TABLES.values()], ids=[*IMAGES, *(f"{k}, tables" for k in TABLES)]
)
def test_a_clear_layout_is_read_by_its_rule(layout):
    names, expected = layout
    assert read(names) == expected


STOPS = {
    "splits beside others": (f"{SPLIT} new/9.png", "new/: splits or classes.*--split and --test.*--split all"),
    "splits beside class folders": (f"{SPLIT} extra/cat/9.png", "test/, train/ beside extra/"),
    "splits beside images": (f"{SPLIT} 9.png", "beside 9.png"),
    "test among classes": ("cat/0.png dog/1.png test/2.png", "test/ beside cat/, dog/"),
    "train and test images among classes": ("cat/0.png train_set/1.png test_set/2.png", "test_set/, train_set/"),
    "two folders for one split": ("test/cat/0.png testing/cat/1.png", "test, testing of DATA all mean the test split"),
    "train in two spellings": ("Train/cat/0.png train/cat/1.png", "all mean the train split"),
    "nested classes": ("cat/a/0.png dog/b/1.png", r"folders inside class folders \(cat/a/0.png and 1 more\)"),
    "classes at two depths": ("cat/0.png dog/b/1.png", "folders inside class folders"),
    "images beside class folders": ("cat/0.png 1.png", "both images and folders of images; move 1.png .*--label none"),
    "images and tables": ("cat/0.png x.parquet", r"images \(cat/0.png\) and parquet files \(x.parquet\)"),
    "images and a table of labels": ("0.png 1.png labels.csv", "labels.csv, which may hold.*metadata.csv"),
    "hive beside classes": ("label=cat/0.png dog/1.png", "do not have the same key=value pairs"),
    "hive of no label": ("day=1/0.png day=2/1.png", "the folder names of DATA have the keys day; .*--label"),
    "some files with words": ("train.parquet test.parquet more.parquet", "name a split .* and files that name none"),
    "one file with a word": ("train.parquet more.parquet", "more.parquet.*--split"),
    "two words in a path": ("test/train.parquet", "names the splits test and train"),
    "tables by class": ("cat/0.parquet dog/0.parquet", r"several folders \(cat, dog\).*'DATA/\*\*/\*.parquet'"),
    "two data sets": ("a/train.parquet b/train.parquet", "several folders"),
    "hive with other keys": ("label=a/0.parquet kind=b/0.parquet", "do not have the same key=value pairs"),
    "hive for some": ("label=a/0.parquet x.parquet", "do not have the same key=value pairs"),
    "Delta Lake": ("part-0.parquet _delta_log/0.json", "a Delta Lake table"),
    "nothing": ("", "no folders of images; expected DATA/CLASS/IMAGE.*found nothing"),
    "what is not read": ("a.csv b.tar", "contains no parquet files .* found a.csv, b.tar"),
}  # fmt: skip


@pytest.mark.parametrize("case", STOPS.values(), ids=STOPS)
def test_an_unclear_layout_stops_with_the_way_out(case):
    names, message = case
    with pytest.raises(DataError, match=message):
        read(names)


class TestWaysOut:
    def test_splits_that_are_named_leave_the_rest_out(self):
        names = f"{SPLIT} unlabelled/9.png 8.png"
        assert read(names, BY_NAME) == read(names, Asked(split="train")) == {"train": TRAIN, "test": TEST}
        assert ignored(names, BY_NAME) == {"images of splits you did not ask for": ["8.png", "unlabelled/9.png"]}
        tables = "train.parquet test.parquet more.parquet"
        assert read(tables, BY_NAME) == {"test": ["test.parquet"], "train": ["train.parquet"]}
        assert ignored(tables, BY_NAME) == {"files of splits you did not ask for": ["more.parquet"]}

    def test_a_split_of_any_name_can_be_named(self):
        assert read("good/cat/0.png bad/cat/1.png", Asked(split="good")) == {"good": {"good/cat/0.png": "cat"}}
        assert read("extra.parquet train.parquet", Asked(split="extra"))["extra"] == ["extra.parquet"]

    def test_all_reads_every_folder_as_a_class_and_every_file_as_a_row(self):
        assert read("cat/0.png test/1.png", EVERYTHING) == {"all": {"cat/0.png": "cat", "test/1.png": "test"}}
        assert read("train/0.png test/1.png", EVERYTHING) == {"all": {"test/1.png": "test", "train/0.png": "train"}}
        assert read("a/train.parquet test.parquet", EVERYTHING) == {"all": ["a/train.parquet", "test.parquet"]}

    def test_a_glob_joins_folders_but_never_test_with_train(self):
        assert read("a/x.parquet b/y.parquet", GLOB) == {"train": ["a/x.parquet", "b/y.parquet"]}
        assert read("a/train.parquet b/test.parquet", GLOB) == {
            "test": ["b/test.parquet"],
            "train": ["a/train.parquet"],
        }
        with pytest.raises(DataError, match="files that name none"):
            read("a/test.parquet b/y.parquet", GLOB)

    def test_without_labels_any_depth_is_read_but_held_out_folders_still_stop(self):
        assert read("a/b/0.png c/1.png 2.png", NONE) == {"train": ["2.png", "a/b/0.png", "c/1.png"]}
        assert read("day=1/0.png day=2/1.png", NONE) == {"train": ["day=1/0.png", "day=2/1.png"]}
        with pytest.raises(DataError, match="test/ beside a/"):
            read("a/b/0.png test/c/1.png", NONE)

    def test_a_key_can_be_named_as_the_label(self):
        found = lay_out(listing("day=1/0.png day=2/1.png"), "DATA", asked=Asked(label="day"))
        assert (found.column, found.splits["train"].classes) == ("day", ("1", "2"))


def test_key_value_folders_are_columns_of_a_table():
    found = lay_out(listing("label=a/day=1/0.parquet label=b%2F/day=2/0.parquet"), "DATA")
    assert found.splits["train"].columns == {"label": ("a", "b/"), "day": ("1", "2")}


class TestMetadata:
    FLAT = Described(("metadata.csv",), ("label",), {"0.png": "cat", "1.png": "dog"})

    def test_it_gives_labels_where_folders_give_none(self):
        names = "0.png 1.png 2.png metadata.csv"
        assert read(names, described=self.FLAT) == {"train": {"0.png": "cat", "1.png": "dog"}}
        assert ignored(names, described=self.FLAT) == {"images that are not in the metadata": ["2.png"]}

    def test_one_folder_of_images_is_no_class_beside_it(self):
        about = Described(("metadata.csv",), ("label",), {"images/0.png": "cat", "images/1.png": "dog"})
        assert read("metadata.csv images/0.png images/1.png", described=about)["train"]["images/1.png"] == "dog"

    def test_class_folders_win_over_metadata_without_a_label(self):
        about = Described(("cat/metadata.csv", "dog/metadata.csv"), ("caption",))
        names = "cat/0.png dog/1.png cat/metadata.csv dog/metadata.csv"
        assert read(names, described=about) == {"train": CLASSES}
        assert ignored(names, described=about) == {"metadata without a label column": list(about.files)}

    def test_class_folders_and_metadata_may_name_the_classes_differently_but_not_disagree(self):
        same = Described(("metadata.csv",), ("label",), {"cat/0.png": "0", "dog/1.png": "1"})
        assert read("cat/0.png dog/1.png metadata.csv", described=same) == {"train": CLASSES}
        names, other = (
            "cat/0.png dog/1.png dog/2.png metadata.csv",
            {"cat/0.png": "a", "dog/1.png": "a", "dog/2.png": "b"},
        )
        with pytest.raises(
            DataError, match="metadata.csv in DATA labels cat/0.png as 'a', but its folder is another class"
        ):
            read(names, described=Described(("metadata.csv",), ("label",), other))
        assert read(names, described=Described(("metadata.csv",), ("label",), other, asked=True)) == {"train": other}

    def test_captions_alone_are_no_labels(self):
        with pytest.raises(DataError, match="metadata.csv in DATA has the columns caption, and none is called label"):
            read("0.png metadata.csv", described=Described(("metadata.csv",), ("caption",)))

    def test_a_split_that_it_does_not_name_stops(self):
        about = Described(("train/metadata.csv",), ("label",), {"train/0.png": "cat", "train/1.png": "dog"})
        with pytest.raises(DataError, match="lists no image of test"):
            read("train/0.png train/1.png test/2.png train/metadata.csv", described=about)


class TestIgnored:
    def test_everything_that_is_not_read_is_told_with_its_reason(self):
        names = "cat/0.png dog/1.png notes.txt cat/x.heic labels.csv"
        assert ignored(names, folders=["owl", "owl/deep", "docs"]) == {
            OTHER: ["notes.txt"], UNREAD: ["cat/x.heic", "labels.csv"], EMPTY: ["docs/", "owl/"],
        }  # fmt: skip

    def test_an_empty_split_folder_and_docs_do_not_change_what_splits_are(self):
        assert read(SPLIT, folders=["docs", "val"]) == {"train": TRAIN, "test": TEST}

    def test_what_spark_keeps_for_itself(self):
        assert ignored("part-0.parquet _SUCCESS _metadata _temporary/0/part-1.parquet")[BOOKKEEPING] == [
            "_temporary/0/part-1.parquet", "_SUCCESS", "_metadata",
        ]  # fmt: skip

    def test_a_saved_data_set_inside_is_named_where_there_is_nothing_else(self):
        inside = {SAVED: ("inner/",), HIDDEN: (".git",)}
        with pytest.raises(DataError, match="data set saved by `datasets` in inner/; pass DATA/inner$"):
            lay_out(Listing((), (), inside), "DATA")
        assert lay_out(Listing(("x.parquet",), (), inside), "DATA").ignored == {k: list(v) for k, v in inside.items()}


@pytest.mark.parametrize("names", [names for names, _ in (*IMAGES.values(), *TABLES.values())])
def test_no_held_out_file_ever_lies_in_train(names):
    """By a rule of its own: no part of a path of train is a word for a held-out split."""
    for split, files in read(names).items():
        for part in (part for file in files for part in file.lower().split("/")):
            held = part.split(".")[0].rstrip("0123456789") in ("test", "testing", "val", "validation", "split=test")
            assert not held or split in ("test", "validation")
