"""Rules that choose, epoch by epoch, which examples to train on, and the sampler that asks them.

    sampler = secateur.dynamic.Sampler("infobatch", examples=50_000, epochs=16)
    for ids, rows, labels in DataLoader(data, 128, sampler=sampler):
        loss = cross_entropy(net(rows), labels, reduction="none")
        (loss * sampler.weights(ids)).mean().backward()
        sampler.report(ids, loss)

`Sampler` (`help(secateur.dynamic.Sampler)`) is resolved when first used: the rules need numpy alone.
"""

from typing import Any

from secateur.dynamic.parts import Esps, Redraw, Swap
from secateur.dynamic.plans import Heard, Plan, Progress, Rule
from secateur.dynamic.rules import RULES, rule, spec_of
from secateur.dynamic.running import EpsGreedy, Ucb
from secateur.dynamic.skipping import InfoBatch, Kakurenbo

__all__ = [
    "RULES",
    "EpsGreedy",
    "Esps",
    "Heard",
    "InfoBatch",
    "Kakurenbo",
    "Plan",
    "Progress",
    "Redraw",
    "Rule",
    "Sampler",
    "Swap",
    "Ucb",
    "rule",
    "spec_of",
]


def __getattr__(name: str) -> Any:
    if name == "Sampler":
        from secateur.dynamic.sampler import Sampler

        return Sampler
    raise AttributeError(f"module 'secateur.dynamic' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
