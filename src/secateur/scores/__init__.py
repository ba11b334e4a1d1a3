"""Pure scores on recorded arrays: (epochs, examples) in, (examples,) out. Higher means harder, in every one of them."""

from secateur.scores.snapshot import el2n, entropy, least_confidence, loss, margin
from secateur.scores.trajectory import (
    aum,
    aum_prob,
    corrected_label,
    dual,
    dyn_unc,
    esps,
    forgetting,
    p_mean,
    soft_label_entropy,
    tdds,
)

__all__ = [
    "aum",
    "aum_prob",
    "corrected_label",
    "dual",
    "dyn_unc",
    "el2n",
    "entropy",
    "esps",
    "forgetting",
    "least_confidence",
    "loss",
    "margin",
    "p_mean",
    "soft_label_entropy",
    "tdds",
]
