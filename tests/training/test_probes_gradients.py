"""The lengths of gradients are those of plain backward passes, one example at a time, whatever the way there."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from secateur.errors import NonFiniteError, SecateurError
from secateur.training.nets import build
from secateur.training.nets.norms import InstanceNorm
from secateur.training.probes import gradients, layers
from secateur.training.probes.gradients import gradient_norms, unknown_layers
from secateur.training.seeding import initialised

SHAPE, CLASSES = (3, 16, 16), 5


def seeded(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def lived_in(net, rows):
    """In eval mode, with weights, shifts and running statistics that are no round numbers."""
    stream = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(torch.randn(p.shape, generator=stream) * 0.05)
        net.train()(rows)
    return net.eval()


def plain(net, rows, labels):
    """One example at a time, in float64; parameters that are not to be trained are left out."""
    net = copy.deepcopy(net).double()
    rows = rows.double()
    weights = [p for p in net.parameters() if p.requires_grad]
    out = []
    for i in range(len(rows)):
        loss = F.cross_entropy(net(rows[i : i + 1]), labels[i : i + 1])
        parts = [g for g in torch.autograd.grad(loss, weights, allow_unused=True) if g is not None]
        out.append(sum(float(g.square().sum()) for g in parts) ** 0.5)
    return torch.tensor(out)


@pytest.fixture
def closed_forms_only(monkeypatch):
    def never(*args):
        raise AssertionError("gradients were formed one by one")

    monkeypatch.setattr(gradients, "_one_by_one", never)


@pytest.fixture
def slow_way(monkeypatch):
    """Counts how often gradients were formed one by one."""
    calls, real = [], gradients._one_by_one
    monkeypatch.setattr(gradients, "_one_by_one", lambda *args: calls.append(1) or real(*args))
    return calls


def own(spec, shape=SHAPE):
    net = build(
        spec,
        shape=shape,
        classes=CLASSES,
        mean=torch.full(shape[:1], 120.0),
        spread=torch.full(shape[:1], 60.0),
        seed=0,
    )
    rows = torch.randint(0, 256, (6, *shape), generator=torch.Generator().manual_seed(2), dtype=torch.uint8)
    return lived_in(net, rows), rows, torch.arange(6) % CLASSES


NETS = [
    "mlp:0.05",
    "convnet3:0.1",
    "resnet9:0.25",
    "resnet18:0.125",
    "resnet50:0.0625",
    "vit_tiny",
    "vit_tiny:tokens=0.7,attention=0.5",
]


@pytest.mark.usefixtures("closed_forms_only")
@pytest.mark.parametrize("spec", NETS)
def test_every_net_of_ours_takes_the_fast_way_and_equals_plain_gradients(spec):
    net, rows, labels = own(spec)
    assert unknown_layers(net, rows) == []
    torch.testing.assert_close(gradient_norms(net, rows, labels), plain(net, rows, labels), rtol=1e-4, atol=0)


def test_the_fast_way_equals_vmap_for_a_net_of_ours():
    net, rows, labels = own("resnet9:0.25")
    torch.testing.assert_close(
        gradient_norms(net, rows, labels), gradients._one_by_one(net, rows, labels), rtol=1e-4, atol=0
    )


@pytest.mark.usefixtures("closed_forms_only")
def test_what_a_recipe_freezes_is_left_out():
    net, rows, labels = own("resnet9:0.25")
    whole = gradient_norms(net, rows, labels)
    net.body.whiten(net.normalise(rows))
    frozen = gradient_norms(net, rows, labels)
    torch.testing.assert_close(frozen, plain(net, rows, labels), rtol=1e-4, atol=0)
    net.requires_grad_(True)
    assert (gradient_norms(net, rows, labels) > frozen).all()
    assert whole.shape == frozen.shape


IMAGE = (4, 6, 9, 10)
LAYERS = {
    "linear": (lambda: nn.Linear(7, 5), (4, 7)),
    "linear without bias": (lambda: nn.Linear(7, 5, bias=False), (4, 7)),
    "linear on few tokens": (lambda: nn.Linear(7, 5), (4, 2, 7)),
    "linear on many tokens": (lambda: nn.Linear(7, 5), (4, 20, 7)),
    "linear on a grid": (lambda: nn.Linear(7, 5), (4, 3, 4, 7)),
    "filters": (lambda: nn.Conv2d(6, 4, 3, padding=1), IMAGE),
    "filters on few positions": (lambda: nn.Conv2d(6, 40, 3, stride=4), IMAGE),
    "filters with a stride and a dilation": (lambda: nn.Conv2d(6, 4, 3, stride=2, dilation=2, padding=2), IMAGE),
    "oblong filters": (lambda: nn.Conv2d(6, 4, (1, 4), stride=(2, 1), padding=(0, 3), dilation=(1, 2)), IMAGE),
    "filters in groups": (lambda: nn.Conv2d(6, 9, 3, groups=3, padding=1), IMAGE),
    "filters in groups on few positions": (lambda: nn.Conv2d(6, 90, 3, groups=3, stride=5), IMAGE),
    "a filter a channel": (lambda: nn.Conv2d(6, 12, 3, groups=6, bias=False), IMAGE),
    "batch norm of images": (lambda: nn.BatchNorm2d(6), IMAGE),
    "batch norm of vectors": (lambda: nn.BatchNorm1d(7), (4, 7)),
    "batch norm of sequences": (lambda: nn.BatchNorm1d(7), (4, 7, 5)),
    "group norm": (lambda: nn.GroupNorm(3, 6), IMAGE),
    "instance norm": (lambda: InstanceNorm(6), IMAGE),
    "layer norm": (lambda: nn.LayerNorm(7), (4, 3, 7)),
    "layer norm over two axes": (lambda: nn.LayerNorm((9, 10)), IMAGE),
    "layer norm without bias": (lambda: nn.LayerNorm(7, bias=False), (4, 7)),
}


def alone(name):
    """A layer under a fixed head that squares, so that gradients differ from example to example."""
    make, shape = LAYERS[name]
    with initialised(0):
        layer, rows = make(), seeded(*shape)
        size = layer(rows).flatten(1).shape[1]
        head = nn.Sequential(nn.Flatten(), nn.Tanh(), nn.Linear(size, CLASSES)).requires_grad_(False)
    return lived_in(nn.Sequential(layer, head), rows), rows, torch.arange(4) % CLASSES


@pytest.mark.usefixtures("closed_forms_only")
@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_with_a_closed_form_equals_plain_gradients(name):
    net, rows, labels = alone(name)
    torch.testing.assert_close(gradient_norms(net, rows, labels), plain(net, rows, labels), rtol=1e-4, atol=0)


@pytest.mark.usefixtures("closed_forms_only")
@pytest.mark.parametrize("name", LAYERS)
def test_weight_and_bias_count_only_where_they_are_to_be_trained(name):
    net, rows, labels = alone(name)
    for parameter in net[0].parameters():
        net[0].requires_grad_(False)
        parameter.requires_grad_(True)
        torch.testing.assert_close(gradient_norms(net, rows, labels), plain(net, rows, labels), rtol=1e-4, atol=0)


@pytest.mark.parametrize("positions", [1, 2, 5, 30])
def test_both_sums_over_positions_are_the_length_of_the_product(positions):
    a, g = seeded(3, positions, 6), seeded(3, positions, 4, seed=1)
    expected = torch.zeros(3)
    for n in range(3):
        product = sum(torch.outer(g[n, t], a[n, t]) for t in range(positions))
        expected[n] = product.square().sum()
    torch.testing.assert_close(layers.square_of_products(a, g), expected)


@pytest.mark.parametrize("block", [1, 3000])
def test_how_many_examples_are_worked_on_at_a_time_changes_nothing(block, monkeypatch):
    net, rows, labels = own("resnet9:0.25")
    whole = gradient_norms(net, rows, labels)
    monkeypatch.setattr(layers, "NEAR", block)
    torch.testing.assert_close(gradient_norms(net, rows, labels), whole, rtol=1e-5, atol=0)


def test_examples_do_not_depend_on_their_batch_nor_on_the_order_of_channels_in_memory():
    net, rows, labels = own("resnet9:0.25")
    whole = gradient_norms(net, rows, labels)
    parts = [gradient_norms(net, rows[i], labels[i]) for i in (slice(0, 1), slice(1, 6))]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-4, atol=0)
    last = rows.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(gradient_norms(net, last, labels), whole, rtol=1e-4, atol=0)


def test_the_net_is_left_as_it_was():
    net, rows, labels = own("vit_tiny")
    before = {name: p.clone() for name, p in net.state_dict().items()}
    with torch.no_grad():
        unknown_layers(net, rows)
        gradient_norms(net, rows, labels)
    assert all(torch.equal(before[name], p) for name, p in net.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())


def test_the_norms_of_examples_the_net_is_sure_of_keep_their_digits():
    """Linear net: |p - onehot| sqrt(1 + |x|^2), with 1 - p near 1e-12, which p itself cannot hold in float32."""
    net = nn.Linear(2, 2).eval()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[9.0, 0.0], [-5.0, 0.0]]))
        net.bias.zero_()
    rows = torch.tensor([[2.0, 1.0]])
    q = torch.sigmoid(torch.tensor(-28.0).double())
    expected = (q * 2**0.5 * 6**0.5).float()
    torch.testing.assert_close(gradient_norms(net, rows, torch.tensor([0])), expected[None], rtol=1e-5, atol=0)


class Twice(nn.Module):
    """Uses one layer two times, hence one gradient from two places."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(6, 6), nn.Linear(6, CLASSES)

    def forward(self, x):
        return self.head(torch.tanh(self.layer(torch.tanh(self.layer(x)))))


class Functional(Twice):
    """Uses the weight of a layer behind the layer's back."""

    def forward(self, x):
        hidden = torch.tanh(F.linear(torch.tanh(self.layer(x)), self.layer.weight))
        return self.head(x) + hidden[:, :CLASSES]


class Before(Twice):
    """Does so in front of a layer, which hides it from the end of the net."""

    def forward(self, x):
        return self.head(self.layer(x) + F.linear(torch.tanh(x), self.layer.weight))


class Uncalled(Twice):
    """Uses a layer only behind the layer's back."""

    def forward(self, x):
        return self.head(torch.tanh(F.linear(x, self.layer.weight, self.layer.bias)))


class Scaled(Twice):
    """A parameter of its own, with an axis of 1 in front that stands for no batch."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([[0.5, 2.0, 1.0, 1.0, 3.0, 1.0]]))

    def forward(self, x):
        return self.head(torch.tanh(self.layer(x)) * self.scale.mean())


class Last(Scaled):
    """Takes the last row of it for all rows."""

    def forward(self, x):
        return self.head(torch.tanh(self.layer(x)) * self.scale[-1])


class Picked(Scaled):
    """Breaks where the parameter has another shape."""

    def forward(self, x):
        return self.head(torch.tanh(self.layer(x)) * self.scale.view(6))


class Folded(Twice):
    """Folds positions into the batch axis."""

    def forward(self, x):
        return self.head(torch.tanh(self.layer(x.view(2 * len(x), -1).repeat(1, 2)).view(len(x), 2, 6).sum(1)))


def tied():
    net = Twice()
    net.head = nn.Sequential(nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, CLASSES))
    net.head[0].weight = net.layer.weight
    return net


def gained():
    """As weight norm does it: the type of a layer we know, with a parameter that we do not."""
    net = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, CLASSES))
    net[0].register_parameter("gain", nn.Parameter(torch.tensor([[0.5]])))
    net[0].register_forward_hook(lambda layer, args, out: torch.tanh(out * layer.gain))
    return net


SLOW = {
    "layer without a closed form": lambda: nn.Sequential(nn.Linear(6, 4), nn.PReLU(), nn.Linear(4, CLASSES)),
    "layer with a parameter more": gained,
    "layer used twice": Twice,
    "weight used outside its layer": Functional,
    "weight used before another layer": Before,
    "layer used without being called": Uncalled,
    "own parameter that is no row": Scaled,
    "own parameter by its place": Last,
    "own parameter of one shape": Picked,
    "positions in the batch axis": Folded,
    "two layers with one weight": tied,
}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", SLOW)
def test_what_has_no_closed_form_is_said_and_still_equals_plain_gradients(name, seed, slow_way):
    rows, labels = seeded(8, 6, seed=seed), torch.arange(8) % CLASSES
    with initialised(seed):
        net = lived_in(SLOW[name](), rows)
    assert len(unknown_layers(net, rows)) == 1
    torch.testing.assert_close(gradient_norms(net, rows, labels), plain(net, rows, labels), rtol=1e-4, atol=0)
    assert slow_way == [1]


def test_layers_without_a_closed_form_are_named():
    net = nn.ModuleDict({"a": nn.PReLU(), "b": nn.Linear(2, 2), "c": nn.Conv2d(1, 1, 3, padding="same")})
    assert unknown_layers(net) == ["a (PReLU)", "c (Conv2d)"]
    assert unknown_layers(net.requires_grad_(False)) == []
    assert unknown_layers(tied()) == ["head.0 (shares a parameter with layer)"]
    assert unknown_layers(gained()) == ["0 (Linear)"]


@pytest.mark.parametrize(("make", "expected"), [(Twice, False), (Functional, True), (Before, True), (Uncalled, True)])
def test_a_parameter_that_acts_outside_its_layer_is_found_whatever_the_numbers(make, expected):
    assert gradients._used_elsewhere(make().eval(), seeded(1, 6), {}) == expected


def test_rows_that_hear_the_copy_of_another_are_found_whatever_the_numbers():
    for make in (Scaled, Last, Picked):
        net = make().eval()
        assert not gradients._rows_hear_their_own(net, seeded(2, 6), {"scale": net.scale})
    net, rows, _ = own("vit_tiny")
    assert gradients._rows_hear_their_own(net, rows[:2], gradients._loose(net))


def test_a_form_that_is_wrong_is_noticed(monkeypatch, slow_way):
    true = layers.FORMS[nn.Linear]
    monkeypatch.setitem(layers.FORMS, nn.Linear, lambda layer, a, g: 1.1 * true(layer, a, g))
    rows, labels = seeded(8, 6), torch.arange(8) % CLASSES
    net = nn.Linear(6, CLASSES).eval()
    torch.testing.assert_close(gradient_norms(net, rows, labels), plain(net, rows, labels), rtol=1e-4, atol=0)
    assert slow_way == [1]


@pytest.mark.usefixtures("closed_forms_only")
def test_changes_in_place_are_no_obstacle():
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Flatten()
    )
    net.append(nn.Linear(16, CLASSES))
    rows, labels = seeded(6, 3, 4, 4), torch.arange(6) % CLASSES
    net = lived_in(net, rows)
    torch.testing.assert_close(gradient_norms(net, rows, labels), plain(net, rows, labels), rtol=1e-4, atol=0)


@pytest.mark.usefixtures("closed_forms_only")
def test_what_a_hook_of_somebody_else_does_behind_a_layer_is_not_the_layers():
    net = nn.Sequential(nn.Linear(6, 4), nn.Linear(4, CLASSES))
    net[0].register_forward_hook(lambda layer, args, out: 3 * torch.tanh(out))
    rows, labels = seeded(8, 6), torch.arange(8) % CLASSES
    torch.testing.assert_close(gradient_norms(net.eval(), rows, labels), plain(net, rows, labels), rtol=1e-4, atol=0)


class TestBadInput:
    rows, labels = torch.ones(4, 3), torch.tensor([0, 1, 1, 0])

    def test_a_net_in_training_mode_is_told_the_way_out(self):
        net = nn.Sequential(nn.Linear(3, 2)).eval()
        net[0].train()
        with pytest.raises(
            SecateurError, match=r"net: expected eval mode, but 0 is in training mode; call net.eval\(\)"
        ):
            gradient_norms(net, self.rows, self.labels)

    def test_a_norm_that_mixes_the_batch_is_named(self):
        net = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False)).eval()
        with pytest.raises(SecateurError, match="net: 1 is a batch norm without running statistics"):
            gradient_norms(net, self.rows, self.labels)

    def test_a_net_with_nothing_to_train_has_no_gradient(self):
        with pytest.raises(SecateurError, match="no parameter requires grad"):
            gradient_norms(nn.Linear(3, 2).eval().requires_grad_(False), self.rows, self.labels)

    @pytest.mark.parametrize("make", [lambda: nn.Linear(3, 2), lambda: nn.Sequential(nn.Linear(3, 2), nn.PReLU())])
    @pytest.mark.parametrize("label", [-1, 2])
    def test_a_label_that_is_no_class_is_named_with_its_row(self, make, label):
        labels = torch.tensor([0, 1, label, 0])
        with pytest.raises(SecateurError, match=f"labels: expected .* 0 to 1, .* got {label} at row 2 of the batch"):
            gradient_norms(make().eval(), self.rows, labels)

    def test_too_few_labels_are_counted(self):
        with pytest.raises(SecateurError, match=r"labels: expected one a row, 4, got shape \(3,\)"):
            gradient_norms(nn.Linear(3, 2).eval(), self.rows, self.labels[:3])

    def test_logits_of_one_class_or_of_another_shape_are_refused(self):
        with pytest.raises(SecateurError, match=r"net: expected logits .* 2 classes or more, got \(4, 1\)"):
            gradient_norms(nn.Linear(3, 1).eval(), self.rows, self.labels)

    def test_an_empty_batch_is_refused(self):
        with pytest.raises(SecateurError, match="rows: expected one or more"):
            gradient_norms(nn.Linear(3, 2).eval(), self.rows[:0], self.labels[:0])

    def test_a_gradient_that_is_no_number_names_its_row(self):
        rows = self.rows.clone()
        rows[1, 0] = torch.nan
        with pytest.raises(NonFiniteError, match="gradient: expected finite numbers, got nan at row 1 of the batch"):
            gradient_norms(nn.Linear(3, 2).eval(), rows, self.labels)
