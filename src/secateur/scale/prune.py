"""`scale prune`: from embedding shards to the ids worth training on."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import numpy as np

import secateur
from secateur.errors import SecateurError, StoreError, WrongData
from secateur.progress import Progress
from secateur.scale import choose, kept
from secateur.scale.claim import HOW, Claim, How, held
from secateur.scale.engines import Engine, Local
from secateur.scale.filters import Filter
from secateur.scale.quotas import Choice, Quotas, count_of, quotas
from secateur.scale.run import Clustered, Clustering, Dedup, Remaining, Run
from secateur.scale.shards import Columns, survey
from secateur.scale.stage import Stage, numbered
from secateur.scale.storage import Folders, Place, expand
from secateur.scale.tell import Pruned, note, tell_clusters, told
from secateur.scale.verify import agreed, alone, lasting

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
    claiming: How = HOW,
) -> Pruned:
    """Prune embeddings: cluster, filter, leave out near-duplicates, and keep of each cluster what it is given.

    shards: parquet files, folders or globs, local or by URL; out: a folder, likewise. keep: a fraction of all rows, a
    count, or None for all that filter and dedup leave. write: what else is written of what is kept: `shards`, with all
    of their columns, `uids` (for DataComp), `keys` (for webdataset). engine: local or ray; what comes out is the same
    to the byte. A stopped run goes on. claiming: see `secateur.scale.claim.How`.

    Raises DataError for shards that do not fit together or hold bad rows, WrongData for an OUT of something else.
    """
    run = begin(shards, out, columns, clustering, filter, engine=find_engine(engine, workers), quiet=quiet)
    clustering.counts(run.found.rows)
    check(run, keep, write)
    with claimed(run, claiming, force=force) as claim:
        return _pruned(replace(run, own=claim.check), claim, keep, clustering, filter, dedup, choice, write)


def _pruned(
    run: Run,
    claim: Claim,
    keep: int | float | None,
    clustering: Clustering,
    filter: Filter | None,
    dedup: Dedup | None,
    choice: Choice,
    write: Sequence[str],
) -> Pruned:
    """All stages, and what is told of them."""
    started = time.perf_counter()
    laid = run.clustered(clustering)
    rest = run.remaining(laid, filter, dedup, seed=clustering.seed)
    count = rest.rows if keep is None else count_of(keep, run.found.rows, rest.rows, rest.alike)
    asked = {
        "columns": [run.columns.id, run.columns.embedding], "clustering": asdict(clustering),
        "filter": filter and filter.asked(), "dedup": dedup and asdict(dedup), "choice": choice.asked(), "keep": keep,
    }  # fmt: skip
    return finish(run, claim, laid, rest, count, choice, write, asked, seed=clustering.seed, started=started)


def finish(
    run: Run,
    claim: Claim,
    laid: Clustered,
    rest: Remaining,
    count: int,
    choice: Choice,
    write: Sequence[str],
    asked: dict[str, Any],
    *,
    seed: int,
    started: float,
) -> Pruned:
    """Keep `count` rows of what is left, in all forms that are wanted, and tell of it. started: by perf_counter."""
    wanted = quotas(run, laid, rest, choice, count)
    stage = Stage("select", {"prefer": choice.preferred, "seed": seed}, run.out, wanted.stage)
    run = replace(run, result=claim.folder(stage.digest))
    selected = replace(stage, root=run.files)
    groups = select(run, claim, selected, laid, rest, wanted, choice, seed=seed)
    for name in write:
        written(run, laid, selected, name, count)
    result = told(run, laid, rest, wanted)
    tell_clusters(run, laid, rest, wanted)
    note(run, selected, groups, time.perf_counter() - started)
    claim.publish({"asked": asked, "result": result.as_json()}, run.files)
    return result


def begin(
    shards: str | Sequence[str],
    out: str,
    columns: Columns | None,
    clustering: Clustering,
    filter: Filter | None,
    *,
    engine: Engine,
    quiet: bool,
) -> Run:
    """Look at the shards; nothing is written yet."""
    columns, progress = columns or Columns(), Progress(quiet=quiet)
    read = columns if filter is None else replace(columns, scores=(*columns.scores, filter.column))
    found = survey(expand(shards), read, unit_rows=clustering.unit_rows)
    if found.empty:
        progress.say(f"{len(found.empty)} of {len(found.shards)} shards are empty: {found.empty[0].url}")
    return Run(Place(str(out)), found, columns, engine, progress)


def check(run: Run, keep: int | float | None, write: Sequence[str]) -> None:
    """What is impossible stops before anything is written."""
    for name in write:
        if name not in ("shards", *kept.LISTS):
            raise SecateurError(f"write: expected shards, {' or '.join(kept.LISTS)}, got {name!r}")
    if "uids" in write and run.found.kind == "int64":
        raise SecateurError(
            "uids: expected ids of 32 hexadecimal digits, got whole numbers; take kept_ids.parquet or keys"
        )
    if keep is not None:
        count_of(keep, run.found.rows)


@contextmanager
def claimed(run: Run, how: How = HOW, *, force: bool) -> Iterator[Claim]:
    """Claim OUT for these shards, and keep a second command out of it.

    Raises WrongData where OUT is of something else, or of other shards unless `force`, which deletes what was made.
    """

    def judge(before: Mapping[str, Any], there: Sequence[str]) -> None:
        if there and "shards" not in before:
            raise WrongData(f"out: {run.out.url} contains other files ({there[0]}); choose another --out")
        if before and before["fingerprint"] != run.found.fingerprint and not force:
            raise WrongData(
                f"out: {run.out.url} was made from other shards (fingerprint {before['fingerprint']}, not "
                f"{run.found.fingerprint}); choose another --out, or pass --force to start over"
            )

    with held(run.out, OURS, judge, how, say=run.progress.say) as claim:
        if force or "shards" not in claim.about:
            names = [shard.url for shard in run.found.shards]
            about = {"fingerprint": run.found.fingerprint, "rows": run.found.rows, "dims": run.found.dims}
            claim.begin({"version": secateur.__version__, **about, "shards": names})
        yield claim


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
    "groups.json",
)
"""Everything that is written into OUT."""


def select(
    run: Run,
    claim: Claim,
    stage: Stage,
    laid: Clustered,
    rest: Remaining,
    wanted: Quotas,
    how: Choice,
    *,
    seed: int,
) -> list[dict[str, Any]]:
    """Write manifest.parquet and kept_ids.parquet, a part a bucket, in place of those of another selection.

    Returns the largest groups of duplicates: size, ids and row numbers, the kept one first.
    """
    if run.files.local is not None:  # elsewhere each selection has a folder of its own
        _make_room(run, claim, stage)
    starts = stage.folder / "starts.npy"
    if not starts.exists():
        starts.write_array(np.array([*(unit.start for unit in run.found.units), run.found.rows]))
    ends = [left.bucket.end for left in rest.left]
    parts = numbered(np.split(wanted.kept, ends[:-1]))
    tasks = {
        name: choose.Choosing(left, quota, how.preferred, seed, starts, run.files, name)
        for (name, quota), left in zip(parts.items(), rest.left, strict=True)
    }
    quotas = {name: (left.bucket.first, parts[name]) for name, left in zip(parts, rest.left, strict=True)}
    summaries = lasting(run, stage, "selecting", choose.choose, tasks, quotas)
    names = [f"part-{name}.parquet" for name in parts]
    alone(run.files / "kept_ids.parquet", names)
    if bad := sum(s["bad"] for s in laid.summaries):
        task = kept.BadRows(laid.units, run.files / "manifest.parquet" / "part-bad.parquet")
        lasting(run, Stage("bad", {}, stage.folder, stage), "listing bad rows", kept.tell_bad, numbered([task]))
        names.append("part-bad.parquet")
    alone(run.files / "manifest.parquet", names)
    agreed(run.found.rows, int(wanted.kept.sum()), summaries, bad)
    groups = sorted((g for s in summaries for g in s["groups"]), key=lambda group: -group["size"])
    return groups[:10]


def _make_room(run: Run, claim: Claim, stage: Stage) -> None:
    """Delete another selection, and remove it from run.json."""
    selected = run.out / "stages" / "selected.json"
    if selected.exists() and selected.read_json(str) == stage.digest:
        return
    claim.unfinished()
    selected.remove()
    for name in OURS[2:]:
        (run.out / name).remove()
    stage.folder.remove()  # its markers, and those of its output forms: the files they stand for are gone
    selected.write_json(stage.digest)


def written(run: Run, laid: Clustered, selected: Stage, form: str, count: int) -> None:
    """Write the kept rows in one of the other forms."""
    stage = Stage(form, {}, selected.folder, selected)  # inside, so that it goes with the selection
    if form == "shards":
        chosen = Folders(selected.folder / "rows", len(laid.buckets))
        tasks: Mapping[str, Any] = {
            name: kept.Keeping(unit, number, chosen, run.files / "kept" / f"{name}.parquet")
            for number, (name, unit) in enumerate(numbered(run.found.units).items())
        }
        found = lasting(run, stage, "writing shards", kept.keep, tasks)
        alone(run.files / "kept", [name.removeprefix("kept/") for s in found for name in s["files"]])
    else:
        parts = tuple(run.files / "kept_ids.parquet" / f"part-{name}.parquet" for name in numbered(laid.buckets))
        target = run.files / ("kept_uids.npy" if form == "uids" else "kept_keys.txt")
        found = lasting(run, stage, f"writing {form}", kept.lists, numbered([kept.Listing(parts, form, target)]))
    if (rows := sum(s["rows"] for s in found)) != count:
        raise StoreError(f"{form}: has {rows} rows, expected the {count} that are kept; delete stages/ and run again")


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
