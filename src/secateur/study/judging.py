"""A condensed set beside coresets of as many rows: the same nets, the same augmentation, the same protocol."""

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from secateur.condensation import Real, Synthetic
from secateur.condensation.protocol import Protocol, judge
from secateur.condensation.real import start
from secateur.condensation.siamese import families
from secateur.select import herding, k_center
from secateur.store.files import read_json, remove, write_json
from secateur.study.session import Session
from secateur.training import seeding

FULL = (5, 20)
"""Sets, and nets a set, of the published tables."""
CORESETS = ("random", "herding", "k-center")


@dataclass(frozen=True)
class Judging:
    """nets: specs; repeats: nets a set; epochs: of the protocol, its own by default; augment: see `families`."""

    nets: tuple[str, ...]
    repeats: int
    epochs: int | None
    augment: str | None
    seed: int

    def about(self, sets: int, protocol: Protocol) -> dict[str, Any]:
        """What the result says of how it was made."""
        full = (sets, self.repeats) == FULL and self.epochs is None
        return {
            "protocol": f"full, {sets} x {self.repeats} nets" if full else f"fast, {sets} x {self.repeats} nets",
            "nets": list(self.nets),
            "repeats": self.repeats,
            "epochs": protocol.length,
            "augmented_with": list(protocol.chosen),
            "coreset_features": "the normalised rows themselves",
        }


def judged(work: Session, real: Real, learned: Sequence[Synthetic], how: Judging, about: dict[str, Any]) -> None:
    """Write OUT/condense.json: a line a net and kind of rows, mean and spread over all sets and repeats.

    Without a test split nothing can be judged, and nothing is written. A stopped judging goes on after the last net.
    """
    if work.source.test is None:
        work.progress.say("no test split: the condensed set is not judged; name one with --test")
        return
    protocol = Protocol(families(how.augment, real.shape), how.epochs)
    asked = about | how.about(len(learned), protocol)
    path, state = work.out / "condense.json", work.out / "state" / "judging.json"
    if path.exists() and read_json(path)["about"] == asked:
        return
    done, chosen = _done(state, asked), functools.cache(lambda kind: coreset(real, kind, learned[0].per_class))
    cases = list(_cases(about["method"], how, len(learned)))
    with work.progress.stage("judging") as advance:
        for at, (net, kind, k, r) in enumerate(cases):
            name, seed = f"{net} {kind} {k} {r}", how.seed + 1000 * k + r
            if name not in done:
                began = time.perf_counter()
                images, labels = _rows(real, learned[k], kind, seed, chosen)
                found = judge(images, labels, real, work.test, net=net, protocol=protocol, seed=seed)
                done[name] = [found, time.perf_counter() - began]
                write_json(state, {"about": asked, "done": done})
            advance(at + 1, len(cases))
    write_json(path, {"about": asked, "rows": _lines(cases, done)})
    remove(state)


Case = tuple[str, str, int, int]
"""A net, a kind of rows, a set, a repeat."""


def _cases(method: str, how: Judging, sets: int) -> Iterator[Case]:
    for net in how.nets:
        for kind in (method, *CORESETS):
            yield from ((net, kind, k, r) for k in range(sets) for r in range(how.repeats))


def _done(state: Path, asked: dict[str, Any]) -> dict[str, list[float]]:
    before = read_json(state) if state.exists() else {}
    return dict(before["done"]) if before.get("about") == asked else {}


def _rows(
    real: Real, held: Synthetic, kind: str, seed: int, chosen: Callable[[str], np.ndarray]
) -> tuple[Tensor, Tensor]:
    """The rows (classes * per_class, ...) to train on, and their labels. A random coreset is another for each seed."""
    if kind not in CORESETS:
        return held.images, held.labels
    if kind == "random":
        stream = seeding.generator(seed, "random coreset")
        return start(real, per_class=held.per_class, generator=stream, init="real"), held.labels
    return start(real, per_class=held.per_class, generator=seeding.generator(seed), init=chosen(kind)), held.labels


def coreset(real: Real, kind: str, per_class: int) -> np.ndarray:
    """Ids (classes * per_class,) chosen class by class by `herding` or `k-center`, which begins nearest to the mean.

    By the normalised rows themselves; the published rows take the features of a net trained on all of the data.
    """
    rows, chosen = real.normalise(real.rows).flatten(1).cpu().numpy(), []
    for places in real.members:
        own = rows[places.numpy()]
        if kind == "herding":
            picked = herding(own, keep=per_class)
        else:
            picked = k_center(own, keep=per_class, start="mean", rng=seeding.rng(0, "k-center"))
        chosen.append(real.ids[places.numpy()[picked]])
    return np.concatenate(chosen)


def _lines(cases: Sequence[Case], done: dict[str, list[float]]) -> list[dict[str, Any]]:
    """A line a net and kind: accuracies, their mean and spread, and how far above the random rows."""
    groups: dict[tuple[str, str], list[list[float]]] = {}
    for net, kind, k, r in cases:
        groups.setdefault((net, kind), []).append(done[f"{net} {kind} {k} {r}"])
    lines = []
    for (net, kind), results in groups.items():
        values, random = (np.array([accuracy for accuracy, _ in g]) for g in (results, groups[net, "random"]))
        lines.append(
            {
                "net": net,
                "rows": kind,
                "accuracy": float(values.mean()),
                "spread": float(values.std(ddof=1)) if len(values) > 1 else None,
                "above_random": float(values.mean() - random.mean()),
                "seconds": float(sum(seconds for _, seconds in results)),
                "accuracies": values.tolist(),
            }
        )
    return lines
