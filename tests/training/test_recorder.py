"""The recorder writes what the logits say, at row = id, whatever the loop around it does."""

import numpy as np
import pytest
import torch

import secateur as sc
from secateur.errors import NonFiniteError, SecateurError, StoreError
from secateur.fields import RECORDED
from secateur.training.ranks import once

N, K = 23, 4


def epoch_of_logits(epoch):
    return torch.randn(N, K, generator=torch.Generator().manual_seed(epoch)) * 3


LABELS = torch.arange(N) % K


def run(path, epochs=3, *, order=None, batch=7, resume=False, stop=None, **options):
    """A loop of somebody's own: shuffled batches of fixed logits."""
    recorder = sc.Recorder(path, examples=N, classes=K, resume=resume, **options)
    for epoch in range(recorder.epochs, epochs):
        logits = epoch_of_logits(epoch)
        ids = torch.randperm(N, generator=torch.Generator().manual_seed(epoch)) if order is None else order
        for part in ids.split(batch):
            recorder.batch(part, logits[part], LABELS[part])
        recorder.end_epoch()
        if stop == epoch:
            return None
    return recorder.close()


def plain(epochs=3):
    """Every field by plain loops over examples and classes."""
    out = {name: np.full((epochs, N), np.nan) for name in RECORDED if name not in ("labels", "logits_mean")}
    before = None
    for t in range(epochs):
        z = epoch_of_logits(t).double().numpy()
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        for i, y in enumerate(LABELS.tolist()):
            others = [k for k in range(K) if k != y]
            ranked = sorted(p[i], reverse=True)
            out["p_target"][t, i], out["z_target"][t, i] = p[i, y], z[i, y]
            out["p_other"][t, i], out["z_other"][t, i] = max(p[i, others]), max(z[i, others])
            out["correct"][t, i] = max(range(K), key=lambda k: p[i, k]) == y
            out["loss"][t, i] = -np.log(p[i, y])
            out["error_norm"][t, i] = sum((p[i, k] - (k == y)) ** 2 for k in range(K)) ** 0.5
            out["entropy"][t, i] = -sum(q * np.log(q) for q in p[i])
            out["p_top"][t, i], out["p_gap"][t, i] = ranked[0], ranked[0] - ranked[1]
            out["seen"][t, i] = 1
            if before is not None:
                q = before[i]
                out["kl_step"][t, i] = sum(
                    abs(a * (np.log(a + 1e-8) - np.log(b + 1e-8))) for a, b in zip(p[i], q, strict=True)
                )
                out["cos_step"][t, i] = p[i] @ q / (np.linalg.norm(p[i]) * np.linalg.norm(q))
        before = p
    return out


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    return run(tmp_path_factory.mktemp("recorder") / "r.zarr")


@pytest.mark.parametrize("field", [n for n in RECORDED if n not in ("labels", "logits_mean")])
def test_every_field_equals_the_plain_loop(field, recording):
    np.testing.assert_allclose(np.asarray(recording[field], dtype=float), plain()[field], rtol=2e-4, atol=2e-6)


def test_labels_and_mean_logits_are_recorded(tmp_path):
    recording = run(tmp_path / "r.zarr")
    np.testing.assert_array_equal(recording["labels"], LABELS)
    mean = torch.stack([epoch_of_logits(t) for t in range(3)]).mean(0)
    np.testing.assert_allclose(recording["logits_mean"], mean, rtol=1e-5, atol=1e-6)


def test_the_order_and_size_of_batches_do_not_matter(tmp_path):
    a = run(tmp_path / "a.zarr")
    b = run(tmp_path / "b.zarr", order=torch.arange(N), batch=N)
    for field in RECORDED:
        np.testing.assert_array_equal(np.asarray(a[field]), np.asarray(b[field]))


def test_an_example_repeated_in_an_epoch_counts_once_at_first_sight(tmp_path):
    recorder = sc.Recorder(tmp_path / "r.zarr", examples=2, classes=2)
    labels = torch.tensor([0, 1])
    for _ in range(2):
        recorder.batch([0, 1], torch.tensor([[2.0, 0.0], [0.0, 2.0]]), labels)
        recorder.batch([0], torch.tensor([[-9.0, 0.0]]), labels[:1])
        recorder.end_epoch()
    recording = recorder.close()
    assert recording["correct"][0].tolist() == [1, 1]
    np.testing.assert_allclose(recording["logits_mean"], [[2, 0], [0, 2]])
    assert recording["kl_step"][1].max() < 1e-6  # compared with the first sight of the epoch before


def test_an_example_that_is_hidden_keeps_its_row_and_is_marked(tmp_path):
    recorder = sc.Recorder(tmp_path / "r.zarr", examples=2, classes=2)
    recorder.batch([0, 1], torch.tensor([[2.0, 0.0], [0.0, 2.0]]), torch.tensor([0, 1]))
    recorder.end_epoch()
    recorder.batch([1], torch.tensor([[0.0, 3.0]]), torch.tensor([1]))
    recorder.end_epoch()
    recording = recorder.close()
    assert np.asarray(recording["seen"]).tolist() == [[1, 1], [0, 1]]
    assert recording["p_target"][1, 0] == recording["p_target"][0, 0]
    assert recording["p_target"][1, 1] > recording["p_target"][0, 1]


def test_a_resumed_recording_equals_the_uninterrupted_one(tmp_path):
    whole = run(tmp_path / "whole.zarr")
    run(tmp_path / "parts.zarr", stop=1)
    parts = run(tmp_path / "parts.zarr", resume=True)
    for field in RECORDED:
        np.testing.assert_array_equal(np.asarray(whole[field]), np.asarray(parts[field]))


def test_a_caller_whose_checkpoint_is_an_epoch_behind_may_rewind(tmp_path):
    whole = run(tmp_path / "whole.zarr")
    run(tmp_path / "parts.zarr", stop=1)
    parts = run(tmp_path / "parts.zarr", resume=1)
    for field in RECORDED:
        np.testing.assert_array_equal(np.asarray(whole[field]), np.asarray(parts[field]))


def test_an_unfinished_recording_can_be_flushed_and_scored_and_gone_on_with(tmp_path):
    run(tmp_path / "r.zarr", stop=1)
    sc.Recorder(tmp_path / "r.zarr", examples=N, classes=K, resume=True).flush()
    assert sc.Recording.open(tmp_path / "r.zarr")["labels"][:].tolist() == LABELS.tolist()
    assert run(tmp_path / "r.zarr", resume=True).epochs == 3


def test_loss_alone_records_regression(tmp_path):
    recorder = sc.Recorder(tmp_path / "r.zarr", examples=3)
    for epoch in range(2):
        recorder.batch([2, 0], loss=torch.tensor([0.5, 1.5 + epoch]))
        recorder.batch([1], loss=torch.tensor([2.5]))
        recorder.end_epoch()
    recording = recorder.close()
    assert recording.fields == ("loss", "seen")
    assert np.asarray(recording["loss"]).tolist() == [[1.5, 2.5, 0.5], [2.5, 2.5, 0.5]]


def test_a_loss_of_the_callers_own_takes_the_place_of_cross_entropy(tmp_path):
    recorder = sc.Recorder(tmp_path / "r.zarr", examples=1)
    recorder.batch([0], torch.zeros(1, 2), torch.tensor([0]), loss=torch.tensor([7.0]))
    recorder.end_epoch()
    assert recorder.close()["loss"][0, 0] == 7.0


def test_only_the_fields_asked_for_are_written(tmp_path):
    recording = run(tmp_path / "r.zarr", fields=["correct", "p_target"])
    assert recording.fields == ("p_target", "correct")


def test_bfloat16_logits_are_measured_in_float32(tmp_path):
    recorder = sc.Recorder(tmp_path / "r.zarr", examples=1)
    logits = torch.tensor([[3.0, 1.0]], dtype=torch.bfloat16)
    recorder.batch([0], logits, torch.tensor([0]))
    recorder.end_epoch()
    assert recorder.close()["p_target"][0, 0] == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)


def test_gradients_are_not_kept_alive(tmp_path):
    recorder = sc.Recorder(tmp_path / "r.zarr", examples=1)
    logits = torch.zeros(1, 2, requires_grad=True)
    recorder.batch([0], logits * 2, torch.tensor([0]))
    recorder.end_epoch()
    assert logits.grad is None


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    @pytest.fixture
    def recorder(self, tmp_path):
        return sc.Recorder(tmp_path / "r.zarr", examples=5, classes=3)

    def test_probabilities_for_logits_are_noticed(self, recorder):
        p = torch.randn(5, 3).softmax(1)
        recorder.batch(torch.arange(5), p, torch.zeros(5, dtype=torch.int64))
        with pytest.raises(SecateurError, match="pass logits, from before the softmax"):
            recorder.end_epoch()

    def test_logits_that_are_not_finite_name_epoch_and_step_and_keep_earlier_epochs(self, recorder):
        good, labels = torch.randn(5, 3), torch.zeros(5, dtype=torch.int64)
        recorder.batch(torch.arange(5), good, labels)
        recorder.end_epoch()
        recorder.batch(torch.arange(3), good[:3], labels[:3])
        recorder.batch(torch.arange(3, 5), good[3:] * torch.nan, labels[3:])
        with pytest.raises(NonFiniteError, match="at epoch 1, step 1"):
            recorder.end_epoch()
        assert recorder.close().epochs == 1

    def test_ids_out_of_range(self, recorder):
        with pytest.raises(SecateurError, match="ids: expected 0 to 4, got 0 to 5"):
            recorder.batch([0, 5], torch.randn(2, 3), torch.tensor([0, 0]))

    def test_ids_that_travelled_through_a_float(self, recorder):
        with pytest.raises(SecateurError, match="ids: expected whole numbers"):
            recorder.batch(torch.tensor([0.0]), torch.randn(1, 3), torch.tensor([0]))

    def test_labels_out_of_range(self, recorder):
        with pytest.raises(SecateurError, match="labels: expected 0 to 2, got 3 to 3"):
            recorder.batch([0], torch.randn(1, 3), torch.tensor([3]))

    def test_another_number_of_classes(self, recorder):
        with pytest.raises(SecateurError, match="logits: expected 3 classes, got 4"):
            recorder.batch([0], torch.randn(1, 4), torch.tensor([0]))

    def test_shapes_that_do_not_go_together(self, recorder):
        with pytest.raises(SecateurError, match=r"labels: expected shape \(batch,\) with batch 2, got \(3,\)"):
            recorder.batch([0, 1], torch.randn(2, 3), torch.tensor([0, 1, 2]))

    def test_logits_without_labels(self, recorder):
        with pytest.raises(SecateurError, match="expected logits and labels, or loss alone"):
            recorder.batch([0], torch.randn(1, 3))

    def test_loss_alone_cannot_fill_the_fields_of_logits(self, tmp_path):
        recorder = sc.Recorder(tmp_path / "r.zarr", examples=1, fields=["p_target", "loss"])
        with pytest.raises(SecateurError, match="p_target need logits"):
            recorder.batch([0], loss=torch.tensor([1.0]))

    def test_ending_an_epoch_without_a_batch(self, recorder):
        with pytest.raises(SecateurError, match="no batch was recorded"):
            recorder.end_epoch()

    def test_a_field_nobody_knows(self, tmp_path):
        with pytest.raises(SecateurError, match="fields: expected some of .* got p_label"):
            sc.Recorder(tmp_path / "r.zarr", examples=1, fields=["p_label"])

    def test_a_path_that_is_taken(self, tmp_path):
        run(tmp_path / "r.zarr")
        with pytest.raises(StoreError, match="there is a recording already; pass resume=True"):
            sc.Recorder(tmp_path / "r.zarr", examples=N)

    def test_going_on_after_an_epoch_nobody_recorded(self, tmp_path):
        run(tmp_path / "r.zarr", stop=1)
        with pytest.raises(StoreError, match="can go on after epoch"):
            sc.Recorder(tmp_path / "r.zarr", examples=N, resume=7)

    def test_going_on_with_other_data(self, tmp_path):
        run(tmp_path / "r.zarr", stop=1, data="abc")
        with pytest.raises(StoreError, match="recorded with fingerprint abc, not xyz"):
            sc.Recorder(tmp_path / "r.zarr", examples=N, classes=K, resume=True, data="xyz")

    def test_a_loss_alone_after_batches_of_logits(self, recorder):
        recorder.batch([0], torch.randn(1, 3), [0])
        with pytest.raises(SecateurError, match="batch: expected logits and labels, as in the batches before"):
            recorder.batch([1], loss=torch.zeros(1))

    def test_logits_of_one_number(self, recorder):
        with pytest.raises(SecateurError, match=r"logits: expected shape \(batch, classes\) with batch 1, got \(\)"):
            recorder.batch([0], torch.tensor(1.0), [0])

    def test_processes_that_torchrun_started_and_nobody_joined(self, tmp_path, monkeypatch):
        monkeypatch.setenv("WORLD_SIZE", "2")
        for rank in ("0", "1"):
            monkeypatch.setenv("RANK", rank)
            with pytest.raises(SecateurError, match=f"process {rank} of 2 .*call torch.distributed.init_process_group"):
                sc.Recorder(tmp_path / "r.zarr", examples=5)
        with pytest.raises(SecateurError, match="process 1 of 2 .*call torch.distributed.init_process_group"):
            once(lambda: 1)
        monkeypatch.setenv("RANK", "0")
        assert once(lambda: 1) == 1  # rank 0 alone, after destroy_process_group
        monkeypatch.setenv("WORLD_SIZE", "1")
        sc.Recorder(tmp_path / "r.zarr", examples=5)
