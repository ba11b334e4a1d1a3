"""Scores from a recording, a block of examples at a time."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from secateur.errors import StoreError
from secateur.fields import FIELDS
from secateur.methods import Method, Setting, Use
from secateur.methods import method as find_method
from secateur.store.files import foreseen
from secateur.store.recording import Recording
from secateur.store.scoring import compute
from secateur.store.tables import Scores
from secateur.study.out import Out
from secateur.training.ranks import once


@foreseen("scoring")
def score(
    out: str | Path,
    *,
    method: str | Method | Sequence[str | Method] = "dual",
    keep: float = 0.3,
) -> Scores:
    """Score every example of OUT's recording by one method or several; adds columns to scores.parquet.

    keep: for methods whose published knobs depend on it. Needs no data set, only the recording. Under
    torch.distributed every rank calls it: rank 0 works, all get its scores.
    """
    folder = Out(Path(out))
    recording = Recording.open(folder.path)
    methods = [method] if isinstance(method, (str, Method)) else method

    def work() -> Scores:
        with folder.locked():
            started = time.perf_counter()
            scores = add_scores(folder, recording, uses_of([find_method(m) for m in methods], recording, [keep]))
            if folder.run:
                folder.note("score", {"method": [str(m) for m in methods]}, seconds=time.perf_counter() - started)
        return scores

    return once(work)


def setting_of(recording: Recording, keep: float) -> Setting:
    """What a method's knobs depend on, for this recording."""
    return Setting(keep, recording.epochs, recording.classes or 0)


def uses_of(methods: Sequence[Method], recording: Recording, keeps: Sequence[float]) -> list[Use]:
    """Every score that the methods use at those fractions, each once."""
    uses: dict[str, Use] = {}
    for method in methods:
        for keep in keeps:
            setting = setting_of(recording, keep)
            for use in (method.use(setting), *method.companion_uses(setting).values(), *method.also(setting)):
                if use is not None:
                    uses[use.label] = use
    return list(uses.values())


def add_scores(folder: Out, recording: Recording, uses: Sequence[Use]) -> Scores:
    """Compute the columns that scores.parquet does not have yet, or has from other probes, and write it."""
    path = folder / "scores.parquet"
    origin = {"fingerprint": recording.fingerprint, "recorded": recording.provenance, "epochs": recording.epochs}
    columns: dict[str, np.ndarray] = {}
    probed: dict[str, Any] = {}
    if path.exists():
        before = Scores.open(path)
        if {k: before.provenance.get(k) for k in origin} == origin:
            columns, probed = dict(before.columns), dict(before.provenance.get("probed", {}))
    labels = np.asarray(recording["labels"])
    wanted = {use.label: _probes_of(use, recording) for use in uses}
    missing = [use for use in uses if use.label not in columns or probed.get(use.label, {}) != wanted[use.label]]
    for use in missing:
        columns[use.label] = compute(recording, use)
        if wanted[use.label]:
            probed[use.label] = wanted[use.label]
    provenance = origin | ({"probed": probed} if probed else {})
    scores = Scores(labels, dict(sorted(columns.items())), provenance)
    if missing or not path.exists():
        scores.save(path)
    return scores


def _probes_of(use: Use, recording: Recording) -> dict[str, Any]:
    """How the probed fields that a score reads were filled, by field."""
    fields = [FIELDS[n] for n in use.entry.needs]
    if not recording.epochs and any("epochs" in f.axes for f in fields):
        raise StoreError(f"{recording.path}: no epoch is recorded, and {use.score} reads them; record first")
    return {n: recording.probed.asked(n) for n in use.entry.needs if n in recording.probed.fields}
