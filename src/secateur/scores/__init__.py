"""Pure scores: recorded arrays in, (examples,) out. Higher means harder, in every one of them."""

from secateur.scores.embedding import density, moderate, prototype, rmd, rmd_weights, ssp
from secateur.scores.gradient import curvature, deepfool, grand, grand_last
from secateur.scores.pretrained import dlc, super_resolution
from secateur.scores.runs import influence, memorization
from secateur.scores.snapshot import (
    el2n,
    entropy,
    final_entropy,
    final_least_confidence,
    final_margin,
    least_confidence,
    loss,
    margin,
)
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
    "curvature",
    "deepfool",
    "density",
    "dlc",
    "dual",
    "dyn_unc",
    "el2n",
    "entropy",
    "esps",
    "final_entropy",
    "final_least_confidence",
    "final_margin",
    "forgetting",
    "grand",
    "grand_last",
    "influence",
    "least_confidence",
    "loss",
    "margin",
    "memorization",
    "moderate",
    "p_mean",
    "prototype",
    "rmd",
    "rmd_weights",
    "soft_label_entropy",
    "ssp",
    "super_resolution",
    "tdds",
]
