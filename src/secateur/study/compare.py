"""Compare methods with each other and with baselines of the same cost."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np

from secateur.dynamic import Rule, spec_of
from secateur.dynamic import rule as find_rule
from secateur.errors import SecateurError
from secateur.methods import Method
from secateur.methods import method as find_method
from secateur.ranges import NONE_OR_ROWS, SEED, SOME, THREADS, Range, in_ranges
from secateur.registry import resolve_keep
from secateur.select.limits import Limits
from secateur.store.files import write_json
from secateur.study.bill import Bill, write_bills
from secateur.study.cell import Result, plan_run, run_cell
from secateur.study.held import read_limits
from secateur.study.prepare import Needs
from secateur.study.record import RecordingPlan
from secateur.study.repeats import Start, merged, starts
from secateur.study.row import Row
from secateur.study.select import choose, slug
from secateur.study.session import Session, session
from secateur.study.teachers import PROXY, Lesson
from secateur.training.adversarial import Adversary
from secateur.training.adversarial import parse as parse_adversary
from secateur.training.distill import Distill, parse_grid
from secateur.training.recipes import Recipe

HELD_OUT = 0.2


@dataclass(frozen=True)
class Comparison:
    """The whole table, its settings, and the bills."""

    rows: tuple[Row, ...]
    about: dict[str, Any]
    bills: tuple[Bill, ...]


@in_ranges
def compare(
    data: Any,
    *,
    methods: Sequence[str | Method] = ("dual:per_class=1",),
    rules: Sequence[str | Rule] = (),
    keep: Sequence[int | float] = (0.1, 0.3),
    seeds: Annotated[int, Range(1, 1_000, whole=True)] = 1,
    repeat_recording: bool = False,
    record_recipe: str | Recipe = "sgd",
    recipe: str | Recipe = "fast",
    out: str | Path = "secateur-out",
    seed: Annotated[int, SEED] = 0,
    net: str | None = None,
    record_epochs: Annotated[int | None, SOME] = None,
    epochs: Annotated[int | None, SOME] = None,
    distill: str | Distill | None = "auto",
    teachers: Sequence[str] = ("proxy",),
    validate: bool = False,
    adversary: str | Adversary | None = None,
    budget: str = "balanced",
    min_per_class: Annotated[int | None, NONE_OR_ROWS] = None,
    must_keep: Any = None,
    exclude: Any = None,
    features: str | None = None,
    device: str = "auto",
    threads: Annotated[int | None, THREADS] = None,
    force: bool = False,
    quiet: bool = False,
    **reading: Any,
) -> Comparison:
    """Train and test on what each method keeps, and compare with full training, full training cut short, and random.

    The row `proxy` is the recorded net, which is the teacher. rules: of dynamic pruning, each over all of the data
    for the epochs of a full run, compared with full training cut short to the same number of steps.

    One recording feeds all methods; with several seeds, selection and training are repeated. The recording, and the
    proxy teacher, are repeated only with `repeat_recording`, in OUT/recordings: the spread then includes the
    variation between recordings.

    Every method, `random` and full training cut short is trained without a teacher and, unless distill is `off`, with
    the recorded proxy as teacher, with the same weight at the same keep. distill may list several weights and
    temperatures (`a=0,0.5,0.75,1`), teachers several nets, trained on all of the data as the proxy is
    (`resnet9:0.5`): each is a row. validate: leave the test split alone and test on a held-out fifth of train, so
    that choices such as these are not made on the test split. adversary: every run trains on perturbed rows, as
    `l2:eps=0.5,steps=3`; each row then has a robust accuracy too, except the proxy; see `secateur.prune`.
    min_per_class, must_keep, exclude: apply to every subset, random ones too. features: see `secateur.prune`. Each
    cell can be resumed. Without a test split, a seeded, stratified 20 % of train is held out.
    """
    chosen = [find_method(m) for m in dict.fromkeys(["random", *methods])]
    if seeds < 1:
        raise SecateurError(f"seeds: expected at least 1, got {seeds}")
    grid, chosen_rules = parse_grid(distill), [find_rule(rule) for rule in rules]
    with session(
        data, out, device=device, threads=threads, force=force, quiet=quiet, held_out=HELD_OUT, validate=validate,
        reading=reading, named=[net, *teachers],
    ) as work:  # fmt: skip
        work.source.require_labels("comparing methods by training on their subsets")
        counts = [resolve_keep(k, len(work.source.train.usable)) for k in keep]
        for count, listened in itertools.product(counts, grid or [None]):  # fail early
            plan_run(
                work, "", net=net, recipe=recipe, epochs=epochs, budget=budget, seed=seed, like=count,
                teacher=None if listened is None else work.out.path, distill=listened,
                adversary=adversary, margins=np.zeros(len(work.source.train)),
            )  # fmt: skip
        for teacher in set(teachers) - {PROXY}:
            work.build_net(teacher, seed=seed, whiten=False)
        limits = read_limits(min_per_class, must_keep, exclude, len(work.source.train))
        record_plan = RecordingPlan.make(
            work, epochs=record_epochs, net=net, recipe=record_recipe, seed=seed, adversary=adversary
        )
        needs = Needs.of(work, record_plan, chosen, counts, features)
        with starts(
            work, range(seed, seed + seeds), repeat=repeat_recording,
            start_of=lambda at, s: Start.of(at, replace(record_plan, seed=s), needs, grid, teachers),
        ) as from_each:  # fmt: skip
            plan = Plan(work, from_each, net, recipe, epochs, budget, adversary, limits, needs, repeat_recording)
            table = _table(plan, chosen, keep, chosen_rules)
        from secateur.report import write_report

        write_report(work.out.path, work.source, progress=work.progress.say)
    return table


def _table(plan: "Plan", methods: Sequence[Method], keep: Sequence[int | float], rules: Sequence[Rule]) -> Comparison:
    """Train every cell, and write compare.json and the bills."""
    rows = (*plan.rivals(keep), *plan.recorded(), *plan.pruned(methods, keep), *plan.ruled(rules))
    table = Comparison(rows, plan.about(), tuple(plan.bills(rows)))
    write_json(plan.work.out / "compare.json", {"about": table.about, "rows": [r.as_json() for r in rows]})
    write_bills(plan.work.out, list(table.bills))
    return table


@dataclass(frozen=True)
class Plan:
    """The cells of a comparison, in the order they are trained."""

    work: Session
    starts: Mapping[int, Start]  # by seed
    net: str | None
    recipe: str | Recipe
    epochs: int | None
    budget: str
    adversary: str | Adversary | None
    limits: Limits
    needs: Needs
    repeated: bool = False  # does every seed have a recording of its own?

    @property
    def seeds(self) -> tuple[int, ...]:
        """One selection and one training each."""
        return tuple(self.starts)

    @property
    def lessons(self) -> tuple[Lesson, ...]:
        """The distillation settings; the teachers' weights are those of the first seed."""
        return self.starts[self.seeds[0]].lessons

    def recorded(self) -> Iterator[Row]:
        """The recorded net, and the other teachers: one result per recording."""
        each = list(self.starts.values()) if self.repeated else [self.starts[self.seeds[0]]]
        yield merged([start.proxy for start in each])
        for rows in zip(*(start.taught for start in each), strict=True):
            yield merged(rows)

    def rivals(self, keep: Sequence[int | float]) -> Iterator[Row]:
        """All the data: in full, and cut short to the steps of each keep, with and without the same teacher."""
        yield Row("full", False, None, None, tuple(self._cell("full", s) for s in self.seeds))
        yield from self.cut_short(keep)

    def cut_short(self, keep: Sequence[int | float], *, teachers: Sequence[bool] | None = None) -> Iterator[Row]:
        """All the data for the steps of each keep, without a teacher and with each one (or as `teachers` says)."""
        usable = len(self.work.source.train.usable)
        for k in keep:
            count = resolve_keep(k, usable)
            for lesson in self._lessons(teachers):
                cut = tuple(self._cell("full, cut short", s, lesson, like=count) for s in self.seeds)
                yield self._row("full, cut short", lesson, k, count / usable, cut)

    def _lessons(self, teachers: Sequence[bool] | None) -> "list[Lesson | None]":
        return [x for x in (None, *self.lessons) if teachers is None or (x is not None) in teachers]

    def _row(
        self, method: str, lesson: Lesson | None, keep: Any, fraction: float | None, cells: tuple[Result, ...]
    ) -> Row:
        if lesson is None:
            return Row(method, False, keep, fraction, cells)
        return Row(method, True, keep, fraction, cells, lesson.told, lesson.net)

    def pruned(
        self,
        methods: Sequence[Method],
        keep: Sequence[int | float],
        *,
        teachers: Sequence[bool] | None = None,
    ) -> Iterator[Row]:
        """Every method at every keep, without a teacher and with each one (or as `teachers` says)."""
        usable = len(self.work.source.train.usable)
        for method in methods:
            for k in keep:
                subsets = [
                    choose(start.out, start.pool, method, k, s, self.limits, start.checked)
                    for s, start in self.starts.items()
                ]
                for s, subset in zip(self.seeds, subsets, strict=True):
                    subset.save(self.work.out / "subsets" / f"{slug(method)}-{k}-{s}" / "subset.parquet")
                for lesson in self._lessons(teachers):
                    cells = [
                        self._cell(f"{slug(method)}, keep {k}", s, lesson, subset=subset)
                        for s, subset in zip(self.seeds, subsets, strict=True)
                    ]
                    yield self._row(slug(method), lesson, k, resolve_keep(k, usable) / usable, tuple(cells))

    def ruled(self, rules: Sequence[Rule]) -> Iterator[Row]:
        """Every rule, without a teacher and with each one, and all the data cut short to as many steps."""
        for rule in rules:
            for lesson in (None, *self.lessons):
                cells = tuple(self._cell(f"rule {spec_of(rule)}", s, lesson, rule=rule) for s in self.seeds)
                yield self._row(f"rule {spec_of(rule)}", lesson, None, None, cells)
                steps = round(fmean(r.steps for r in cells))
                name = f"full, cut short as rule {spec_of(rule)}"
                yield self._row(
                    name, lesson, None, None, tuple(self._cell(name, s, lesson, steps=steps) for s in self.seeds)
                )

    def _cell(
        self, name: str, seed: int, lesson: Lesson | None = None, *, steps: int | None = None, **what: Any
    ) -> Result:
        start = self.starts[seed]
        teacher = None if lesson is None else start.lessons[self.lessons.index(lesson)].model
        run = plan_run(
            self.work,
            name if lesson is None else f"{name} + teacher" + (f" ({lesson.told})" if lesson.told else ""),
            net=self.net,
            recipe=self.recipe,
            epochs=self.epochs,
            budget=self.budget,
            seed=seed,
            teacher=teacher,
            distill=None if lesson is None else lesson.distill,
            adversary=self.adversary,
            margins=self.needs.margins(start.pool),
            **what,
        )
        return run_cell(self.work, run if steps is None else replace(run, steps=steps))

    def about(self) -> dict[str, Any]:
        """The settings shown with the table."""
        run, adversary = self.work.out.run, parse_adversary(self.adversary)
        return (
            {
                "data": run["data"],
                "record": run["stages"]["record"]["asked"],
                "recipe": self.recipe if isinstance(self.recipe, str) else self.recipe.name,
                "budget": self.budget,
                "distill": [x.distill.as_dict() if isinstance(x.distill, Distill) else x.distill for x in self.lessons],
                "device": str(self.work.device),
                "test": "rows held out from train" if "-held-out-" in run["data"]["fingerprint"] else "the test split",
            }
            | ({"repeat_recording": True} if self.repeated else {})
            | ({} if adversary is None else {"adversary": asdict(adversary)})
        )

    def bills(self, rows: Sequence[Row]) -> Iterator[Bill]:
        """What each pruned row cost, all of it measured."""
        full = rows[0]
        for row in rows:
            if row.method.startswith(("full", "proxy", "teacher", "rule")):
                continue
            method = next(m for m in self.needs.methods if slug(m) == row.method)
            seconds, examples = self.needs.spent(self.work.out, method, taught=row.teacher)
            yield Bill(
                name=f"{row.method}, keep {row.keep}" + row.name.removeprefix(row.method),
                once_seconds=seconds,
                once_examples=examples,
                train_seconds=fmean(r.seconds for r in row.results),
                train_examples=row.results[0].examples,
                full_seconds=fmean(r.seconds for r in full.results),
                full_examples=full.results[0].examples,
                measured=True,
            )
