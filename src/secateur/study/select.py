"""From scores to the examples kept: a method's selector under the user's constraints."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from secateur.data.kept import write_kept
from secateur.data.source import Source
from secateur.errors import SecateurError
from secateur.methods import Method, Setting
from secateur.methods import method as find_method
from secateur.registry import get, resolve_keep
from secateur.select.limits import NO_LIMITS, Ids, Limits, Pick, constrained
from secateur.store.recording import Recording
from secateur.store.tables import Scores, Subset
from secateur.study.out import Out
from secateur.study.score import add_scores, setting_of, uses_of
from secateur.training.seeding import rng


@dataclass(frozen=True)
class Pool:
    """What is selected from: labels (examples,), -1 for rows that cannot be used; what was recorded, if anything."""

    labels: np.ndarray
    fingerprint: str | None
    recording: Recording | None = None

    @classmethod
    def of(cls, recording: Recording) -> "Pool":
        """The examples that a recording saw."""
        return cls(np.asarray(recording["labels"]), recording.fingerprint, recording)

    @cached_property
    def usable(self) -> Ids:
        """The ids that may be selected, sorted."""
        return np.flatnonzero(self.labels >= 0)

    def setting(self, keep: float) -> Setting:
        """What a method's knobs depend on."""
        if self.recording is None:
            return Setting(keep, 0, int(self.labels.max()) + 1)
        return setting_of(self.recording, keep)


def select_from(
    out: str | Path,
    *,
    method: str | Method = "dual",
    keep: int | float = 0.3,
    seed: int = 0,
    min_per_class: int = 0,
    must_keep: Any = None,
    exclude: Any = None,
) -> Subset:
    """Choose a subset from OUT's recording; writes subset.parquet and a copy under subsets/METHOD-KEEP-SEED/.

    Needs no data set. Methods that need the recall of each class (`drop`) need `secateur.prune`.
    """
    folder, chosen = Out(Path(out)), find_method(method)
    if chosen.recall:
        raise SecateurError(f"method: {chosen.name} needs a run on part of the data; use prune or compare for it")
    with folder.locked():
        recording = Recording.open(folder.path)
        limits = read_limits(min_per_class, must_keep, exclude, recording.examples)
        return select_in(folder, Pool.of(recording), chosen, keep, seed, limits)


def select_in(
    folder: Out,
    pool: Pool,
    method: Method,
    keep: int | float,
    seed: int,
    limits: Limits = NO_LIMITS,
    *,
    recall: np.ndarray | None = None,
) -> Subset:
    """`select_from` inside a session; recall (classes,): for the methods that ask for it."""
    started = time.perf_counter()
    if pool.recording is not None and method.score is not None:
        fraction = resolve_keep(keep, len(pool.usable)) / len(pool.usable)
        add_scores(folder, pool.recording, uses_of([method], pool.recording, [fraction]))
        _note(folder, "score", {"method": method.name}, started)
    started = time.perf_counter()
    subset = choose(folder, pool, method, keep, seed, limits, recall)
    subset.save(folder / "subsets" / f"{slug(method)}-{keep}-{seed}" / "subset.parquet")
    subset.save(folder / "subset.parquet")
    _note(folder, "select", subset.provenance, started)
    return subset


def write_kept_in(folder: Out, source: Source, subset: Subset) -> None:
    """Write the kept data set to kept/, and note how to load it."""
    started = time.perf_counter()
    load = write_kept(source, subset.ids, folder / "kept")
    _note(folder, "kept", {"rows": len(subset), "load": load}, started)


def _note(folder: Out, stage: str, asked: Mapping[str, Any], started: float) -> None:
    """A recording of somebody's own loop has no run.json to note it in."""
    if folder.run:
        folder.note(stage, asked, seconds=time.perf_counter() - started)


def slug(method: Method) -> str:
    """A method and its own knobs as a file name."""
    return "-".join([method.name, *(f"{k}={v}" for k, v in method.own.items())])


def choose(
    folder: Out,
    pool: Pool,
    method: Method,
    keep: int | float,
    seed: int,
    limits: Limits,
    recall: np.ndarray | None,
) -> Subset:
    """Score if needed, select, and say of every example why it is in or out."""
    labels, usable = pool.labels, pool.usable
    count = resolve_keep(keep, len(usable))
    setting = pool.setting(count / len(usable))
    scores = _scores(folder, pool, method, setting)
    reasons = np.where(labels >= 0, "not selected", "bad").astype(object)
    candidates = _candidates(method, setting, scores, usable, limits, reasons)
    pick = _picker(method, setting, scores, labels, recall, rng(seed, "select"))
    inside = pick if method.inside is None else _drawer(rng(seed, "inside"))
    ids = constrained(pick, inside, candidates, count, labels, limits, reasons)
    use = method.use(setting)
    provenance = {
        "method": method.name,
        "knobs": dict(method.own),
        "score": None if use is None else use.label,
        "selector": {"name": method.selector, **method.selector_knobs(setting)},
        "keep": keep,
        "kept": len(ids),
        "of": len(usable),
        "seed": seed,
        "min_per_class": limits.min_per_class,
        "must_keep": len(limits.must_keep),
        "exclude": len(limits.exclude),
        "fingerprint": pool.fingerprint,
    }
    values = np.full(len(labels), np.nan) if use is None else scores[use.label]
    return Subset.build(labels=labels, scores=values, ids=ids, reasons=reasons, provenance=provenance)


def _scores(folder: Out, pool: Pool, method: Method, setting: Setting) -> Scores:
    if pool.recording is None or method.score is None:
        return Scores(pool.labels, {}, {})
    return add_scores(folder, pool.recording, uses_of([method], pool.recording, [setting.keep]))


def _drawer(draw: np.random.Generator) -> Pick:
    """Chooses at random."""
    return lambda ids, count: np.sort(draw.permutation(ids)[:count])


def _candidates(
    method: Method, setting: Setting, scores: Scores, usable: Ids, limits: Limits, reasons: np.ndarray
) -> Ids:
    """The ids that may be kept; notes why the others may not."""
    out = np.zeros(len(reasons), dtype=bool)
    out[list(limits.exclude)] = True
    reasons[out] = "excluded"
    for use in method.also(setting):
        outlier = scores[use.label] == -1
        reasons[outlier & ~out] = "outlier"
        out |= outlier
    must = np.asarray(limits.must_keep, dtype=np.int64)
    if bad := sorted(set(must.tolist()) - set(usable.tolist())):
        raise SecateurError(f"must_keep: example {bad[0]} cannot be read or was not recorded, so it cannot be kept")
    out[must] = False
    return usable[~out[usable]]


def _picker(
    method: Method,
    setting: Setting,
    scores: Scores,
    labels: np.ndarray,
    recall: np.ndarray | None,
    draw: np.random.Generator,
) -> Pick:
    """The method's selector as a function of the ids to choose from and how many."""
    entry = get("selector", method.selector)
    use = method.use(setting)
    columns = {"labels": labels} if use is None else {"labels": labels, "scores": scores[use.label]}
    columns |= {name: scores[u.label] for name, u in method.companion_uses(setting).items()}
    knobs = method.selector_knobs(setting)
    if "rng" in entry.knobs:
        knobs["rng"] = draw

    def pick(ids: Ids, count: int) -> Ids:
        if count == 0:
            return ids[:0]
        given = {"n": len(ids), "recall": recall}
        inputs = [given[n] if n in given else columns[n][ids] for n in entry.needs]
        return ids[entry.fn(*inputs, keep=count, **knobs)]

    return pick


def read_limits(min_per_class: int, must_keep: Any, exclude: Any, examples: int) -> Limits:
    """Limits from counts and ids, or files of ids: text or CSV with an id first on each line, .npy, or .parquet."""
    must, out = _read_ids(must_keep, "must_keep", examples), _read_ids(exclude, "exclude", examples)
    return Limits(min_per_class, must, out)


def _read_ids(given: Any, argument: str, examples: int) -> tuple[int, ...]:
    if given is None:
        return ()
    values = _ids_in_file(Path(given), argument) if isinstance(given, (str, Path)) else np.asarray(given)
    if values.size == 0:
        return ()
    if values.dtype.kind not in "iu" or values.ndim != 1:
        raise SecateurError(f"{argument}: expected whole numbers, got {values.dtype} of shape {values.shape}")
    if values.min() < 0 or values.max() >= examples:
        wrong = values[(values < 0) | (values >= examples)][0]
        raise SecateurError(f"{argument}: expected ids from 0 to {examples - 1}, got {wrong}")
    return tuple(sorted({int(v) for v in values}))


def _ids_in_file(path: Path, argument: str) -> np.ndarray:
    if not path.is_file():
        raise SecateurError(f"{argument}: no file {path}")
    if path.suffix == ".npy":
        return np.load(path, allow_pickle=False)
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        return pq.read_table(path, columns=["id"])["id"].to_numpy()
    lines: Sequence[str] = [line.split(",")[0].strip() for line in path.read_text().splitlines()]
    if lines and not lines[0].isdecimal():
        lines = lines[1:]  # a header
    if odd := [line for line in lines if line and not line.isdecimal()]:
        raise SecateurError(f"{argument}: expected one id a line in {path}, got {odd[0]!r}")
    return np.array([int(line) for line in lines if line], dtype=np.int64)
