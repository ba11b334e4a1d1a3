"""A data set in a few synthetic rows: `dm`, `dc` and `dsa` on one frame, and the protocol they are judged by.

CAFE and IDM are not here yet.
"""

from secateur.condensation.distribution import DM, dm
from secateur.condensation.frame import Condenser
from secateur.condensation.gradient import DC, DSA, dc, dsa
from secateur.condensation.real import STATISTICS, Real
from secateur.condensation.synthetic import Synthetic

CONDENSERS: dict[str, type[Condenser]] = {"dm": DM, "dc": DC, "dsa": DSA}
"""By name."""

__all__ = ["CONDENSERS", "DC", "DM", "DSA", "STATISTICS", "Condenser", "Real", "Synthetic", "dc", "dm", "dsa"]
