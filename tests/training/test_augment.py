"""Each view is a mirrored and shifted copy of its image, drawn from the generator it is given."""

import numpy as np
import pytest
import torch

from secateur.errors import SecateurError
from secateur.training.augment import Views


def images(n=64, side=6, channels=3):
    return torch.randint(
        0, 256, (n, channels, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def draw(views, x, seed=0):
    return views(x, torch.Generator().manual_seed(seed))


def shifts(image, crop, black):
    """Every view that flip and crop can make of one image, by numpy's own padding."""
    mode = {"mode": "constant"} if black else {"mode": "reflect"}
    padded = np.pad(image, ((0, 0), (crop, crop), (crop, crop)), **mode)
    side = image.shape[-1]
    for down in range(2 * crop + 1):
        for across in range(2 * crop + 1):
            cut = padded[:, down : down + side, across : across + side]
            yield (down, across, False), cut
            yield (down, across, True), cut[..., ::-1]


@pytest.mark.parametrize("black", [False, True])
def test_every_view_is_one_of_the_possible_ones_and_all_occur(black):
    x = images(400)
    seen = set()
    for before, after in zip(x.numpy(), draw(Views(flip=True, crop=1, black=black), x).numpy(), strict=True):
        matches = {key for key, view in shifts(before, 1, black) if np.array_equal(view, after)}
        assert len(matches) == 1
        seen |= matches
    assert len(seen) == 18


def test_half_are_mirrored():
    x = images(2000)
    mirrored = (draw(Views(flip=True), x) == x.flip(3)).flatten(1).all(1)
    assert abs(mirrored.float().mean() - 0.5) < 5 * 0.5 / 2000**0.5


def test_cutout_is_one_black_square_centred_anywhere():
    x = torch.full((300, 3, 8, 8), 9, dtype=torch.uint8)
    holes = (draw(Views(cutout=4), x) == 0).all(1)
    sizes = holes.sum((1, 2))
    assert sizes.max() == 16
    assert sizes.min() >= 4  # a corner: a quarter of the square
    assert holes.any(0).all()


def test_the_same_generator_draws_the_same_views_and_the_global_stream_is_untouched():
    x, views = images(), Views(flip=True, crop=2, cutout=2)
    before = torch.random.get_rng_state()
    torch.testing.assert_close(draw(views, x), draw(views, x))
    assert not torch.equal(draw(views, x), draw(views, x, seed=1))
    torch.testing.assert_close(torch.random.get_rng_state(), before)


def test_views_keep_type_and_memory_layout():
    x = images().to(memory_format=torch.channels_last)
    y = draw(Views(flip=True, crop=2), x)
    assert y.dtype == torch.uint8
    assert y.is_contiguous(memory_format=torch.channels_last)


def test_vectors_are_left_alone():
    x = torch.randn(5, 3)
    assert draw(Views(flip=True, crop=2).for_shape((3,)), x) is x


def test_grey_images_are_not_mirrored_unless_asked():
    assert not Views(flip=None).for_shape((1, 28, 28)).flip
    assert Views(flip=True).for_shape((1, 28, 28)).flip


def test_a_crop_as_large_as_the_image_is_refused():
    with pytest.raises(SecateurError, match="crop: expected fewer pixels than the side of the images, 8, got 8"):
        Views(crop=8).for_shape((3, 8, 8))
