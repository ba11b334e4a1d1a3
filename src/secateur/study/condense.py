"""Condense a data set into a few synthetic rows per class: learn them, save checkpoints, evaluate the result."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch

from secateur.condensation import CONDENSERS, Condenser, Real, Synthetic
from secateur.condensation.distribution import IDM
from secateur.condensation.frame import Canvas, Ground, begin, finished, grow, side_of
from secateur.condensation.real import STARTS
from secateur.condensation.state import keep, restore
from secateur.data.decoding.images import encode
from secateur.data.writers.synthetic import contact_sheet, write_synthetic, write_test
from secateur.errors import NonFiniteError, SecateurError, StoreError, WrongData
from secateur.methods.condensers import CONDENSERS as ROWS
from secateur.ranges import AMOUNT, NONE_OR_SOME, SEED, SOME, THREADS, Range, in_ranges
from secateur.registry import unknown
from secateur.store.files import remove, replacing
from secateur.store.tables import Subset
from secateur.study import advice
from secateur.study.coresets import Recorded
from secateur.study.judging import Judging, judged
from secateur.study.session import Session, session
from secateur.training import seeding


@in_ranges
def condense(
    data: Any,
    *,
    per_class: Annotated[int, SOME],
    method: str = "dm",
    steps: Annotated[int | None, NONE_OR_SOME] = None,
    init: str | Path | np.ndarray | None = None,
    net: str | None = None,
    augment: str | None = None,
    rate: Annotated[float | None, Range(0, 1e30, above=True)] = None,
    batch: Annotated[int | None, SOME] = None,
    schedule: tuple[int, int] | None = None,
    tiles: Annotated[int | None, Range(1, 64, whole=True)] = None,
    classify: Annotated[float | None, AMOUNT] = None,
    compiled: bool = False,
    statistics: str = "data",
    every: Annotated[int | None, SOME] = None,
    sets: Annotated[int, Range(1, 1_000, whole=True)] = 1,
    nets: str | None = None,
    repeats: Annotated[int, Range(1, 1_000, whole=True)] = 3,
    eval_epochs: Annotated[int | None, NONE_OR_SOME] = None,
    eval_augment: str | None = None,
    recording: str | Path | None = None,
    soft: bool = False,
    evaluate: bool = True,
    seed: Annotated[int, SEED] = 0,
    out: str | Path = "secateur-out",
    device: str = "auto",
    threads: Annotated[int | None, THREADS] = None,
    force: bool = False,
    quiet: bool = False,
    **reading: Any,
) -> Synthetic:
    """Learn `per_class` synthetic rows per class that train a net as the data would, by a method of CONDENSERS.

    steps, init, augment, rate, batch (real rows per class and step), schedule, tiles, classify: the method's own
    by default; init may be the ids of any selector, or the OUT folder or parquet file of a subset of this data.
    compiled: by `torch.compile`, see `secateur.condensation.passes`. statistics: of the data, or by a name of
    `secateur.condensation.STATISTICS`. Every `every` steps, 100 or a tenth, a checkpoint is saved, from which the job
    resumes to the same bytes, along with the rows so far: OUT/synthetic/, a data set for `load_dataset`
    and `train` with the test split of the data (mosaics cut apart), OUT/synthetic.safetensors, the rows as learned,
    and OUT/contact.png, the images on one page. sets: learned independently (the papers: 5), others in OUT/sets/. Then,
    unless evaluate is False, nets (by default the one used to condense; several separated by ;) are trained on each
    set by the papers' protocol, `repeats` per set (the papers: 20), with the augmentation of the method or
    eval_augment (several separated by ;), and compared with coresets of the same size and augmentation:
    OUT/condense.json and OUT/report.html. recording: the OUT folder of `record` on the same data,
    whose net gives the features for herding and k-center, and whose scores give coresets forgetting and dual. soft:
    also train nets on soft labels of that net. Raises SecateurError for invalid settings, NonFiniteError if
    rows become infinite or NaN; the last good rows are kept. Run again, it reads the result; with more
    steps it continues, and with the steps a stopped run has done it evaluates the rows so far.
    """
    chosen = _chosen(method, augment, {"batch": batch, "tiles": tiles, "classify": classify}, schedule)
    total = chosen.steps if steps is None else steps
    every = min(100, max(total // 10, 1)) if every is None else every
    for name, value in (("every", every), ("sets", sets), ("repeats", repeats)):
        if value < 1:
            raise SecateurError(f"{name}: expected at least 1, got {value}")
    with session(data, out, device=device, threads=threads, force=force, quiet=quiet, reading=reading) as work:
        plan = _Plan(
            work, method, chosen, per_class, total, _started(init, work), net,
            chosen.augment if augment is None else augment, rate, schedule, compiled, statistics, every, seed,
        )  # fmt: skip
        judging = plan.judging(nets, eval_augment, eval_epochs, repeats, recording, soft) if evaluate else None
        if judging is not None and work.source.test is None:
            work.progress.say("no test split: the condensed set will not be evaluated; choose a split with --test")
        learned = [plan.learn(k) for k in range(sets)]
        if judging is not None:
            new = judged(work, plan.real, learned, judging, plan.asked(0) | {"steps": total, "sets": sets})
            if new or not (work.out / "report.html").exists():
                from secateur.report import write_report

                write_report(work.out.path, progress=work.progress.say)
        return learned[0]


def _chosen(
    method: str, augment: str | None, numbers: dict[str, float | None], schedule: tuple[int, int] | None
) -> Condenser:
    """The method with the given options. Raises SecateurError for an option it does not have."""
    if method not in CONDENSERS:
        raise unknown("method", method, list(CONDENSERS))
    if method == "dc" and augment not in (None, "off"):
        raise SecateurError("augment: dc does not augment; use method dsa, with the same transform on both sides")
    options: dict[str, Any] = {name: value for name, value in numbers.items() if value is not None}
    for name in options:
        if name not in ROWS[method].knobs:
            raise SecateurError(f"{name}: {method} has no such option; leave it out")
    if options.get("batch", 1) < 1:
        raise SecateurError(f"batch: expected at least 1, got {options['batch']}")
    if schedule is not None:
        if "schedule" not in ROWS[method].knobs:
            raise SecateurError(f"schedule: {method} has no schedule, only dc, dsa and cafe do; leave it out")
        options |= {"matches": schedule[0], "epochs": schedule[1]}
    return CONDENSERS[method](**options)


def _started(init: str | Path | np.ndarray | None, work: Session) -> str | np.ndarray | None:
    """The ids of a subset on disk; other values unchanged. Raises WrongData for a subset of other data."""
    if init is None or isinstance(init, np.ndarray):
        return init
    if str(init) in STARTS:
        return str(init)
    if not Path(init).exists():
        raise unknown("init", str(init), [*STARTS, "the OUT folder of a subset"])
    try:
        chosen = Subset.open(init)
    except StoreError as error:
        raise StoreError(f"init: {error}; `secateur prune DATA --out {init}` chooses a subset") from None
    chosen.check_data(work.source.fingerprint)
    return chosen.ids


@dataclass(frozen=True)
class _Plan:
    """One job of condensing."""

    work: Session
    method: str
    condenser: Condenser
    per_class: int
    steps: int
    init: str | np.ndarray | None
    net: str | None
    augment: str | None
    rate: float | None
    schedule: tuple[int, int] | None
    compiled: bool
    statistics: str
    every: int
    seed: int

    @cached_property
    def real(self) -> Real:
        """The usable rows of the train split, in memory."""
        work, usable = self.work, self.work.source.train.usable
        work.source.require_labels("condensing")
        rows = torch.cat(list(work.train.batches(torch.split(torch.from_numpy(usable), 1000))))
        labels = work.train.labels[torch.from_numpy(usable).to(work.device)]
        return Real.of(rows, labels, ids=usable, names=work.source.classes, statistics=self.statistics)

    def ground(self, k: int) -> Ground:
        """The data set k is learned on, with its own random stream."""
        stream = seeding.generator(self.seed, "condense", k)
        return Ground.of(self.real, stream, net=self.net, augment=self.augment, compiled=self.compiled)

    def asked(self, k: int) -> dict[str, Any]:
        """Everything that the rows of set k depend on, except the steps, which may be increased later."""
        init = self.init if isinstance(self.init, str | None) else [int(i) for i in np.sort(self.init)]
        return {
            "method": self.method, "per_class": self.per_class,
            "init": self.condenser.init if init is None else init, "net": self.ground(k).net,
            "augment": self.augment, "rate": self.rate or self.condenser.rate, "batch": vars(self.condenser)["batch"],
            "schedule": None if self.schedule is None else list(self.schedule), "statistics": self.statistics,
            "tiles": side_of(self.condenser, self.real.shape), "classify": vars(self.condenser).get("classify"),
            "compiled": self.compiled,
            "seed": self.seed, "set": k,
        }  # fmt: skip

    def judging(
        self,
        nets: str | None,
        augment: str | None,
        epochs: int | None,
        repeats: int,
        recording: str | Path | None,
        soft: bool,
    ) -> Judging:
        """How the sets will be evaluated; invalid settings are found before they are learned."""
        recorded = None
        if recording is not None:
            fingerprint = self.work.source.fingerprint
            recorded = Recorded.open(
                Path(recording), self.real, fingerprint=fingerprint, per_class=self.per_class,
                named=[name for name in (self.net, *(nets or "").split(";")) if name],
            )  # fmt: skip
        return Judging.make(
            self.real, nets=nets or self.ground(0).net, augment=augment or self.augment or "off", epochs=epochs,
            repeats=repeats, seed=self.seed, recorded=recorded, soft=soft, compiled=self.compiled,
        )  # fmt: skip

    def learn(self, k: int) -> Synthetic:
        """Set k: read if it exists, else learned from its last checkpoint."""
        out, name = self.work.out, "condense" if k == 0 else f"condense-{k}"
        path = out / "synthetic.safetensors" if k == 0 else out / "sets" / f"{k}.safetensors"
        ground, asked = self.ground(k), self.asked(k)
        canvas = begin(self.condenser, ground, per_class=self.per_class, init=self.init, rate=self.rate)
        if out.begin(name, asked) and Synthetic.about(path).get("step") == self.steps:
            return Synthetic.load(path)
        state = out / "state" / f"{name}.safetensors"
        if state.exists():
            restore(state, self.condenser, canvas, ground, asked)
            self._check_ahead(canvas.step)
            self.work.progress.say(f"resuming from step {canvas.step}")
        elif k == 0:
            for line in advice.before(self.condenser, self.steps, self.real, compiled=self.compiled):
                self.work.progress.say(line)
            write_test(self.work.source, out / "synthetic")
        for verdict in ("condense.json", "report.html"):  # of fewer steps
            remove(out / verdict)
        started, first = time.perf_counter(), canvas.step
        with self.work.progress.stage(f"condensing by {self.method}" + (f", set {k}" if k else "")) as advance:
            held = self._grow(canvas, ground, asked, state, path, advance)
        if isinstance(self.condenser, IDM) and (doubt := self.condenser.doubt(canvas)):
            self.work.progress.say(doubt)
        self._write(held, path, asked | {"step": canvas.step}, k)
        seconds = time.perf_counter() - started
        keep(state, canvas, ground, asked)
        out.end(name, seconds=seconds, steps_now=canvas.step - first, step=canvas.step)
        return held

    def _check_ahead(self, done: int) -> None:
        if done > self.steps:
            raise WrongData(
                f"steps: {self.work.out.path} is already at step {done}, beyond {self.steps}; use "
                f"--steps {done} to evaluate it as it is, more to continue, or --force to start over"
            )

    def _grow(
        self,
        canvas: Canvas,
        ground: Ground,
        asked: dict[str, Any],
        state: Path,
        path: Path,
        advance: Callable[[int, int], None],
    ) -> Synthetic:
        k, began = asked["set"], time.perf_counter()

        def watch(at: Canvas, loss: torch.Tensor) -> None:
            advance(at.step, self.steps)
            if at.step % self.every and at.step < self.steps:
                return
            if at.step < self.steps:
                self._write(finished(at, ground.real), path, asked | {"step": at.step}, k)
                keep(state, at, ground, asked)
            told = {"set": k, "step": at.step, "loss": float(loss), "seconds": time.perf_counter() - began}
            self.work.out.log("condensed", **told)

        try:
            return grow(self.condenser, canvas, ground, steps=self.steps, watch=watch)
        except NonFiniteError:
            self._write(finished(canvas, ground.real), path, asked | {"step": canvas.step}, k)
            raise

    def _write(self, held: Synthetic, path: Path, about: dict[str, Any], k: int) -> None:
        """The result so far; for set 0 also the data set and the pictures."""
        held.save(path, about)
        if k:
            return
        rows, shown = held.display(), held.expanded()
        write_synthetic(shown.display(), shown.labels.tolist(), self.work.source, self.work.out / "synthetic")
        if rows.ndim == 4:
            with replacing(self.work.out / "contact.png") as beside:
                beside.write_bytes(encode(contact_sheet(rows, self.per_class)))
