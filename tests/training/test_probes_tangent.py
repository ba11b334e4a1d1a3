"""A net's linear model: features whose products are the kernel, last layer exact, the rest folded."""

import numpy as np
import pytest
import torch
from torch import nn

from secateur.errors import SecateurError
from secateur.training.nets import build
from secateur.training.nets.small import MLP
from secateur.training.probes.tangent import last_layer, settled, whole_net
from secateur.training.seeding import generator, initialised


@pytest.fixture
def rows():
    return torch.rand(12, 6, generator=generator(0, "rows"))


@pytest.fixture
def net():
    with initialised(0):
        return MLP(6, 3, (8, 8)).eval()


def gradient(net, row, contrast, *, head):
    """Of one combination of the logits, in the last layer's weights or in all the others."""
    own = list(net.head.parameters())
    wanted = own if head else [p for p in net.parameters() if all(p is not q for q in own)]
    return torch.cat([g.flatten() for g in torch.autograd.grad(net(row[None])[0] @ contrast, wanted)])


def test_products_of_last_layer_features_are_those_of_gradients_in_its_weights(net, rows):
    features, outputs = last_layer(net, rows)
    first = torch.tensor([1.0, 0.0, 0.0])
    slopes = torch.stack([gradient(net, row, first, head=True) for row in rows])
    np.testing.assert_allclose(features @ features.T, slopes @ slopes.T, rtol=1e-4)
    np.testing.assert_allclose(outputs, net(rows).detach())


def test_the_scale_behind_the_last_layer_and_a_missing_bias_are_seen():
    mean, spread = torch.zeros(1), torch.ones(1)
    net = build("resnet9:0.25", shape=(1, 8, 8), classes=3, mean=mean, spread=spread, seed=0).eval()
    images = torch.rand(4, 1, 8, 8, generator=generator(0, "images"))
    features, outputs = last_layer(net, images)
    assert features.shape == (4, 32)
    np.testing.assert_allclose(features @ net.body.head.weight.detach().T, outputs, rtol=1e-4, atol=1e-6)


def test_unfolded_features_have_the_products_of_gradients_in_all_weights(net, rows):
    # as many sums as weights, so that nothing is added up; three classes have contrasts in a plane
    features, _ = whole_net(net, rows, generator=generator(0, "folds"), sums=1021, contrasts=100)
    head, _ = last_layer(net, rows)
    plane = torch.linalg.svd(torch.ones(1, 3))[2][1:]
    body = [torch.stack([gradient(net, row, c, head=False) for row in rows]) for c in plane]
    expected = head @ head.T + sum(slopes @ slopes.T for slopes in body) / 2
    off = (features @ features.T - expected).norm() / (expected - head @ head.T).norm()
    assert off < 0.15  # 100 random contrasts for the mean of all


def test_folded_products_are_right_on_average(rows):
    with initialised(0):
        net = MLP(6, 2, (8, 8)).eval()
    contrast = torch.tensor([1.0, -1.0]) / 2**0.5  # the only one that two classes have
    slopes = torch.stack([gradient(net, row, contrast, head=False) for row in rows])
    folded = [whole_net(net, rows, generator=generator(k, "folds"), sums=31).features[:, 9:] for k in range(60)]
    each, expected = torch.stack([f @ f.T for f in folded]), slopes @ slopes.T
    assert float((each.mean(0) - expected).norm() / expected.norm()) < 0.06
    assert float((each[0] - expected).norm() / expected.norm()) < 3 * 31**-0.5


def test_a_settled_net_has_the_statistics_of_the_rows_and_the_net_its_own():
    mean, spread = torch.zeros(1), torch.ones(1)
    net = build("resnet9:0.25", shape=(1, 8, 8), classes=3, mean=mean, spread=spread, seed=0)
    norm, heard = net.body.groups[0].first_norm, []
    norm.register_forward_pre_hook(lambda module, inputs: heard.append(inputs[0].mean((0, 2, 3))))
    halves = torch.rand(2, 8, 1, 8, 8, generator=generator(0, "images")) + 1
    begun = settled(net, halves.unbind())
    assert not begun.training
    assert len(heard) == 2  # a copy has the hooks too
    np.testing.assert_allclose(begun.body.groups[0].first_norm.running_mean, sum(heard) / 2, rtol=1e-5)
    assert (norm.running_mean == 0).all()


def test_a_net_whose_logits_are_not_its_last_layer_in_proportion_is_refused(rows):
    class Odd(MLP):
        def forward(self, x):
            return super().forward(x) * torch.tensor([1.0, 2.0, 4.0])

    with pytest.raises(
        SecateurError,
        match=r"^net: expected logits in proportion to what its last linear layer gives, got a factor of 1 ",
    ):
        last_layer(Odd(6, 3, (8, 8)).eval(), rows)


def test_a_net_without_a_linear_layer_is_refused(rows):
    with pytest.raises(SecateurError, match=r"^net: expected a net that ends in a torch.nn.Linear"):
        whole_net(nn.Sequential(nn.Flatten()).eval(), rows, generator=generator(0, "folds"))
