"""Classes that a selection leaves with too little, and what helps: never what is on already or cannot be done."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from secateur.methods import Method
from secateur.select.limits import STARVED, starved

_NAMED = 5


def starved_warning(
    classes: Sequence[str],
    before: Int[np.ndarray, " classes"],
    after: Int[np.ndarray, " classes"],
    method: Method,
    floor: int,
) -> str | None:
    """A warning that names the worst-off classes and says what would help; None where no class is starved.

    before, after: the examples of each class in the data and in the subset. floor: what every class keeps already.
    """
    hungry = starved(before, after)
    if not hungry.size:
        return None
    worst = hungry[np.argsort(after[hungry] / before[hungry], kind="stable")][:_NAMED]
    names = ", ".join(f"{classes[k]} {after[k]} of {before[k]}" for k in worst)
    more = f" and {len(hungry) - len(worst)} more" if len(hungry) > len(worst) else ""
    nothing = int((after[hungry] == 0).sum())
    empty = f" ({nothing} of them nothing)" if nothing else ""
    what = f"{len(hungry)} of {np.count_nonzero(before)} classes keep less than half of their share{empty}"
    return f"warning: {what}: {names}{more}; {_advice(before, after, hungry, method, floor)}"


def _advice(before: np.ndarray, after: np.ndarray, hungry: np.ndarray, method: Method, floor: int) -> str:
    present, keep = int(np.count_nonzero(before)), int(after.sum())
    if keep < present:
        return f"{keep} rows cannot hold one of each: keep {present} rows or more, or merge small classes"
    ways = []
    wanted = int(np.ceil(STARVED * after.sum() / before.sum() * before[hungry]).max())
    fitting = max((n for n in range(floor + 1, wanted + 1) if np.minimum(n, before).sum() <= keep), default=None)
    if fitting is not None:
        ways.append(f"--min-per-class {fitting} keeps as many of every class")
    if not method.by_class and method.name != "drop":  # which chooses class by class, by recall
        ways.append(f"--method {method.name}:per_class=1 chooses inside each class")
    return ", or ".join(ways) or "a larger --keep is the only way to keep more of them"
