"""What the tests share: one small pruning of real digits, made once."""

import jaxtyping
import numpy as np
import pytest

SMALL = {"net": "resnet9:0.25", "record_epochs": 4, "epochs": 4, "quiet": True, "threads": 1}
"""Options that make a job take a second or two."""


@pytest.fixture
def our_own_errors():
    """Bad input: the type checker that tests run under would speak before our own errors do."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def few_digits():
    """512 digits to train on and 128 to test on, as (images, labels) arrays."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
    return (images[:512], bunch.target[:512]), (images[-128:], bunch.target[-128:])


@pytest.fixture(scope="session")
def pruned(few_digits, tmp_path_factory):
    """An OUT folder with everything in it: recorded, scored, selected, kept, trained with a teacher, reported."""
    import secateur as sc

    out = tmp_path_factory.mktemp("pruned") / "out"
    train, test = few_digits
    sc.prune(train, test=test, keep=0.3, train=True, out=out, **SMALL)
    return out
