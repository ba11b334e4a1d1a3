"""The five condensers: the published numbers, the plain forms, and what they refuse."""

import contextlib
import copy

import pytest
import torch
import torch.nn.functional as F

from secateur.condensation import CAFE, CONDENSERS, DC, DM, DSA, IDM, Real, cafe, dc, distribution, dm, dsa, idm, passes
from secateur.condensation.alignment import Taps
from secateur.condensation.distribution import features_of, mismatch
from secateur.condensation.frame import Canvas, Ground, begin, grow
from secateur.condensation.gradient import SCHEDULE, learn, settle
from secateur.condensation.learner import Learner
from secateur.condensation.mosaic import expand
from secateur.condensation.passes import distance
from secateur.condensation.real import start
from secateur.errors import NonFiniteError, SecateurError
from secateur.methods.condensers import CONDENSERS as ROWS
from secateur.training.nets.zoo import make
from tests.condensation.conftest import SMALL

METHODS = {"dm": DM(), "dc": DC(), "dsa": DSA(), "cafe": CAFE(matches=2, epochs=2), "idm": IDM(batch=30)}


def stream(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("shape", "classes", "parameters", "dims"),
    [((3, 32, 32), 10, 320_010, 2048), ((3, 32, 32), 100, 504_420, 2048), ((1, 28, 28), 10, 317_706, 2048)],
)
def test_the_net_is_the_published_one(shape, classes, parameters, dims):
    net = make("convnet3", shape, classes)
    assert sum(p.numel() for p in net.parameters()) == parameters
    norms = [m for m in net.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert [(m.num_groups, m.affine) for m in norms] == [(128, True)] * 3
    assert features_of(net)(torch.zeros(1, *shape)).flatten(1).shape == (1, dims)


def test_published_settings():
    assert (DM().rate, DM().momentum, DM().init, DM().steps, DM().batch) == (1, 0.5, "real", 20_000, 256)
    assert (DC().rate, DC().momentum, DC().init, DC().steps, DC().batch) == (0.1, 0.5, "noise", 1000, 256)
    assert (DSA().rate, DSA().init, DSA().steps, DSA().batch) == (0.1, "real", 1000, 256)
    assert (DM().augment, DC().augment, DSA().augment) == ("auto", "off", "auto")
    assert (CAFE().rate, CAFE().momentum, CAFE().init, CAFE().steps, CAFE().batch) == (0.1, 0.5, "noise", 2000, 256)
    assert (CAFE().tell_apart, CAFE().calm, CAFE().restless, CAFE().query) == (0.01, 0.04, 0.03, 128)
    assert (IDM().rate, IDM().momentum, IDM().init, IDM().steps) == (0.2, 0.5, "mosaic", 20_000)
    assert (IDM().nets, IDM().lessons, IDM().augment, IDM().side((3, 32, 32))) == (100, 10, "auto", 2)
    assert [IDM().published(n) for n in (1, 10, 50)] == [(5000, 0.5, 5), (256, 0.5, 30), (256, 0.1, 30)]
    assert SCHEDULE == {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}


def test_every_condenser_has_a_row_in_the_listing():
    assert set(CONDENSERS) == set(ROWS)


class TestDistributionMatching:
    @pytest.mark.parametrize("sizes", [[30] * 10, list(range(21, 31))])
    def test_all_classes_in_one_batch_are_a_loop_over_classes(self, ground, sizes, monkeypatch):
        monkeypatch.setattr(passes, "autocast", lambda device: contextlib.nullcontext())
        net = features_of(ground.fresh_net())
        real = [rows[:n] for rows, n in zip(ground.real.draw(30, ground.generator), sizes, strict=True)]
        synthetic = torch.randn(20, 1, 8, 8, generator=stream(1), requires_grad=True)
        loss = sum(
            (net(r).flatten(1).mean(0) - net(s).flatten(1).mean(0)).square().sum()
            for r, s in zip(real, synthetic.split(2), strict=True)
        )
        ours = mismatch(net, real, list(synthetic.split(2)))
        assert ours.item() == pytest.approx(loss.item(), rel=1e-6)
        (a,), (b,) = torch.autograd.grad(loss, synthetic), torch.autograd.grad(ours, synthetic)
        assert torch.allclose(a, b, atol=1e-6)

    def test_no_graph_is_kept_of_the_real_rows(self, ground):
        real = [r.requires_grad_() for r in ground.real.draw(5, ground.generator)]
        loss = mismatch(features_of(ground.fresh_net()), real, [torch.zeros(1, 1, 8, 8)] * 10)
        assert not loss.requires_grad

    def test_a_net_with_batch_norm_sees_the_whole_batch(self, ground, monkeypatch):
        monkeypatch.setattr(passes, "CACHED", 7)
        seen = []
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(64))
        net.register_forward_hook(lambda module, rows, out: seen.append(len(rows[0])))
        mismatch(net, ground.real.draw(5, ground.generator), [torch.zeros(1, 1, 8, 8)] * 10)
        assert seen == [50, 10]

    def test_it_takes_vectors_and_brings_them_to_the_class_means(self):
        rows = torch.cat((torch.randn(40, 3, generator=stream()) - 2, torch.randn(40, 3, generator=stream(1)) + 2))
        real = Real.of(rows, torch.arange(2).repeat_interleave(40))
        first = dm(real, per_class=1, generator=stream(), steps=0)
        last = dm(real, per_class=1, generator=stream(), steps=100, rate=0.1)
        means = real.normalise(torch.stack((rows[:40].mean(0), rows[40:].mean(0))))
        assert float((last.images - means).norm()) < float((first.images - means).norm()) / 2

    def test_both_branches_get_the_same_transform(self, real, monkeypatch):
        drawn = []

        def transform(self):
            drawn.append(sizes := [])
            return lambda rows: sizes.append(len(rows)) or rows

        monkeypatch.setattr(distribution.Ground, "transform", transform)
        dm(real, per_class=2, generator=stream(), steps=1, net=SMALL, batch=9)
        assert drawn == [[9, 2]] * 10  # one draw a class, applied to real and to synthetic rows


class TestGradientMatching:
    def test_the_distance_is_a_plain_loop_over_layers_and_rows(self):
        real, synthetic = (
            [torch.randn(4, 3, 3, 3, generator=stream(k)), torch.randn(2, 5, generator=stream(k + 2))] for k in (0, 1)
        )
        total = 0.0
        for a, b in zip(real, synthetic, strict=True):
            for row, other in zip(a, b, strict=True):
                cosine = float((row * other).sum()) / (float(row.norm()) * float(other.norm()) + 1e-6)
                total += 1 - cosine
        assert float(distance(real, synthetic)) == pytest.approx(total, rel=1e-6)

    def test_a_match_is_a_plain_loop_over_classes_and_biases_count_for_nothing(self, ground, monkeypatch):
        monkeypatch.setattr(passes, "autocast", lambda device: contextlib.nullcontext())
        net, before = ground.fresh_net(), torch.randn(20, 1, 8, 8, generator=stream(5))
        labels = torch.arange(10).repeat_interleave(2)
        canvas = Canvas(before, labels, torch.zeros_like(before), 0.1, 0.5)
        state = ground.generator.get_state()
        loss = DC().match(net, canvas, ground)
        ground.generator.set_state(state)
        real, rows = ground.real.draw(256, ground.generator), before.clone().requires_grad_()
        total = 0
        for c in range(10):
            sides = []
            for some in (real[c], rows[2 * c : 2 * c + 2]):
                error = F.cross_entropy(net(some), torch.full((len(some),), c))
                sides.append(torch.autograd.grad(error, list(net.parameters()), create_graph=True))
            for a, b in zip(*sides, strict=True):
                if a.ndim > 1:
                    a, b = a.detach().flatten(1), b.flatten(1)
                    total = total + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
        assert loss.item() == pytest.approx(total.item(), rel=1e-5)
        (gradient,) = torch.autograd.grad(total, rows)
        assert torch.allclose(canvas.images, before - 0.1 * gradient, atol=1e-5)

    def test_the_schedule_says_how_often_is_matched_and_learned(self, ground, monkeypatch):
        calls = []
        monkeypatch.setattr(DC, "match", lambda *_: calls.append("match") or torch.zeros(()))
        monkeypatch.setattr("secateur.condensation.gradient.learn", lambda *_, epochs: calls.append(epochs))
        for per_class, expected in ((1, ["match"]), (10, ["match", *[50, "match"] * 9])):
            calls.clear()
            canvas = begin(DC(), ground, per_class=per_class, init=None, rate=None)
            DC().step(canvas, ground)
            assert calls == expected

    def test_a_net_learns_from_the_synthetic_rows_by_plain_sgd(self, ground, monkeypatch):
        monkeypatch.setattr(passes, "autocast", lambda device: contextlib.nullcontext())
        learner, canvas = Learner(ground.fresh_net()), begin(DC(), ground, per_class=1, init=None, rate=None)
        twin = copy.deepcopy(learner.net)
        optimizer = torch.optim.SGD(twin.parameters(), lr=0.01)
        learn(learner, canvas, ground, epochs=2)
        for _ in range(2):
            optimizer.zero_grad()
            F.cross_entropy(twin(canvas.images), canvas.labels).backward()
            optimizer.step()
        for ours, theirs in zip(learner.net.parameters(), twin.parameters(), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-6)

    def test_a_count_without_a_schedule_needs_one(self, real):
        with pytest.raises(SecateurError, match="a schedule is published for 1, 10, 20, 30, 40, 50, not for 7"):
            dc(real, per_class=7, generator=stream())
        assert dc(real, per_class=7, generator=stream(), steps=1, schedule=(2, 1), net=SMALL).per_class == 7

    def test_vectors_are_refused_with_what_takes_them(self):
        with pytest.raises(SecateurError, match="these rows are vectors; use method dm"):
            dsa(Real.of(torch.zeros(4, 3), torch.tensor([0, 0, 1, 1])), per_class=1, generator=stream())


class TestAlignment:
    def test_a_match_is_a_plain_loop_over_depths_and_classes(self, real, monkeypatch):
        monkeypatch.setattr(passes, "autocast", lambda device: contextlib.nullcontext())
        ground = Ground.of(real, stream(), net="convnet2:0.0625", augment="off")
        net, before = ground.fresh_net(), torch.randn(20, 1, 8, 8, generator=stream(5))
        canvas = Canvas(before, torch.arange(10).repeat_interleave(2), torch.zeros_like(before), 0.1, 0.5, step=1700)
        state = ground.generator.get_state()
        loss = CAFE(batch=30).match(net, canvas, ground)
        ground.generator.set_state(state)
        drawn, rows = ground.real.draw(30, ground.generator), before.clone().requires_grad_()

        def depths(x):  # convolution, norm, ReLU, pool; twice
            maps = []
            for k in (0, 4):
                x = torch.relu(net.blocks[k + 1](net.blocks[k](x)))
                maps.append(x)
                x = F.avg_pool2d(x, 2)
            return [*maps, x]

        total, centres = 0, []
        for c in range(10):
            ours, theirs = depths(rows[2 * c : 2 * c + 2]), depths(drawn[c])
            for weight, a, b in zip((0.1, 1, 1), ours, theirs, strict=True):
                total = total + weight * (a.mean(0) - b.mean(0).detach()).square().sum()
            centres.append(ours[-1].mean(0).flatten())
        for c in range(10):
            for h in depths(drawn[c])[-1].detach().flatten(1):
                products = torch.stack([h @ g for g in centres])
                total = total - 0.01 * torch.log_softmax(products, 0)[c]
        assert loss.item() == pytest.approx(total.item(), rel=1e-5)
        (gradient,) = torch.autograd.grad(total, rows)
        assert torch.allclose(canvas.images, before - 0.1 / 4 * gradient, atol=1e-5)  # halved at 1,200 and at 1,600

    def test_a_net_is_left_when_ten_accuracies_lie_close_and_learns_until_they_do_not(self, ground, monkeypatch):
        heard = iter([0.3, 0.31, 0.1, *[0.3, 0.34] * 5])  # two close ones are too few
        calls = []
        monkeypatch.setattr(CAFE, "match", lambda *_: calls.append("match") or torch.zeros(()))
        monkeypatch.setattr(CAFE, "_learn", lambda *_: calls.append("learn"))
        monkeypatch.setattr("secateur.condensation.alignment._right", lambda *_: next(heard))
        canvas = begin(CAFE(), ground, per_class=1, init=None, rate=None)
        CAFE(calm=0.0401).step(canvas, ground)
        assert calls == ["match", "learn"] * 12 + ["match"]  # 0.1 is the eleventh last

    def test_learning_ends_when_accuracy_has_moved(self, ground, monkeypatch):
        heard, learned = iter([0.1, 0.11, 0.12, 0.13, 0.14]), []
        monkeypatch.setattr("secateur.condensation.alignment._right", lambda *_: next(heard))
        monkeypatch.setattr("secateur.condensation.alignment.learn", lambda *_, epochs: learned.append(epochs))
        CAFE()._learn(Learner(ground.fresh_net()), [], begin(CAFE(), ground, per_class=1, init=None, rate=None), ground)
        assert learned == [1] * 5  # 0.14 - 0.1 is the first range above 0.03

    def test_nets_that_are_no_convnet_are_refused(self, real):
        with pytest.raises(SecateurError, match="net: cafe aligns the blocks of a ConvNet, got a MLP; take convnet3"):
            cafe(real, per_class=1, steps=1, net="mlp:0.1", generator=stream())


class TestMosaics:
    def test_expanding_is_cutting_into_four_and_enlarging_each(self):
        images = torch.randn(3, 2, 8, 6, generator=stream())
        ours = expand(images)
        for k, image in enumerate(images):
            quarters = [image[:, top : top + 4, left : left + 3] for top in (0, 4) for left in (0, 3)]
            for q, quarter in enumerate(quarters):
                large = F.interpolate(quarter[None], scale_factor=2, mode="bilinear", align_corners=False)
                assert torch.equal(ours[4 * k + q], large[0])

    def test_composing_shrinks_four_different_real_rows_into_each(self, real):
        mosaics = start(real, per_class=2, init="mosaic", generator=stream())
        chosen = start(real, per_class=8, init="real", generator=stream())
        assert mosaics.shape == (20, 1, 8, 8)
        means = F.avg_pool2d(chosen, 2).view(20, 4, 1, 4, 4)  # halving by linear interpolation is the mean of 2 x 2
        assert torch.allclose(mosaics[:, :, :4, 4:], means[:, 1])
        assert torch.allclose(mosaics[:, :, 4:, :4], means[:, 2])
        with pytest.raises(SecateurError, match=r"per_class: 20 mosaics of 4 are more than .* ask for 1\d or fewer"):
            start(real, per_class=20, init="mosaic", generator=stream())

    @pytest.mark.parametrize("tiles", [1, 2])
    def test_classes_move_in_turn_and_share_their_momentum(self, tiles, ground, monkeypatch):
        monkeypatch.setattr(passes, "autocast", lambda device: contextlib.nullcontext())
        method, before = IDM(batch=30, classify=0.5), torch.randn(20, 1, 8, 8, generator=stream(5))
        canvas = Canvas(before, torch.arange(10).repeat_interleave(2), torch.ones_like(before), 0.2, 0.5, tiles=tiles)
        learner = method.learner(ground.fresh_net())
        learner.accuracy = 40.0
        state = ground.generator.get_state()
        method._match(learner, canvas, ground, batch=30, classify=0.5)
        ground.generator.set_state(state)
        body, head = learner.net
        images, velocity = before.clone(), torch.ones_like(before)
        for c, real in enumerate(ground.real.draw(30, ground.generator)):
            rows = images.clone().requires_grad_()
            own = rows[2 * c : 2 * c + 2]
            features = body(expand(own) if tiles == 2 else own)
            loss = (features.mean(0) - body(real).mean(0).detach()).square().sum()
            loss = loss + 0.5 * 40 * F.cross_entropy(head(features), torch.full((2 * tiles**2,), c))
            velocity = 0.5 * velocity + torch.autograd.grad(loss, rows)[0]
            images = images - 0.2 * velocity
        assert torch.allclose(canvas.images, images, atol=1e-4)

    def test_what_the_cross_entropy_weighs_may_be_said(self, real):
        asked = {"per_class": 1, "steps": 4, "batch": 20, "net": SMALL, "augment": "off"}
        none, published, named = (idm(real, **asked, classify=w, generator=stream()).images for w in (0.0, None, 0.5))
        assert torch.equal(published, named)
        assert not torch.equal(published, none)

    @pytest.mark.parametrize(
        ("method", "right", "doubted"),
        [
            (IDM(), [99.5, 10.0, 99.0], True),  # one has only joined
            (IDM(), [99.5, 98.9, 10.0], False),
            (IDM(classify=0.0), [100.0, 100.0], False),
            (IDM(), [], False),
        ],
    )
    def test_rows_are_doubted_where_most_nets_are_right_about_everything(self, method, right, doubted):
        nets = [Learner(torch.nn.Identity(), accuracy=percent) for percent in right]
        canvas = Canvas(torch.zeros(2, 1), torch.tensor([0, 1]), torch.zeros(2, 1), 0.2, 0.5, nets=nets)
        assert (method.doubt(canvas) is not None) == doubted

    def test_nets_join_a_queue_and_two_learn_a_step(self, ground):
        method = IDM(batch=30, fresh=2, nets=4, lessons=3)
        canvas = begin(method, ground, per_class=1, init=None, rate=None)
        seen = []
        for _ in range(5):
            method.step(canvas, ground)
            canvas.step += 1
            seen.append(len(canvas.nets))
        assert seen == [3, 3, 4, 4, 4]  # three at first, one more every second step, at most four
        assert 1 < max(learner.accuracy for learner in canvas.nets) <= 100  # percent

    def test_a_lesson_is_sgd_with_momentum_and_decay(self, ground, monkeypatch):
        monkeypatch.setattr(passes, "autocast", lambda device: contextlib.nullcontext())
        learner = IDM().learner(ground.fresh_net())
        twin = copy.deepcopy(learner.net)
        optimizer = torch.optim.SGD(twin.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        for k in range(3):
            rows, labels = torch.randn(9, 1, 8, 8, generator=stream(k)), torch.arange(9)
            gradients, right = ground.passes.gradients(learner.net, rows, labels)
            assert float(right) == pytest.approx(float((twin(rows).argmax(1) == labels).float().mean()))
            optimizer.zero_grad()
            F.cross_entropy(twin(rows), labels).backward()
            learner.step(gradients)
            optimizer.step()
        for ours, theirs in zip(learner.net.parameters(), twin.parameters(), strict=True):
            assert torch.allclose(ours, theirs, atol=1e-6)

    @pytest.mark.parametrize(
        ("rows", "tiles", "message"),
        [
            ((4, 3), None, "these rows are vectors"),
            ((4, 1, 17, 16), None, "tiles: 17x16 cannot be cut into 2 a side"),
            ((4, 1, 8, 8), 3, "tiles: 8x8 cannot be cut into 3 a side"),
        ],
    )
    def test_what_cannot_be_cut_is_refused(self, rows, tiles, message):
        with pytest.raises(SecateurError, match=message):
            idm(Real.of(torch.zeros(rows), torch.tensor([0, 0, 1, 1])), per_class=1, tiles=tiles, generator=stream())

    @pytest.mark.parametrize(("size", "tiles", "cut"), [(8, None, 1), (16, None, 2), (8, 2, 2), (12, 3, 3)])
    def test_images_are_cut_where_a_tile_can_show_something_or_as_asked(self, size, tiles, cut):
        rows = torch.arange(40.0).view(40, 1, 1, 1).expand(40, 1, size, size)
        real = Real.of(rows, torch.arange(2).repeat_interleave(20))
        held = idm(real, per_class=2, steps=0, tiles=tiles, generator=stream())
        assert (held.tiles, held.per_class, held.expanded().per_class) == (cut, 2, 2 * cut**2)
        shown = held.expanded().display()[..., 0, 0, 0]
        assert len(set(shown.tolist())) == 4 * cut**2  # a real row of its own in every tile


@pytest.mark.parametrize("channels", [1, 3])
def test_a_row_has_the_same_line_of_maps_alone_as_among_others(channels):
    taps = Taps(make("convnet1:0.0625", (channels, 8, 8), 10).requires_grad_(False))
    rows = torch.randn(20, channels, 8, 8, generator=stream())
    together = taps(passes.laid_out(rows))
    alone = torch.cat([taps(passes.laid_out(row[None])) for row in rows])  # whose strides say less of its layout
    torch.testing.assert_close(together, alone)


@pytest.mark.parametrize(("net", "name"), [("resnet9:0.25", "ResNet9"), ("vit_tiny", "ViT")])
def test_nets_whose_compiled_passes_are_not_known_to_be_right_are_not_compiled(net, name, real):
    with pytest.raises(SecateurError, match=f"compile: ConvNets and mlp are compiled, not a {name}; take one of them"):
        dm(real, per_class=1, steps=1, net=net, compiled=True, generator=stream())


def test_a_net_that_keeps_statistics_is_settled_on_real_rows_and_held_still(real):
    ground = Ground.of(real, stream(), net="resnet9:0.25", augment="off")
    net = ground.fresh_net()
    settle(net, ground)
    norm = next(m for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d))
    assert not net.training
    assert int(norm.num_batches_tracked) == 1


@pytest.mark.parametrize("name", METHODS)
class TestAll:
    def learn(self, name, real, steps, seed=0):
        method = METHODS[name]
        ground = Ground.of(real, stream(seed), net=SMALL, augment=method.augment)
        return grow(method, begin(method, ground, per_class=1, init=None, rate=None), ground, steps=steps)

    def test_sizes_labels_and_numbers_are_sound(self, name, real):
        held = self.learn(name, real, 2)
        assert held.images.shape == (10, 1, 8, 8)
        assert held.labels.tolist() == list(range(10))
        assert torch.isfinite(held.images).all()

    def test_a_stream_gives_the_same_rows_and_the_global_one_is_left(self, name, real):
        before = torch.random.get_rng_state()
        a, b, c = (self.learn(name, real, 2, seed).images for seed in (0, 0, 1))
        assert torch.equal(a, b)
        assert not torch.equal(a, c)
        assert torch.equal(before, torch.random.get_rng_state())


def test_gradients_of_a_net_are_approached_from_noise(ground):
    net, canvas = ground.fresh_net(), begin(DC(), ground, per_class=1, init=None, rate=0.02)
    losses = [float(DC().match(net, canvas, ground)) for _ in range(40)]
    assert sum(losses[-10:]) < 0.96 * sum(losses[:10])


def test_images_that_would_explode_stop_and_stay_as_they_were(ground):
    canvas = begin(DM(), ground, per_class=1, init="real", rate=1e38)
    with pytest.raises(NonFiniteError, match=r"images: would leave the finite numbers at step \d+; .*--rate"):
        grow(DM(), canvas, ground, steps=50)
    assert torch.isfinite(canvas.images).all()


@pytest.mark.usefixtures("our_own_errors")
@pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
def test_rates_below_zero_are_refused(ground, rate):
    with pytest.raises(SecateurError, match="rate: expected a number above 0"):
        begin(DM(), ground, per_class=1, init="real", rate=rate)
