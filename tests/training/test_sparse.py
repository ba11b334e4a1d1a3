"""Vision transformers that drop patches: as plain loops say, dense where nothing is dropped, and resumable."""

import math

import pytest
import torch

import secateur as sc
from secateur.errors import SecateurError
from secateur.training import loop
from secateur.training.loop import Watch
from secateur.training.nets import Normalised, load_net, save_net, sparse
from secateur.training.nets.sparse import SparseViT, Sparsity, chosen, strongest, taken
from secateur.training.nets.vit import ViT
from secateur.training.probes.penultimate import Penultimate
from secateur.training.recipes import recipe
from secateur.training.sampling import Shuffled
from tests.training.test_loop import Stop, assert_same, run, tensors
from tests.training.test_nets import CPU, count, make

SIZE = ((1, 4, 4), 3, 8, 4, 2)  # 16 patches, 3 classes, 8 dims, 4 blocks, 2 heads
AT = (0, 2)


def filled(net, seed=0):
    """Weights large enough that attention is far from even."""
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=noise) * 0.5)
    return net


def tiny(tokens=0.6, attention=0.4, at=AT, **when):
    return filled(SparseViT(Sparsity(tokens, attention, **when), *SIZE, at=at))


def images(n=2, seed=1):
    return torch.randn(n, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


def looks(scores, allowed):
    """Softmax over the keys that a query may look at, 0 elsewhere."""
    total = sum(math.exp(float(scores[j])) for j in allowed)
    return [math.exp(float(scores[j])) / total if j in allowed else 0.0 for j in range(len(scores))]


def in_loops(net, image, tokens, attention):
    """The logits of one image, query by query and key by key."""
    x = list(net.tokens(image[None])[0])
    heads, dims = 2, 4
    may = [set(range(17)) for _ in range(17)]
    for number, block in enumerate(net.blocks):
        if number in AT:
            may = [set(range(len(x))) for _ in x]  # a mask ends where the next one is made
        q, k, v = (
            [p.view(heads, dims) for p in part]
            for part in zip(*(block.qkv(block.norm1(t)).split(8) for t in x), strict=True)
        )
        weight = torch.zeros(heads, len(x), len(x))
        moved = []
        for i in range(len(x)):
            out = torch.zeros(heads, dims)
            for h in range(heads):
                scores = [q[i][h] @ k[j][h] / 2 for j in range(len(x))]  # 2: the root of 4 dims
                top = torch.logsumexp(torch.stack([scores[j] for j in sorted(may[i])]), 0)
                for j in sorted(may[i]):
                    share = (scores[j] - top).exp()
                    weight[h, i, j] = share.detach()
                    out[h] = out[h] + share * v[j][h]
            moved.append(x[i] + block.out(out.flatten()))
        x = moved
        if number in AT:
            mean = weight.mean(0)
            patches = sorted(range(1, len(x)), key=lambda j: -float(mean[0, j]))[: math.ceil(tokens * (len(x) - 1))]
            patches.sort()
            keys = math.ceil(attention * len(patches))
            may = [set(range(len(patches) + 1))]
            for i in patches:
                strong = sorted(range(len(patches)), key=lambda place: -float(mean[i, patches[place]]))[:keys]
                may.append({0} | {place + 1 for place in strong})
            x = [x[0]] + [x[j] for j in patches]
        x = [t + block.feed(block.norm2(t)) for t in x]
    return net.head(net.norm(x[0]))


@pytest.mark.parametrize(("tokens", "attention"), [(0.6, 1.0), (1.0, 0.4), (0.6, 0.4)])
def test_answers_and_gradients_are_those_of_plain_loops(tokens, attention):
    net, rows = tiny(tokens, attention), images()
    found, expected = [], []
    for into, logits in (
        (found, net(rows)),
        (expected, torch.stack([in_loops(net, image, tokens, attention) for image in rows])),
    ):
        into.append(logits)
        into += torch.autograd.grad(logits.square().sum(), list(net.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-4)
    assert (filled(ViT(*SIZE))(rows) - found[0]).abs().max() > 0.005  # it is not the dense answer


def test_at_rates_of_one_it_is_the_plain_net_to_the_bit_and_chooses_nothing(monkeypatch):
    monkeypatch.setattr(sparse, "chosen", None)  # would fail if called
    plain, rows = filled(ViT(*SIZE)), images()
    for net in (tiny(1.0, 1.0), tiny(start=0.5, end=0.6)):
        net.pace(0.5)  # the last moment at which nothing is dropped
        assert torch.equal(net(rows), plain(rows))


def test_each_pruning_block_leaves_its_share_of_what_came_in():
    net, seen = make("vit_tiny:tokens=0.7,attention=0.5", (3, 16, 16)).eval(), []
    for block in net.body.blocks:
        block.norm2.register_forward_pre_hook(lambda module, x: seen.append(x[0].shape[1] - 1))
    net(torch.zeros(2, 3, 16, 16))
    assert seen == [64] * 3 + [45] * 3 + [32] * 3 + [23] * 3  # 44.8, 31.5 and 22.4, rounded up


def test_an_image_keeps_its_own_patches_whatever_stands_beside_it():
    net, rows = tiny(), images(5)
    torch.testing.assert_close(net(rows), torch.cat([net(row[None]) for row in rows]), atol=1e-4, rtol=1e-4)


def heads_of(n=3, tokens=11, seed=2):
    noise = torch.Generator().manual_seed(seed)
    return [torch.randn(n, 2, tokens, 4, generator=noise) for _ in range(2)]


def test_no_mask_touches_the_class_token_and_each_patch_has_its_share_of_keys():
    places, mask = chosen(*heads_of(), 0.6, 0.3)
    assert places.shape == (3, 7)
    assert (places[:, 0] == 0).all()
    assert (places.diff(dim=1) > 0).all()
    assert mask.shape == (3, 1, 7, 7)
    assert mask[:, :, 0].all()
    assert mask[:, :, :, 0].all()
    assert (mask[:, 0, 1:, 1:].sum(-1) == 2).all()  # 0.3 of 6, rounded up


def test_however_small_the_shares_a_patch_and_a_key_are_left():
    places, mask = chosen(*heads_of(), 1e-9, 1e-9)
    assert places.shape == (3, 2)
    _, mask = chosen(*heads_of(), 1.0, 1e-9)
    assert (mask[:, 0, 1:, 1:].sum(-1) == 1).all()
    assert tiny(1e-9, 1e-9)(images()).isfinite().all()


def test_of_ties_the_earlier_is_kept_and_a_whole_share_is_not_rounded_up():
    assert strongest(torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0]), 0.4).tolist() == [1, 3]
    assert strongest(torch.zeros(100), 0.55).tolist() == list(range(55))  # 0.55 * 100 > 55 in floats


def test_gradients_reach_what_is_taken_and_nothing_else():
    x = torch.zeros(2, 4, 3, requires_grad=True)
    taken(x, torch.tensor([[0, 2], [0, 3]])).sum().backward()
    expected = torch.zeros(2, 4, 3)
    expected[0, [0, 2]] = expected[1, [0, 3]] = 1
    assert torch.equal(x.grad, expected)


def test_shares_fall_along_half_a_cosine_between_the_paper_s_epochs():
    sparsity = Sparsity(tokens=0.6, attention=0.2)
    assert sparsity.rates(10 / 300) == (1, 1)
    assert sparsity.rates(35 / 300) == pytest.approx((0.6 + 0.4 * 0.853553, 0.2 + 0.8 * 0.853553))  # (1 + cos 45°) / 2
    assert sparsity.rates(60 / 300) == pytest.approx((0.8, 0.6))
    assert sparsity.rates(110 / 300) == sparsity.rates(1.0) == (0.6, 0.2)
    assert Sparsity(tokens=0.5, start=0, end=0).rates(0.0) == (0.5, 1)


SPEC = "vit_tiny:tokens=0.5,attention=0.5,start=0,end=1"


def trained(start=0.0, end=1.0, **options):
    """Two epochs of three batches of 16x16 images, with a narrow net."""
    body = filled(SparseViT(Sparsity(0.5, 0.5, start, end), (3, 16, 16), 3, 8, 4, 2, at=AT))
    net = Normalised(body, torch.full((3,), 127.0), torch.full((3,), 70.0))
    return run(start=net, steps=6, changes=",lr=0.1", **options)[0]


def test_training_tells_the_net_how_far_it_is(monkeypatch):
    told = []
    original = SparseViT.pace
    monkeypatch.setattr(SparseViT, "pace", lambda self, p: told.append(p) or original(self, p))
    student = trained()
    sixths = [0, 0, 1 / 6, 2 / 6, 3 / 6, 3 / 6, 4 / 6, 5 / 6]  # before each of 2 epochs and each of its 3 batches
    assert told == pytest.approx([1, *sixths])  # until it is told, it is at the end
    assert student.body.progress == pytest.approx(5 / 6)


def test_a_net_without_a_pace_is_told_nothing():
    make("mlp").pace(0.5)


@pytest.mark.parametrize("when", [(0.0, 1.0), (0.6, 0.7), (0.9, 1.0)])
def test_a_run_stopped_after_an_epoch_ends_with_the_same_weights_to_the_bit(tmp_path, when):
    def stop(at, loss):
        raise Stop

    whole = trained(*when)
    with pytest.raises(Stop):
        trained(*when, save_to=tmp_path / "state", watch=Watch(epoch=stop))
    assert_same(whole, trained(*when, save_to=tmp_path / "state"))


def test_what_a_rule_looks_at_is_seen_by_the_net_as_it_stands(monkeypatch):
    data, at = tensors(), []
    net = Normalised(filled(SparseViT(Sparsity(0.5), (3, 16, 16), 3, 8, 4, 2, at=AT)), torch.zeros(3), torch.ones(3))
    monkeypatch.setattr(loop, "look", lambda net, *rest: at.append(net.body.progress))
    loop.train(net, data, recipe("sgd:batch=8"), epochs=4, sampler=Shuffled(data.usable, 0), seed=0)
    assert at == [0, 0.25, 0.5, 0.75]


def saved(net, path, spec):
    save_net(net, path, spec=spec, shape=(3, 16, 16), classes=10)
    return load_net(path, device=CPU)


def test_a_saved_net_drops_as_much_as_it_did(tmp_path):
    rows = torch.randint(0, 256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    answers = []
    for progress in (None, 0.5, 0.0):
        net = make(SPEC, (3, 16, 16)).eval()
        if progress is not None:
            net.pace(progress)
        again = saved(net, tmp_path / "m.safetensors", SPEC)
        assert again.body.sparsity.rates(again.body.progress)[0] == pytest.approx(
            {None: 0.5, 0.5: 0.75, 0.0: 1}[progress]
        )
        answers.append(net(rows))
        assert torch.equal(again(rows), answers[-1])
    assert not torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[1], answers[2])


def test_only_a_sparse_net_saves_more_than_weights():
    plain, sparse = make("vit_tiny", (1, 8, 8)), make("vit_tiny:tokens=0.7", (1, 8, 8))
    assert set(sparse.state_dict()) - set(plain.state_dict()) == {"body._extra_state"}
    assert type(plain.body) is ViT
    for name, value in plain.state_dict().items():
        assert torch.equal(value, sparse.state_dict()[name]), name  # of one seed, the same start


def test_neither_making_nor_running_one_touches_the_global_stream():
    before = torch.random.get_rng_state()
    make("vit_tiny:tokens=0.7,attention=0.5", (1, 8, 8))(torch.zeros(2, 1, 8, 8)).sum().backward()
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_width_and_options_go_together_and_the_small_one_is_the_published_size():
    wide = make("vit_tiny:2,tokens=0.7", (3, 32, 32)).body
    assert (wide.head.in_features, wide.sparsity.tokens, wide.sparsity.attention) == (384, 0.7, 1)
    small = make("vit_small", (3, 32, 32))
    assert small.body.blocks[0].heads == 6
    block = 4 * 384 + 384 * 1152 + 1152 + 384 * 384 + 384 + 384 * 1536 + 1536 + 1536 * 384 + 384
    patches = 48 * 384 + 384
    assert count(small) == 12 * block + patches + 384 + 65 * 384 + 2 * 384 + 384 * 10 + 10


def test_features_are_what_the_class_token_ends_as():
    net, rows = make("vit_tiny:tokens=0.7,attention=0.5", (1, 8, 8)).eval(), torch.ones(3, 1, 8, 8)
    features, logits = Penultimate(net)(rows)
    assert features.shape == (3, 192)
    torch.testing.assert_close(net.body.head(features), logits)


@pytest.mark.slow
def test_all_three_levels_in_one_run(few_digits, tmp_path):
    rows, labels = few_digits[0]
    test = few_digits[1]
    result = sc.train(
        (rows[:100], labels[:100]), test=test, net="vit_tiny:tokens=0.7,attention=0.5", rule="swap:keep=0.8", epochs=2,
        recipe="sgd:optimizer=adamw,lr=0.001,batch=100", out=tmp_path, quiet=True, threads=1,
    )  # fmt: skip
    assert result.examples == 2 * 80
    assert result.net == "vit_tiny:tokens=0.7,attention=0.5"
    net = load_net(tmp_path / "cells" / result.folder / "model.safetensors", device=CPU)
    assert net.body.sparsity.rates(net.body.progress) == (0.7, 0.5)


@pytest.mark.usefixtures("our_own_errors")
def test_blocks_that_are_not_there():
    with pytest.raises(SecateurError, match=r"at: expected blocks, from 0 to 3, got \(1, 4\)"):
        tiny(at=(1, 4))
