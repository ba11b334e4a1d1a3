"""The condensers as rows, for listings: what learns them is in `secateur.condensation`, which needs torch."""

from typing import NamedTuple


class Row(NamedTuple):
    """summary: what it does; source: the paper; knobs: what may be changed."""

    summary: str
    source: str
    knobs: tuple[str, ...]


CONDENSERS = {
    "dm": Row(
        "Class means of features under ever new random nets; takes vectors too.",
        "arXiv:2110.04181",
        ("init", "rate", "augment", "batch"),
    ),
    "dc": Row(
        "Gradients of a net, class by class, along its training.",
        "arXiv:2006.05929",
        ("init", "rate", "schedule", "batch"),
    ),
    "dsa": Row(
        "dc with the same random transform on real and synthetic images.",
        "arXiv:2102.08259",
        ("init", "rate", "schedule", "augment", "batch"),
    ),
    "cafe": Row(
        "Mean maps at every depth of a net that learns, and class means that tell real images apart.",
        "arXiv:2203.01531",
        ("init", "rate", "schedule", "augment", "batch"),
    ),
    "idm": Row(
        "Mosaics of smaller images, by dm under nets that learn, and by their answers.",
        "arXiv:2307.09742",
        ("init", "rate", "augment", "batch", "tiles", "classify"),
    ),
}
"""By name."""
