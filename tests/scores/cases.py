"""One row a score: how it must order three archetypes, and one value worked by hand.

Five epochs, three classes, label 0. What the label does not have is split three to one over the other two classes.
  easy   - right from the start        p_target .9 throughout
  torn   - flips, by uneven steps      p_target .8 .2 .7 .6 .1
  lost   - never right                 p_target .05 throughout
What probes would find: easy far inside its class, torn beside the boundary, lost deep in another class and learned by
heart alone: right in the runs that trained on it. As rows of features they lie in the directions (.6, .8), (1, 0) and
(-.6, .8), each of length 3; the mean is (1, 1.6).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

import secateur.scores as s

P = np.array([[0.9, 0.8, 0.05], [0.9, 0.2, 0.05], [0.9, 0.7, 0.05], [0.9, 0.6, 0.05], [0.9, 0.1, 0.05]])
PROBS = np.stack([P, (1 - P) * 0.75, (1 - P) * 0.25], axis=-1)  # (epochs, examples, classes)


def step(of: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    """Compare each epoch's probabilities with the one before; nan in row 0."""
    return np.stack([np.full(3, np.nan)] + [of(PROBS[t], PROBS[t - 1]) for t in range(1, 5)])


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1))


RECORD = {
    "p_target": P,
    "p_other": PROBS[..., 1],
    "z_target": np.log(P),
    "z_other": np.log(PROBS[..., 1]),
    "correct": PROBS[..., 1] < P,
    "loss": -np.log(P),
    "error_norm": (1 - P) * np.sqrt(1 + 0.75**2 + 0.25**2),
    "entropy": -(PROBS * np.log(PROBS)).sum(-1),
    "p_top": PROBS.max(-1),
    "p_gap": np.sort(PROBS, -1)[..., -1] - np.sort(PROBS, -1)[..., -2],
    "kl_step": step(lambda a, b: np.abs(a * np.log(a / b)).sum(1)),
    "cos_step": step(cosine),
    "logits_mean": np.log(PROBS).mean(0),
    "labels": np.zeros(3, dtype=int),
    "features": np.array([[1.8, 2.4], [3.0, 0.0], [-1.8, 2.4]]),
    "p_final": PROBS[-1],
    "complexity": np.array([0.1, 0.8, 3.0]),
    "reconstruction": np.array([0.01, 0.02, 0.09]),
    "errors": PROBS[-1] - np.array([1, 0, 0]),
    "grad_norm": np.array([[0.1, 2.0, 3.0], [0.3, 1.0, 5.0]]),
    "curvature": np.array([0.01, 0.2, 0.5]),
    "margin_l2": np.array([2.0, 0.1, 0.8]),
    "included": np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1], [0, 0, 0], [1, 0, 1]], dtype=bool),
    "correct_runs": np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1], [1, 1, 0], [1, 0, 1]], dtype=bool),
}


@dataclass(frozen=True)
class Row:
    """fn orders the archetypes so (hardest first, = for a tie) and gives `torn` this value.

    fields: what differs from RECORD.
    """

    fn: Callable[..., Any]
    order: str
    torn: float
    knobs: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, np.ndarray] = field(default_factory=dict)


ROWS = [
    Row(s.el2n, "lost torn easy", torn=0.66287),  # mean(1 - p) * sqrt(1.625) = 0.52 * 1.27475
    Row(s.loss, "lost torn easy", torn=1.00053),  # minus the mean log of .8 .2 .7 .6 .1
    Row(s.entropy, "torn lost easy", torn=0.81437),
    Row(s.least_confidence, "torn lost easy", torn=0.325),  # 1 - mean(.8 .6 .7 .6 .675)
    Row(s.margin, "torn lost easy", torn=0.545),  # 1 - mean(.65 .4 .475 .3 .45)
    Row(s.forgetting, "lost torn easy", torn=2),  # right wrong right right wrong
    Row(s.aum, "lost torn easy", torn=-0.09879),  # mean of ln(.1875 3 .3214 .5 6.75)
    Row(s.aum_prob, "lost torn easy", torn=-0.09),  # mean of -.65 .4 -.475 -.3 .575
    Row(s.dyn_unc, "torn easy=lost", torn=0.30052, knobs={"window": 2}),  # mean(.6 .5 .1 .5) / sqrt 2
    Row(s.dual, "torn easy=lost", torn=0.16529, knobs={"window": 2}),  # means of pairs .5 .45 .65 .35
    Row(s.tdds, "torn easy=lost", torn=0.50909, knobs={"window": 3}),  # .9*.4960 + .09*.6814 + .009*.1521
    Row(s.esps, "torn easy=lost", torn=0.33887),  # cosines .4807 .5915 .9875 .5848
    Row(s.soft_label_entropy, "torn lost easy", torn=0.99635),  # of .4529 .4103 .1368
    Row(s.final_entropy, "torn lost easy", torn=0.83118),  # of .1 .675 .225
    Row(s.final_least_confidence, "torn lost easy", torn=0.325),  # 1 - .675
    Row(s.final_margin, "torn lost easy", torn=0.55),  # 1 - (.675 - .225)
    Row(s.prototype, "lost torn easy", torn=0.47000),  # 1 - 1 / sqrt(1 + 1.6^2)
    Row(s.ssp, "lost torn easy", torn=0.47000, knobs={"clusters": 1}),  # one cluster: the same mean direction
    Row(s.moderate, "lost torn easy", torn=2.56125),  # sqrt(2^2 + 1.6^2)
    Row(s.density, "lost torn easy", torn=4.02492, knobs={"neighbours": 2}),  # (sqrt 7.2 + sqrt 28.8) / 2
    # torn and lost are 2 sqrt 7.2 apart, 3 mean variances from their mean each; torn is 6.56 / 2.72 from that of all
    Row(s.rmd, "torn lost easy", torn=0.58824, knobs={"shrinkage": 1.0}, fields={"labels": np.array([0, 1, 1])}),
    Row(s.dlc, "lost torn easy", torn=0.8),
    Row(s.super_resolution, "lost torn easy", torn=0.02),
    Row(s.grand, "lost torn easy", torn=1.5),  # mean of 2 1
    Row(s.grand_last, "lost torn easy", torn=3.62801),  # .9 * 1.27475 * sqrt(1 + 9)
    Row(s.curvature, "lost torn easy", torn=0.2),
    Row(s.deepfool, "torn lost easy", torn=-0.1),
    Row(s.memorization, "lost torn easy", torn=0.16667),  # 2 of 3 with it, 1 of 2 without
]
