"""Scores from a recording, a block of examples at a time."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from secateur.errors import StoreError
from secateur.methods import Method, Setting, Use
from secateur.methods import method as find_method
from secateur.store.recording import Recording
from secateur.store.scoring import compute
from secateur.store.tables import Scores
from secateur.study.out import Out


def score(
    out: str | Path,
    *,
    method: str | Method | Sequence[str | Method] = "dual",
    keep: float = 0.3,
) -> Scores:
    """Score every example of OUT's recording by one method or several; adds columns to scores.parquet.

    keep: for methods whose published knobs depend on it. Needs no data set, only the recording.
    """
    folder = Out(Path(out))
    recording = Recording.open(folder.path)
    methods = [method] if isinstance(method, (str, Method)) else method
    with folder.locked():
        started = time.perf_counter()
        scores = add_scores(folder, recording, uses_of([find_method(m) for m in methods], recording, [keep]))
        if folder.run:
            folder.note("score", {"method": [str(m) for m in methods]}, seconds=time.perf_counter() - started)
    return scores


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
    """Compute the columns that scores.parquet does not have yet, and write it."""
    path = folder / "scores.parquet"
    if not recording.epochs:
        raise StoreError(f"{recording.path}: no epoch is recorded; record first")
    origin = {"fingerprint": recording.fingerprint, "recorded": recording.provenance, "epochs": recording.epochs}
    columns: dict[str, np.ndarray] = {}
    if path.exists():
        before = Scores.open(path)
        if before.provenance == origin:
            columns.update(before.columns)
    labels = np.asarray(recording["labels"])
    missing = [use for use in uses if use.label not in columns]
    for use in missing:
        columns[use.label] = compute(recording, use)
    scores = Scores(labels, dict(sorted(columns.items())), origin)
    if missing or not path.exists():
        scores.save(path)
    return scores
