"""Scores that a probe has measured with a net trained beforehand: the score is the measurement itself."""

import numpy as np
from jaxtyping import Float

from secateur.registry import score

Each = Float[np.ndarray, " examples"]


@score(source="arXiv:2402.05356")
def dlc(complexity: Each) -> Each:
    """Distorting-based learning complexity: mean loss of a pre-trained net as more and more of its weights are masked.

    The probe that records `complexity` does the masking; low is easy. The paper selects by `flexrand` in each class.

    >>> dlc(np.array([0.5, 2.]))
    array([0.5, 2. ])
    """
    return complexity.astype(float)


@score(source="arXiv:2403.17083")
def super_resolution(reconstruction: Each) -> Each:
    """Squared error of a small super-resolution net on the image.

    The paper keeps the hardest after leaving out the hardest 5 % (`offset`); for other regression losses the same.

    >>> super_resolution(np.array([0.25, 0.5]))
    array([0.25, 0.5 ])
    """
    return reconstruction.astype(float)
