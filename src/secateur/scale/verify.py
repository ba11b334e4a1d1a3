"""What was written is still there as it was written: looked at before a run is called done, and mended if not."""

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
    """Are these files as their task wrote them? quotas: what each cluster of a part of the manifest keeps, from
    `first` on; None where the files are no such part.
    """

    root: Place
    files: Mapping[str, str]
    quotas: np.ndarray | None = None
    first: int = 0


def look(task: Looking) -> str:
    """What is wrong, or nothing."""
    for name, before in task.files.items():
        try:
            if (task.root / name).digest() != before:
                return f"{name} was changed"
        except StoreError:
            return f"{name} is gone, or cannot be read"
    return "" if task.quotas is None else _counted(task)


def _counted(task: Looking) -> str:
    """Does a part of the manifest keep its quotas, and do its kept ids say the same?"""
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
        return f"{manifest} keeps {counts.sum()} rows, where its clusters' quotas are {task.quotas.sum()}"
    return "" if kept["id"].equals(ids) else f"{listed} has other ids than {manifest} keeps"


def lasting(
    run: Run,
    stage: Stage,
    what: str,
    work: Callable[[Any, Place], Summary],
    tasks: Mapping[str, Any],
    quotas: Mapping[str, tuple[int, np.ndarray]] | None = None,
) -> list[Summary]:
    """Do a stage whose tasks write results, `files` in their summaries; what was changed since is written again.

    quotas: of tasks that write parts of the manifest, the first cluster and what each keeps.

    Raises StoreError where what was written twice is not there as it was written.
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
    raise StoreError(f"{run.files.url}: {min(wrong.values())} as soon as it was written; is another program there?")


def _of(quotas: Mapping[str, tuple[int, np.ndarray]] | None, name: str) -> tuple[Any, ...]:
    return () if quotas is None else (quotas[name][1], quotas[name][0])


def _forget(run: Run, stage: Stage, wrong: Mapping[str, str], tasks: int) -> None:
    """These tasks are not done."""
    run.progress.say(f"{run.files.url}: {min(wrong.values())}; {len(wrong)} of {tasks} parts are written again")
    for name in wrong:
        (stage.folder / "done" / f"{name}.json").remove()


def alone(folder: Place, names: Sequence[str]) -> None:
    """Raise SecateurError where a folder that is read as one table has other parts than these."""
    there = {name for name in folder.names() if not name.startswith(".")}
    if more := sorted(there - set(names)):
        raise SecateurError(
            f"out: {folder.url} has {more[0]!r}, which no run of this selection wrote, and which would be read with "
            f"the rest; move it away, then run again"
        )
    if missing := sorted(set(names) - there):
        raise StoreError(f"{folder.url}: {missing[0]} is not there after it was written; is another program there?")


def agreed(rows: int, kept: int, summaries: Sequence[Summary], bad: int) -> None:
    """Raise StoreError where the parts of the manifest do not add up to the rows there are, and to those kept."""
    found = (sum(s["rows"] for s in summaries) + bad, sum(s["kept"] for s in summaries))
    if found != (rows, kept):
        raise StoreError(
            f"manifest.parquet: has {found[0]} rows and keeps {found[1]}, expected {rows} and {kept}; delete stages/ "
            f"and run again"
        )
