"""The rules by name."""

from secateur import specs
from secateur.dynamic.parts import Esps, Redraw, Swap
from secateur.dynamic.plans import Rule
from secateur.dynamic.running import EpsGreedy, Ucb
from secateur.dynamic.skipping import InfoBatch, Kakurenbo

RULES: dict[str, type[Rule]] = {
    "random": Redraw,
    "infobatch": InfoBatch,
    "kakurenbo": Kakurenbo,
    "eps-greedy": EpsGreedy,
    "ucb": Ucb,
    "esps": Esps,
    "swap": Swap,
}


def rule(spec: "str | Rule") -> Rule:
    """A rule by name, with knobs after a colon: `infobatch`, `random:keep=0.3`, `kakurenbo:hide=0.4,rate=realised`.

    >>> rule("infobatch:drop=0.3")
    InfoBatch(drop=0.3, stop=0.875, draw='apart')
    """
    return spec if isinstance(spec, Rule) else specs.parse("rule", spec, RULES)


def spec_of(rule: Rule) -> str:
    """A rule as text: its name, keep and the knobs that are not at their default; a class of one's own by its name.

    >>> spec_of(InfoBatch(drop=0.3)), spec_of(Redraw())
    ('infobatch:drop=0.3', 'random:keep=0.5')
    """
    return specs.told(rule, RULES, always=("keep",))
