"""How long a run on part of the data trains."""

import math
from typing import Literal

from secateur.errors import SecateurError
from secateur.training.recipes import Recipe

Budget = Literal["epochs", "steps", "balanced"]
BUDGETS: dict[Budget, str] = {
    "epochs": "each kept example is seen as often as in the full run",
    "steps": "as many steps as the full run",
    "balanced": "the steps of the full run times the square root of the fraction kept",
}


def full_steps(recipe: Recipe, examples: int) -> int:
    """Steps of a run over all the data; `recipe` is already adapted to this number of examples."""
    return recipe.epochs * math.ceil(examples / recipe.batch)


def steps_for(budget: str, recipe: Recipe, *, examples: int, kept: int, batch: int | None = None) -> int:
    """Steps of a run on `kept` of `examples`; batch: of that run, if it differs from the recipe's for all the data.

    >>> from secateur.training.recipes import RECIPES
    >>> [steps_for(b, RECIPES["fast"], examples=50_000, kept=5_000) for b in ("epochs", "balanced", "steps")]
    [160, 506, 1600]
    """
    if budget not in BUDGETS:
        raise SecateurError(f"budget: expected one of {', '.join(BUDGETS)}, got {budget!r}")
    if budget == "epochs":
        return recipe.epochs * math.ceil(kept / (batch or recipe.batch))
    full = full_steps(recipe, examples)
    return full if budget == "steps" else max(1, round(full * math.sqrt(kept / examples)))
