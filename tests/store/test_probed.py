"""What probes fill in: beside the recording, whole or not there; begun again only where something else is asked."""

import numpy as np
import pytest

from secateur.errors import SecateurError
from secateur.store import probed
from secateur.store.probed import Probed, ProbeWriter
from secateur.store.recording import Recording, RecordingWriter

VALUES = np.arange(30, dtype=np.float32).reshape(10, 3)


@pytest.fixture
def out(tmp_path):
    RecordingWriter.unrecorded(tmp_path / "recording.zarr", np.arange(10) % 2, 2, "abc")
    return tmp_path


def fill(out, *, stop=10, asked=None, ids=None, values=VALUES):
    writer = ProbeWriter(out / "probes.zarr", "features", asked or {"model": "a"}, examples=10)
    for start in range(writer.done, stop, 4):
        rows = slice(start, min(start + 4, 10))
        at = np.arange(rows.start, rows.stop) if ids is None else ids[(ids >= rows.start) & (ids < rows.stop)]
        writer.write(0, rows, at, {"features": values[at]}, 1.0)
    return writer


def test_what_is_filled_is_read_as_a_field_of_the_recording(out):
    fill(out)
    recording = Recording.open(out)
    assert "features" in recording
    np.testing.assert_array_equal(recording["features"], VALUES)
    np.testing.assert_array_equal(recording["features"][3:5], VALUES[3:5])
    blocks = list(recording.blocks(["features", "labels"], size=4))
    np.testing.assert_array_equal(np.concatenate([b.arrays["features"] for b in blocks]), VALUES)


def test_a_field_that_is_filled_in_part_is_not_there(out):
    fill(out, stop=8)
    assert Probed(out / "probes.zarr").fields == ()
    with pytest.raises(SecateurError, match="features: this recording has no such field; the probe `features` fills"):
        Recording.open(out)["features"]


def test_a_probe_goes_on_where_it_stood(out):
    fill(out, stop=8)
    writer = fill(out, values=VALUES + 100)
    assert writer.done == writer.examples
    assert writer.seconds == 3.0
    found = np.asarray(Recording.open(out)["features"])
    np.testing.assert_array_equal(found, np.concatenate((VALUES[:8], VALUES[8:] + 100)))


def test_a_probe_that_is_asked_something_else_starts_again(out):
    fill(out)
    assert fill(out, asked={"model": "b"}, stop=0).done == 0
    fill(out, asked={"model": "b"}, values=VALUES + 1)
    np.testing.assert_array_equal(Recording.open(out)["features"], VALUES + 1)
    assert Probed(out / "probes.zarr").asked("features") == {"model": "b"}


def test_a_group_killed_while_it_was_made_counts_as_absent(out):
    (out / "probes.zarr" / "features").mkdir(parents=True)
    assert Probed(out / "probes.zarr").fields == ()
    fill(out)
    np.testing.assert_array_equal(Recording.open(out)["features"], VALUES)


def test_rows_that_cannot_be_used_stay_nan(out):
    ids = np.array([0, 1, 5, 6, 8])
    fill(out, ids=ids)
    found = np.asarray(Recording.open(out)["features"])
    np.testing.assert_array_equal(found[ids], VALUES[ids])
    assert np.isnan(np.delete(found, ids, axis=0)).all()


def test_several_runs_are_rows_of_one_field(out, monkeypatch):
    monkeypatch.setattr(probed, "BLOCK", 4)
    writer = ProbeWriter(out / "probes.zarr", "subset_runs", {}, examples=10, runs=2)
    for run in range(2):
        yes = np.arange(10) % 2 == run
        writer.write(run, slice(0, 10), np.arange(10), {"included": yes, "correct_runs": ~yes}, 0.0)
    recording = Recording.open(out)
    np.testing.assert_array_equal(recording["included"], [[1, 0] * 5, [0, 1] * 5])
    (block,) = recording.blocks(["included"], size=100)
    assert block.arrays["included"].shape == (2, 10)


def test_a_value_the_field_cannot_have_names_the_example(out):
    bad = VALUES.copy()
    bad[6, 1] = np.nan
    with pytest.raises(SecateurError, match="features: values must be finite, got nan at examples 6, dims 1"):
        fill(out, values=bad)
