"""From scores to the examples kept: a method's selector under the user's constraints."""

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from secateur.data.source import Source
from secateur.data.writers.kept import write_kept
from secateur.errors import SecateurError
from secateur.methods import Method, Setting, default_method
from secateur.methods import method as find_method
from secateur.ranges import NONE_OR_ROWS, SEED, in_ranges
from secateur.registry import get, resolve_keep
from secateur.select.limits import NO_LIMITS, Ids, Limits, Pick, constrained
from secateur.store.files import foreseen
from secateur.store.recording import Recording
from secateur.store.tables import Scores, Subset
from secateur.study.held import read_limits
from secateur.study.out import Out
from secateur.study.pick import NO_CHECK, Checked, Picker
from secateur.study.pool import Pool
from secateur.study.run import content_hash
from secateur.study.score import add_scores, uses_of
from secateur.training.ranks import once
from secateur.training.seeding import rng

_LONGEST = 120
"""Characters of a method's name on disk."""


@in_ranges
@foreseen("selecting")
def select_from(
    out: str | Path,
    *,
    method: str | Method | None = None,
    keep: int | float = 0.3,
    seed: Annotated[int, SEED] = 0,
    min_per_class: Annotated[int | None, NONE_OR_ROWS] = None,
    must_keep: Any = None,
    exclude: Any = None,
) -> Subset:
    """Choose a subset from OUT's recording; writes subset.parquet and a copy under subsets/METHOD-KEEP-SEED/.

    Needs no data set, so it writes no kept/: one that an earlier `prune` left stays as it is, as does a report. Methods
    that need more than what was recorded and probed, such as the recall of each class (`drop`), need `secateur.prune`,
    whose default is the default here. Under torch.distributed every rank calls it: rank 0 works, all get its subset.
    """
    folder = Out(Path(out))
    labelled = folder.run.get("data", {}).get("labelled", True)
    chosen = default_method(labelled=labelled) if method is None else find_method(method)
    if chosen.recall or "validation" in get("selector", chosen.selector).needs:
        raise SecateurError(f"method: {chosen.name} needs validation data; use prune or compare for it")

    def work() -> Subset:
        with folder.locked():
            recording = Recording.open(folder.path)
            limits = read_limits(min_per_class, must_keep, exclude, recording.examples)
            subset = select_in(folder, Pool.of(recording, labelled=labelled), chosen, keep, seed, limits)
            if folder.kept != subset.digest:
                folder.forget("train")  # a student of another subset
            return subset

    return once(work)


def select_in(
    folder: Out,
    pool: Pool,
    method: Method,
    keep: int | float,
    seed: int,
    limits: Limits = NO_LIMITS,
    *,
    checked: Checked = NO_CHECK,
) -> Subset:
    """`select_from` inside a session; checked: for the methods that ask for validation data."""
    started = time.perf_counter()
    if pool.recording is not None and method.score is not None:
        fraction = resolve_keep(keep, len(pool.usable)) / len(pool.usable)
        add_scores(folder, pool.recording, uses_of([method], pool.recording, [fraction]))
        _note(folder, "score", {"method": method.name}, started)
    started = time.perf_counter()
    subset = choose(folder, pool, method, keep, seed, limits, checked)
    subset.save(folder / "subsets" / f"{slug(method)}-{keep}-{seed}" / "subset.parquet")
    subset.save(folder / "subset.parquet")
    _note(folder, "select", subset.provenance, started)
    return subset


def write_kept_in(folder: Out, source: Source, subset: Subset) -> None:
    """Write the kept data set to kept/, and note how to load it."""
    started = time.perf_counter()
    load = write_kept(source, subset.ids, folder / "kept")
    _note(folder, "kept", {"rows": len(subset), "load": load, "subset": subset.digest}, started)


def _note(folder: Out, stage: str, asked: Mapping[str, Any], started: float) -> None:
    """A recording of somebody's own loop has no run.json to note it in."""
    if folder.run:
        folder.note(stage, asked, seconds=time.perf_counter() - started)


def slug(method: Method) -> str:
    """A method and its own knobs as a file name; one that could not be is cut short to a hash."""
    name = "-".join([method.name, *(f"{k}={v}" for k, v in method.own.items())])
    safe = re.sub(r"[^\w.=+-]", "_", name).lstrip(".")
    return name if safe == name and len(name) < _LONGEST else f"{safe[:_LONGEST]}-{content_hash(name.encode())}"


def choose(
    folder: Out,
    pool: Pool,
    method: Method,
    keep: int | float,
    seed: int,
    limits: Limits,
    checked: Checked = NO_CHECK,
) -> Subset:
    """Score if needed, select, and say of every example why it is in or out."""
    labels, usable = pool.labels, pool.usable
    count = resolve_keep(keep, len(usable))
    setting = pool.setting(count / len(usable))
    scores = _scores(folder, pool, method, setting)
    reasons = np.where(labels >= 0, "not selected", "bad").astype(object)
    candidates = _candidates(method, setting, scores, usable, limits, reasons)
    fair = pool.labelled and (method.by_class or method.selector == "random")
    limits = limits.settled(labels, candidates, count, fair=fair)
    picker = Picker(pool, method, setting, scores, checked, rng(seed, "select"))
    inside = picker.pick if method.inside is None else _drawer(rng(seed, "inside"))
    ids = constrained(picker.pick, inside, candidates, count, labels, limits, reasons)
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
    return Subset.build(
        labels=labels if pool.labelled else np.full_like(labels, -1),
        scores=values,
        ids=ids,
        reasons=reasons,
        provenance=provenance,
        weights=picker.weights(ids),
    )


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
