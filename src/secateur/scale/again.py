"""`scale select`: choose again among what a finished run found, without clustering and comparing again."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from secateur.errors import WrongData
from secateur.scale.engines import Engine
from secateur.scale.filters import Filter
from secateur.scale.prune import prune
from secateur.scale.quotas import Choice
from secateur.scale.run import Clustering, Dedup
from secateur.scale.shards import Columns
from secateur.scale.storage import Place
from secateur.scale.tell import Pruned


def select(
    out: str,
    *,
    keep: int | float | None = None,
    by: str | None = None,
    write: Sequence[str] = (),
    engine: str | Engine = "local",
    workers: int | None = None,
    quiet: bool = False,
    **choice: Any,
) -> Pruned:
    """Another keep, another way of choosing or other lists, from a run of any scale command that is finished.

    keep: by default all that filter and dedup left. by: by default as the run chose; choice: `prefer`, `floor`,
    `temperature`, `neighbours` of `Choice`. The clusters, the filter and the duplicates are the run's, and its shards
    where they were. What is selected takes the place of the run's own selection, and is, byte for byte, what `prune`
    with all of these options gives.

    Raises WrongData for an OUT that is not of a finished run, or whose stages were deleted; DataError for shards that
    are gone, WrongData for shards that changed.
    """
    run = _finished(Place(out))
    asked = run["asked"]
    filter, dedup = asked["filter"], asked["dedup"]
    return prune(
        run["shards"], keep=keep, out=out, clustering=Clustering(**asked["clustering"]),
        filter=None if filter is None else _filter(filter), dedup=None if dedup is None else Dedup(**dedup),
        choice=_choice(asked["choice"], by, choice), columns=Columns(**asked["columns"]), write=write, engine=engine,
        workers=workers, quiet=quiet,
    )  # fmt: skip


def _finished(out: Place) -> dict[str, Any]:
    """What run.json says of a run that is done and has its stages."""
    names = out.names()
    about = dict((out / "run.json").read_json()) if "run.json" in names else {}
    if "shards" not in about:
        raise WrongData(f"out: expected the OUT of a scale command, got {out.url}, which has no run.json of one")
    if "result" not in about or "columns" not in about["asked"]:
        raise WrongData(f"out: the run in {out.url} is not finished; run its command again, it goes on")
    if "stages" not in names:
        raise WrongData(f"out: {out.url} has no stages/ any more, so all would be done again; that is `scale prune`")
    return about


def _filter(asked: dict[str, Any]) -> Filter:
    given = dict(asked)
    if "quantiles" in given:
        given["quantiles"] = tuple(given["quantiles"])
    return Filter(**given)


def _choice(asked: dict[str, Any], by: str | None, given: dict[str, Any]) -> Choice:
    """The run's own, with what is given in place of it; another `by` takes nothing over."""
    told = {name: value for name, value in given.items() if value is not None}
    if by is None or by == asked["by"]:
        return replace(Choice(**asked), **told)
    return Choice(by, **told)  # type: ignore[arg-type]
