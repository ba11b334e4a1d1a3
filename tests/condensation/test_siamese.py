"""The augmentation: its strengths, one transform for both branches, gradients through it."""

import math

import pytest
import torch
import torch.nn.functional as F

from secateur.condensation.siamese import _NUMBERS, FAMILIES, Draw, draw, families
from secateur.errors import SecateurError


def seeded(seed):
    return torch.Generator().manual_seed(seed)


IMAGES = torch.randn(5, 3, 32, 32, generator=seeded(9))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_gives_the_same_transform_on_both_branches(family):
    ours, theirs = (draw((family,), seeded(3)) for _ in range(2))
    both = torch.stack([IMAGES[0]] * 3)
    assert torch.equal(ours(both)[2], theirs(IMAGES)[0])  # batches of other sizes, and another place in it


@pytest.mark.parametrize("family", FAMILIES)
def test_each_image_may_have_its_own_transform_and_then_gets_what_it_would_alone(family):
    own = draw((family,), seeded(0), count=5)
    together = own(IMAGES)
    for k in range(5):
        alone = Draw(family, own.u[k : k + 1])(IMAGES[k : k + 1])
        assert torch.allclose(together[k], alone[0], atol=1e-6)
    same = torch.stack([IMAGES[0]] * 5)
    assert any(not torch.equal(own(same)[0], other) for other in own(same))


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_flow_through(family):
    rows = IMAGES.clone().requires_grad_()
    draw((family,), seeded(1))(rows).square().sum().backward()
    assert float(rows.grad.abs().sum()) > 0


def test_one_family_is_drawn_for_a_batch_and_all_are_drawn_in_time():
    stream = seeded(0)
    drawn = [draw(FAMILIES, stream).family for _ in range(600)]
    counts = [drawn.count(f) for f in FAMILIES]
    assert min(counts) > 100 - 5 * math.sqrt(600 * 5 / 36)


def numbers(family, *u):
    assert len(u) == _NUMBERS[family]
    return Draw(family, torch.tensor([u]))


def test_color_is_brightness_then_saturation_then_contrast():
    pixels = torch.tensor([[[[1.0]], [[2.0]], [[6.0]]]])
    assert numbers("color", 1.0, 0.5, 0.5)(pixels).flatten().tolist() == [1.5, 2.5, 6.5]  # brighter by a half
    assert numbers("color", 0.5, 0.0, 0.5)(pixels).flatten().tolist() == [3, 3, 3]  # grey: the mean of the channels
    assert numbers("color", 0.5, 0.5, 0.0)(pixels).flatten().tolist() == [2, 2.5, 4.5]  # half way to the mean


@pytest.mark.parametrize(("side", "reach"), [(32, 4), (28, 4), (8, 1)])
def test_crop_moves_by_up_to_an_eighth_and_fills_with_zeros(side, reach):
    image = torch.ones(1, 1, side, side)
    for u in (0.0, 0.999):
        moved = numbers("crop", u, 0.5)(image)
        assert (moved == 0).sum() == reach * side
    whole = numbers("crop", 0.5, 0.5)(image)  # the middle number is no move
    assert torch.equal(whole, image)


@pytest.mark.parametrize(("side", "hole"), [(32, 16), (28, 14)])
def test_cutout_is_half_a_side_and_may_hang_over_the_border(side, hole):
    image = torch.ones(1, 1, side, side)
    assert (numbers("cutout", 0.5, 0.5)(image) == 0).sum() == hole**2
    corner = numbers("cutout", 0.0, 0.0)(image)
    assert (corner == 0).sum() == (hole // 2) ** 2
    assert (numbers("cutout", 0.9999, 0.9999)(image) == 0).sum() == (hole // 2) ** 2  # a centre at `side`


def test_flip_is_for_one_half():
    row = torch.tensor([[[[1.0, 2.0]]]])
    assert numbers("flip", 0.49)(row).flatten().tolist() == [2, 1]
    assert numbers("flip", 0.5)(row).flatten().tolist() == [1, 2]


def test_scale_above_one_shrinks_and_leaves_a_border():
    image = torch.ones(1, 1, 32, 32)
    small = numbers("scale", 0.9999999, 0.9999999)(image)
    assert small[0, 0, 0, 0] == 0
    assert float(small.sum()) == pytest.approx(32**2 / 1.2**2, rel=0.01)
    assert torch.equal(numbers("scale", 0.0, 0.0)(image), image)  # zooming in, all is inside


def test_rotation_is_by_up_to_fifteen_degrees():
    image = torch.randn(1, 1, 32, 32, generator=seeded(2))
    for u, degrees in ((0.0, -15), (0.5, 0), (0.75, 7.5)):
        angle = math.radians(degrees)
        matrix = torch.tensor([[[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0]]])
        grid = F.affine_grid(matrix, [1, 1, 32, 32], align_corners=False)
        assert torch.allclose(numbers("rotate", u)(image), F.grid_sample(image, grid, align_corners=False), atol=1e-5)


@pytest.mark.usefixtures("our_own_errors")
def test_names_that_are_not_there_and_vectors_are_refused():
    with pytest.raises(SecateurError, match="augment: expected one of .* got 'corp'; did you mean crop"):
        families("corp_flip", (3, 32, 32))
    with pytest.raises(SecateurError, match="augment: crop is for images"):
        families("crop", (20,))
