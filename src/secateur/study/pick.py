"""One method's selector as a function of the ids to choose from: over all or inside each class, with its weights."""

from typing import Any, NamedTuple

import numpy as np

from secateur.errors import SecateurError
from secateur.fields import FIELDS
from secateur.methods import Method, Setting
from secateur.registry import Weighted, get
from secateur.select.limits import Ids
from secateur.select.ranked import apportion
from secateur.store.tables import Scores
from secateur.study.pool import Pool


class Checked(NamedTuple):
    """What validation data said: recall (classes,), and which examples (examples,) are the validation part."""

    recall: np.ndarray | None = None
    validation: np.ndarray | None = None


NO_CHECK = Checked()


class Picker:
    """Chooses by a method, and remembers how much each chosen example counts."""

    def __init__(
        self,
        pool: Pool,
        method: Method,
        setting: Setting,
        scores: Scores,
        checked: Checked,
        draw: np.random.Generator,
    ) -> None:
        self.pool, self.method, self.draw = pool, method, draw
        self.entry = get("selector", method.selector)
        self._given: dict[str, Any] = {"recall": checked.recall}
        self._columns = {n: pool.field(n) for n in self.entry.needs if n in FIELDS}
        self._columns |= {name: scores[u.label] for name, u in method.companion_uses(setting).items()}
        if (use := method.use(setting)) is not None:
            self._columns["scores"] = scores[use.label]
        if checked.validation is not None:
            self._columns["validation"] = checked.validation
        self._knobs = method.selector_knobs(setting) | ({"rng": draw} if "rng" in self.entry.knobs else {})
        self._weights = np.full(len(pool.labels), np.nan)

    def pick(self, ids: Ids, count: int) -> Ids:
        """So many of `ids`, sorted; inside each class where the method says so, classes keeping their shares."""
        if not self.method.by_class or not self.pool.labelled or count in (0, len(ids)):
            return self._choose(ids, count)
        classes, of_class = np.unique(self.pool.labels[ids], return_inverse=True)
        sizes = np.bincount(of_class)
        quotas = apportion(sizes * (count / len(ids)), count, sizes)
        parts = [self._choose(ids[of_class == c], int(quotas[c])) for c in range(len(classes))]
        return np.sort(np.concatenate(parts))

    def weights(self, ids: Ids) -> np.ndarray | None:
        """The weight of each kept example, 1 on average; None where the method gives none."""
        chosen = self._weights[ids]
        known = ~np.isnan(chosen)
        total = chosen[known].sum()
        if not total:
            return None
        return np.where(known, chosen * (known.sum() / total), 1.0)

    def _choose(self, ids: Ids, count: int) -> Ids:
        if count == 0:
            return ids[:0]
        order = self._order(len(ids))
        given = self._given | {"n": len(ids)}
        inputs = [given[n] if n in given else self._rows(n, ids, order) for n in self.entry.needs]
        out = self.entry.fn(*inputs, keep=count, **self._knobs)
        weights = out.weights if isinstance(out, Weighted) else np.nan
        at = out.ids if isinstance(out, Weighted) else out
        chosen = ids[at if order is None else order[at]]
        self._weights[chosen] = weights
        return np.sort(chosen)

    def _order(self, count: int) -> np.ndarray | None:
        """Selectors that only rank see the examples in random order, so that ties do not go to the first rows."""
        ranks_only = set(self.entry.needs) <= {"scores", "labels"} and "rng" not in self.entry.knobs
        return self.draw.permutation(count) if ranks_only else None

    def _rows(self, name: str, ids: Ids, order: np.ndarray | None) -> np.ndarray:
        column = self._columns.get(name)
        if column is None:
            raise SecateurError(f"method: {self.method.name} needs {name}, which this job does not have; use prune")
        if order is not None:
            return column[ids[order]]
        return column if len(ids) == len(column) else column[ids]
