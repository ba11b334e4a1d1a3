"""The contracts that every score, selector and rule meets, as functions you can call on your own.

    import secateur as sc

    sc.checks.check_score(my_score)         # raises AssertionError, saying which promise is broken
    sc.checks.check_rule(MyRule())

A score is registered with `secateur.registry.score`, a selector with `secateur.registry.selector`; a rule is a frozen
`secateur.dynamic.Rule`.
"""

from secateur.checks.made_up import call, example_recording, pick
from secateur.checks.rules import RULE_PROMISES, check_rule
from secateur.checks.scores import SCORE_PROMISES, check_score
from secateur.checks.selectors import SELECTOR_PROMISES, check_selector, selection, selector_reads_ranks_only

__all__ = [
    "RULE_PROMISES",
    "SCORE_PROMISES",
    "SELECTOR_PROMISES",
    "call",
    "check_rule",
    "check_score",
    "check_selector",
    "example_recording",
    "pick",
    "selection",
    "selector_reads_ranks_only",
]
