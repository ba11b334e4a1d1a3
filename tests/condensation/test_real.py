"""The real rows: statistics, draws, and what condensing begins with."""

import numpy as np
import pytest
import torch

from secateur.condensation import Real, Synthetic
from secateur.condensation.real import start
from secateur.errors import SecateurError, StoreError


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


def test_normalised_rows_have_mean_zero_and_spread_one(real):
    rows = real.normalise(real.rows)
    assert float(rows.mean()) == pytest.approx(0, abs=1e-4)
    assert float(rows.std()) == pytest.approx(1, abs=1e-4)


def test_published_statistics_are_in_units_of_pixels():
    rows = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
    named = Real.of(rows, torch.tensor([0, 1]), statistics="cifar10")
    assert named.mean.tolist() == pytest.approx([125.307, 122.961, 113.8575])
    assert named.spread.tolist() == pytest.approx([51.5865, 50.847, 51.255])


def test_a_draw_is_of_the_class_and_without_replacement(real):
    for c, rows in enumerate(real.draw(20, stream())):
        own = real.normalise(real.rows[real.labels == c])
        same = (rows[:, None] == own).flatten(2).all(2)
        assert same.any(1).all()
        assert len(rows.unique(dim=0)) == len(rows) == 20
    assert [len(r) for r in real.draw(10_000, stream())] == torch.bincount(real.labels).tolist()


def test_what_begins_real_is_real_and_by_class(real):
    begun = start(real, per_class=3, generator=stream(), init="real")
    for c in range(10):
        own = real.normalise(real.rows[real.labels == c])
        assert all((own == row).flatten(1).all(1).any() for row in begun[3 * c : 3 * c + 3])


def test_noise_is_standard_normal_in_normalised_space(real):
    begun = start(real, per_class=20, generator=stream(), init="noise")
    assert begun.shape == (200, 1, 8, 8)
    assert float(begun.mean()) == pytest.approx(0, abs=0.03)
    assert float(begun.std()) == pytest.approx(1, abs=0.03)


def test_ids_of_a_selector_are_ids_of_the_train_split(few_digits):
    images, labels = few_digits[0]
    ids = np.arange(10, 60)
    part = Real.of(torch.from_numpy(images[ids])[:, None], torch.from_numpy(labels[ids]), ids=ids)
    chosen = np.array([ids[labels[ids] == c][1] for c in range(10)])
    begun = start(part, per_class=1, generator=stream(), init=chosen)
    assert torch.equal(begun, part.normalise(torch.from_numpy(images[chosen])[:, None]))


def test_a_set_comes_back_from_disk_and_display_is_clipped(real, tmp_path):
    rows = torch.randn(10, 1, 8, 8, generator=stream()) * 100
    held = Synthetic(rows, torch.arange(10), real.mean, real.spread, tiles=2)
    held.save(tmp_path / "s.safetensors", {"step": 3})
    again = Synthetic.load(tmp_path / "s.safetensors")
    for name in ("images", "labels", "mean", "spread"):
        assert torch.equal(getattr(held, name), getattr(again, name))
    assert (again.tiles, again.expanded().per_class, again.expanded().tiles) == (2, 4, 1)
    assert again.expanded().labels[:5].tolist() == [0, 0, 0, 0, 1]
    assert Synthetic.about(tmp_path / "s.safetensors") == {"step": 3, "tiles": 2}
    assert held.display().dtype == np.uint8
    assert {0, 255} <= set(held.display().ravel().tolist())


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    @pytest.mark.parametrize("per_class", [0, -1])
    def test_no_rows_a_class(self, real, per_class):
        with pytest.raises(SecateurError, match=f"per_class: expected at least 1 .* got {per_class}"):
            start(real, per_class=per_class, generator=stream(), init="noise")

    def test_more_than_a_class_has_where_real_ones_are_the_start(self, real):
        few = int(torch.bincount(real.labels).min())
        with pytest.raises(SecateurError, match=rf"per_class: {few + 1} is more than the {few} rows of class .* noise"):
            start(real, per_class=few + 1, generator=stream(), init="real")
        assert len(start(real, per_class=few + 1, generator=stream(), init="noise")) == 10 * (few + 1)

    def test_one_class(self):
        with pytest.raises(SecateurError, match="label: expected at least 2 classes, got 1"):
            Real.of(torch.zeros(3, 4), torch.zeros(3, dtype=torch.int64))

    @pytest.mark.parametrize(
        ("rows", "labels", "message"),
        [
            (
                np.zeros((2, 4)),
                torch.tensor([0, 1]),
                "rows: expected a tensor, got ndarray; torch.from_numpy makes one",
            ),
            (torch.zeros(2, 4), [0, 1], "labels: expected a tensor, got list"),
            (
                torch.zeros(2, 8, 8),
                torch.tensor([0, 1]),
                r"rows: expected .* got shape \(2, 8, 8\); grey images have one",
            ),
            (torch.zeros(3, 4), torch.tensor([0, 1]), r"labels: .* each of 3 rows, got torch.int64 of shape \(2,\)"),
            (torch.zeros(2, 4), torch.tensor([0.0, 1.0]), "labels: .* each of 2 rows, got torch.float32"),
        ],
    )
    def test_what_is_no_row_and_no_label(self, rows, labels, message):
        with pytest.raises(SecateurError, match=message):
            Real.of(rows, labels)

    def test_a_class_without_rows(self):
        with pytest.raises(SecateurError, match="label: class 'b' has no rows"):
            Real.of(torch.zeros(2, 4), torch.tensor([0, 2]), names=("a", "b", "c"))

    def test_ids_that_do_not_fit(self, real):
        with pytest.raises(SecateurError, match="init: id 9999 is not among"):
            start(real, per_class=1, generator=stream(), init=np.array([9999]))
        with pytest.raises(SecateurError, match="init: expected 1 ids of class '1', got 0"):
            start(real, per_class=1, generator=stream(), init=np.flatnonzero(real.labels.numpy() == 0)[:1])

    def test_another_word(self, real):
        with pytest.raises(
            SecateurError, match="init: expected one of mosaic, noise, real, got 'reel'; did you mean real"
        ):
            start(real, per_class=1, generator=stream(), init="reel")

    def test_statistics_of_other_images(self):
        with pytest.raises(SecateurError, match="statistics: those of cifar10 are for images of 3 channels"):
            Real.of(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]), statistics="cifar10")
        with pytest.raises(SecateurError, match="statistics: expected one of .* got 'cifar'"):
            Real.of(torch.zeros(2, 1, 4, 4, dtype=torch.uint8), torch.tensor([0, 1]), statistics="cifar")

    def test_a_file_that_is_none(self, tmp_path):
        with pytest.raises(StoreError, match="expected a condensed set"):
            Synthetic.load(tmp_path / "nowhere.safetensors")
