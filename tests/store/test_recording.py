"""The recording on disk: whole or not there, and noticed when damaged."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from secateur.errors import SecateurError, StoreError
from secateur.store.recording import BLOCK, Recording, RecordingWriter

FIELDS = ("p_target", "correct", "kl_step", "labels")


def rows(epoch, examples=10):
    rng = np.random.default_rng(epoch)
    p = rng.random(examples).astype(np.float32)
    return {"p_target": p, "correct": (p > 0.5).astype(np.uint8), "kl_step": p if epoch else np.full_like(p, np.nan)}


def writer(path, examples=10, **changes):
    asked = {"fields": FIELDS, "classes": 2, "fingerprint": "abc", "provenance": {"seed": 1}} | changes
    return RecordingWriter(path, examples=examples, **asked)


def recorded(path, epochs=4, examples=10):
    store = writer(path, examples)
    store.create()
    for epoch in range(epochs):
        store.append(rows(epoch, examples))
    store.write_tables({"labels": np.arange(examples) % 2})
    store.finish()
    return Recording.open(path)


def files(path):
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def test_what_is_written_is_read_again(tmp_path):
    recording = recorded(tmp_path / "r.zarr")
    assert (recording.epochs, recording.examples, recording.classes, recording.complete) == (4, 10, 2, True)
    assert recording.provenance == {"seed": 1}
    for epoch in range(4):
        np.testing.assert_array_equal(recording["p_target"][epoch], rows(epoch)["p_target"])
    np.testing.assert_array_equal(recording["p_target"][-1], rows(3)["p_target"])
    np.testing.assert_array_equal(recording["labels"], np.arange(10) % 2)
    assert recording["correct"].shape == (4, 10)


def test_blocks_cover_every_example_once_in_order(tmp_path):
    recording = recorded(tmp_path / "r.zarr")
    blocks = list(recording.blocks(["p_target", "labels"], epochs=slice(1, 3), size=4))
    assert [(b.examples.start, b.examples.stop) for b in blocks] == [(0, 4), (4, 8), (8, 10)]
    whole = np.concatenate([b.arrays["p_target"] for b in blocks], axis=1)
    np.testing.assert_array_equal(whole, recording["p_target"][1:3])
    np.testing.assert_array_equal(np.concatenate([b.arrays["labels"] for b in blocks]), recording["labels"])


def test_large_recordings_are_cut_into_blocks(tmp_path):
    recording = recorded(tmp_path / "r.zarr", epochs=1, examples=BLOCK + 5)
    assert len(list((tmp_path / "r.zarr" / "p_target" / "c" / "0").iterdir())) == 2
    assert len(recording["p_target"][0]) == BLOCK + 5


def test_a_recording_goes_on_where_it_stood(tmp_path):
    recorded(tmp_path / "whole.zarr", epochs=4)
    store = writer(tmp_path / "parts.zarr")
    store.create()
    store.append(rows(0))
    store.append(rows(1))
    store.append(rows(9))  # a later epoch that the caller's checkpoint does not know of
    store = writer(tmp_path / "parts.zarr")
    store.reopen(2)
    assert Recording.open(tmp_path / "parts.zarr").epochs == 2
    store.append(rows(2))
    store.append(rows(3))
    store.write_tables({"labels": np.arange(10) % 2})
    store.finish()
    assert files(tmp_path / "parts.zarr") == files(tmp_path / "whole.zarr")


def test_an_epoch_counts_once_every_field_has_it(tmp_path):
    store = writer(tmp_path / "r.zarr")
    store.create()
    store.append(rows(0))
    with pytest.raises(KeyError):
        store.append({"p_target": rows(1)["p_target"]})  # as if cut off after the first field
    recording = Recording.open(tmp_path / "r.zarr")
    assert recording.epochs == 1
    assert recording["p_target"].shape == (1, 10)


def test_strangers_left_by_a_killed_write_are_cleared_away(tmp_path):
    store = writer(tmp_path / "r.zarr")
    store.create()
    stray = tmp_path / "r.zarr" / "p_target" / "c" / "x.partial"
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"half")
    writer(tmp_path / "r.zarr").reopen(0)
    assert not stray.exists()


class TestBadInput:
    def test_a_field_that_was_not_recorded_says_what_was(self, tmp_path):
        with pytest.raises(SecateurError, match="entropy: this recording has no such field; it holds p_target"):
            recorded(tmp_path / "r.zarr")["entropy"]

    def test_a_folder_that_is_no_recording(self, tmp_path):
        with pytest.raises(StoreError, match="expected a recording, found none"):
            Recording.open(tmp_path)

    def test_writing_over_a_recording_is_refused(self, tmp_path):
        recorded(tmp_path / "r.zarr")
        with pytest.raises(StoreError, match="there is a recording already"):
            writer(tmp_path / "r.zarr").create()

    @pytest.mark.parametrize("changes", [{"fingerprint": "other"}, {"classes": 3}, {"fields": ("loss",)}])
    def test_going_on_with_another_run_is_refused(self, tmp_path, changes):
        recorded(tmp_path / "r.zarr")
        with pytest.raises(StoreError, match=f"recorded with {next(iter(changes))}"):
            writer(tmp_path / "r.zarr", **changes).reopen(1)

    def test_a_chunk_cut_off_is_noticed(self, tmp_path):
        recording = recorded(tmp_path / "r.zarr")
        chunk = tmp_path / "r.zarr" / "p_target" / "c" / "2" / "0"
        chunk.write_bytes(chunk.read_bytes()[:-3])
        with pytest.raises(StoreError, match="p_target: a chunk of the recording is damaged"):
            recording["p_target"][2]

    def test_a_flipped_bit_is_noticed(self, tmp_path):
        recording = recorded(tmp_path / "r.zarr")
        chunk = tmp_path / "r.zarr" / "p_target" / "c" / "1" / "0"
        content = bytearray(chunk.read_bytes())
        content[len(content) // 2] ^= 1
        chunk.write_bytes(content)
        with pytest.raises(StoreError, match="damaged"):
            recording["p_target"][1]

    def test_a_missing_chunk_is_noticed_where_it_is_scored(self, tmp_path):
        from secateur.methods import Use
        from secateur.store.scoring import compute

        recording = recorded(tmp_path / "r.zarr")
        (tmp_path / "r.zarr" / "p_target" / "c" / "1" / "0").unlink()
        with pytest.raises(SecateurError, match="were not visited in every epoch, as the score requires"):
            compute(recording, Use("dual", None, {"window": 2}))
        (tmp_path / "r.zarr" / "correct" / "c" / "1" / "0").unlink()
        with pytest.raises(SecateurError, match="were not visited in every epoch, as the score requires"):
            compute(recording, Use("forgetting"))

    def test_a_full_disk_names_the_epoch_and_keeps_the_others(self, tmp_path):
        """The size limit of a process stands in for a full disk: the same error from the same system call."""
        recorded(tmp_path / "r.zarr", epochs=2, examples=50_000)
        script = f"""
            import resource, sys
            sys.path.insert(0, {os.getcwd()!r})
            from tests.store.test_recording import writer, rows
            from secateur.errors import StoreError
            from pathlib import Path
            store = writer(Path({str(tmp_path / "r.zarr")!r}), 50_000)
            store.reopen(2)
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
            try:
                store.append(rows(2, 50_000))
            except StoreError as error:
                print(error)
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
        assert "epoch 2 could not be written" in done.stdout, done.stderr
        assert "epochs 0 to 1 are safe: free some space, then run again" in done.stdout
        assert Recording.open(tmp_path / "r.zarr").epochs == 2
