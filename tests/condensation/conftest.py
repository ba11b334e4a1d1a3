"""Real digits by class, few enough for a step in milliseconds."""

import pytest
import torch

from secateur.condensation import Real
from secateur.condensation.frame import Ground

SMALL = "convnet1:0.0625"  # 8 channels


@pytest.fixture(scope="session")
def real(few_digits):
    """512 digits (1, 8, 8)."""
    images, labels = few_digits[0]
    return Real.of(torch.from_numpy(images)[:, None], torch.from_numpy(labels))


@pytest.fixture
def ground(real):
    """Those under small nets, nothing varied."""
    return Ground.of(real, torch.Generator().manual_seed(0), net=SMALL, augment="off")
