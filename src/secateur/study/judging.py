"""A condensed set beside coresets of as many rows: the same nets, the same augmentation, the same protocol."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from secateur.condensation import Real, Synthetic
from secateur.condensation.protocol import Protocol, judge
from secateur.condensation.real import start
from secateur.condensation.siamese import families
from secateur.store.files import read_json, remove, write_json
from secateur.study.coresets import CORESETS, SCORED, Recorded, coreset
from secateur.study.session import Session
from secateur.training import seeding
from secateur.training.nets import build

FULL = (5, 20)
"""Sets, and nets a set, of the published tables."""


@dataclass(frozen=True)
class Judging:
    """nets: specs; protocols: by augmentation; repeats: nets a set; whole: are they as long as published? recorded: a
    run on the same data, whose net and scores serve coresets.
    """

    nets: tuple[str, ...]
    protocols: Mapping[str, Protocol]
    repeats: int
    whole: bool
    seed: int
    recorded: Recorded | None

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
    ) -> "Judging":
        """nets, augment: several separated by ;, each augmentation as `families` takes it; two that are alike are one.

        Raises SecateurError for what is not there, before anything was learned.
        """
        protocols: dict[str, Protocol] = {}
        for name in augment.split(";"):
            protocol = Protocol(families(name, real.shape), epochs)
            if protocol not in protocols.values():
                protocols[name] = protocol
        for spec in nets.split(";"):
            build(spec, shape=real.shape, classes=real.classes, mean=real.mean, spread=real.spread, seed=seed)
        return cls(tuple(nets.split(";")), protocols, repeats, epochs is None, seed, recorded)

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
        }


class Case(NamedTuple):
    """One net to train: its spec, the augmentation, the kind of rows, the set, which of the repeats."""

    net: str
    augment: str
    kind: str
    k: int
    r: int

    @property
    def name(self) -> str:
        """Its key on disk."""
        return " ".join(map(str, self))


def judged(work: Session, real: Real, learned: Sequence[Synthetic], how: Judging, about: dict[str, Any]) -> None:
    """Write OUT/condense.json: a line a net, augmentation and kind of rows, mean and spread over all sets and repeats.

    Without a test split nothing can be judged, and nothing is written. A stopped judging goes on after the last net.
    """
    if work.source.test is None:
        work.progress.say("no test split: the condensed set is not judged; name one with --test")
        return
    asked = about | how.about(len(learned))
    path, state = work.out / "condense.json", work.out / "state" / "judging.json"
    if path.exists() and read_json(path)["about"] == asked:
        return
    per_class = learned[0].per_class
    chosen = functools.cache(lambda kind: coreset(real, kind, per_class, how.recorded))
    done, cases = _done(state, asked), list(_cases(about["method"], how, len(learned)))
    with work.progress.stage("judging") as advance:
        for at, case in enumerate(cases):
            if case.name not in done:
                began, seed = time.perf_counter(), how.seed + 1000 * case.k + case.r
                images, labels = _rows(real, learned[case.k], case.kind, seed, chosen)
                protocol = how.protocols[case.augment]
                found = judge(images, labels, real, work.test, net=case.net, protocol=protocol, seed=seed)
                done[case.name] = [found, time.perf_counter() - began]
                write_json(state, {"about": asked, "done": done})
            advance(at + 1, len(cases))
    write_json(path, {"about": asked, "rows": _lines(cases, done)})
    remove(state)


def _cases(method: str, how: Judging, sets: int) -> Iterator[Case]:
    for net in how.nets:
        for augment in how.protocols:
            for kind in (method, *how.coresets):
                yield from (Case(net, augment, kind, k, r) for k in range(sets) for r in range(how.repeats))


def _done(state: Path, asked: dict[str, Any]) -> dict[str, list[float]]:
    before = read_json(state) if state.exists() else {}
    return dict(before["done"]) if before.get("about") == asked else {}


def _rows(
    real: Real, held: Synthetic, kind: str, seed: int, chosen: Callable[[str], np.ndarray]
) -> tuple[Tensor, Tensor]:
    """The rows (classes * per_class, ...) to train on, and their labels. A random coreset is another for each seed."""
    if kind not in CORESETS + SCORED:
        shown = held.expanded()
        return shown.images, shown.labels
    if kind == "random":
        stream = seeding.generator(seed, "random coreset")
        return start(real, per_class=held.per_class, generator=stream, init="real"), held.labels
    return start(real, per_class=held.per_class, generator=seeding.generator(seed), init=chosen(kind)), held.labels


def _lines(cases: Sequence[Case], done: dict[str, list[float]]) -> list[dict[str, Any]]:
    """A line a net, augmentation and kind: accuracies, their mean and spread, and how far above the random rows."""
    groups: dict[tuple[str, str, str], list[list[float]]] = {}
    for case in cases:
        groups.setdefault(case[:3], []).append(done[case.name])
    lines = []
    for (net, augment, kind), results in groups.items():
        values, random = (np.array([found[0] for found in g]) for g in (results, groups[net, augment, "random"]))
        lines.append(
            {
                "net": net,
                "augment": augment,
                "rows": kind,
                "accuracy": float(values.mean()),
                "spread": float(values.std(ddof=1)) if len(values) > 1 else None,
                "above_random": float(values.mean() - random.mean()),
                "seconds": float(sum(seconds for _, seconds in results)),
                "accuracies": values.tolist(),
            }
        )
    return lines
