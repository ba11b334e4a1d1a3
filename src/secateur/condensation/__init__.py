"""A data set in a few synthetic rows: five published ways on one frame, and the protocol they are judged by."""

from secateur.condensation.alignment import CAFE, cafe
from secateur.condensation.distribution import DM, IDM, dm, idm
from secateur.condensation.frame import Condenser
from secateur.condensation.gradient import DC, DSA, dc, dsa
from secateur.condensation.real import STATISTICS, Real
from secateur.condensation.synthetic import Synthetic

CONDENSERS: dict[str, type[Condenser]] = {"dm": DM, "dc": DC, "dsa": DSA, "cafe": CAFE, "idm": IDM}
"""By name."""

__all__ = [
    "CAFE",
    "CONDENSERS",
    "DC",
    "DM",
    "DSA",
    "IDM",
    "STATISTICS",
    "Condenser",
    "Real",
    "Synthetic",
    "cafe",
    "dc",
    "dm",
    "dsa",
    "idm",
]
