"""The nets have the shapes they should, carry their normalisation and come back from disk."""

import pytest
import torch

from secateur.errors import MissingExtra, SecateurError, StoreError
from secateur.training.nets import NETS, build, default_net, load_about, load_net, save_net
from secateur.training.nets.small import published_depth
from secateur.training.nets.vit import attention

CPU = torch.device("cpu")


def make(spec, shape=(3, 32, 32), classes=10, seed=0):
    channels = shape[0]
    return build(spec, shape=shape, classes=classes, mean=torch.zeros(channels), spread=torch.ones(channels), seed=seed)


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 40, 64)])
@pytest.mark.parametrize(
    "spec",
    ["mlp", "convnet3:0.25", "resnet9:0.25", "resnet18:0.125", "resnet50:0.125", "vit_tiny", "vit_tiny:tokens=0.7"],
)
def test_every_net_takes_every_size(spec, shape):
    logits = make(spec, shape, classes=7).eval()(torch.zeros(2, *shape, dtype=torch.uint8))
    assert logits.shape == (2, 7)


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [("convnet3", 320_010), ("resnet18", 11_173_962), ("resnet34", 21_282_122), ("resnet50", 23_520_842)],
)
def test_parameter_counts_are_the_published_ones(spec, parameters):
    assert count(make(spec)) == parameters


def test_width_scales_the_channels():
    assert make("resnet9:0.5").body.head.in_features == 64
    assert make("resnet9").body.head.in_features == 128


def test_a_spec_may_count_the_units_of_each_hidden_layer():
    mlp = make("mlp:0.5,hidden=7+5").body
    assert [layer.out_features for layer, _ in mlp.hidden_layers()] == [7, 5]
    vit = make("vit_tiny:hidden=" + "+".join(map(str, range(1, 13)))).body
    assert [layer.out_features for layer, _ in vit.hidden_layers()] == list(range(1, 13))
    assert vit.head.in_features == 192


@pytest.mark.parametrize("spec", ["resnet9:0.25,norm=instance", "resnet18:0.125,norm=instance"])
def test_instance_norm_remembers_nothing_and_looks_at_each_image_alone(spec):
    net, rows = make(spec).eval(), torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8)
    assert count(net) == count(make(spec.replace("instance", "batch")))  # a scale and a shift a channel, as before
    assert not [name for name, _ in net.body.named_buffers()]
    norms = [m for m in net.body.modules() if isinstance(m, torch.nn.GroupNorm)]
    assert len(norms) == sum(isinstance(m, torch.nn.Conv2d) for m in net.body.modules()) - ("resnet9" in spec)
    assert all(m.num_groups == m.num_channels for m in norms)
    alone = torch.cat([net(row[None]) for row in rows])
    assert torch.allclose(net.train()(rows), alone, atol=1e-5)


def test_instance_norm_is_refused_where_a_map_has_one_pixel():
    with pytest.raises(SecateurError, match="net: resnet18 with norm=instance leaves a map of one pixel of 8x8 images"):
        make("resnet18:0.125,norm=instance", shape=(1, 8, 8))
    with pytest.raises(SecateurError, match="net resnet18: norm: expected one of batch, instance, got 'layer'"):
        make("resnet18:norm=layer")


def test_the_default_follows_the_size_and_the_device():
    assert default_net((3, 32, 32), torch.device("cuda")) == "resnet9:2"
    assert default_net((3, 32, 32), CPU) == "resnet9"


def test_a_seed_gives_the_same_weights_and_leaves_the_global_stream():
    before = torch.random.get_rng_state()
    a, b, c = make("resnet9:0.25"), make("resnet9:0.25"), make("resnet9:0.25", seed=1)
    torch.testing.assert_close(torch.random.get_rng_state(), before)
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    assert not all(torch.equal(x, y) for x, y in zip(a.parameters(), c.parameters(), strict=True))


def test_normalisation_is_part_of_the_net():
    net = build(
        "mlp", shape=(2, 4, 4), classes=2, mean=torch.tensor([10.0, 20.0]), spread=torch.tensor([2.0, 4.0]), seed=0
    )
    rows = torch.full((1, 2, 4, 4), 30, dtype=torch.uint8)
    seen = net.normalise(rows)
    assert seen[0, 0, 0, 0] == 10.0
    assert seen[0, 1, 0, 0] == 2.5


def test_whitening_filters_whiten():
    """Responses of the first layer to the patches it was made from are uncorrelated with variance 1."""
    x = torch.randn(200, 3, 16, 16, generator=torch.Generator().manual_seed(0)).cumsum(3).cumsum(2)
    x = (x - x.mean()) / x.std()
    net = make("resnet9:0.25")
    net.body.whiten(x, smooth=0.0)
    with torch.no_grad():
        responses = net.body.patches(x) - net.body.patches.bias[:, None, None]
    half = responses[:, :12].transpose(0, 1).flatten(1)
    torch.testing.assert_close(torch.cov(half), torch.eye(12), atol=0.02, rtol=0)
    torch.testing.assert_close(responses[:, 12:], -responses[:, :12])


def test_whitening_fixes_what_it_says_and_leaves_the_rest_to_learn():
    net = make("resnet9:0.25")
    net.body.whiten(torch.randn(50, 3, 8, 8))
    fixed = {n for n, p in net.named_parameters() if not p.requires_grad}
    norms = {f"body.groups.{g}.{k}_norm.weight" for g in range(3) for k in ("first", "second")}
    assert fixed == {"body.patches.weight", *norms}


def test_a_saved_net_answers_as_before(tmp_path):
    net = make("resnet9:0.25", (1, 8, 8), 5).eval()
    net.mean += 3.5
    rows = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    save_net(net, tmp_path / "m.safetensors", spec="resnet9:0.25", shape=(1, 8, 8), classes=5)
    again = load_net(tmp_path / "m.safetensors", device=CPU)
    assert not again.training
    torch.testing.assert_close(again(rows), net(rows), rtol=0, atol=0)


def test_a_saved_net_says_what_it_is(tmp_path):
    save_net(make("mlp:hidden=7+5"), tmp_path / "m.safetensors", spec="mlp:hidden=7+5", shape=(3, 32, 32), classes=10)
    assert load_about(tmp_path / "m.safetensors") == ("mlp:hidden=7+5", (3, 32, 32), 10)


def own_net(shape, classes):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(torch.Size(shape).numel(), classes))


def no_net(shape, classes):
    return "net"


def test_a_net_of_your_own_is_called_by_its_path():
    assert make("tests.training.test_nets:own_net")(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.usefixtures("our_own_errors")
@pytest.mark.parametrize("masked", [False, True])
def test_attention_in_half_precision_is_that_in_whole(masked):
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 3, 5, 8, generator=draw) for _ in range(3))
    mask = torch.rand(2, 1, 5, 5, generator=draw) < 0.7 if masked else None
    mask = None if mask is None else mask | torch.eye(5, dtype=torch.bool)
    weights = torch.einsum("bhid,bhjd->bhij", q, k) / 8**0.5
    weights = weights if mask is None else weights.masked_fill(~mask, -torch.inf)
    expected = weights.softmax(-1) @ v
    torch.testing.assert_close(attention(q, k, v, mask), expected)
    half = attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), mask)
    torch.testing.assert_close(half.float(), expected, rtol=0.05, atol=0.03)


class TestBadInput:
    def test_an_unknown_net_names_the_nearest(self):
        with pytest.raises(SecateurError, match=r"net: expected one of .*got 'resnet19'; did you mean .*resnet18"):
            make("resnet19")

    def test_a_width_that_is_no_number(self):
        with pytest.raises(SecateurError, match="net: expected a width after the colon, as in resnet9:0.5, got 'wide'"):
            make("resnet9:wide")

    @pytest.mark.parametrize("width", ["nan", "inf", "-inf", "-1", "0", "-0.0"])
    @pytest.mark.parametrize("name", ["resnet9", "resnet18", "convnet3", "mlp"])
    def test_a_width_that_no_net_has(self, name, width):
        told = f"net: expected a width after the colon, as in {name}:0.5, .*, got '{width}'"
        with pytest.raises(SecateurError, match=told):
            make(f"{name}:{width}")

    @pytest.mark.parametrize(
        ("spec", "least"), [("resnet9:0.01", 1 / 32), ("mlp:1e-5", 1 / 512), ("resnet18:1e-9", 1 / 64)]
    )
    def test_a_width_that_leaves_a_layer_nothing(self, spec, least):
        with pytest.raises(SecateurError, match=f"net: width .* leaves none of the .* channels .*; take {least:g}"):
            make(spec)
        assert count(make(f"{spec.partition(':')[0]}:{least:g}"))

    @pytest.mark.parametrize("width", ["0.25", "1.5", "2.5,tokens=0.7"])
    def test_a_vision_transformer_takes_whole_widths(self, width):
        told = f"net: expected a whole width after the colon of vit_tiny, 3 heads of 64 each, got '{width[:3]}"
        with pytest.raises(SecateurError, match=told):
            make(f"vit_tiny:{width}")
        with pytest.raises(
            SecateurError, match=r"vit_small, 6 heads of 64 each, .* \(vit_small:tokens=0.7\), or vit_tiny"
        ):
            make(f"vit_small:{width}")
        with pytest.raises(SecateurError, match="net: expected a width after the colon, as in vit_tiny:2, .*, got '0'"):
            make("vit_tiny:0")
        assert make("vit_tiny:2").body.head.in_features == 384

    @pytest.mark.parametrize("name", ["tokens", "attention"])
    @pytest.mark.parametrize("share", ["0", "1.5", "-0.1", "nan"])
    def test_a_share_that_is_none(self, name, share):
        expected = rf"net vit_tiny: {name}: expected a number in \(0, 1\], got '{share}'"
        with pytest.raises(SecateurError, match=expected):
            make(f"vit_tiny:{name}={share}")

    def test_a_fall_that_ends_before_it_starts(self):
        with pytest.raises(SecateurError, match="start, end: expected parts of the run, .* got 0.5 and 0.2"):
            make("vit_tiny:tokens=0.7,start=0.5,end=0.2")

    def test_an_option_nobody_knows_names_the_nearest(self):
        known = "attention, end, hidden, start, tokens"
        expected = f"option of vit_small: expected one of {known}, got 'token'; did you mean tokens"
        with pytest.raises(SecateurError, match=expected):
            make("vit_small:token=0.7")

    def test_an_option_that_is_no_number(self):
        with pytest.raises(SecateurError, match="net vit_tiny: tokens: expected a number in .*, got 'few'"):
            make("vit_tiny:tokens=few")

    def test_a_width_before_options_that_is_no_number(self):
        with pytest.raises(SecateurError, match="expected a width after the colon, as in vit_tiny:2, got 'wide'"):
            make("vit_tiny:wide,tokens=0.7")

    def test_options_of_a_net_that_has_none(self):
        with pytest.raises(SecateurError, match="option of resnet9: expected one of norm, got 'tokens'"):
            make("resnet9:tokens=0.7,start=0")

    @pytest.mark.parametrize(
        "rest", ["hidden=", "hidden=3", "hidden=3+4+5", "hidden=3+0", "hidden=3+x", "x,hidden=3+4"]
    )
    def test_hidden_units_that_are_not_the_net_s(self, rest):
        told = "net mlp: hidden: expected units, a whole number .*, of each of its 2 hidden layers, as 300.300, got "
        with pytest.raises(
            SecateurError, match=f"{told}|net: expected a width after the colon, as in mlp:0.5, got 'x'"
        ):
            make(f"mlp:{rest}")

    def test_hidden_units_of_a_net_that_has_none(self):
        with pytest.raises(SecateurError, match="option of resnet9: expected one of norm, got 'hidden'"):
            make("resnet9:hidden=3")

    def test_images_only_for_convolutions(self):
        with pytest.raises(SecateurError, match="net: resnet9 takes images, but the data are vectors of 7; use mlp"):
            make("resnet9", (7,))

    def test_a_module_that_is_not_there(self):
        with pytest.raises(SecateurError, match="cannot be imported"):
            make("tests.nowhere:net")

    def test_a_function_that_returns_no_module(self):
        with pytest.raises(SecateurError, match="must return a torch.nn.Module, got str"):
            make("tests.training.test_nets:no_net")

    def test_timm_without_timm_says_what_to_type(self, monkeypatch):
        import sys

        monkeypatch.setitem(sys.modules, "timm", None)
        with pytest.raises(MissingExtra, match=r'pip install "secateur\[timm\]"'):
            make("timm:resnet10t")

    def test_a_model_file_cut_off(self, tmp_path):
        save_net(make("mlp"), tmp_path / "m.safetensors", spec="mlp", shape=(3, 32, 32), classes=10)
        content = (tmp_path / "m.safetensors").read_bytes()
        (tmp_path / "m.safetensors").write_bytes(content[:-100])
        with pytest.raises(StoreError, match="not a whole net"):
            load_net(tmp_path / "m.safetensors", device=CPU)
        with pytest.raises(StoreError, match="expected a net saved by secateur, found none"):
            load_net(tmp_path / "none.safetensors", device=CPU)


def test_every_named_net_is_built():
    for name in NETS:
        assert count(make(name)) > 0


@pytest.mark.parametrize(("side", "depth"), [(8, 1), (16, 2), (28, 3), (32, 3), (64, 4)])
def test_a_convnet_of_the_published_depth_ends_in_a_map_of_4_by_4(side, depth):
    assert published_depth((3, side, side)) == depth
    assert make(f"convnet{depth}", (3, side, side)).body.head.in_features == 128 * 4 * 4


def test_images_that_leave_a_convnet_nothing_to_norm_are_refused_with_one_that_fits():
    with pytest.raises(SecateurError, match="net: convnet4 halves images 4 times, and one of 8x8 .* take convnet1"):
        make("convnet4", (3, 8, 8))
