"""Pure selectors: scores and their companions in, sorted ids out."""

from secateur.select.ranked import easiest, hardest, middle, offset, per_class, random
from secateur.select.stratified import beta, ccs, drop

__all__ = ["beta", "ccs", "drop", "easiest", "hardest", "middle", "offset", "per_class", "random"]
