"""Before anything is pruned: how hard the data are, and what each stage of a prune would take."""

import dataclasses
import hashlib
import resource
import tempfile
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch

from secateur.data.source import Split
from secateur.data.tensors import Tensors
from secateur.difficulty import Spread, contradicted, near_duplicates, spread
from secateur.methods import Method, Setting, default_method
from secateur.methods import method as find_method
from secateur.ranges import POSITIVE, SEED, SOME, THREADS, in_ranges
from secateur.registry import resolve_keep
from secateur.store.digests import verify_all
from secateur.store.tables import Subset
from secateur.study.cell import plan_run
from secateur.study.forecast import Forecast, Goal, forecast
from secateur.study.pace import Stage, stages_of
from secateur.study.record import RecordingPlan
from secateur.study.session import Session, session
from secateur.training.nets import load_net, model_in, spec_in
from secateur.training.probes.features import start_features
from secateur.training.seeding import rng

SAMPLE = 2000
"""Examples that near-duplicates, contradicted labels and spread are estimated on."""
BATCH = 500
MOST = 1 << 30
"""Bytes of features held at once; of a larger set, as many random examples are looked at as that holds."""


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """How hard a data set is. Shares are of a `sample` of the train split, each compared with `among` of its examples.

    near_duplicates goes by the rows themselves; contradicted and spread by `features`. None: not to be had.
    """

    features: str
    sample: int
    among: int
    exact_duplicates: int
    near_duplicates: float
    contradicted: float | None
    spread: Spread | None


@dataclasses.dataclass(frozen=True)
class Outlook:
    """What `plan` found: the data, how hard they are, what pruning them would take."""

    examples: int
    usable: int
    per_class: dict[str, int]
    shape: tuple[int, ...]
    difficulty: Difficulty
    stages: tuple[Stage, ...]
    memory: int  # bytes at the peak
    cache: int  # bytes of `datasets`' own copy
    forecast: Forecast | None  # of fine-tuning, where it was asked for

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        spread = self.difficulty.spread
        difficulty = dataclasses.asdict(self.difficulty) | {"spread": None if spread is None else spread._asdict()}
        return dataclasses.asdict(self) | {"difficulty": difficulty}


@in_ranges
def plan(
    data: Any,
    *,
    keep: int | float = 0.3,
    method: str | Method | None = None,
    record_recipe: str = "sgd",
    recipe: str | None = None,
    net: str | None = None,
    record_epochs: Annotated[int | None, SOME] = None,
    epochs: Annotated[int | None, SOME] = None,
    budget: str = "balanced",
    start: str | Path | None = None,
    reach: Annotated[float | None, POSITIVE] = None,
    kernel: str = "jacobian",
    new_head: bool = False,
    subset: Subset | str | Path | None = None,
    out: str | Path | None = None,
    seed: Annotated[int, SEED] = 0,
    device: str = "auto",
    threads: Annotated[int | None, THREADS] = None,
    quiet: bool = False,
    **reading: Any,
) -> Outlook:
    """The difficulty of a data set, and the memory, disk and time that each stage of pruning it would take.

    method: as `prune`. Trains a few steps and throws them away. out: the OUT
    folder of an earlier run on the same data, whose net gives the features; without one, the rows themselves are
    compared, and labels are not judged by pixels. Times are those of this machine as busy as it is now.

    start and reach: also how many steps fine-tuning the net of an OUT folder or model file would take to that mean
    training loss (without label smoothing), on `subset` (all by default), over as many steps as `train` would take; by
    the linear model of `kernel`, `jacobian` or `last-layer`. The head is new where the classes are other in number, or
    where new_head. Stages are then those of this net.
    recipe: `sgd` with a forecast, which follows no other optimiser, else `fast`.
    """
    if out is not None:
        verify_all(Path(out))
    goal = Goal.make(start, reach, kernel, new_head=new_head, subset=subset)
    recipe = recipe or ("fast" if goal is None else "sgd")
    tuned_on = Subset.open(subset) if isinstance(subset, (str, Path)) else subset
    with (
        tempfile.TemporaryDirectory() as scratch,
        session(data, scratch, device=device, threads=threads, quiet=quiet, reading=reading, named=[net]) as work,
    ):
        train = work.source.train
        if goal is not None:
            train.require_labels("a forecast of fine-tuning")
        chosen = default_method(labelled=train.labelled) if method is None else find_method(method)
        net = net if goal is None else spec_in(model_in(goal.start), net)
        counts = np.bincount(train.labels[train.usable], minlength=len(train.classes))
        model = None if out is None else Path(out) / "model.safetensors"
        asked = RecordingPlan.make(
            work, epochs=record_epochs, net=net, recipe=record_recipe, seed=seed, half_a_run=chosen.half_a_run
        )
        count = resolve_keep(keep, len(train.usable))
        setting = Setting(count / len(train.usable), asked.recipe.epochs, len(counts))
        how: dict[str, Any] = {"net": net, "recipe": recipe, "epochs": epochs, "budget": budget, "seed": seed}
        student = plan_run(work, "", like=count, **how) if train.labelled else None
        stages = tuple(stages_of(work, asked, chosen, setting, student))
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # before what a prune does not do
        foreseen = None if goal is None else forecast(work, goal, plan_run(work, "", subset=tuned_on, **how))
        return Outlook(
            examples=len(train),
            usable=len(train.usable),
            per_class=dict(zip(train.classes, counts.tolist(), strict=True)) if train.labelled else {},
            shape=train.shape,
            difficulty=_difficulty(work, model),
            stages=stages,
            memory=memory,
            cache=_cache(train),
            forecast=foreseen,
        )


def _difficulty(work: Session, model: Path | None) -> Difficulty:
    """Exact duplicates over all. Near ones on a sample, by the rows themselves, since a net brings a whole class
    together; labels and spread by the features of `model` where there is one."""
    train = work.source.train
    width = int(np.prod(train.shape))
    looked = np.sort(rng(0, "plan").permutation(train.usable)[: max(SAMPLE, MOST // (4 * width))])
    at = np.sort(rng(1, "plan").permutation(len(looked))[:SAMPLE])
    known = model if model is not None and model.is_file() else None
    with work.progress.stage("difficulty") as advance:
        rows = _features(work, work.train, looked, None, advance)
        near = _near_duplicates(rows, at)
        if known is not None:
            rows = _features(work, work.train, looked, known, advance)
        doubtful = None
        if train.labelled and (known is not None or not train.is_image):
            doubtful = float(contradicted(rows, train.labels[looked], at).mean())
        spread_ = None
        if work.source.test is not None:
            test_ids = np.sort(rng(0, "plan test").permutation(work.source.test.usable)[:SAMPLE])
            spread_ = spread(rows, _features(work, work.test, test_ids, known, lambda done, total: None))
    name = "the rows themselves" if known is None else str(known)
    return Difficulty(name, len(at), len(looked), _exact_duplicates(train), near, doubtful, spread_)


def _near_duplicates(rows: np.ndarray, at: np.ndarray) -> float:
    """Rows of zeros have no direction and are left out."""
    there = np.asarray(rows.any(axis=1))
    asked = at[there[at]]
    return near_duplicates(rows[there], rows[asked]) if there.sum() > 1 and len(asked) else 0.0


def _features(work: Session, data: Tensors, ids: np.ndarray, model: Path | None, advance: Any) -> np.ndarray:
    """Features (ids, dims) by a net, or the rows flattened, pixels over 255."""
    plan = [torch.from_numpy(ids[k : k + BATCH]) for k in range(0, len(ids), BATCH)]
    look = (
        None if model is None else start_features(load_net(model, device=work.device, named=work.named), data, seed=0)
    )
    parts: list[np.ndarray] = []
    for at, rows in zip(plan, data.batches(plan), strict=True):
        if look is not None:
            found = look(rows, data.labels[at.to(data.device)])["features"]
        else:
            found = rows.flatten(1).float() / (255.0 if rows.dtype == torch.uint8 else 1.0)
        parts.append(found.cpu().numpy())
        advance(sum(map(len, parts)), len(ids))
    return np.concatenate(parts)


def _exact_duplicates(split: Split) -> int:
    """How many usable rows repeat an earlier one byte for byte, as stored."""
    seen: set[bytes] = set()
    for start in range(0, len(split.usable), BATCH):
        for raw in split.rows.raw(split.usable[start : start + BATCH].tolist()):
            seen.add(hashlib.blake2b(split.rows.digestible(raw), digest_size=16).digest())
    return len(split.usable) - len(seen)


def _cache(split: Split) -> int:
    """Bytes of the Arrow files that `datasets` made or maps for this split; 0 for data in memory."""
    files = getattr(getattr(split.rows, "table", None), "cache_files", [])
    return sum(Path(file["filename"]).stat().st_size for file in files)
