"""What each seed of a comparison starts from: a recording shared by all of them, or one of its own."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from secateur.study.out import Out
from secateur.study.pick import Checked
from secateur.study.pool import Pool
from secateur.study.prepare import Needs
from secateur.study.proxy import proxy_in
from secateur.study.record import RecordingPlan
from secateur.study.row import Row
from secateur.study.session import Session
from secateur.study.teachers import Lesson, lessons_of, teach
from secateur.training.distill import Distill

FOLDER = "recordings"
"""Where OUT keeps the recordings of later seeds: a folder as `record` makes it, `seed-N`, for each."""


@dataclass(frozen=True)
class Start:
    """What one seed starts from: where its recording lies, what is selected from, and who teaches."""

    out: Out
    pool: Pool
    checked: Checked
    lessons: tuple[Lesson, ...]
    proxy: Row
    taught: tuple[Row, ...]

    @classmethod
    def of(
        cls, work: Session, plan: RecordingPlan, needs: Needs, grid: Sequence[str | Distill], teachers: Sequence[str]
    ) -> "Start":
        """Record and probe what is not there yet, and train the teachers that are not the recorded net."""
        pool, checked = needs.meet(work, plan, taught=True)
        taught = tuple(teach(work, plan, teachers)) if grid else ()
        lessons = lessons_of(work, grid, teachers, taught)
        return cls(work.out, pool, checked, lessons, Row("proxy", False, None, None, (proxy_in(work, plan),)), taught)


def merged(rows: Sequence[Row]) -> Row:
    """The same line of several recordings as one: a result a recording."""
    first = rows[0]
    results = tuple(result for row in rows for result in row.results)
    return Row(first.method, first.teacher, first.keep, first.fraction, results, first.heard, first.net)


@contextmanager
def work_of_each(work: Session, seeds: Sequence[int], *, repeat: bool) -> Iterator[dict[int, Session]]:
    """Where each seed records: all in OUT, or, with `repeat`, the first there and each other in a folder of its own.

    A folder is claimed for the data like any OUT, so that it resumes, and is refused where it is somebody else's.
    """
    with ExitStack() as stack:
        found = {}
        for seed in seeds:
            found[seed] = work
            if repeat and seed != seeds[0]:
                folder = Out(work.out / FOLDER / f"seed-{seed}")
                stack.enter_context(folder.claimed(work.out.run["data"], force=False))
                found[seed] = work.beside(folder)
        yield found


@contextmanager
def starts(
    work: Session, seeds: Sequence[int], start_of: Callable[[Session, int], Start], *, repeat: bool
) -> Iterator[dict[int, Start]]:
    """What each seed starts from; start_of: (where it records, the seed of the recording) -> that."""
    with work_of_each(work, seeds, repeat=repeat) as each:
        if repeat:
            yield {seed: start_of(at, seed) for seed, at in each.items()}
        else:
            yield dict.fromkeys(seeds, start_of(work, seeds[0]))
