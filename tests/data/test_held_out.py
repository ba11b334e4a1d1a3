"""Held-out rows stay out of train, wherever it is that the data say so."""

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from secateur.data.source import open_data
from secateur.errors import DataError

LABELS = ["a", "b"] * 4
HALF = ["train"] * 4 + ["test"] * 4


def write_table(path, **columns):
    path.parent.mkdir(exist_ok=True)
    rows = len(columns["label"]) if "label" in columns else 8
    vectors = pa.array([[float(i), 1.0] for i in range(rows)], pa.list_(pa.float64()))
    pq.write_table(pa.table({"x": vectors, "label": pa.array(LABELS, pa.string()), **columns}), path)
    return str(path)


def write_images(root, names):
    for i, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), i, np.uint8)).save(root / name)
    return root


class TestColumns:
    @pytest.mark.parametrize(
        ("name", "values"),
        [
            ("split", [*HALF[:7], None]),
            ("split", [*HALF[:7], "holdout"]),
            ("Split", HALF),
            ("subset", HALF),
            ("partition", ["", *HALF[1:]]),
            ("Usage", ["Training"] * 4 + ["PublicTest"] * 4),
            ("part_of", HALF),
            ("is_test", [False] * 7 + [True]),
            ("is_train", [1] * 7 + [0]),
        ],
    )
    def test_a_column_that_may_hold_out_rows_stops_and_names_the_way_out(self, tmp_path, name, values):
        data = write_table(tmp_path / "x.parquet", **{name: values})
        with pytest.raises(DataError, match=rf"split: the column '{name}'.*--split all"):
            open_data(data)
        assert len(open_data(data, split="all").train) == 8

    @pytest.mark.parametrize("values", [[v.encode() for v in HALF], [f"{v} " for v in HALF]])
    def test_bytes_and_spaces_are_read_as_the_words_they_are(self, tmp_path, values):
        source = open_data(write_table(tmp_path / "x.parquet", split=values))
        assert (len(source.train), len(source.test)) == (4, 4)

    @pytest.mark.parametrize(
        ("name", "values"),
        [("split", ["train"] * 8), ("is_train", [1] * 8), ("test_result", [0, 1] * 4), ("word", ["bus", "test"] * 4),
         ("caption", ["a train", "a bus by a test"] * 4)],
    )  # fmt: skip
    def test_other_columns_are_left_alone(self, tmp_path, name, values):
        assert len(open_data(write_table(tmp_path / "x.parquet", **{name: values})).train) == 8

    def test_from_python_too(self):
        rows = {"x": [[float(i)] for i in range(8)], "label": LABELS, "subset": HALF}
        with pytest.raises(DataError, match="subset"):
            open_data(datasets.Dataset.from_dict(rows))
        assert len(open_data(datasets.Dataset.from_dict(rows), split="all").train) == 8

    def test_the_column_of_a_metadata_file_holds_out_images(self, tmp_path):
        names = [f"{i}.png" for i in range(8)]
        write_images(tmp_path, names)
        rows = [",".join(row) for row in zip(names, LABELS, HALF, strict=True)]
        (tmp_path / "metadata.csv").write_text("\n".join(["file_name,label,split", *rows]))
        source = open_data(str(tmp_path))
        assert (len(source.train), len(source.test)) == (4, 4)
        assert source.train.rows.file(3) == "3.png"


class TestNames:
    @pytest.mark.parametrize(
        "names",
        [
            ["a/train_0.png", "a/train_1.png", "b/train_2.png", "b/test_3.png"],
            ["a/test_0.png", "a/test_1.png", "b/test_2.png", "b/test_3.png"],
            ["testset/a/0.png", "testset/a/1.png", "testset/b/0.png", "testset/b/1.png"],
        ],
    )
    def test_images_named_as_held_out_stop(self, tmp_path, names):
        with pytest.raises(DataError, match="--split all"):
            open_data(str(write_images(tmp_path, names)))

    def test_class_folders_with_splits_inside_are_not_merged_without_labels_either(self, tmp_path):
        names = [f"{label}/{split}/{i}.png" for label in "ab" for split in ("train", "test") for i in range(2)]
        with pytest.raises(DataError, match="--split all"):
            open_data(str(write_images(tmp_path, names)), label="none")

    @pytest.mark.parametrize(
        "list_", ["test.txt", "train_test_split.txt", "meta/test.json", "splits.csv", "setup/val.lst"]
    )
    def test_a_list_of_splits_beside_class_folders_stops(self, tmp_path, list_):
        write_images(tmp_path, ["a/0.png", "a/1.png", "b/2.png", "b/3.png"])
        (tmp_path / list_).parent.mkdir(exist_ok=True)
        (tmp_path / list_).write_text("a/0.png")
        with pytest.raises(DataError, match=f"holds {list_}.*--split all"):
            open_data(str(tmp_path))
        assert len(open_data(str(tmp_path), split="all").train) == 4

    @pytest.mark.parametrize(("train", "test"), [("trainset", "testset"), ("TrainImages", "TestImages")])
    def test_words_run_together_are_splits(self, tmp_path, train, test):
        names = [f"{split}/{label}/{i}.png" for split in (train, test) for label in "ab" for i in range(2)]
        source = open_data(str(write_images(tmp_path, names)))
        assert (len(source.train), len(source.test)) == (4, 4)


class TestTables:
    def test_empty_part_files_are_passed_over(self, tmp_path):
        for k in (0, 1, 2):
            write_table(tmp_path / "in" / f"part-{k}.parquet")
        pq.write_table(pq.read_table(tmp_path / "in/part-0.parquet").slice(0, 0), tmp_path / "in/part-0.parquet")
        assert len(open_data(str(tmp_path / "in")).train) == 16

    def test_a_table_without_rows_says_so(self, tmp_path):
        path = write_table(tmp_path / "x.parquet")
        pq.write_table(pq.read_table(path).slice(0, 0), path)
        with pytest.raises(DataError, match="no rows"):
            open_data(path)

    def test_files_of_other_columns_are_both_named_in_one_line(self, tmp_path, capfd):
        write_table(tmp_path / "in" / "a.parquet")
        write_table(tmp_path / "in" / "b.parquet", more=[1] * 8)
        with pytest.raises(DataError, match=r"a\.parquet and .*b\.parquet do not have the same columns \(more\)"):
            open_data(str(tmp_path / "in"))
        assert capfd.readouterr().err == ""

    def test_a_column_that_is_there_twice_is_named(self, tmp_path):
        labels = pa.array(LABELS)
        table = pa.Table.from_arrays([pa.array([[1.0]] * 8), labels, labels], names=["x", "label", "label"])
        pq.write_table(table, tmp_path / "x.parquet")
        with pytest.raises(DataError, match="'label' twice"):
            open_data(str(tmp_path / "x.parquet"))

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("metadata.csv", "file_name,label,label\n0.png,a,b\n"),
            ("metadata.jsonl", '{"file_name":"0.png","label":"a","label":"b"}'),
        ],
    )
    def test_metadata_with_a_column_twice_stops(self, tmp_path, name, text):
        write_images(tmp_path, ["0.png", "1.png"])
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match="'label' twice"):
            open_data(str(tmp_path))

    def test_no_name_is_not_the_folder_one_is_in(self, tmp_path, monkeypatch):
        write_table(tmp_path / "x.parquet")
        monkeypatch.chdir(tmp_path)
        with pytest.raises(DataError, match="expected the name"):
            open_data("")


class TestClasses:
    @pytest.mark.parametrize("twins", [("cat", "cat "), ("Cat", "cat"), ("caf\u00e9", "cafe\u0301")])
    def test_classes_that_look_alike_are_told(self, tmp_path, twins):
        source = open_data(write_table(tmp_path / "x.parquet", label=list(twins) * 4))
        assert "look alike" in source.told
        assert ascii(twins[1]) in source.told

    def test_a_text_of_a_megabyte_is_no_class(self, tmp_path):
        with pytest.raises(DataError, match="1,000,000 characters"):
            open_data(write_table(tmp_path / "x.parquet", label=["a" * 10**6, "b"] * 4))
