"""Folders as they are found on disk: what they hold is read whole, and what is not read is told."""

import os

import datasets
import numpy as np
import pytest

from secateur.data.layouts.listing import listed
from secateur.data.source import open_data
from secateur.errors import DataError
from tests.data.made import CLASSES, image_table, pixels, png, write_folder, write_parquet


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    datasets.disable_progress_bars()


def put(path, i=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(pixels(i)))
    return path


def classes(source):
    return [source.classes[k] for k in source.train.labels]


class TestListing:
    def test_links_are_followed_once_and_loops_end(self, tmp_path):
        put(tmp_path / "elsewhere" / "0.png")
        put(tmp_path / "data" / "cat" / "0.png")
        (tmp_path / "data" / "dog").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "data" / "again").symlink_to(tmp_path / "data" / "cat")
        (tmp_path / "data" / "cat" / "loop").symlink_to(tmp_path / "data")
        (tmp_path / "data" / "cat" / "gone.png").symlink_to(tmp_path / "nowhere")
        found = listed(tmp_path / "data")
        assert found.files == ("cat/0.png", "dog/0.png")
        assert found.ignored == {
            "broken links": ("cat/gone.png",),
            "links to folders that were already read": ("again/", "cat/loop/"),
        }

    def test_what_systems_leave_behind_is_set_aside(self, tmp_path):
        for name in (
            "cat/.DS_Store",
            "__MACOSX/cat/._0.png",
            "cat/Thumbs.db",
            ".git/x.png",
            "cat/.ipynb_checkpoints/a.png",
        ):
            put(tmp_path / name)
        put(tmp_path / "cat/0.png")
        found = listed(tmp_path)
        assert found.files == ("cat/0.png",)
        hidden = (".git", "__MACOSX", "cat/.DS_Store", "cat/.ipynb_checkpoints", "cat/Thumbs.db")
        assert found.ignored == {"hidden and system files": hidden}

    def test_pipes_are_not_opened(self, tmp_path):
        put(tmp_path / "cat" / "0.png")
        os.mkfifo(tmp_path / "cat" / "1.png")
        assert listed(tmp_path).ignored == {"pipes, sockets and devices": ("cat/1.png",)}

    def test_out_folders_and_saved_sets_are_not_data(self, tmp_path):
        put(tmp_path / "cat" / "0.png")
        put(tmp_path / "secateur-out" / "kept" / "cat" / "0.png")
        (tmp_path / "secateur-out" / "run.json").write_text(
            '{"data": {"fingerprint": "x"}, "stages": {}, "versions": {"secateur": "1"}}'
        )
        put(tmp_path / "other" / "0.png")
        (tmp_path / "other" / "run.json").write_text("[" * 100_000)
        image_table().save_to_disk(str(tmp_path / "saved"))
        found = listed(tmp_path)
        assert [f for f in found.files if f.endswith("png")] == ["cat/0.png", "other/0.png"]
        assert found.ignored == {
            "OUT folders of runs": ("secateur-out/",), "data sets saved by `datasets`": ("saved/",),
        }  # fmt: skip

    def test_names_that_are_no_text_stop(self, tmp_path):
        (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"")
        with pytest.raises(DataError, match="is not UTF-8; rename it"):
            listed(tmp_path)


class TestSplits:
    def test_folders_of_parquet_called_train_and_test_are_splits(self, tmp_path):
        write_parquet(tmp_path / "d" / "train" / "0.parquet", n=12)
        write_parquet(tmp_path / "d" / "test" / "0.parquet", n=6)
        source = open_data(str(tmp_path / "d"))
        assert (len(source.train), len(source.test)) == (12, 6)

    def test_folders_of_keys_and_values_give_labels_to_tables(self, tmp_path):
        for k, name in enumerate(CLASSES):
            write = datasets.Dataset.from_dict({"x": np.eye(4)[: k + 2].tolist()})
            (tmp_path / "d" / f"label={name}").mkdir(parents=True)
            write.to_parquet(str(tmp_path / "d" / f"label={name}" / "part-0.parquet"))
        source = open_data(str(tmp_path / "d"))
        assert classes(source) == ["cat"] * 2 + ["dog"] * 3 + ["owl"] * 4
        assert "label column 'label'" in source.told

    def test_folders_of_keys_and_values_give_labels_to_images(self, tmp_path):
        for i in range(6):
            put(tmp_path / "d" / f"label={CLASSES[i % 3]}" / f"{i}.png", i)
        assert open_data(str(tmp_path / "d")).classes == CLASSES

    def test_the_only_split_is_not_pruned_where_it_is_held_out(self, tmp_path):
        folder = str(write_folder(tmp_path / "d", split="test"))
        with pytest.raises(
            DataError, match="the only split is test, and held-out rows are not pruned by default; pass --split test"
        ):
            open_data(folder)
        assert len(open_data(folder, split="test").train) == 12
        assert open_data(folder, split="test").test is None

    def test_a_file_that_is_named_is_read_whatever_it_is_called(self, tmp_path):
        path = str(write_parquet(tmp_path / "test [1].parquet"))
        assert len(open_data(path).train) == 12
        assert len(open_data(path, split="test").train) == 12

    def test_a_column_of_splits_keeps_test_rows_out_of_train(self, tmp_path):
        table = image_table().add_column("split", ["train"] * 9 + ["test"] * 3)
        table.to_parquet(str(tmp_path / "x.parquet"))
        for data in (table, str(tmp_path / "x.parquet")):
            source = open_data(data)
            assert (len(source.train), len(source.test)) == (9, 3)
        assert len(open_data(image_table().add_column("split", ["train"] * 12)).train) == 12

    def test_other_words_for_a_split_name_it_too(self, tmp_path):
        folder = write_folder(write_folder(tmp_path / "d", split="train"), n=6, split="Val")
        assert len(open_data(str(folder), test="val").test) == 6

    def test_files_of_images_in_any_case_of_letters_are_read(self, tmp_path):
        folder = write_folder(tmp_path / "d")
        (folder / "cat" / "000.png").rename(folder / "cat" / "000.JPG")  # a PNG called JPG, too
        assert len(open_data(str(folder)).train) == 12


class TestMetadata:
    def folder(self, root, rows, name="metadata.csv", n=4):
        for i in range(n):
            put(root / f"{i}.png", i)
        (root / name).write_text(rows)
        return str(root)

    def test_its_labels_are_read(self, tmp_path):
        rows = "file_name,caption,label\n" + "".join(f"{i}.png,on {i},{'ab'[i % 2]}\n" for i in range(4))
        source = open_data(self.folder(tmp_path, rows))
        assert classes(source) == ["a", "b", "a", "b"]
        assert "labels from metadata.csv" in source.told

    def test_json_lines_and_other_columns_that_are_named(self, tmp_path):
        rows = "\n".join(f'{{"file_name": "{i}.png", "kind": {i % 2}, "label": "x"}}' for i in range(4))
        source = open_data(self.folder(tmp_path, rows, "metadata.jsonl"), label="kind")
        assert classes(source) == ["0", "1", "0", "1"]

    def test_numbers_are_classes_as_in_a_table(self, tmp_path):
        rows = "file_name,label\n" + "".join(f"{i}.png,{i % 2}.0\n" for i in range(4))
        assert open_data(self.folder(tmp_path / "a", rows)).classes == ("0", "1")
        with pytest.raises(DataError, match="expected classes, got the number 0.5"):
            open_data(self.folder(tmp_path / "b", rows.replace("1.0", "0.5")))

    def test_a_caption_in_class_folders_is_not_the_label(self, tmp_path):
        folder = write_folder(tmp_path)
        for name in CLASSES:
            files = sorted(p.name for p in (folder / name).iterdir())
            (folder / name / "metadata.csv").write_text("file_name,caption\n" + "".join(f"{f},a {f}\n" for f in files))
        source = open_data(str(folder))
        assert source.classes == CLASSES
        assert "metadata without a label column: 3 (cat/metadata.csv)" in source.ignored

    @pytest.mark.parametrize(
        "name, message",
        [("../0.png", "below the folder"), ("/etc/passwd", "below the folder"), ("9.png", "there is no such image"),
         ("", "has no file_name"), ("0.png", "names 0.png again"), ("a\0b", "")],
    )  # fmt: skip
    def test_rows_that_lead_elsewhere_are_refused(self, tmp_path, name, message):
        with pytest.raises(DataError, match=f"metadata.csv row 1 .*{message}"):
            open_data(self.folder(tmp_path, f"file_name,label\n0.png,a\n{name},b\n"))

    @pytest.mark.parametrize("raw", [b"\xff\xfe\x00", b'file_name,label\n"0.png,a', b"file_name,label\n0.png,a,b\n"])
    def test_a_broken_file_is_named(self, tmp_path, raw):
        folder = self.folder(tmp_path, "")
        (tmp_path / "metadata.csv").write_bytes(raw)
        with pytest.raises(DataError, match=r"label: .*metadata.csv"):
            open_data(folder)


class TestSaved:
    def test_files_outside_of_it_are_not_opened(self, tmp_path):
        image_table().save_to_disk(str(tmp_path / "s"))
        state = tmp_path / "s" / "state.json"
        whole = state.read_text()
        for name in ("../../dev/zero", "/dev/zero", "gone.arrow"):
            state.write_text(whole.replace("data-00000-of-00001.arrow", name))
            with pytest.raises(DataError, match="data: "):
                open_data(str(tmp_path / "s"))
        state.write_text("{")
        with pytest.raises(DataError, match="state.json is not JSON"):
            open_data(str(tmp_path / "s"))

    def test_a_damaged_one_is_named(self, tmp_path):
        image_table().save_to_disk(str(tmp_path / "s"))
        (tmp_path / "s" / "data-00000-of-00001.arrow").write_bytes(b"nothing")
        with pytest.raises(DataError, match="could not be read as saved by `datasets`"):
            open_data(str(tmp_path / "s"))


class TestCellsThatNameFiles:
    def table(self, path, names):
        """A parquet file of cells that hold paths alone."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        images = pa.array(
            [{"bytes": None, "path": n} for n in names], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"image": images, "label": [i % 2 for i in range(len(names))]}), path)
        return str(path)

    def test_files_below_the_data_are_read(self, tmp_path):
        names = [str(put(tmp_path / "d" / f"{i}.png", i)) if i % 2 else f"{i}.png" for i in range(4)]
        put(tmp_path / "d" / "0.png", 0)
        put(tmp_path / "d" / "2.png", 2)
        split = open_data(self.table(tmp_path / "d" / "x.parquet", names)).train
        np.testing.assert_array_equal(split.values, [pixels(i) for i in range(4)])

    @pytest.mark.parametrize("name", ["/dev/zero", "../secret.png", "pipe", "a\0b", "link.png"])
    def test_others_are_refused_without_waiting(self, tmp_path, name):
        put(tmp_path / "secret.png")
        put(tmp_path / "d" / "0.png")
        os.mkfifo(tmp_path / "d" / "pipe")
        (tmp_path / "d" / "link.png").symlink_to(tmp_path / "secret.png")
        data = self.table(tmp_path / "d" / "x.parquet", ["0.png", "0.png", "0.png", "0.png", name])
        with pytest.raises(DataError, match="row 4.*(lies outside|expected a regular file, found a pipe)"):
            open_data(data)
        assert list(open_data(data, on_bad="skip").train.bad) == [4]

    def test_the_user_s_own_tables_may_name_any_file(self, tmp_path):
        names = [str(put(tmp_path / f"{i}.png", i)) for i in range(4)]
        table = datasets.Dataset.from_dict({"image": names, "label": [0, 1, 0, 1]}).cast_column(
            "image", datasets.Image()
        )
        np.testing.assert_array_equal(open_data(table).train.values, [pixels(i) for i in range(4)])


class TestTold:
    def test_one_line_says_what_was_understood_and_one_what_is_ignored(self, tmp_path):
        folder = write_folder(write_folder(tmp_path, split="train"), n=6, split="test")
        write_folder(folder, n=3, split="val")
        (folder / "train" / "owl" / ".DS_Store").write_bytes(b"")
        (folder / "train" / "empty").mkdir()
        (folder / "notes.txt").write_text("")
        source = open_data(str(folder))
        assert source.told == (
            "data: a folder of images, train 12 rows, test split test 6 rows, 8x8 images, labels from folder names, "
            "3 classes (cat, dog, owl)"
        )
        assert source.ignored == (
            "ignored: hidden and system files: 1 (train/owl/.DS_Store); other files: 1 (notes.txt); "
            "folders without data: 1 (train/empty/); split validation: 3 rows"
        )

    def test_rows_that_are_left_out_are_told(self):
        encoded = [*[png(pixels(i)) for i in range(11)], b"no"]
        source = open_data(image_table(encoded=encoded), on_bad="skip")
        assert source.ignored == "ignored: unusable rows: 1 (row 11: image is not an image)"
        assert source.told.startswith(
            "data: rows from Python, train 12 rows, 8x8 images from column 'image', label column"
        )

    def test_commands_say_both_and_quiet_ones_neither(self, tmp_path, capsys):
        from secateur.study.session import session

        for quiet in (False, True):
            with session("digits", tmp_path / "out", quiet=quiet):
                pass
            err = capsys.readouterr().err
            assert ("data: the bundled digits, train 1,437 rows, test split test 360 rows" in err) is not quiet
            assert ("ignored: nothing\n" in err) is not quiet
