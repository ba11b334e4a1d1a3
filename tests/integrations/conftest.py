"""Rows with their numbers, a small net, and the loop of somebody's own that the trainers are compared with."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import secateur as sc

N, CLASSES, EPOCHS, BATCH = 30, 3, 3, 8


class Rows(torch.utils.data.Dataset):
    """(id, row, label) of 30 made-up rows."""

    rows = torch.randn(N, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(N) % CLASSES

    def __len__(self):
        return N

    def __getitem__(self, i):
        return i, self.rows[i], self.labels[i]


def network():
    """The same weights every time."""
    net = torch.nn.Linear(5, CLASSES)
    with torch.no_grad():
        net.weight.copy_(torch.linspace(-1, 1, 15).view(3, 5))
        net.bias.zero_()
    return net


def by_hand(path, order, *, weights=None, report=None):
    """A plain loop over the batches of `order` (epoch -> ids), recorded; the net after it."""
    net, data = network(), Rows()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    recorder = sc.Recorder(path, examples=N, classes=CLASSES)
    for epoch in range(EPOCHS):
        for ids in torch.tensor(order(epoch)).split(BATCH):
            logits = net(data.rows[ids])
            losses = F.cross_entropy(logits, data.labels[ids], reduction="none")
            (losses if weights is None else losses * weights(ids)).mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            recorder.batch(ids, logits.detach(), data.labels[ids])
            if report is not None:
                report(ids, losses, logits)
        recorder.end_epoch()
    return recorder.close(), net


def same_rows(a, b):
    """Two recordings hold the same."""
    assert a.epochs == b.epochs == EPOCHS
    for field in sc.fields.RECORDED:
        np.testing.assert_allclose(np.asarray(a[field]), np.asarray(b[field]), atol=1e-5, err_msg=field)


@pytest.fixture
def reports(monkeypatch):
    """Nothing of the trainers' own on disk or on the screen."""
    monkeypatch.setenv("WANDB_DISABLED", "true")
