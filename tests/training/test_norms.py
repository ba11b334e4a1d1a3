"""Instance norm and halving are the same maths wherever channels lie in memory."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, vmap

from secateur.training.nets.norms import InstanceNorm
from secateur.training.nets.small import Halve

LAST, PLANAR = torch.channels_last, torch.contiguous_format


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def normed(x, weight, bias, eps=1e-5):
    """Map by map, as it is defined."""
    out = torch.empty_like(x)
    for n, row in enumerate(x):
        for c, one in enumerate(row):
            middle = one.mean()
            out[n, c] = (one - middle) / ((one - middle).square().mean() + eps).sqrt() * weight[c] + bias[c]
    return out


@pytest.fixture
def norm():
    """With scales and shifts that are no round numbers."""
    layer = InstanceNorm(4)
    with torch.no_grad():
        layer.weight.copy_(1 + seeded(4, seed=1) / 4)
        layer.bias.copy_(seeded(4, seed=2))
    return layer


@pytest.mark.parametrize("layout", [LAST, PLANAR])
@pytest.mark.parametrize("shape", [(3, 4, 5, 7), (1, 4, 6, 6), (2, 4, 1, 2)])
def test_each_map_is_normed_by_itself(layout, shape, norm):
    x = 3 + 2 * seeded(*shape)
    out = norm(x.to(memory_format=layout))
    torch.testing.assert_close(out, normed(x, norm.weight, norm.bias), rtol=1e-4, atol=1e-5)
    assert out.is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [LAST, PLANAR])
def test_gradients_are_those_of_the_definition_and_so_are_theirs(layout, norm):
    x, aim = seeded(3, 4, 5, 7).requires_grad_(), seeded(3, 4, 5, 7, seed=3)

    def both(form):
        wanted = [x, norm.weight, norm.bias]
        first = torch.autograd.grad((form() * aim).square().sum(), wanted, create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), wanted)
        return [*first, *second]

    ours = both(lambda: norm(x.to(memory_format=layout)))
    torch.testing.assert_close(ours, both(lambda: normed(x, norm.weight, norm.bias)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("layout", [LAST, PLANAR])
def test_a_map_of_one_pixel_is_left_with_the_shift(layout, norm):
    rows = seeded(3, 4, 1, 1).to(memory_format=layout)
    torch.testing.assert_close(norm(rows), norm.bias.view(1, 4, 1, 1).expand(3, 4, 1, 1), rtol=0, atol=1e-4)


def test_gradients_of_each_row_by_vmap_are_those_of_each_row_alone(norm):
    x, weights = seeded(3, 4, 5, 5).to(memory_format=LAST), dict(norm.named_parameters())

    def loss(at, row):
        return functional_call(norm, at, (row[None],)).pow(3).sum()

    together = vmap(grad(loss), (None, 0))(weights, x)
    for n, row in enumerate(x):
        alone = grad(loss)(weights, row)
        for name in weights:
            torch.testing.assert_close(together[name][n], alone[name], rtol=1e-4, atol=1e-4)


def test_in_bfloat16_it_is_as_near_as_that_is(norm):
    x = seeded(2, 4, 8, 8).bfloat16()
    for layout in (LAST, PLANAR):
        out = norm(x.to(memory_format=layout))
        assert out.dtype == torch.bfloat16
        torch.testing.assert_close(out.float(), normed(x.float(), norm.weight, norm.bias), rtol=1e-2, atol=1e-2)


def test_it_is_group_norm_with_a_group_a_channel_to_the_rest_of_the_world(norm):
    twin = nn.GroupNorm(4, 4)
    twin.load_state_dict(norm.state_dict())
    x = seeded(2, 4, 5, 5)
    assert isinstance(norm, nn.GroupNorm)
    torch.testing.assert_close(norm(x), twin(x))


@pytest.mark.parametrize("layout", [LAST, PLANAR])
@pytest.mark.parametrize(("height", "width"), [(4, 6), (5, 3), (2, 2)])
def test_halving_takes_the_mean_of_each_square_and_leaves_out_what_is_odd(layout, height, width):
    x = seeded(2, 3, height, width)
    out = Halve()(x.to(memory_format=layout))
    assert out.shape == (2, 3, height // 2, width // 2)
    for i in range(height // 2):
        for j in range(width // 2):
            square = x[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean((2, 3))
            torch.testing.assert_close(out[:, :, i, j], square)
