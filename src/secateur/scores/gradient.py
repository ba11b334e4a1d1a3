"""Scores that read what probes find in a trained net: gradients, curvature, distances."""

import numpy as np
from jaxtyping import Float

from secateur.registry import score

Value = Float[np.ndarray, " examples"]


@score(source="arXiv:2107.07075")
def grand(grad_norm: Float[np.ndarray, "runs examples"]) -> Value:
    """Mean length, over runs, of the loss gradient in all parameters.

    The paper takes nets of the first epochs and the mean of ten runs. That gradients at initialisation serve as well,
    as it says, could not be reproduced (arXiv:2303.14753).

    >>> grand(np.array([[1., 4.], [3., 5.]]))
    array([2. , 4.5])
    """
    return grad_norm.mean(axis=0, dtype=float)


@score(source="arXiv:2107.07075; of the last layer alone, as DeepCore has it")
def grand_last(errors: Float[np.ndarray, "examples classes"], features: Float[np.ndarray, "examples dims"]) -> Value:
    """Length of the loss gradient in the last layer: |errors| * sqrt(1 + |features|^2), 1 being the bias's part.

    Needs no backward pass. Exact for a linear last layer with a bias. A head without one (`resnet9`) still counts the
    1, and what scales its logits is left out.

    >>> grand_last(np.array([[0.6, -0.6], [0., 0.]]), np.array([[1., 1., 1.], [5., 5., 5.]])).round(4)
    array([1.6971, 0.    ])
    """
    squares = (errors.astype(float) ** 2).sum(axis=1) * (1 + (features.astype(float) ** 2).sum(axis=1))
    return np.sqrt(squares)


@score(source="Garg & Roy, CVPR 2023 (SLo-Curves); the paper keeps the lowest")
def curvature(curvature: Value) -> Value:
    """How much the loss bends around the example: low for typical ones, high for odd and mislabelled ones.

    Higher is harder as it stands. The paper's small sets are the easiest of each class.

    >>> curvature(np.array([0.5, 2.]))
    array([0.5, 2. ])
    """
    return curvature.astype(float)


@score(source="arXiv:1511.04599; negated so that higher is harder")
def deepfool(margin_l2: Value) -> Value:
    """Minus the distance to the decision boundary: whoever is next to it is hard.

    DeepCore takes the square of the distance, which keeps the order. The distance is that of the net's own answer,
    right or wrong: an example wrong by far counts as easy.

    >>> deepfool(np.array([0.5, 2.]))
    array([-0.5, -2. ])
    """
    return -margin_l2.astype(float)
