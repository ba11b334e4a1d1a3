"""CIFAR-10 is read as it was published: the figures here are those of the original files, not of ours."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from secateur.data.source import open_data
from secateur.data.tensors import Tensors

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif("SECATEUR_DATA" not in os.environ, reason="SECATEUR_DATA names no folder with cifar10 in it"),
]


@pytest.fixture(scope="module")
def cifar():
    return open_data(str(Path(os.environ["SECATEUR_DATA"]) / "cifar10"))


def test_cifar_10_has_its_rows_classes_and_first_labels(cifar):
    assert (len(cifar.train), len(cifar.test), cifar.train.shape) == (50_000, 10_000, (32, 32, 3))
    assert cifar.classes[6] == "frog"
    assert cifar.train.labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert (np.bincount(cifar.train.labels) == 5_000).all()
    assert (np.bincount(cifar.test.labels) == 1_000).all()


def test_the_pixels_of_cifar_10_are_the_published_ones(cifar):
    values = cifar.train.values
    assert values[0, 0, 0].tolist() == [59, 62, 63]
    np.testing.assert_allclose(values.mean(axis=(0, 1, 2)) / 255, [0.4914, 0.4822, 0.4465], atol=1e-4)
    np.testing.assert_allclose(values.std(axis=(0, 1, 2)) / 255, [0.2470, 0.2435, 0.2616], atol=1e-4)


def test_streamed_rows_of_cifar_10_equal_those_in_memory(cifar):
    data = str(Path(os.environ["SECATEUR_DATA"]) / "cifar10")
    streamed = open_data(data, memory=1_000_000)
    assert streamed.train.values is None
    assert streamed.fingerprint == cifar.fingerprint
    ids = np.arange(0, 50_000, 997)
    device = torch.device("cpu")
    assert torch.equal(Tensors(streamed.train, device).sample(ids), Tensors(cifar.train, device).sample(ids))
