"""What callers give the recorder and the sampler is taken or refused alike."""

import numpy as np
import pytest
import torch

import secateur as sc
from secateur.dynamic import Sampler
from secateur.errors import RowsNotSeen, SecateurError, StoreError
from secateur.training.buffers import Buffers

pytestmark = pytest.mark.usefixtures("our_own_errors")


def record(path, ids, labels=None):
    n = len(ids)
    sc.Recorder(path, examples=5, classes=3).batch(ids, torch.randn(n, 3), [0] * n if labels is None else labels)


WAYS = {
    "recorder": record,
    "weights": lambda path, ids: Sampler("random", examples=5).weights(ids),
    "report": lambda path, ids: Sampler("random", examples=5).report(ids, torch.ones(len(ids))),
}
GOOD = [[0, 4], (0, 4), np.array([0, 4]), np.array([0, 4], np.uint16), torch.tensor([0, 4], dtype=torch.int32)]
WRONG = {
    "a bool list": [True, False],
    "a bool among numbers": [2, True],
    "a bool array": np.array([True, False]),
    "a bool tensor": torch.tensor([True, False]),
    "floats": [0.0, 1.0],
    "a float array": np.array([0.0, 1.0]),
    "a float tensor": torch.tensor([0.0, 1.0]),
    "words": ["a", "b"],
    "nothing": [None, None],
    "negative": [-1, 0],
    "beyond": torch.tensor([0, 5]),
    "huge": np.array([0, 2**64 - 1], np.uint64),
    "twice": [3, 3],
    "two axes": [[0], [1]],
}


@pytest.mark.parametrize("way", WAYS)
class TestIds:
    @pytest.mark.parametrize("ids", GOOD, ids=str)
    def test_lists_arrays_and_tensors_are_taken_alike(self, way, ids, tmp_path):
        WAYS[way](tmp_path / "r.zarr", ids)

    @pytest.mark.parametrize("wrong", WRONG)
    def test_what_is_no_row_number_is_refused_alike(self, way, wrong, tmp_path):
        with pytest.raises(SecateurError, match="^ids: expected"):
            WAYS[way](tmp_path / "r.zarr", WRONG[wrong])


def test_a_report_takes_lists_throughout():
    a, b = (Sampler("infobatch", examples=3, epochs=5) for _ in range(2))
    a.plan(0), b.plan(0)
    a.report([0, 1, 2], [0.5, 1.5, 2.5], correct=[True, False, True], confidence=np.array([0.1, 0.2, 0.3]))
    b.report(
        torch.arange(3),
        torch.tensor([0.5, 1.5, 2.5]),
        correct=torch.tensor([True, False, True]),
        confidence=torch.tensor([0.1, 0.2, 0.3]),
    )
    for name, values in a.state_dict().items():
        np.testing.assert_array_equal(values, b.state_dict()[name])


@pytest.mark.parametrize("labels", [[0.5, 1.0], torch.tensor([0.0, 1.0]), [True, False], [0, 3], [0, -1]], ids=str)
def test_labels_that_are_no_class_numbers_are_refused(labels, tmp_path):
    with pytest.raises(SecateurError, match="^labels: expected"):
        record(tmp_path / "r.zarr", [0, 1], labels)


def test_ids_that_are_positions_in_a_batch_are_noticed_by_their_labels(tmp_path):
    recorder = sc.Recorder(tmp_path / "r.zarr", examples=4, classes=2)
    recorder.batch([0, 1, 2, 3], torch.randn(4, 2), torch.tensor([0, 0, 1, 1]))
    recorder.end_epoch()
    recorder.batch([0, 1, 2, 3], torch.randn(4, 2), torch.tensor([0, 1, 1, 0]))
    with pytest.raises(
        SecateurError, match="example 1 had label 0 and has label 1 in epoch 1; ids must be the row num"
    ):
        recorder.end_epoch()
    assert recorder.close()["labels"][:].tolist() == [0, 0, 1, 1]


def test_a_label_that_changes_within_an_epoch_is_noticed(tmp_path):
    recorder = sc.Recorder(tmp_path / "r.zarr", examples=2, classes=2)
    for labels in ([0, 1], [1, 1]):
        recorder.batch([0, 1], torch.randn(2, 2), labels)
    with pytest.raises(SecateurError, match="example 0 had label 0 and has label 1"):
        recorder.end_epoch()


@pytest.mark.parametrize(
    "ids, labels, told",
    [([1, 1], [0, 0], "ids: expected each once"), ([0, 1], [0, 7], "labels: expected"), ([0, 9], [0, 0], "ids: exp")],
)
def test_what_an_accelerator_gave_is_looked_at_when_the_epoch_ends(ids, labels, told):
    """There `batch` passes all on to the buffers."""
    buffers = Buffers(3, ["loss", "labels"], 2, torch.device("cpu"))
    buffers.take(torch.tensor(ids), torch.randn(2, 2), torch.tensor(labels), None)
    with pytest.raises(SecateurError, match=told):
        buffers.check(0)


def test_the_first_epoch_warns_of_rows_that_drop_last_leaves_out(tmp_path):
    recorder = sc.Recorder(tmp_path / "r.zarr", examples=5, classes=2)
    recorder.batch([0, 1, 2, 3], torch.randn(4, 2), [0, 1, 0, 1])
    with pytest.warns(RowsNotSeen, match="1 of 5 ids were not seen in the first epoch.*drop_last=True"):
        recorder.end_epoch()
    recorder.batch([0, 1, 2, 3], torch.randn(4, 2), [0, 1, 0, 1])
    recorder.end_epoch()  # says it once


def test_rows_left_out_on_purpose_are_no_reason_to_warn(tmp_path):
    recorder = sc.Recorder(tmp_path / "r.zarr", examples=5, classes=2, partial=True)
    recorder.batch([0], torch.randn(1, 2), [0])
    recorder.end_epoch()


def epochs_of(path, seen):
    recorder = sc.Recorder(path, examples=8, classes=2, partial=True)
    for epoch, ids in enumerate(seen):
        g = torch.Generator().manual_seed(epoch)
        recorder.batch(ids, torch.randn(8, 2, generator=g)[ids], torch.tensor(ids) % 2)
        recorder.end_epoch()
    return recorder.close()


@pytest.mark.parametrize("method", ["dual", "el2n", "forgetting", "aum"])
def test_a_row_missing_from_the_first_epoch_stops_the_score_and_names_drop_last(tmp_path, method):
    epochs_of(tmp_path / "recording.zarr", [range(7)] + [range(8)] * 14)
    with pytest.raises(SecateurError, match="drop_last"):
        sc.score(tmp_path, method=method)


def test_a_row_that_no_epoch_saw_is_nan(tmp_path):
    epochs_of(tmp_path / "recording.zarr", [range(7)] * 15)
    scores = sc.score(tmp_path, method="dual")
    assert np.isnan(next(iter(scores.columns.values()))).tolist() == [False] * 7 + [True]


@pytest.mark.parametrize("what", ["arrays", "dataset", "source"])
def test_data_has_the_fingerprint_that_prune_finds(tmp_path, what):
    x, y = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32), np.arange(6) % 2
    data = {"arrays": (x, y), "dataset": list_of(x, y), "source": sc.open_data((x, y))}[what]
    recorder = sc.Recorder(tmp_path / "r.zarr", examples=6, classes=2, data=data)
    recorder.batch(range(6), torch.randn(6, 2), y)
    recorder.end_epoch()
    assert recorder.close().fingerprint == sc.open_data(data).fingerprint


def list_of(x, y):
    return torch.utils.data.TensorDataset(torch.from_numpy(x), torch.from_numpy(y))


def test_data_that_nobody_can_read_is_refused(tmp_path):
    with pytest.raises(SecateurError, match=r"^data: .*or its fingerprint as a str"):
        sc.Recorder(tmp_path / "r.zarr", examples=6, data=object())


def test_data_of_another_length_is_refused(tmp_path):
    with pytest.raises(SecateurError, match="data: expected 7 rows, as examples says, got 6"):
        sc.Recorder(tmp_path / "r.zarr", examples=7, data=(np.ones((6, 2)), np.arange(6) % 2))


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_recording_goes_on_in_the_middle_of_an_epoch(tmp_path, at):
    def loop(recorder, start, skip=False, stop=None):
        for epoch in range(start, 3):
            z = torch.randn(8, 2, generator=torch.Generator().manual_seed(epoch))
            for ids in (torch.arange(4), torch.arange(4, 8)):
                if skip and epoch == start and ids[0] == 0:
                    continue
                recorder.batch(ids, z[ids], ids % 2)
                if stop == epoch:
                    return recorder.state_dict()
            recorder.end_epoch()
        return recorder.close()

    whole = loop(sc.Recorder(tmp_path / "whole.zarr", examples=8, classes=2), 0)
    state = loop(sc.Recorder(tmp_path / "part.zarr", examples=8, classes=2), 0, stop=at)
    part = loop(sc.Recorder(tmp_path / "part.zarr", examples=8, classes=2, state=state), at, skip=True)
    for field in sc.fields.RECORDED:
        np.testing.assert_array_equal(np.asarray(whole[field]), np.asarray(part[field]))


def test_a_state_without_its_recording_is_refused(tmp_path):
    with pytest.raises(StoreError, match="no recording to go on with after epoch 2"):
        sc.Recorder(tmp_path / "r.zarr", examples=8, state={"epochs": torch.tensor(2)})
