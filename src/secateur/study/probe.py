"""Asking nets what a run does not log: each probe streams over the data by the block, and goes on where it stood."""

import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from secateur.data.decoding.rows import ImageRows
from secateur.data.embeddings import read_embeddings
from secateur.store.files import remove
from secateur.store.probed import BLOCK, Probed, ProbeWriter
from secateur.store.recording import Recording, RecordingWriter
from secateur.study.budget import full_steps
from secateur.study.probing import OWN, Knobs, Probing
from secateur.study.record import RecordingPlan
from secateur.study.run import content_hash
from secateur.study.session import Session
from secateur.training.embedders import embedder
from secateur.training.loop import train as run_loop
from secateur.training.nets import Normalised, load_net
from secateur.training.probes.gradients import unknown_layers
from secateur.training.probes.table import PROBES, PerBatch, Probe
from secateur.training.sampling import Shuffled
from secateur.training.seeding import rng

BATCH = 500
Values = Callable[[np.ndarray], Mapping[str, np.ndarray]]
"""Fields of the examples of some ids."""


def probe_in(work: Session, plan: RecordingPlan, probing: Probing) -> Recording:
    """Run the probes that have not run yet; the recording with what they filled in."""
    for name, knobs in probing.wanted.items():
        if name == "features" and probing.features != OWN:
            _embed(work, probing.features)
        else:
            _look(work, plan, PROBES[name], name, knobs)
    return Recording.open(work.out / "recording.zarr")


def _labels_of(work: Session) -> None:
    """Where nothing is recorded, the labels alone, which probes stand beside."""
    store, train = work.out / "recording.zarr", work.source.train
    if not store.exists():
        usable = np.full(len(train), -1, dtype=np.int64)
        usable[train.usable] = train.labels[train.usable]
        RecordingWriter.unrecorded(store, usable, len(train.classes), train.fingerprint)


def _embed(work: Session, spec: str) -> None:
    """Fill `features` from a file, or by a net that is none of ours."""
    if spec.partition(":")[0].endswith((".npy", ".parquet")):
        given = read_embeddings(spec, examples=len(work.source.train))
        _tell_order(work, spec)
        task = _Task(work, "features", {"features": spec, "digest": given.digest}, f"reading {spec}")
        task.fill(0, lambda ids: {"features": given.rows(ids)})
    else:
        asked, before = {"features": spec}, Probed(work.out / "probes.zarr")
        done = "features" in before.fields and before.asked("features") == asked
        net = None if done else embedder(spec, shape=work.train.shape, device=work.device, named=work.named)
        task = _Task(work, "features", asked, f"features by {spec}")
        if net is not None:
            task.fill(0, _by_batches(work, lambda rows, labels: {"features": net(rows)}, ("features",)))
    task.end()


def _tell_order(work: Session, spec: str) -> None:
    """Which file is which row: a folder is read by the names of its files as text, img10 before img2."""
    rows = work.source.train.rows
    if work.source.form == "folder" and isinstance(rows, ImageRows):
        names = [rows.file(i) for i in (*range(min(3, len(rows))), len(rows) - 1)]
        listed = ", ".join(f"row {i} is {name}" for i, name in enumerate(names[:-1]))
        work.progress.say(f"{spec}: {listed}, the last is {names[-1]}")


def _look(work: Session, plan: RecordingPlan, probe: Probe, name: str, knobs: Knobs) -> None:
    """Fill the fields of one probe: from the recorded net, from nets trained for it, or from none."""
    asked = {"seed": plan.seed, **knobs}
    if probe.nets == "proxy":
        asked["model"] = content_hash((work.out / "model.safetensors").read_bytes())
    elif probe.nets == "fresh":
        asked |= {"net": plan.net, "recipe": plan.as_json()["recipe"]}
    runs = int(knobs.get("runs", 1))
    task = _Task(work, name, asked, f"probing {name} ({probe.passes(knobs)})", runs)
    own = {k: knobs[k] for k in probe.knobs}
    for run in range(task.run, runs):
        looked_at = _net(work, plan, probe, name, knobs, run)
        if name == "gradients" and looked_at.net is not None:
            _tell_slow(work, looked_at.net)
        each = probe.start(looked_at.net, work.train, seed=plan.seed, **own)
        task.fill(run, looked_at.about(_by_batches(work, each, probe.fills)))
    task.end()


def _tell_slow(work: Session, net: Normalised) -> None:
    """What of the net makes gradient norms take every example alone."""
    if slow := unknown_layers(net, work.train.sample(work.source.train.usable[:2])):
        work.progress.say(f"gradients: {', '.join(slow)} have no short form, so every example has a pass of its own")


class _LookedAt(NamedTuple):
    """A net, and which examples it was trained on, where that is a field."""

    net: Normalised | None
    included: np.ndarray | None = None

    def about(self, values: Values) -> Values:
        """What a probe says of some examples, and whether this net was trained on them."""
        included = self.included
        if included is None:
            return values
        return lambda ids: {"included": included[ids], **values(ids)}


def _net(work: Session, plan: RecordingPlan, probe: Probe, name: str, knobs: Knobs, run: int) -> _LookedAt:
    if probe.nets == "none":
        return _LookedAt(None)
    if probe.nets == "proxy":
        return _LookedAt(load_net(work.out / "model.safetensors", device=work.device, named=work.named))
    ids, included = work.source.train.usable, None
    recipe = plan.recipe
    horizon: int | None = full_steps(recipe, len(ids))
    if "part" in knobs:  # a run of its own; else the first epochs of one as long as the recorded
        included = in_runs(len(work.source.train), int(knobs["runs"]), float(knobs["part"]), rng(plan.seed, name))[run]
        ids, horizon = ids[included[ids]], None
    recipe = dataclasses.replace(recipe, epochs=int(knobs["epochs"]))
    net = work.build_net(plan.net, seed=plan.seed + 1 + run, whiten=recipe.whiten)
    with work.progress.stage(f"probing {name}: training net {run + 1} of {knobs['runs']}") as advance:
        run_loop(
            net,
            work.train,
            recipe,
            steps=full_steps(recipe, len(ids)),
            horizon=horizon,
            sampler=Shuffled(ids, plan.seed + 1 + run),
            seed=plan.seed + 1 + run,
            save_to=_state(work, name, run),
            watch=work.watch(f"probe {name}", advance),
        )
    return _LookedAt(net.eval(), included)


def in_runs(examples: int, runs: int, part: float, draw: np.random.Generator) -> np.ndarray:
    """Which runs train on which examples (runs, examples): each example is in the same number of runs, never in all.

    >>> in_runs(5, 4, 0.7, np.random.default_rng(0)).sum(axis=0)
    array([3, 3, 3, 3, 3])
    """
    times = min(max(round(part * runs), 1), runs - 1)
    return draw.random((runs, examples)).argsort(axis=0) < times


def _state(work: Session, name: str, run: int) -> Any:
    return work.out / "state" / f"probe-{name}-{run}.safetensors"


def _by_batches(work: Session, each: PerBatch, fields: tuple[str, ...]) -> Values:
    """The probe on the examples of some ids, a batch at a time; labels are -1 where the data have none."""
    labels = work.train.labels if work.source.labelled else torch.full((len(work.train),), -1, device=work.device)

    def values(ids: np.ndarray) -> dict[str, np.ndarray]:
        plan = [torch.from_numpy(ids[k : k + BATCH]) for k in range(0, len(ids), BATCH)]
        parts: list[dict[str, Tensor]] = []
        for at, rows in zip(plan, work.train.batches(plan), strict=True):
            found = each(rows, labels[at.to(work.device)])
            parts.append({n: v.detach().cpu() for n, v in found.items() if n in fields})
        return {n: torch.cat([p[n] for p in parts]).numpy() for n in parts[0]}

    return values


class _Task:
    """One probe at work: what is done, what it cost."""

    def __init__(self, work: Session, name: str, asked: Mapping[str, Any], told: str, runs: int = 1) -> None:
        self.work, self.name, self.asked, self.told = work, name, dict(asked), told
        self.examples = len(work.source.train)
        _labels_of(work)
        self.writer = ProbeWriter(work.out / "probes.zarr", name, asked, examples=self.examples, runs=runs)
        self.started = time.perf_counter()

    @property
    def run(self) -> int:
        """The first run that is not filled to the end."""
        return self.writer.done // self.examples

    def fill(self, run: int, values: Values) -> None:
        """Fill what is missing of one run."""
        usable = self.work.source.train.usable
        with self.work.progress.stage(self.told) as advance:
            for rows in self._blocks(run):
                ids = usable[(usable >= rows.start) & (usable < rows.stop)]
                found = values(ids) if len(ids) else {}
                now = time.perf_counter()
                self.writer.write(run, rows, ids, found, now - self.started)
                self.started = now
                advance(self.writer.done, self.writer.runs * self.examples)

    def _blocks(self, run: int) -> Iterator[slice]:
        for start in range(self.writer.done - run * self.examples, self.examples, BLOCK):
            yield slice(start, min(start + BLOCK, self.examples))

    def end(self) -> None:
        """Note what it cost, and forget the nets that were trained for it."""
        usable = len(self.work.source.train.usable)
        self.work.out.note(
            f"probe {self.name}", self.asked, seconds=self.writer.seconds, examples=usable * self.writer.runs
        )
        for run in range(self.writer.runs):
            remove(_state(self.work, self.name, run))
