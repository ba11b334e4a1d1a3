"""Omni-supervised training, second half: condense the mined rows, and combine them with the labelled ones."""

import dataclasses
import time
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch

from secateur import specs
from secateur.condensation import CONDENSERS, Real
from secateur.condensation.frame import Ground, begin, side_of
from secateur.condensation.mosaic import SIDE
from secateur.condensation.real import STARTS
from secateur.data.source import Source
from secateur.data.writers.mined import mined_rows
from secateur.data.writers.synthetic import write_joint
from secateur.errors import SecateurError
from secateur.ranges import AMOUNT, FLAG, NONE_OR_SOME, SOME, Range, check_fields
from secateur.registry import unknown
from secateur.store.files import remove
from secateur.store.tables import Mined
from secateur.study.condense import condense
from secateur.study.out import Out
from secateur.study.session import Session
from secateur.training.seeding import generator

NAME = "condense_with"
"""The name of the spec in errors."""


@dataclass(frozen=True)
class Knobs:
    """Knobs of a condenser in text; missing ones take the condenser's defaults. every: steps between two
    checkpoints. compile: 1 for `torch.compile`.
    """

    steps: Annotated[int | None, NONE_OR_SOME] = None
    init: str = ""
    net: str = ""
    augment: str = ""
    rate: Annotated[float | None, Range(0, 1e30, above=True)] = None
    batch: Annotated[int | None, SOME] = None
    matches: Annotated[int | None, SOME] = None
    epochs: Annotated[int | None, NONE_OR_SOME] = None
    tiles: Annotated[int | None, Range(1, 64, whole=True)] = None
    classify: Annotated[float | None, AMOUNT] = None
    every: Annotated[int, SOME] = 100
    compile: Annotated[int, FLAG] = 0

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True)
class Condensing:
    """How to condense mined rows: the number of synthetic rows per class, a method and its knobs."""

    per_class: int
    method: str
    knobs: Knobs

    @classmethod
    def of(cls, per_class: int, spec: str) -> "Condensing":
        """spec: `dm`, or with knobs `dm:steps=2000,batch=64`. Raises SecateurError for what is invalid with any data.

        >>> made = Condensing.of(10, "dm:steps=2000")
        >>> made.method, made.options["steps"], made.options["init"]
        ('dm', 2000, None)
        """
        if isinstance(per_class, bool) or per_class < 1:
            raise SecateurError(
                f"per_class: expected at least 1 condensed row per class, got {per_class}; leave it out to "
                f"condense nothing"
            )
        knobs = specs.parse(NAME, spec, dict.fromkeys(CONDENSERS, Knobs))
        method = spec.partition(":")[0]
        _check_knobs(method, knobs)
        return cls(per_class, method, knobs)

    @property
    def options(self) -> dict[str, Any]:
        """For `condense`: what the rows depend on."""
        knobs = self.knobs
        schedule = None if knobs.matches is None or knobs.epochs is None else (knobs.matches, knobs.epochs)
        return {
            "per_class": self.per_class, "method": self.method, "steps": knobs.steps, "init": knobs.init or None,
            "net": knobs.net or None, "augment": knobs.augment or None, "rate": knobs.rate, "batch": knobs.batch,
            "schedule": schedule, "tiles": knobs.tiles,
            "classify": knobs.classify, "compiled": knobs.compile == 1,
        }  # fmt: skip

    def check(self, source: Source) -> None:
        """Raise SecateurError, before mining, if rows like the labelled ones cannot be condensed this way."""
        train = source.train
        firsts = [train.usable[train.labels[train.usable] == c][0] for c in range(len(source.classes))]
        rows = torch.stack([_row(source, int(i)) for i in firsts])
        real = Real.of(rows, torch.arange(len(rows)), names=source.classes)
        ground = Ground.of(
            real, generator(0, "rehearsal"), net=self.knobs.net or None, augment=self.knobs.augment or "off"
        )
        begin(self._condenser, ground, per_class=self.per_class, init="noise", rate=self.knobs.rate)

    def check_mined(self, mined: Mined, source: Source) -> None:
        """Raise SecateurError if too few rows of a class were mined to condense. source: the labelled rows."""
        names = source.classes
        counts = np.bincount(mined.labels, minlength=len(names))
        few = int(counts.argmin())
        ways = "mine more of it (a higher --top, a lower --at-least, a larger pool)"
        if not counts[few]:
            raise SecateurError(
                f"per_class: no rows of class {names[few]!r} were mined, so it cannot be condensed; {ways}"
            )
        needed = self._taken(tuple(_row(source, int(source.train.usable[0])).shape)) * self.per_class
        if counts[few] < needed:
            raise SecateurError(
                f"per_class: {self.per_class} condensed rows need {needed} mined ones to start from, and class "
                f"{names[few]!r} has {counts[few]}; use a smaller number, start from noise "
                f"({NAME}={self.method}:init=noise), or {ways}"
            )

    def _taken(self, shape: tuple[int, ...]) -> int:
        """How many mined rows a synthetic row of that shape starts from."""
        start = self.knobs.init or self._condenser.init
        if start == "mosaic":
            return side_of(self._condenser, shape, uncut=SIDE) ** 2
        return 0 if start == "noise" else 1

    @property
    def _condenser(self) -> Any:
        given = {name: getattr(self.knobs, name) for name in ("batch", "matches", "epochs", "tiles", "classify")}
        return CONDENSERS[self.method](**{name: value for name, value in given.items() if value is not None})


def _row(source: Source, i: int) -> torch.Tensor:
    """Row i, channels first."""
    row = torch.from_numpy(source.train.decoded(i))
    return row.permute(2, 0, 1) if row.ndim == 3 else row


def _check_knobs(method: str, knobs: Knobs) -> None:
    """Raise SecateurError for knobs that the method does not have, and for values that are never valid."""
    own = {"net", "every", "compile", *(f.name for f in dataclasses.fields(CONDENSERS[method]))}  # type: ignore[arg-type]
    for f in dataclasses.fields(knobs):
        value = getattr(knobs, f.name)
        if value != f.default and f.name not in own:
            raise unknown(
                f"{NAME} {method}: knob", f.name, [n.name for n in dataclasses.fields(knobs) if n.name in own]
            )
    for name, least in (("steps", 0), ("batch", 1), ("every", 1), ("matches", 1), ("epochs", 0)):
        value = getattr(knobs, name)
        if value is not None and (not isinstance(value, int) or value < least):
            raise SecateurError(f"{NAME} {method}: {name}: expected a whole number of at least {least}, got {value}")
    if knobs.compile not in (0, 1):
        raise SecateurError(f"{NAME} {method}: compile: expected 0 or 1, got {knobs.compile}")
    if (knobs.matches is None) != (knobs.epochs is None):
        raise SecateurError(f"{NAME} {method}: matches and epochs go together; give both or neither")
    if knobs.init not in ("", *STARTS):
        raise unknown(f"{NAME} {method}: init", knobs.init, list(STARTS))


def condense_mined(work: Session, pool: Source, mined: Mined, how: Condensing, *, seed: int) -> None:
    """Learn condensed rows from the mined ones alone, with the classes they were given; write OUT/joint.

    OUT/condensed is a folder as `condense` makes it, from which a stopped run resumes. If the settings differ from
    before, or other rows were mined, both are made anew. Raises SecateurError if too few rows were mined.
    """
    how.check_mined(mined, work.source)
    rows = mined_rows(work.source, pool, mined.ids, mined.labels)
    asked = how.options | {"seed": seed, "rows": rows.fingerprint}
    out, joint = work.out, work.out / "joint"
    if out.stages.get("joint", {}).get("asked", asked) != asked:
        drop(out)
    if out.begin("joint", asked) and joint.exists():
        return
    started = time.perf_counter()
    options = how.options | {"every": how.knobs.every, "evaluate": False, "seed": seed, "device": str(work.device)}
    held = condense(rows, **options, out=out / "condensed", quiet=work.progress.quiet).expanded()
    write_joint(held.display(), held.labels.tolist(), work.source, joint)
    out.end("joint", seconds=time.perf_counter() - started, condensed=len(held.labels))
    count = len(work.source.train.usable)
    work.progress.say(f"{len(held.labels)} condensed rows and {count} labelled ones written to {joint}")


def drop(out: Out) -> None:
    """Delete rows that were condensed from other mined rows."""
    remove(out / "joint")
    remove(out / "condensed")
    out.forget("joint")
