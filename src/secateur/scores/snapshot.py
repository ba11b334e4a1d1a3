"""Scores that read the recorded epochs as independent snapshots and average over those they are given."""

import numpy as np
from jaxtyping import Float

from secateur.registry import score

Each = Float[np.ndarray, "epochs examples"]
Score = Float[np.ndarray, " examples"]


@score(source="arXiv:2107.07075")
def el2n(error_norm: Each) -> Score:
    """Length of the error vector: how far the probabilities are from the one-hot label.

    Use early epochs and, where you can, several runs; the paper averages ten runs at one early epoch, the method
    `el2n` here averages the first ten epochs of one run, as later papers do.

    >>> el2n(np.array([[0., 1.4], [0.2, 1.2]]))
    array([0.1, 1.3])
    """
    return error_norm.mean(axis=0, dtype=float)


@score(source="arXiv:1511.06343")
def loss(loss: Each) -> Score:
    """Mean loss; the score for regression too, where a recording holds nothing else.

    >>> loss(np.array([[0.5, 2.], [0.1, 3.]]))
    array([0.3, 2.5])
    """
    return loss.mean(axis=0, dtype=float)


@score(source="arXiv:1906.11829")
def entropy(entropy: Each) -> Score:
    """Entropy of the probabilities in nats: how undecided the net is, whatever the label.

    >>> entropy(np.array([[0., np.log(2)]])).round(4)
    array([0.    , 0.6931])
    """
    return entropy.mean(axis=0, dtype=float)


@score(source="arXiv:1906.11829; 1 - p, so that higher is harder")
def least_confidence(p_top: Each) -> Score:
    """One minus the highest probability. The paper's form; DeepCore takes the highest logit instead.

    >>> least_confidence(np.array([[0.75, 0.5]]))
    array([0.25, 0.5 ])
    """
    return 1 - p_top.mean(axis=0, dtype=float)


@score(source="arXiv:1906.11829; 1 - gap, so that higher is harder")
def margin(p_gap: Each) -> Score:
    """One minus the gap between the two highest probabilities.

    >>> margin(np.array([[0.75, 0.]]))
    array([0.25, 1.  ])
    """
    return 1 - p_gap.mean(axis=0, dtype=float)
