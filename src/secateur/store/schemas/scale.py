"""Schemas of the JSON files of `secateur scale`."""

from typing import Annotated, Any, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from secateur.store.schemas.base import LOOSE, Count, Number, Seconds, Text, checked, fault_of, holds


@with_config(LOOSE)
class _Clustering(TypedDict):
    seed: int
    unit_rows: Annotated[int, Field(ge=1, le=10**12)]


@with_config(LOOSE)
class _Choice(TypedDict):
    by: Text


@with_config(LOOSE)
class _Asked(TypedDict):
    columns: NotRequired[Annotated[list[Text], Field(max_length=2)]]
    clustering: _Clustering
    filter: dict[str, Any] | None
    dedup: dict[str, Any] | None
    choice: _Choice
    keep: Number | None


@with_config(LOOSE)
class _Result(TypedDict):
    out: Text
    rows: Count
    bad: Count
    filtered: Count
    duplicates: Count
    pruned: Count
    kept: Count
    clusters: Count
    threshold: Number | None
    empty: list[Text]


@with_config(LOOSE)
class _Begun(TypedDict):
    version: Text
    fingerprint: Text
    rows: Count
    dims: Count
    shards: list[Text]
    asked: NotRequired[_Asked]
    result: NotRequired[_Result]


def _fault(run: Any) -> str | None:
    return None if ("asked" in run) == ("result" in run) else "expected asked and result, or neither"


RunFile = Annotated[_Begun, holds(_fault)]
"""run.json of `scale prune`; with asked and result once it is done."""


@with_config(LOOSE)
class _Cost(TypedDict):
    wall: Seconds
    seconds: Seconds
    busy: Seconds
    peak: Count
    tasks: Count


@with_config(LOOSE)
class BillFile(TypedDict):
    """bill.json of `scale prune`."""

    seconds: Seconds
    stages: dict[Text, _Cost]


@with_config(LOOSE)
class _Shown(TypedDict):
    id: Text
    image: Annotated[str, Field(pattern=r"\Adata:image/[a-z+.-]+;base64,[A-Za-z0-9+/=]*\z")] | None
    text: Text | None


@with_config(LOOSE)
class Group(TypedDict):
    """In groups.json: near-duplicates for the report."""

    size: Count
    ids: Annotated[list[int | Text], Field(min_length=1)]
    shown: list[_Shown]


def _prune_fault(value: Any) -> str | None:
    return fault_of(value, RunFile) if "shards" in value else None


AnyRun = Annotated[dict[str, Any], holds(_prune_fault)]
"""Any run.json; one of `scale prune` is validated in full."""


@with_config(LOOSE)
class _Alike(TypedDict):
    size: Count
    ids: list[int | Text]
    rows: list[Count]


@with_config(LOOSE)
class Summary(TypedDict):
    """done/TASK.json: the summary of a finished task."""

    seconds: Seconds
    busy: Seconds
    peak: Count
    rows: NotRequired[Count]
    bad: NotRequired[Count]
    passed: NotRequired[Count]
    filtered: NotRequired[Count]
    duplicates: NotRequired[Count]
    compared: NotRequired[Count]
    alone: NotRequired[Count]
    alike: NotRequired[list[Count]]
    counts: NotRequired[list[Count]]
    groups: NotRequired[list[_Alike]]
    twice: NotRequired[list[list[Count]]]


_SAYS = {
    "assign": ("rows", "bad"),
    "ids": ("twice",),
    "filter": ("passed",),
    "count": ("counts",),
    "reach": ("counts",),
    "dedup": ("compared", "alone", "alike"),
    "left": ("filtered", "duplicates"),
    "select": ("groups",),
}
"""The keys that the tasks of a stage must report."""


def said(summary: dict[str, Any], stage: str, where: object) -> dict[str, Any]:
    """The summary of a task of a stage, if it has the keys that later stages need."""

    def fault(value: Any) -> str | None:
        missing = [name for name in _SAYS.get(stage, ()) if name not in value]
        return f"{missing[0]}: expected, found none" if missing else None

    return dict(checked(checked(summary, Summary, where), Annotated[dict[str, Any], holds(fault)], where))
