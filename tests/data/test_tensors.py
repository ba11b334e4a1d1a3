"""In memory or streamed, a split gives the same batches."""

import numpy as np
import pytest
import torch

from secateur.data.source import open_data
from secateur.data.tensors import Tensors
from secateur.errors import DataError
from tests.data.made import image_table, pixels, png

CPU = torch.device("cpu")


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # more workers than a pinned shell has cores
@pytest.mark.parametrize("workers", [0, 2])
def test_streamed_batches_equal_those_from_memory(workers):
    plan = [torch.tensor([3, 1, 2]), torch.tensor([11, 0])]
    kept = Tensors(open_data(image_table()).train, CPU)
    streamed = Tensors(open_data(image_table(), memory=1).train, CPU, workers=workers)
    assert streamed._values is None
    for a, b in zip(kept.batches(plan), streamed.batches(plan), strict=True):
        assert a.dtype == torch.uint8
        assert a.shape[1:] == (3, 8, 8)
        torch.testing.assert_close(a, b, rtol=0, atol=0)
        assert a.stride() == b.stride()
    np.testing.assert_array_equal(next(kept.batches(plan))[1].permute(1, 2, 0), pixels(1))


def test_vectors_are_batches_of_floats():
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    data = Tensors(open_data((x, np.arange(6) % 2)).train, CPU)
    torch.testing.assert_close(next(data.batches([torch.tensor([4, 0])])), torch.from_numpy(x[[4, 0]]))
    assert data.shape == (3,)


def test_a_row_that_breaks_while_streaming_is_named():
    encoded = [png(pixels(i)) for i in range(12)]
    encoded[5] = encoded[5][:-30]  # the header is whole: only decoding finds out
    split = open_data(image_table(encoded=encoded), memory=1).train
    with pytest.raises(DataError, match="train row 5: image is broken .*--on-bad skip"):
        list(Tensors(split, CPU, workers=0).batches([torch.tensor([4, 5])]))
