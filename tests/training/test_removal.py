"""Hidden units are gone for good, what they did is handed on, and multiply-adds are what a hand counts."""

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from secateur.errors import NonFiniteError, SecateurError
from secateur.training import removal
from secateur.training.nets import build, load_net, save_net, with_hidden
from secateur.training.nets.small import MLP
from secateur.training.nets.vit import ViT
from secateur.training.removal import look, slimmable, slimmed, units_of
from secateur.training.seeding import initialised

SHAPE = (1, 8, 8)


def random(seed=0):
    return torch.Generator().manual_seed(seed)


ROWS = torch.randint(0, 256, (40, *SHAPE), dtype=torch.uint8, generator=random())


def make(spec="mlp:0.0625"):
    """A net of random weights: an mlp of 2 x 32 units, or a vit of two blocks of 96 and 80 units, 6 dims."""
    mean, spread = torch.full((1,), 127.0), torch.full((1,), 74.0)
    net = build(
        "mlp:0.0625" if spec == "vit" else spec, shape=SHAPE, classes=3, mean=mean, spread=spread, seed=0
    ).eval()
    if spec == "vit":
        with initialised(0):
            net.body = ViT(SHAPE, 3, dims=6, units=(96, 80)).eval()
    return net


@pytest.fixture(params=["mlp:0.0625", "vit"])
def net(request):
    return make(request.param)


def slim(net, rows=ROWS, **options):
    return slimmed(net, look(net, [rows]), **{"flops": 0.7, "generator": random(), **options})


def numbers(net):
    return sum(p.numel() for p in net.parameters())


class TestCost:
    def test_of_an_mlp_it_is_the_sizes_of_its_matrices(self):
        assert MLP(64, 10, (7, 5)).multiply_adds([7, 5]) == 64 * 7 + 7 * 5 + 5 * 10

    def test_of_a_vit_it_is_what_a_hand_counts(self):
        patches = 64 * (2 * 2 * 3 * 6)  # 64 patches of 2 x 2 pixels of 3 colours to 6 dims
        attention = 65 * (6 * 18 + 6 * 6) + 2 * 65 * 65 * 6  # qkv and out of each token, then two products of tokens
        feed = 65 * (6 * 4 + 4 * 6) + 65 * (6 * 9 + 9 * 6)  # blocks of 4 and of 9 units
        vit = ViT((3, 16, 16), 10, dims=6, units=(4, 9))
        assert vit.multiply_adds(units_of(vit)) == patches + 2 * attention + feed + 6 * 10

    def test_torch_counts_as_many(self, net):
        plain_products = sdpa_kernel(SDPBackend.MATH)  # torch does not count those of the fused attention on a CPU
        with FlopCounterMode(display=False) as counter, plain_products, torch.no_grad():
            net(ROWS[:1])
        body = slimmable(net)
        assert counter.get_total_flops() == 2 * body.multiply_adds(units_of(body))


class TestLook:
    def test_moments_are_those_of_all_rows_and_tokens_however_batched(self, net):
        answers = []
        reads = slimmable(net).hidden_layers()[1][1]
        hook = reads.register_forward_pre_hook(lambda module, given: answers.append(given[0].flatten(0, -2)))
        with torch.no_grad():
            net(ROWS)
        hook.remove()
        found = look(net, [ROWS[:7], ROWS[7:]])[1]
        values = answers[0].double().numpy()
        np.testing.assert_allclose(found.mean, values.mean(axis=0), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.covariance, np.cov(values.T, bias=True), rtol=1e-4, atol=1e-6)

    def test_it_leaves_no_hook_behind(self, net):
        look(net, [ROWS])
        assert not any(module._forward_pre_hooks for module in net.modules())


class TestRemoval:
    def test_the_slim_net_answers_as_the_masked_one(self):
        """A whole vit that has the slim one's weights where units stay, and zeros where they are gone."""
        net = make("vit")
        out, masked = slim(net), copy.deepcopy(net)
        layers = [slimmable(n).hidden_layers() for n in (net, out, masked)]
        with torch.no_grad():
            for (made, _), (thin, thin_reads), (_, reads) in zip(*layers, strict=True):
                kept = [next(i for i, row in enumerate(made.weight) if torch.equal(row, w)) for w in thin.weight]
                assert kept == sorted(set(kept))
                reads.weight.zero_()
                reads.weight[:, kept] = thin_reads.weight
                reads.bias.copy_(thin_reads.bias)
            torch.testing.assert_close(out(ROWS), masked(ROWS))

    def test_it_is_smaller_and_fits_the_budget_as_closely_as_units_allow(self, net):
        out = slim(net)
        body, thin = slimmable(net), slimmable(out)
        assert numbers(out) < numbers(net)
        whole = body.multiply_adds(units_of(body))
        one_more = max(
            thin.multiply_adds([n + (k == j) for j, n in enumerate(units_of(thin))]) for k in range(len(units_of(thin)))
        )
        assert thin.multiply_adds(units_of(thin)) <= 0.7 * whole < one_more

    @pytest.mark.parametrize("rank", ["r2d2", "representative", "data", "magnitude", "random"])
    def test_with_every_unit_kept_nothing_changes(self, net, rank):
        with torch.no_grad():
            torch.testing.assert_close(slim(net, flops=1.0, rank=rank)(ROWS), net(ROWS))

    def test_the_net_that_is_slimmed_stays_as_it_is(self, net):
        before = copy.deepcopy(net.state_dict())
        slim(net)
        assert units_of(slimmable(net)) in ([32, 32], [96, 80])
        assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())

    def test_only_a_random_cut_depends_on_the_generator(self, net):
        with torch.no_grad():
            plain = [slim(net, generator=random(seed))(ROWS) for seed in (0, 1)]
            drawn = [slim(net, rank="random", generator=random(seed))(ROWS) for seed in (0, 0, 1)]
        assert torch.equal(*plain)
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])

    def test_the_least_budget_leaves_one_unit_a_layer(self, net):
        body = slimmable(net)
        least = body.multiply_adds([1, 1]) / body.multiply_adds(units_of(body))
        assert units_of(slimmable(slim(net, flops=least + 1e-9))) == [1, 1]

    def test_a_slim_net_comes_back_from_disk_and_can_be_slimmed_again(self, tmp_path):
        out = slim(make())
        spec = with_hidden("mlp:0.0625", units_of(slimmable(out)))
        save_net(out, tmp_path / "m.safetensors", spec=spec, shape=SHAPE, classes=3)
        again = load_net(tmp_path / "m.safetensors", device=torch.device("cpu"))
        with torch.no_grad():
            assert torch.equal(again(ROWS), out(ROWS))
        assert numbers(slim(again)) < numbers(out)


class TestHandedOn:
    def test_a_unit_leaves_all_that_it_told_to_its_twin(self, monkeypatch):
        """The second half of an mlp's first layer says the same as the first half, and is ranked below it."""
        net = make()
        (made, reads), _ = slimmable(net).hidden_layers()
        with torch.no_grad():
            made.weight[16:], made.bias[16:] = made.weight[:16], made.bias[:16]
        monkeypatch.setattr(removal, "RIDGE", 1e-9)
        thin = copy.deepcopy(reads)
        removal.hand_on(thin, torch.arange(16), look(net, [ROWS])[0])
        answers = torch.rand(5, 16)
        with torch.no_grad():
            torch.testing.assert_close(thin(answers), reads(answers.repeat(1, 2)), atol=1e-4, rtol=1e-4)

    def test_without_a_ridge_it_is_the_least_squares_fit_to_what_the_layer_said(self, monkeypatch):
        monkeypatch.setattr(removal, "RIDGE", 0.0)
        answers = torch.rand(60, 6, generator=random()).double()
        reads = torch.nn.Linear(6, 2)
        kept = torch.tensor([0, 2, 5])
        said = (answers @ reads.weight.double().T + reads.bias.double()).detach().numpy()
        known = np.column_stack((answers[:, kept].numpy(), np.ones(60)))
        expected = np.linalg.lstsq(known, said, rcond=None)[0]
        removal.hand_on(reads, kept, removal.Moments(answers.mean(0), answers.T @ answers / 60))
        found = np.column_stack((reads.weight.detach(), reads.bias.detach())).T
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)

    def test_it_is_nearer_to_the_whole_net_than_plain_removal(self, net, monkeypatch):
        with torch.no_grad():
            fitted = (slim(net)(ROWS) - net(ROWS)).square().mean()
            monkeypatch.setattr(removal, "RIDGE", 1e9)  # the bias alone takes over
            by_bias = (slim(net)(ROWS) - net(ROWS)).square().mean()
        assert fitted < by_bias

    @pytest.mark.parametrize("bias", [-1.0, 0.3])
    def test_units_that_never_move_leave_their_bias(self, bias):
        net = make()
        (made, reads), _ = slimmable(net).hidden_layers()
        with torch.no_grad():
            made.weight.zero_()
            made.bias.fill_(bias)
            thin = copy.deepcopy(reads)
            removal.hand_on(thin, torch.arange(4), look(net, [ROWS])[0])
            torch.testing.assert_close(
                thin.weight, reads.weight[:, :4], atol=1e-3, rtol=0
            )  # nothing is made of rounding errors
            torch.testing.assert_close(slim(net, rank="random")(ROWS), net(ROWS))


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    def test_a_net_without_hidden_units(self):
        with pytest.raises(
            SecateurError,
            match=r"model: expected an mlp, a vit_tiny or a vit_small, .* got a ResNet9; train one with --net mlp",
        ):
            look(make("resnet9:0.25"), [ROWS])

    @pytest.mark.parametrize("flops", [0.0, -0.5, 1.01, math.nan, 0.02])
    def test_a_budget_that_cannot_be_had_says_the_least(self, flops):
        """2 x 32 units on 64 pixels, 3 classes: 64 + 1 + 3 of 64 * 32 + 32 * 32 + 32 * 3 = 3,168 is 0.02146."""
        with pytest.raises(
            SecateurError,
            match=rf"flops: expected .* the net's 3,168 .* from 0.0215, .* one unit a layer, to 1, got {flops}",
        ):
            slim(make(), flops=flops)

    def test_an_unknown_rank_names_the_nearest(self):
        with pytest.raises(SecateurError, match="rank: expected one of data, magnitude, .* did you mean magnitude"):
            slim(make(), rank="magnitud")

    @pytest.mark.parametrize("batches", [[], [ROWS[:0]]])
    def test_no_rows(self, batches):
        with pytest.raises(SecateurError, match="rows: expected at least one row to look at, got none"):
            look(make(), batches)

    def test_a_net_that_is_not_finite(self):
        net = make()
        with torch.no_grad():
            next(net.body.parameters()).fill_(math.nan)
        with pytest.raises(NonFiniteError, match="model: a hidden unit is nan or infinite on these rows"):
            look(net, [ROWS])


def test_every_rank_orders_units_of_its_own():
    net = make()
    moments = look(net, [ROWS])
    reads = slimmable(net).hidden_layers()[0][1]
    orders = [rank(reads.weight.detach().T, moments[0], random()).argsort().tolist() for rank in removal.RANKS.values()]
    assert all(a != b for a, b in itertools.combinations(orders, 2))
