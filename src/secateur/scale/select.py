"""`scale select`: another choice from a finished run, without clustering, filtering or comparing again."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from secateur.errors import DataError, StoreError, WrongData
from secateur.progress import Progress
from secateur.scale.claim import HOW, How
from secateur.scale.claim import told as told_by
from secateur.scale.engines import Engine
from secateur.scale.filters import Filter
from secateur.scale.prune import check, claimed, find_engine, finish
from secateur.scale.quotas import Choice, count_of
from secateur.scale.run import Clustered, Clustering, Dedup, Remaining, Run
from secateur.scale.shards import Columns, survey
from secateur.scale.storage import Place
from secateur.scale.tell import Pruned
from secateur.store.schemas import checked as as_written
from secateur.store.schemas.scale import AnyRun


def select(
    run: str,
    *,
    out: str,
    keep: int | float | Literal["as before"] | None = "as before",
    choice: Choice | Mapping[str, Any] | None = None,
    write: Sequence[str] = (),
    engine: str | Engine = "local",
    workers: int | None = None,
    force: bool = False,
    quiet: bool = False,
    claiming: How = HOW,
) -> Pruned:
    """Choose anew from what filter and dedup left in `run`, the OUT of a finished `prune`: the bytes of a fresh one.

    keep, choice: as `prune` takes them, by default those of the run; a mapping changes some of its choice, or all where
    it has another `by`. Of `run` everything stays as it is; its `stages/` and its shards must be there.

    Raises WrongData for a run that is of something else, not finished, or of shards that have changed since.
    """
    started, base = time.perf_counter(), Place(str(run))
    about = _finished(base, Place(str(out)))
    asked = about["asked"]
    chosen = choice if isinstance(choice, Choice) else _changed(asked["choice"], choice or {})
    kept = asked["keep"] if keep == "as before" else keep
    done = _reopened(base, about, quiet=quiet)
    new = Run(Place(str(out)), done.found, done.columns, find_engine(engine, workers), done.progress)
    check(new, kept, write)
    laid, rest = _left(done, asked)
    count = rest.rows if kept is None else count_of(kept, new.found.rows, rest.rows, rest.alike)
    told = asked | {"choice": chosen.asked(), "keep": kept, "from": base.url}
    with claimed(new, claiming, force=force) as claim:
        return finish(
            replace(new, own=claim.check),
            claim,
            laid,
            rest,
            count,
            chosen,
            write,
            told,
            seed=asked["clustering"]["seed"],
            started=started,
        )


def _finished(base: Place, out: Place) -> dict[str, Any]:
    """What stands in the run.json of a finished run that `out` is not."""
    about = told_by(base)
    if "shards" not in about:
        what = "it is of another command" if about else "it has no run.json"
        raise WrongData(f"run: expected the OUT of a finished `secateur scale prune`, got {base.url}; {what}")
    if "result" not in about:
        raise WrongData(f"run: {base.url} is not finished; run its `secateur scale prune` again, which goes on")
    as_written(about, AnyRun, (base / "run.json").url)
    if "from" in about["asked"]:
        raise WrongData(f"run: {base.url} was chosen from {about['asked']['from']}; choose from that one")
    if _where(base) == _where(out):
        raise WrongData(
            f"out: expected a folder other than {base.url}, whose result would be lost; choose another --out, or "
            f"run `secateur scale prune` again to replace it"
        )
    return dict(about)


def _where(place: Place) -> str:
    """The same for all names of a folder."""
    return place.url.rstrip("/") if place.local is None else os.path.realpath(place.local)


def _changed(before: Mapping[str, Any], changes: Mapping[str, Any]) -> Choice:
    """The choice of a run with some changes; with another `by` nothing of it stays.

    >>> before = {"by": "prototypes", "prefer": "easy", "floor": 0.2}
    >>> _changed(before, {"floor": 0.4}).asked() == before | {"floor": 0.4}
    True
    >>> _changed(before, {"by": "density"}) == Choice("density")
    True
    """
    same = changes.get("by", before["by"]) == before["by"]
    return Choice(**({**before, **changes} if same else changes))


def _reopened(base: Place, about: dict[str, Any], *, quiet: bool) -> Run:
    """The run over its shards, which must be those it was made from; nothing can be done in it."""
    asked = about["asked"]
    columns = Columns(*asked.get("columns", ()))
    scores = (asked["filter"]["column"],) if asked["filter"] else ()
    try:
        found = survey(
            [Place(url) for url in about["shards"]],
            Columns(columns.id, columns.embedding, scores),
            unit_rows=asked["clustering"]["unit_rows"],
        )
    except StoreError as error:
        raise DataError(f"run: a shard of {base.url} is gone ({error}); put it back, or prune what is there") from None
    if found.fingerprint != about["fingerprint"]:
        raise WrongData(
            f"run: the shards of {base.url} have changed since (fingerprint {about['fingerprint']}, now "
            f"{found.fingerprint}); put the former ones back, or prune these into another --out"
        )
    return Run(base, found, columns, _Nobody(base.url), Progress(quiet=quiet))


def _left(done: Run, asked: Mapping[str, Any]) -> tuple[Clustered, Remaining]:
    """Read the stages of a run up to dedup."""
    clustering, filtering = Clustering(**asked["clustering"]), None
    if (given := asked["filter"]) is not None:
        span = given.get("quantiles")
        filtering = Filter(**given | {"quantiles": None if span is None else (span[0], span[1])})
    laid = done.clustered(clustering)
    dedup = None if asked["dedup"] is None else Dedup(**asked["dedup"])
    return laid, done.remaining(laid, filtering, dedup, seed=clustering.seed)


@dataclass(frozen=True)
class _Nobody(Engine):
    """Does no task: what is not done in a finished run is missing there."""

    url: str

    def map(self, work: Callable[[Any], Any], tasks: Sequence[Any]) -> Iterator[tuple[int, Any]]:
        raise WrongData(
            f"run: {self.url} has not all of its stages ({tasks[0].folder.url} lacks task {tasks[0].name}); run its "
            f"`secateur scale prune` again, which makes what is missing"
        )
