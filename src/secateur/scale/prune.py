"""`scale prune`: from embedding shards to the ids worth training on."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

import secateur
from secateur.errors import SecateurError, WrongData
from secateur.progress import Progress
from secateur.scale import choose, kept
from secateur.scale.engines import Engine, Local
from secateur.scale.filters import Filter
from secateur.scale.quotas import Choice, Quotas, count_of, quotas
from secateur.scale.run import Clustered, Clustering, Dedup, Remaining, Run
from secateur.scale.shards import Columns, survey
from secateur.scale.stage import Stage, Summary, numbered
from secateur.scale.storage import Folders, Place, expand
from secateur.scale.tell import Pruned, note, tell_clusters, told

DEDUP = Dedup()
CHOICE = Choice()
CLUSTERING = Clustering()


def prune(
    shards: str | Sequence[str],
    *,
    keep: int | float | None,
    out: str = "secateur-scale",
    clustering: Clustering = CLUSTERING,
    filter: Filter | None = None,
    dedup: Dedup | None = DEDUP,
    choice: Choice = CHOICE,
    columns: Columns | None = None,
    write: Sequence[str] = (),
    engine: str | Engine = "local",
    workers: int | None = None,
    force: bool = False,
    quiet: bool = False,
) -> Pruned:
    """Prune embeddings: cluster, filter, leave out near-duplicates, and keep of each cluster what it is given.

    shards: parquet files, folders or globs, local or by URL; out: a folder, likewise. keep: a fraction of all rows, a
    count, or None for all that filter and dedup leave. write: what else is written of what is kept: `shards`, with all
    of their columns, `uids` (for DataComp), `keys` (for webdataset). engine: local or ray; what comes out is the same
    to the byte. A stopped run goes on.

    Raises DataError for shards that do not fit together or hold bad rows, WrongData for an OUT of something else.
    """
    _check_forms(write)
    asked: dict[str, Any] = {"columns": columns, "clustering": clustering, "filter": filter}
    run = begin(shards, out, **asked, engine=engine, workers=workers, force=force, quiet=quiet)
    if "uids" in write and run.found.kind == "int64":
        raise SecateurError(
            "uids: expected ids of 32 hexadecimal digits, got whole numbers; take kept_ids.parquet or keys"
        )
    if keep is not None:
        count_of(keep, run.found.rows)  # what is impossible stops here
    started = time.perf_counter()
    laid = run.clustered(clustering)
    rest = run.remaining(laid, filter, dedup, seed=clustering.seed)
    count = rest.rows if keep is None else count_of(keep, run.found.rows, rest.rows, rest.alike)
    wanted = quotas(run, laid, rest, choice, count)
    selected, groups = select(run, laid, rest, wanted, choice, seed=clustering.seed)
    for name in write:
        written(run, laid, selected, name)
    result = told(run, laid, rest, wanted)
    asked = {
        "clustering": asdict(clustering), "filter": filter and filter.asked(), "dedup": dedup and asdict(dedup),
        "choice": choice.asked(), "keep": keep,
    }  # fmt: skip
    tell_clusters(run, laid, rest, wanted)
    note(run, asked, result, groups, time.perf_counter() - started)
    return result


def _check_forms(write: Sequence[str]) -> None:
    for name in write:
        if name not in ("shards", *kept.LISTS):
            raise SecateurError(f"write: expected shards, {' or '.join(kept.LISTS)}, got {name!r}")


def begin(
    shards: str | Sequence[str],
    out: str,
    *,
    columns: Columns | None,
    clustering: Clustering,
    filter: Filter | None,
    engine: str | Engine,
    workers: int | None,
    force: bool,
    quiet: bool,
) -> Run:
    """Look at the shards and make OUT theirs. Raises WrongData where OUT is of other shards, or of something else."""
    columns, place = columns or Columns(), Place(str(out))
    read = columns if filter is None else replace(columns, scores=(*columns.scores, filter.column))
    found = survey(expand(shards), read, unit_rows=clustering.unit_rows)
    there = place.names()
    if force and "run.json" in there:
        for name in OURS:
            (place / name).remove()
    elif "run.json" in there:
        before = (place / "run.json").read_json().get("fingerprint")
        if before != found.fingerprint:
            raise WrongData(
                f"out: {out} was made from other shards (fingerprint {before}, not {found.fingerprint}); name another "
                f"--out, or --force to start over"
            )
    elif [name for name in there if not name.startswith(".")]:
        raise WrongData(f"out: {out} holds something else ({there[0]}); name another --out")
    if not (place / "run.json").exists():
        names = [shard.url for shard in found.shards]
        about = {"fingerprint": found.fingerprint, "rows": found.rows, "dims": found.dims, "shards": names}
        (place / "run.json").write_json({"version": secateur.__version__, **about})
    progress = Progress(quiet=quiet)
    if found.empty:
        progress.say(f"{len(found.empty)} of {len(found.shards)} shards are empty: {found.empty[0].url}")
    return Run(place, found, columns, find_engine(engine, workers), progress)


OURS = (
    "run.json",
    "stages",
    "manifest.parquet",
    "kept_ids.parquet",
    "clusters.parquet",
    "kept",
    "kept_uids.npy",
    "kept_keys.txt",
    "bill.json",
    "report.html",
)
"""Everything that is written into OUT."""


def select(
    run: Run, laid: Clustered, rest: Remaining, wanted: Quotas, how: Choice, *, seed: int
) -> tuple[Stage, list[list[str]]]:
    """Write manifest.parquet and kept_ids.parquet, a part a bucket, in place of those of another selection.

    Gives the stage, and the largest groups of duplicates: size, the id that stays, some others.
    """
    stage = Stage("select", {"prefer": how.preferred, "seed": seed}, run.out, wanted.stage)
    selected = run.out / "stages" / "selected.json"
    if not selected.exists() or selected.read_json() != stage.digest:
        selected.remove()
        for name in OURS[2:]:
            (run.out / name).remove()
        for done in (stage, *(Stage(name, {}, run.out, stage) for name in ("bad", "shards", *kept.LISTS))):
            done.folder.remove()  # what stood there has gone with the outputs of the selection after it
        selected.write_json(stage.digest)
    starts = stage.folder / "starts.npy"
    if not starts.exists():
        starts.write_array(np.array([*(unit.start for unit in run.found.units), run.found.rows]))
    parts = np.split(wanted.kept, [left.bucket.end for left in rest.left][:-1])
    tasks = {
        name: choose.Choosing(left, quota, how.preferred, seed, starts, run.out, name)
        for (name, quota), left in zip(numbered(parts).items(), rest.left, strict=True)
    }
    summaries = run.stage(stage, "selecting", choose.choose, tasks)
    if sum(s["bad"] for s in laid.summaries):
        bad = kept.BadRows(laid.units, run.out / "manifest.parquet" / "part-bad.parquet")
        run.stage(Stage("bad", {}, stage.folder, stage), "listing bad rows", kept.tell_bad, numbered([bad]))
    groups = sorted((g for s in summaries for g in s["groups"]), key=lambda group: -int(group[0]))
    return stage, groups[:10]


def written(run: Run, laid: Clustered, selected: Stage, form: str) -> list[Summary]:
    """Write the kept rows in one of the other forms."""
    stage = Stage(form, {}, selected.folder, selected)  # inside, so that it goes with the selection
    if form == "shards":
        chosen = Folders(selected.folder / "rows", len(laid.buckets))
        tasks: Mapping[str, Any] = {
            name: kept.Keeping(unit, number, chosen, run.out / "kept" / f"{name}.parquet")
            for number, (name, unit) in enumerate(numbered(run.found.units).items())
        }
        return run.stage(stage, "writing shards", kept.keep, tasks)
    parts = tuple(run.out / "kept_ids.parquet" / f"part-{name}.parquet" for name in numbered(laid.buckets))
    target = run.out / ("kept_uids.npy" if form == "uids" else "kept_keys.txt")
    return run.stage(stage, f"writing {form}", kept.lists, numbered([kept.Listing(parts, form, target)]))


def find_engine(name: str | Engine, workers: int | None = None) -> Engine:
    """`local`, `ray`, or an engine of your own."""
    if name == "local":
        return Local(workers)
    if name == "ray":
        from secateur.scale.ray import Ray

        return Ray(workers)
    if isinstance(name, str):
        raise SecateurError(f"engine: expected local or ray, got {name!r}")
    return name
