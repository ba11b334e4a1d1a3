"""A condensed set beside coresets of as many rows: the same nets, the same augmentation, the same protocol."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from secateur.condensation import Real, Synthetic
from secateur.condensation.passes import keeps_statistics
from secateur.condensation.protocol import Protocol, Soft, judge
from secateur.condensation.real import start
from secateur.condensation.siamese import families
from secateur.errors import SecateurError
from secateur.store.files import read_json, remove, write_json
from secateur.store.schemas.condensed import CondenseFile, JudgingState
from secateur.study.coresets import CORESETS, SCORED, Recorded, coreset
from secateur.study.session import Session
from secateur.training import seeding
from secateur.training.evaluate import accuracy
from secateur.training.nets import OPTIONS, build

FULL = (5, 20)
"""Sets, and nets a set, of the published tables."""
_AGREES = 0.9
"""The share of the rows below which it is told that a teacher misjudges them."""
MOSAICS = "random-mosaics"
"""Beside condensed mosaics: as many that hold random rows, four times as many small ones for the same pixels."""


@dataclass(frozen=True)
class Judging:
    """nets: specs; protocols: by augmentation; repeats: nets a set; whole: are they as long as published? recorded: a
    run on the same data, whose net and scores serve coresets. soft: its net as a teacher, where it is to be one.
    remembering: those of the nets that have batch norm.
    """

    nets: tuple[str, ...]
    protocols: Mapping[str, Protocol]
    repeats: int
    whole: bool
    seed: int
    recorded: Recorded | None
    soft: Soft | None
    remembering: tuple[str, ...]

    @classmethod
    def make(
        cls,
        real: Real,
        *,
        nets: str,
        augment: str,
        epochs: int | None,
        repeats: int,
        seed: int,
        recorded: Recorded | None,
        soft: bool,
        compiled: bool = False,
    ) -> "Judging":
        """nets, augment: several separated by ;, each augmentation as `families` takes it; two that are alike are one.
        compiled: see `Protocol`.

        Raises SecateurError for what is not there, before anything was learned.
        """
        if soft and recorded is None:
            raise SecateurError(
                "soft: the net of a recording is the teacher, and none is named; name one (--recording OUT), which "
                "`secateur record DATA --out OUT` makes"
            )
        protocols: dict[str, Protocol] = {}
        for name in augment.split(";"):
            protocol = Protocol(families(name, real.shape), epochs, compiled=compiled)
            if protocol not in protocols.values():
                protocols[name] = protocol
        remembering = []
        for spec in nets.split(";"):
            try:
                net = build(spec, shape=real.shape, classes=real.classes, mean=real.mean, spread=real.spread, seed=seed)
            except SecateurError as error:
                raise SecateurError(f"nets: {str(error).removeprefix('net: ')} (several are separated by ;)") from None
            if keeps_statistics(net):
                remembering.append(spec)
        teacher = Soft(recorded.net) if recorded is not None and soft else None
        specs = tuple(nets.split(";"))
        return cls(specs, protocols, repeats, epochs is None, seed, recorded, teacher, tuple(remembering))

    @property
    def coresets(self) -> tuple[str, ...]:
        """What is to stand beside the condensed rows."""
        return CORESETS if self.recorded is None else CORESETS + SCORED

    def about(self, sets: int) -> dict[str, Any]:
        """What the result says of how it was made."""
        full = (sets, self.repeats) == FULL and self.whole
        recorded = self.recorded
        return {
            "protocol": f"full, {sets} x {self.repeats} nets" if full else f"fast, {sets} x {self.repeats} nets",
            "nets": list(self.nets),
            "repeats": self.repeats,
            "augments": {name: {"families": list(p.chosen), "epochs": p.length} for name, p in self.protocols.items()},
            "coreset_features": "the normalised rows themselves"
            if recorded is None
            else f"the features of {recorded.about['net']}, trained on all of the data",
            "recording": None if recorded is None else dict(recorded.about),
            "temperature": None if self.soft is None else self.soft.t,
        }


class Case(NamedTuple):
    """One net to train: its spec, the augmentation, the kind of rows, hard or soft labels, the set, the repeat."""

    net: str
    augment: str
    kind: str
    labels: str
    k: int
    r: int

    @property
    def name(self) -> str:
        """Its key on disk."""
        return " ".join(map(str, self))


def judged(work: Session, real: Real, learned: Sequence[Synthetic], how: Judging, about: dict[str, Any]) -> bool:
    """Write OUT/condense.json: a line a net, augmentation and kind of rows, mean and spread over all sets and repeats;
    and the accuracy of the teacher itself, where there is one.

    Without a test split nothing can be judged, and nothing is written. A stopped judging goes on after the last net.
    Whether something new was.
    """
    if work.source.test is None:
        return False
    for spec in how.remembering:
        work.progress.say(
            f"{spec} remembers statistics of what it trains on, which condensed rows do not share with real ones; the "
            f"papers put instance norm in place of batch norm{_instead(spec)}"
        )
    asked = about | how.about(len(learned))
    path, state = work.out / "condense.json", work.out / "state" / "judging.json"
    if path.exists() and read_json(path, CondenseFile)["about"] == asked:
        return False
    per_class = learned[0].per_class
    chosen = functools.cache(lambda kind: coreset(real, kind, per_class, how.recorded))
    kinds = (about["method"], *how.coresets, *([MOSAICS] if learned[0].tiles > 1 else []))
    done, cases = _done(state, asked), list(_cases(kinds, how, len(learned)))
    with work.progress.stage("judging") as advance:
        for at, case in enumerate(cases):
            if case.name not in done:
                began, seed = time.perf_counter(), how.seed + 1000 * case.k + case.r
                images, labels = _rows(real, learned[case.k], case.kind, seed, chosen)
                found = judge(
                    images, labels, real, work.test, net=case.net, protocol=how.protocols[case.augment], seed=seed,
                    soft=how.soft if case.labels == "soft" else None,
                )  # fmt: skip
                done[case.name] = [found, time.perf_counter() - began]
                write_json(state, {"about": asked, "done": done})
            advance(at + 1, len(cases))
    write_json(path, {"about": asked, "rows": _lines(cases, done)} | _heard(work, learned, how))
    remove(state)
    return True


def _heard(work: Session, learned: Sequence[Synthetic], how: Judging) -> dict[str, float | None]:
    """Of the teacher of soft labels its accuracy on the test split, and the share of the rows that it agrees about.

    Where that is small, it is told.
    """
    if how.soft is None or work.test is None:
        return {"teacher": None, "teacher_agrees": None}
    agrees = float(np.mean([how.soft.agrees(held) for held in learned]))
    if agrees < _AGREES:
        work.progress.say(
            f"the teacher takes {agrees:.0%} of the condensed rows for what they are labelled, so its soft labels "
            f"teach something else; nets with batch norm often misjudge rows unlike those they were trained on"
        )
    return {"teacher": accuracy(how.soft.net, work.test).overall, "teacher_agrees": agrees}


def _instead(spec: str) -> str:
    """The net with instance norm, where it has the choice.

    >>> _instead("resnet9"), _instead("resnet9:0.5"), _instead("timm:resnet10t")
    (' (resnet9:norm=instance)', ' (resnet9:0.5,norm=instance)', '')
    """
    name = spec.partition(":")[0]
    return f" ({spec}{',' if ':' in spec else ':'}norm=instance)" if "norm" in OPTIONS.get(name, []) else ""


def _cases(kinds: Sequence[str], how: Judging, sets: int) -> Iterator[Case]:
    labels = ("hard",) if how.soft is None else ("hard", "soft")
    for some in product(how.nets, how.protocols, kinds, labels, range(sets), range(how.repeats)):
        yield Case(*some)


def _done(state: Path, asked: dict[str, Any]) -> dict[str, list[float]]:
    before = read_json(state, JudgingState) if state.exists() else {}
    return dict(before["done"]) if before.get("about") == asked else {}


def _rows(
    real: Real, held: Synthetic, kind: str, seed: int, chosen: Callable[[str], np.ndarray]
) -> tuple[Tensor, Tensor]:
    """The rows (classes * per_class, ...) to train on, and their labels. A random coreset is another for each seed."""
    if kind == MOSAICS:
        stream = seeding.generator(seed, "random mosaics")
        held = replace(
            held, images=start(real, per_class=held.per_class, generator=stream, init="mosaic", side=held.tiles)
        )
    if kind not in CORESETS + SCORED:
        shown = held.expanded()
        return shown.images, shown.labels
    if kind == "random":
        stream = seeding.generator(seed, "random coreset")
        return start(real, per_class=held.per_class, generator=stream, init="real"), held.labels
    return start(real, per_class=held.per_class, generator=seeding.generator(seed), init=chosen(kind)), held.labels


def _lines(cases: Sequence[Case], done: dict[str, list[float]]) -> list[dict[str, Any]]:
    """A line a net, augmentation and kind; what is of soft labels is None where they were not asked for."""
    groups: dict[tuple[str, ...], list[list[float]]] = {}
    for case in cases:
        groups.setdefault(case[:4], []).append(done[case.name])
    lines = []
    for net, augment, kind in dict.fromkeys(case[:3] for case in cases):
        hard, soft = (
            _summary(groups.get((net, augment, kind, labels)), groups.get((net, augment, "random", labels)))
            for labels in ("hard", "soft")
        )
        more = {"soft" if name == "accuracy" else f"soft_{name}": value for name, value in soft.items()}
        lines.append({"net": net, "augment": augment, "rows": kind} | hard | more)
    return lines


def _summary(results: list[list[float]] | None, random: list[list[float]] | None) -> dict[str, Any]:
    """Accuracies, their mean and spread, how far above the random rows, and the seconds of it all."""
    if results is None or random is None:
        return dict.fromkeys(("accuracy", "spread", "above_random", "seconds", "accuracies"))
    values, others = (np.array([found for found, _ in group]) for group in (results, random))
    return {
        "accuracy": float(values.mean()),
        "spread": float(values.std(ddof=1)) if len(values) > 1 else None,
        "above_random": float(values.mean() - others.mean()),
        "seconds": float(sum(seconds for _, seconds in results)),
        "accuracies": values.tolist(),
    }
