"""Verify result files against what was written before a run reports success, and rewrite those that differ."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur.errors import SecateurError, StoreError
from secateur.scale.run import Run
from secateur.scale.stage import Stage, Summary
from secateur.scale.storage import Place


@dataclass(frozen=True)
class Looking:
    """Check that files are as their task wrote them. quotas: the rows kept in each cluster of a part of the manifest,
    starting with cluster `first`; None if the files are not such a part.
    """

    root: Place
    files: Mapping[str, str]
    quotas: np.ndarray | None = None
    first: int = 0


def look(task: Looking) -> str:
    """What is wrong, or an empty string."""
    for name, before in task.files.items():
        try:
            if (task.root / name).digest() != before:
                return f"{name} was changed"
        except StoreError:
            return f"{name} is missing or cannot be read"
    return "" if task.quotas is None else _counted(task)


def _counted(task: Looking) -> str:
    """Does a part of the manifest match its quotas and its list of kept ids?"""
    import pyarrow.parquet as pq

    assert task.quotas is not None
    manifest, listed = task.files
    with (task.root / manifest).open() as file:
        found = pq.read_table(file, columns=["id", "cluster", "kept"])
    with (task.root / listed).open() as file:
        ids = pq.read_table(file)["id"]
    kept = found.filter(found["kept"])
    counts = np.bincount(kept["cluster"].to_numpy() - task.first, minlength=len(task.quotas))
    if not np.array_equal(counts, task.quotas):
        return f"{manifest} keeps {counts.sum()} rows, but the quotas of its clusters add up to {task.quotas.sum()}"
    return "" if kept["id"].equals(ids) else f"the ids in {listed} differ from those kept in {manifest}"


def lasting(
    run: Run,
    stage: Stage,
    what: str,
    work: Callable[[Any, Place], Summary],
    tasks: Mapping[str, Any],
    quotas: Mapping[str, tuple[int, np.ndarray]] | None = None,
) -> list[Summary]:
    """Run a stage whose tasks write result files (`files` in their summaries); changed files are written again.

    quotas: for tasks that write parts of the manifest, the first cluster and the rows that each cluster keeps.

    Raises StoreError if a file is still wrong after it was written twice.
    """
    wrong: dict[str, str] = {}
    for attempt in range(2):
        summaries = run.stage(stage, what, work, tasks)
        looking = {
            name: Looking(run.files, s.get("files", {"": ""}), *_of(quotas, name))
            for name, s in zip(tasks, summaries, strict=True)
        }
        found = run.engine.map(look, list(looking.values()))
        names = list(looking)
        wrong = {names[place]: said for place, said in found if said}
        if not wrong:
            return summaries
        if attempt == 0:
            _forget(run, stage, wrong, len(tasks))
    raise StoreError(
        f"{run.files.url}: {min(wrong.values())} right after it was written; is another program writing there?"
    )


def _of(quotas: Mapping[str, tuple[int, np.ndarray]] | None, name: str) -> tuple[Any, ...]:
    return () if quotas is None else (quotas[name][1], quotas[name][0])


def _forget(run: Run, stage: Stage, wrong: Mapping[str, str], tasks: int) -> None:
    """Mark these tasks as not done."""
    run.progress.say(f"{run.files.url}: {min(wrong.values())}; writing {len(wrong)} of {tasks} parts again")
    for name in wrong:
        (stage.folder / "done" / f"{name}.json").remove()


def alone(folder: Place, names: Sequence[str]) -> None:
    """Raise SecateurError if a folder that is read as one table has other parts than these."""
    there = {name for name in folder.names() if not name.startswith(".")}
    if more := sorted(there - set(names)):
        raise SecateurError(
            f"out: {folder.url} contains {more[0]!r}, which this selection did not write, but which would be read as "
            f"part of it; move it away, then run again"
        )
    if missing := sorted(set(names) - there):
        raise StoreError(
            f"{folder.url}: {missing[0]} is missing right after it was written; is another program deleting files "
            "there?"
        )


def agreed(rows: int, kept: int, summaries: Sequence[Summary], bad: int) -> None:
    """Raise StoreError if the parts of the manifest do not add up to the number of rows and of kept rows."""
    found = (sum(s["rows"] for s in summaries) + bad, sum(s["kept"] for s in summaries))
    if found != (rows, kept):
        raise StoreError(
            f"manifest.parquet: has {found[0]} rows and keeps {found[1]}, expected {rows} and {kept}; delete stages/ "
            f"and run again"
        )
