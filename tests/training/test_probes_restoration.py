"""The super-resolution net does better than doing nothing, its errors are of the whole image, and repeat."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from secateur.data.source import open_data
from secateur.data.tensors import Tensors
from secateur.errors import NonFiniteError, SecateurError
from secateur.training.probes.restoration import SRCNN, _crops, degraded, luminance, start_restoration
from tests.data.made import image_table

CPU = torch.device("cpu")


def tensors(n=12, size=8):
    return Tensors(open_data(image_table(n, size=size)).train, CPU, workers=0)


@pytest.fixture(scope="module")
def digits(few_digits):
    return Tensors(open_data(few_digits[0]).train, CPU)


def bicubic_errors(rows, factor=2):
    """(batch,) of doing nothing but interpolating."""
    whole = rows.float() / 255
    small = F.interpolate(whole, scale_factor=1 / factor, mode="bicubic", antialias=True)
    return ((F.interpolate(small, scale_factor=factor, mode="bicubic") - whole) ** 2).mean(dim=(1, 2, 3))


def test_it_beats_interpolation(digits):
    rows = digits.sample(digits.usable)
    got = start_restoration(None, digits, seed=0, steps=150)(rows, digits.labels)["reconstruction"]
    assert got.shape == (512,)
    assert got.dtype == torch.float32
    assert got.mean() < 0.75 * bicubic_errors(rows).mean()


def test_untrained_it_is_interpolation(digits):
    """It learns the difference from there."""
    rows = digits.sample(digits.usable[:9])
    whole = luminance(rows)
    with torch.no_grad():
        errors = (SRCNN()(degraded(whole, 2)) - whole).square().mean(dim=(1, 2, 3))
    torch.testing.assert_close(errors, bicubic_errors(rows))


def test_it_is_srcnn_9_1_5():
    shapes = [tuple(p.shape) for p in SRCNN().parameters() if p.ndim == 4]
    assert shapes == [(64, 1, 9, 9), (32, 64, 1, 1), (1, 32, 5, 5)]


def test_the_same_seed_gives_the_same_bytes_and_leaves_the_global_stream(digits):
    rows, before = digits.sample(digits.usable[:50]), torch.random.get_rng_state()

    def measured(seed):
        return start_restoration(None, digits, seed=seed, steps=5)(rows, digits.labels[:50])["reconstruction"].numpy()

    assert measured(3).tobytes() == measured(3).tobytes()
    assert measured(3).tobytes() != measured(4).tobytes()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_luminance_weighs_red_green_and_blue():
    rows = torch.zeros(4, 3, 1, 1, dtype=torch.uint8)
    for channel in range(3):
        rows[channel, channel] = 255
    rows[3] = 255
    torch.testing.assert_close(luminance(rows).flatten(), torch.tensor([0.299, 0.587, 0.114, 1.0]))


def test_a_flat_image_is_easier_than_noise():
    data = tensors(24, size=12)
    rows = data.sample(data.usable[:2]).clone()
    rows[0] = 90
    got = start_restoration(None, data, seed=0, steps=30)(rows, data.labels[:2])["reconstruction"]
    assert got[0] < 0.1 * got[1]


def test_crops_are_squares_of_33_of_the_images_themselves():
    images = torch.arange(40 * 50).view(1, 1, 40, 50).expand(16, 1, 40, 50)
    crops = _crops(images, torch.Generator().manual_seed(0))
    assert crops.shape == (16, 1, 33, 33)
    corners = crops[:, 0, 0, 0]
    torch.testing.assert_close(crops, corners.view(-1, 1, 1, 1) + images[:1, :, :33, :33])
    assert len(corners.unique()) > 8


def test_sides_that_do_not_divide_keep_their_size():
    assert degraded(torch.rand(2, 1, 7, 9), 2).shape == (2, 1, 7, 9)


def test_a_batch_may_be_cut_to_fit_the_memory(digits, monkeypatch):
    probe, rows = start_restoration(None, digits, seed=0, steps=2), digits.sample(digits.usable[:10])
    whole = probe(rows, digits.labels[:10])["reconstruction"]
    monkeypatch.setattr("secateur.training.probes.restoration._PIXELS", 3 * 64)
    torch.testing.assert_close(probe(rows, digits.labels[:10])["reconstruction"], whole)


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    def test_vectors_are_refused_with_the_reason(self):
        x = np.random.default_rng(0).normal(size=(6, 20)).astype(np.float32)
        data = Tensors(open_data((x, np.arange(6) % 2)).train, CPU)
        with pytest.raises(SecateurError, match="data: super-resolution needs images, .* got vectors of 20"):
            start_restoration(None, data, seed=0)

    @pytest.mark.parametrize(
        ("knobs", "message"),
        [
            ({"factor": 9}, "factor: expected 2 to 8, the side of the images, got 9"),
            ({"factor": 1}, "factor: expected 2 to 8"),
            ({"steps": 0}, "steps: expected at least 1, got 0"),
            ({"lr": 0.0}, "lr: expected a number above 0, got 0"),
        ],
    )
    def test_impossible_knobs_are_named(self, knobs, message):
        with pytest.raises(SecateurError, match=message):
            start_restoration(None, tensors(), seed=0, **knobs)

    def test_a_rate_too_high_to_learn_is_named(self):
        with pytest.raises(
            NonFiniteError, match="restoration: the loss of SRCNN left the finite numbers; lower its lr"
        ):
            start_restoration(None, tensors(), seed=0, steps=5, lr=1e30)
