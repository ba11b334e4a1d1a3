"""Everything that methods need before they can select: a recorded run, probes, what validation data say."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from secateur.methods import Method, Setting
from secateur.methods.epochs import refuse_too_few
from secateur.registry import get
from secateur.study.bill import spent_once
from secateur.study.material import validation_ids
from secateur.study.out import Out
from secateur.study.pick import Checked
from secateur.study.pool import Pool
from secateur.study.probe import probe_in
from secateur.study.probing import Probing
from secateur.study.query import recall_in
from secateur.study.record import RecordingPlan, record_in
from secateur.study.session import Session


@dataclass(frozen=True)
class Needs:
    """What some methods need at some keeps, known before anything runs."""

    methods: tuple[Method, ...]
    settings: tuple[Setting, ...]
    probing: Probing

    @classmethod
    def of(
        cls, work: Session, plan: RecordingPlan, methods: Sequence[Method], counts: Sequence[int], features: str | None
    ) -> "Needs":
        """Raises SecateurError for what cannot be had: labels that are not there, scores of too few epochs."""
        usable = len(work.source.train.usable)
        settings = tuple(Setting(c / usable, plan.recipe.epochs, len(work.source.classes)) for c in counts)
        probing = Probing.make(methods, settings, features, labelled=work.source.labelled)
        for method, setting in itertools.product(methods, settings):
            refuse_too_few(method, setting)
        if plan.adversary is None:
            for method in methods:
                method.refuse_without_adversary()
        elif plan.adversary.rule == "margin":
            probing = probing.along("margins", {"steps": 50})
        return cls(tuple(methods), settings, probing)

    def meet(self, work: Session, plan: RecordingPlan, *, taught: bool) -> tuple[Pool, Checked]:
        """Record and probe what is not there yet. taught: the recorded net is needed as a teacher."""
        train = work.source.train
        labels = np.full(len(train), -1, dtype=np.int64)  # as in a recording: rows that cannot be used have none
        labels[train.usable] = train.labels[train.usable]
        pool = Pool(labels, train.fingerprint, labelled=work.source.labelled)
        if self.probing.needs_run or taught:
            pool = Pool.of(record_in(work, plan))
        if self.probing.wanted:
            pool = Pool.of(probe_in(work, plan, self.probing), labelled=work.source.labelled)
        recall = recall_in(work, plan) if any(m.recall for m in self.methods) else None
        validation = None
        if any("validation" in get("selector", m.selector).needs for m in self.methods):
            validation = np.zeros(len(train), dtype=bool)
            validation[validation_ids(work, plan.seed)] = True
        return pool, Checked(recall, validation)

    def margins(self, pool: Pool) -> np.ndarray | None:
        """The distance of each example to the boundary (examples,), where an adversary's budgets go by it."""
        return pool.field("margin_raw") if "margins" in self.probing.wanted else None

    def spent(self, out: Out, method: Method, *, taught: bool) -> tuple[float, int]:
        """Seconds and examples that one of the methods needed before it could select, and its teacher."""
        probing = Probing.make([method], self.settings, self.probing.features)
        return spent_once(
            out,
            recording=probing.needs_run or taught,
            scored=method.score is not None,
            recall=method.recall,
            probes=probing.wanted,
        )
