"""Features are what the head of a net reads, whatever the net; probabilities and errors follow from them."""

import numpy as np
import pytest
import torch
from torch import nn

from secateur.data.source import open_data
from secateur.data.tensors import Tensors
from secateur.errors import SecateurError
from secateur.training.nets import NETS, build
from secateur.training.nets.head import head_of
from secateur.training.probes.features import start_features
from secateur.training.probes.penultimate import Penultimate
from tests.data.made import image_table

CPU = torch.device("cpu")
NARROW = {"mlp": "mlp:0.1", "vit_tiny": "vit_tiny", "vit_small": "vit_small"}


def tensors(n=12, size=8):
    return Tensors(open_data(image_table(n, size=size)).train, CPU, workers=0)


def net(spec):
    mean, spread = torch.full((3,), 127.0), torch.full((3,), 70.0)
    return build(spec, shape=(3, 8, 8), classes=3, mean=mean, spread=spread, seed=0).eval()


@pytest.mark.parametrize("name", sorted(set(NETS) - {"convnet4", "convnet5"}))  # which want larger images
def test_the_head_on_the_features_gives_the_logits_of_every_net(name):
    made = net(NARROW.get(name, f"{name}:0.125"))
    rows = tensors().sample(np.arange(5))
    with torch.no_grad():
        features, logits = Penultimate(made)(rows)
        scale = made.body.scale if name == "resnet9" else 1
        torch.testing.assert_close(made.body.head(features) * scale, logits, rtol=0, atol=0)
        torch.testing.assert_close(logits, made(rows), rtol=0, atol=0)
    assert features.shape == (5, made.body.head.in_features)


def test_a_net_of_your_own_is_read_at_its_last_linear_layer():
    own = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    features, logits = Penultimate(own)(torch.ones(5, 1, 2, 2))
    torch.testing.assert_close(features, own[:3](torch.ones(5, 1, 2, 2)))
    assert logits.shape == (5, 2)


def test_a_head_is_found_by_its_name_even_where_it_is_not_the_last():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.hidden = nn.Linear(3, 2), nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.hidden(x))

    own = Own()
    assert head_of(own) is own.head
    assert Penultimate(own)(torch.ones(5, 4))[0].shape == (5, 3)


def test_listening_leaves_nothing_behind_even_when_the_net_breaks():
    made = net("mlp:0.1")
    listen = Penultimate(made)
    listen(torch.zeros(2, 3, 8, 8))
    with pytest.raises(RuntimeError):
        listen(torch.zeros(2, 3, 9, 9))
    assert not made.body.head._forward_pre_hooks


def test_gradients_pass_through_the_features():
    """The caller decides: other probes differentiate."""
    features, _ = Penultimate(net("mlp:0.1"))(torch.zeros(2, 3, 8, 8))
    assert features.requires_grad


class Branch(nn.Module):
    """Its last layer does not give the logits: it is not reached, sees tokens, or is of another width."""

    def __init__(self, form):
        super().__init__()
        self.form, self.first, self.last = form, nn.Linear(4, 2), nn.Linear(4, 3)

    def forward(self, x):
        if self.form == "not reached":
            return self.first(x)
        if self.form == "tokens":
            return self.last(x[:, None].expand(-1, 7, -1)).mean(1)
        return self.first(x) + self.last(x)[:, :2]


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    def test_a_net_without_any_linear_layer(self):
        with pytest.raises(SecateurError, match=r"net: expected a net that ends in a torch.nn.Linear.*Conv2d has none"):
            Penultimate(nn.Conv2d(1, 2, 1))

    @pytest.mark.parametrize(
        ("form", "took"), [("not reached", "nothing"), ("tokens", r"\[\(5, 7, 4\)\]"), ("width", r"\[\(5, 4\)\]")]
    )
    def test_a_last_layer_that_does_not_give_the_logits(self, form, took):
        with pytest.raises(SecateurError, match=rf"to take \(5, 4\) once.*it took {took}.*name the right layer head"):
            Penultimate(Branch(form))(torch.ones(5, 4))


def test_probabilities_and_errors_are_those_of_the_net():
    made, data = net("resnet9:0.125"), tensors()
    rows = data.sample(data.usable)
    out = start_features(made, data, seed=0)(rows, data.labels)
    with torch.no_grad():
        logits = made(rows).double().numpy()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(out["p_final"], p, rtol=1e-5)
    np.testing.assert_allclose(out["errors"], p - np.eye(3)[data.labels], atol=1e-6)
    assert out["features"].shape == (12, 16)
    assert {value.dtype for value in out.values()} == {torch.float32}


def test_the_net_is_read_in_eval_mode_and_in_float32():
    """Batches of one give what the whole gives, though the net came from training, and under autocast too."""
    made, data = net("resnet9:0.125").train(), tensors()
    rows = data.sample(data.usable)
    probe = start_features(made, data, seed=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole = probe(rows, data.labels)["features"]
    one = torch.cat([probe(rows[i : i + 1], data.labels[i : i + 1])["features"] for i in range(12)])
    torch.testing.assert_close(one, whole, rtol=1e-5, atol=1e-6)
