"""Pure selectors: scores and their companions, or features, in; sorted ids out."""

from secateur.select.diversity import cal, contextual_diversity, d2
from secateur.select.geometric import herding, k_center
from secateur.select.infomax import infomax
from secateur.select.matching import craig, glister, gradmatch
from secateur.select.ranked import easiest, hardest, middle, offset, per_class, random
from secateur.select.stratified import beta, ccs, drop, flexrand, floored
from secateur.select.submodular import facility_location, graph_cut, saturated_coverage

__all__ = [
    "beta",
    "cal",
    "ccs",
    "contextual_diversity",
    "craig",
    "d2",
    "drop",
    "easiest",
    "facility_location",
    "flexrand",
    "floored",
    "glister",
    "gradmatch",
    "graph_cut",
    "hardest",
    "herding",
    "infomax",
    "k_center",
    "middle",
    "offset",
    "per_class",
    "random",
    "saturated_coverage",
]
