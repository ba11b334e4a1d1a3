"""Scores that read the recorded epochs as independent snapshots and average over those they are given.

Those named `final_` read one snapshot instead: the probabilities of the trained net, in eval mode and unaugmented.
"""

import numpy as np
from jaxtyping import Float

from secateur.errors import SecateurError
from secateur.registry import score

Each = Float[np.ndarray, "epochs examples"]
Final = Float[np.ndarray, "examples classes"]
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


@score(source="arXiv:1906.11829")
def final_entropy(p_final: Final) -> Score:
    """Entropy, in nats, of the trained net's probabilities: how undecided it is in the end, whatever the label.

    Keep the most undecided, by `hardest`. DeepCore's selection without class balance keeps the most certain instead.

    >>> final_entropy(np.array([[1., 0.], [0.5, 0.5]])).round(4)
    array([0.    , 0.6931])
    """
    p = _probabilities(p_final)
    return 0.0 - (p * np.log(p, out=np.zeros_like(p), where=p > 0)).sum(axis=1)  # a certain one is 0, not -0


@score(source="arXiv:1906.11829; 1 - p, so that higher is harder")
def final_least_confidence(p_final: Final) -> Score:
    """One minus the highest probability of the trained net. DeepCore takes the highest logit instead.

    >>> final_least_confidence(np.array([[0.75, 0.25], [0.5, 0.5]]))
    array([0.25, 0.5 ])
    """
    return 1 - _probabilities(p_final).max(axis=1)


@score(source="arXiv:1906.11829; 1 - gap, so that higher is harder")
def final_margin(p_final: Final) -> Score:
    """One minus the gap between the two highest probabilities of the trained net.

    >>> final_margin(np.array([[0.75, 0.25], [0.5, 0.5]]))
    array([0.5, 1. ])
    """
    if p_final.shape[1] < 2:
        raise SecateurError(f"p_final: a margin needs at least 2 classes, got {p_final.shape[1]}")
    best = np.partition(_probabilities(p_final), -2, axis=1)
    return 1 - (best[:, -1] - best[:, -2])


def _probabilities(p_final: Final) -> Final:
    """In float64; an error where a row does not sum to 1, within what half precision loses."""
    p = p_final.astype(float)
    wrong = np.abs(p.sum(axis=1) - 1) > 0.01
    if wrong.any():
        where = int(wrong.argmax())
        raise SecateurError(
            f"p_final: probabilities must sum to 1, got {p[where].sum():.4g} at examples {where};"
            " softmax gives such, one sigmoid a class does not"
        )
    return p
