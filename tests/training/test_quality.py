"""The selector: it looks inside a subset and nowhere else, learns what made subsets good, and says when it did not."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from secateur.errors import SecateurError
from secateur.training.quality import Learning, Net, fitted, heads, held_out
from secateur.training.seeding import lent


def rows(subsets=12, members=10, width=8, seed=0):
    """Standard features; the quality of a row is its fifth number, of a subset the mean."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(subsets, members, width)) + 0.5 * rng.normal(size=(subsets, 1, width))
    return found, found[..., 4].mean(axis=1)


def plain(net, x):
    """One subset (members, width) by loops over heads and members."""
    for attention, linear in zip(net.attention, net.linear, strict=True):
        width = x.shape[1]
        each = width // attention.num_heads
        queries, keys, values = (x @ attention.in_proj_weight.T + attention.in_proj_bias).split(width, dim=1)
        looked = torch.zeros_like(x)
        for head in range(attention.num_heads):
            part = slice(head * each, head * each + each)
            for one in range(len(x)):
                alike = torch.stack([queries[one, part] @ keys[other, part] / each**0.5 for other in range(len(x))])
                looked[one, part] = alike.softmax(0) @ values[:, part]
        x = linear(x + attention.out_proj(looked))
    return net.last(x)[:, 0]


def net(attention="inside", width=8):
    with lent(0, "net"):
        found = Net(width, attention)
        for layer in found.attention:
            torch.nn.init.normal_(layer.in_proj_bias)
    return found.eval()


@torch.no_grad()
def test_the_net_is_two_layers_of_attention_written_out():
    x = torch.tensor(rows(3, 4)[0], dtype=torch.float32)
    found = net()(x)
    for one in range(3):
        torch.testing.assert_close(found[one], plain(net(), x[one]), atol=1e-5, rtol=1e-4)
    across = net("across")(x)
    for place in range(4):
        torch.testing.assert_close(across[:, place], plain(net(), x[:, place]), atol=1e-5, rtol=1e-4)


def test_heads_divide_the_width():
    for width in range(1, 40):
        assert width % heads(width) == 0
        assert heads(width) == max(h for h in (1, 2, 3, 4) if width % h == 0)


def test_a_subset_is_judged_by_its_members_in_any_order_and_no_others():
    features, quality = rows()
    selector = fitted(features, quality, Learning(), seed=0)
    found = selector.subsets(features)
    order = np.random.default_rng(1).permutation(features.shape[1])
    np.testing.assert_allclose(selector.subsets(features[:, order]), found, rtol=1e-4, atol=1e-5)
    others = features.copy()
    others[1:] += 1
    assert selector.subsets(others)[0] == pytest.approx(found[0], abs=1e-5)
    quirk = fitted(features, quality, Learning("across"), seed=0)
    assert abs(quirk.subsets(others)[0] - quirk.subsets(features)[0]) > 1e-3


def test_a_row_counts_as_a_subset_of_itself_as_often_as_you_like():
    features, quality = rows()
    selector = fitted(features, quality, Learning(), seed=0)
    often = np.repeat(features[0][:, None], 114, axis=1)
    np.testing.assert_allclose(selector.rows(features[0]), selector.subsets(often), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sign", [1, -1])
def test_it_learns_which_number_makes_subsets_good_up_or_down(sign):
    features, quality = rows(30, 20)
    selector = fitted(features, sign * quality, Learning(), seed=0)
    new = np.random.default_rng(5).normal(size=(500, 8))
    assert spearmanr(selector.rows(new), sign * new[:, 4]).statistic > 0.8


def test_standard_labels_make_the_unit_of_quality_of_no_account():
    features, quality = rows()
    one = fitted(features, quality, Learning(), seed=0).rows(features[0])
    other = fitted(features, 30 + 5 * quality, Learning(), seed=0).rows(features[0])
    np.testing.assert_allclose(other, 30 + 5 * one, rtol=1e-4)
    given = [
        fitted(features, q, Learning(labels="given"), seed=0).rows(features[0]) for q in (quality, 30 + 5 * quality)
    ]
    assert np.abs(given[1] - (30 + 5 * given[0])).max() > 1


def test_training_is_adam_on_the_squared_error_of_full_batches():
    features, quality = rows()
    with lent(3, "selector"):
        plainly = Net(8, "inside")
    steps = torch.optim.Adam(plainly.parameters(), lr=0.02)
    x, y = torch.tensor(features, dtype=torch.float32), torch.tensor(quality, dtype=torch.float32)
    for _ in range(5):
        steps.zero_grad()
        torch.nn.functional.mse_loss(plainly(x).mean(1), y).backward()
        steps.step()
    found = fitted(features, quality, Learning(labels="given", epochs=5, lr=0.02), seed=3)
    for name, value in found.net.state_dict().items():
        torch.testing.assert_close(value, plainly.state_dict()[name])


def test_seeds_repeat_and_the_global_stream_is_left_alone():
    features, quality = rows()
    before = torch.random.get_rng_state()
    first, again, other = (fitted(features, quality, Learning(), seed=s).rows(features[0]) for s in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()
    assert (torch.random.get_rng_state() == before).all()


def test_subsets_not_seen_are_told_where_there_is_something_to_learn():
    features, quality = rows(30, 20)
    found = held_out(features, quality, Learning(), seed=0)
    assert found.correlation > 0.7 > found.chance
    assert found.chance == pytest.approx(1.645 / 29**0.5)
    assert found.correlation == pytest.approx(spearmanr(found.gains, quality).statistic)


def test_a_subset_is_foretold_by_one_that_has_not_seen_it():
    features, quality = rows(6)
    found = held_out(features, quality, Learning(), seed=0)
    others = np.arange(6) != 2
    expected = fitted(features[others], quality[others], Learning(), seed=0).subsets(features)
    assert found.gains[2] == pytest.approx(expected[2] - expected[others].mean())
    changed = quality.copy()
    changed[2] = 50
    assert held_out(features, changed, Learning(), seed=0).gains[2] == found.gains[2]


def test_folds_leave_every_subset_out_once():
    features, quality = rows(7, 4)
    told = []
    found = held_out(
        features, quality, Learning(), seed=0, folds=3, advance=lambda done, total: told.append((done, total))
    )
    assert told == [(1, 3), (2, 3), (3, 3)]
    others = np.arange(7) % 3 != 1
    expected = fitted(features[others], quality[others], Learning(), seed=0).subsets(features)
    np.testing.assert_allclose(found.gains[~others], expected[~others] - expected[others].mean())


def test_one_who_learns_the_mean_alone_is_no_better_nor_worse_than_chance():
    """Expected quality itself would rank the wrong way round: the mean of the others is low without a good one."""
    features, quality = rows()
    found = held_out(np.ones_like(features), quality, Learning(), seed=0)
    assert abs(found.correlation) < found.chance


def test_nothing_can_be_learned_of_equals():
    with pytest.raises(SecateurError, match="quality: all 12 subsets have 1, so there is nothing to learn"):
        fitted(rows()[0], np.ones(12), Learning(), seed=0)
    quality = np.array([0.0] * 11 + [1.0])
    assert held_out(rows()[0], quality, Learning(), seed=0, folds=12).gains[11] == 0
