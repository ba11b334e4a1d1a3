"""Watching a short training run: the recording, and the proxy it trains, which can teach."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from secateur.data.tensors import Tensors
from secateur.errors import SecateurError, StoreError
from secateur.ranges import SEED, SOME, THREADS, in_ranges
from secateur.store.files import remove
from secateur.store.recording import Recording
from secateur.store.schemas import parsed
from secateur.store.schemas.condensed import Standing
from secateur.study.budget import full_steps
from secateur.study.session import Session, session
from secateur.training import checkpoint
from secateur.training.adversarial import Adversary, Attack
from secateur.training.adversarial import parse as parse_adversary
from secateur.training.loop import train as run_loop
from secateur.training.machine import autocast
from secateur.training.nets import Normalised, save_net
from secateur.training.objective import Supervised
from secateur.training.recipes import Recipe
from secateur.training.recipes import recipe as find_recipe
from secateur.training.recorder import Recorder, check_fields
from secateur.training.sampling import Shuffled

ENOUGH = 800
"""Steps of half a run that recorded nearly as well as a whole one of 1,600 (benchmarks/recordings.md)."""


@dataclass(frozen=True)
class RecordingPlan:
    """What is recorded, with nothing left open."""

    net: str
    recipe: Recipe
    seed: int
    fields: tuple[str, ...] | None
    eval_pass: bool
    adversary: Adversary | None = None  # gives every example its whole eps: margins are not known yet

    @classmethod
    def make(
        cls,
        work: Session,
        *,
        epochs: int | None,
        net: str | None,
        recipe: str | Recipe,
        seed: int,
        fields: Sequence[str] | None = None,
        eval_pass: bool = False,
        adversary: str | Adversary | None = None,
        half_a_run: bool = False,
    ) -> "RecordingPlan":
        """Fill in what depends on the data.

        epochs: if not given, those of the recording that is there, whatever their number; else the recipe's, or half
        of them where that is enough (`half_a_run`) and makes `ENOUGH` steps.
        """
        if epochs is not None and epochs < 1:
            raise SecateurError(f"epochs: expected at least 1, got {epochs}")
        check_fields(fields)
        chosen = find_recipe(recipe).for_data(len(work.source.train.usable), work.train.shape)
        if epochs is None:
            epochs = _epochs_there(work) or _epochs_enough(chosen, len(work.source.train.usable), half_a_run)
        chosen = dataclasses.replace(chosen, epochs=epochs)
        name = work.net_name(net)
        if work.source.labelled:
            work.build_net(name, seed=seed, whiten=False)  # a net that cannot be built stops before OUT remembers it
        wanted = None if fields is None else tuple(sorted(fields))
        return cls(name, chosen, seed, wanted, eval_pass, parse_adversary(adversary))

    def attack(self, work: Session) -> Attack | None:
        """What perturbs the views of the run."""
        if self.adversary is None:
            return None
        self.adversary.check_shape(work.train.shape)
        whole = dataclasses.replace(self.adversary, eps_rule="constant")
        return Attack.of(whole, len(work.source.train), None, work.device)

    def as_json(self) -> dict[str, Any]:
        """As run.json gives it back; no key for an adversary that is not there."""
        asked = dict(parsed(json.dumps(dataclasses.asdict(self)), dict[str, Any], "plan"))
        if self.adversary is None:
            del asked["adversary"]
        return asked


def _epochs_there(work: Session) -> int | None:
    """The epochs of the recording that OUT holds or has begun, so that another method uses it."""
    stage = work.out.known["stages"].get("record")
    return None if stage is None else int(stage["asked"]["recipe"]["epochs"])


def _epochs_enough(recipe: Recipe, examples: int, half_a_run: bool) -> int:
    half = dataclasses.replace(recipe, epochs=max(1, recipe.epochs // 2))
    enough = half_a_run and recipe.horizon is None and full_steps(half, examples) >= ENOUGH
    return half.epochs if enough else recipe.epochs


@in_ranges
def record(
    data: Any,
    *,
    epochs: Annotated[int | None, SOME] = None,
    net: str | None = None,
    recipe: str | Recipe = "sgd",
    seed: Annotated[int, SEED] = 0,
    out: str | Path = "secateur-out",
    fields: Sequence[str] | None = None,
    eval_pass: bool = False,
    device: str = "auto",
    threads: Annotated[int | None, THREADS] = None,
    force: bool = False,
    quiet: bool = False,
    **reading: Any,
) -> Recording:
    """Train a net on all of the data for a few epochs and record what each epoch says about each example.

    epochs: the recipe's own by default. fields: see `secateur.Recorder`. eval_pass: record a second pass after each
    epoch, in eval mode and without augmentation, in place of the training pass. The trained proxy is saved beside the
    recording. Run again, it goes on where it stood. reading: how to read the data, see `secateur.open_data`.
    """
    with session(
        data, out, device=device, threads=threads, force=force, quiet=quiet, reading=reading, named=[net]
    ) as work:
        plan = RecordingPlan.make(
            work, epochs=epochs, net=net, recipe=recipe, seed=seed, fields=fields, eval_pass=eval_pass
        )
        return record_in(work, plan)


def record_in(work: Session, plan: RecordingPlan) -> Recording:
    """`record` inside a session."""
    asked = plan.as_json()
    if not work.out.begin("record", asked):
        _run(work, plan, asked)
    remove(work.out / "state" / "record.safetensors")
    recording = Recording.open(work.out / "recording.zarr")
    if recording.epochs != plan.recipe.epochs:
        raise StoreError(
            f"{recording.path}: has {recording.epochs} epochs, but run.json says that {plan.recipe.epochs} were "
            f"recorded; restore the one that was edited, or start over in another --out"
        )
    return recording


def _run(work: Session, plan: RecordingPlan, asked: dict[str, Any]) -> None:
    state, store = work.out / "state" / "record.safetensors", work.out / "recording.zarr"
    net = work.build_net(plan.net, seed=plan.seed, whiten=plan.recipe.whiten)
    if store.exists() and not Recording.open(store).epochs and Recording.open(store).complete:
        remove(store)  # of no run: it held the labels, for probes to stand beside
    recorder = None if store.exists() and Recording.open(store).complete else _recorder(work, plan, asked, state)
    listener = CleanPass(recorder, net, work.train) if recorder and plan.eval_pass else recorder
    steps = full_steps(plan.recipe, len(work.source.train.usable))
    horizon = None if plan.recipe.horizon is None else steps // plan.recipe.epochs * plan.recipe.horizon
    objective = Supervised(net, work.train, plan.recipe, seed=plan.seed, adversary=plan.attack(work))
    with work.progress.stage(f"recording {plan.recipe.epochs} epochs of {plan.net}") as advance:
        try:
            done = run_loop(
                net,
                work.train,
                plan.recipe,
                steps=steps,
                horizon=horizon,
                sampler=Shuffled(work.source.train.usable, plan.seed),
                seed=plan.seed,
                objective=objective,
                recorder=listener,
                save_to=state,
                watch=work.watch("record", advance),
            )
        except SecateurError:
            if recorder is not None:
                recorder.flush()
            raise
    save_net(net, work.out / "model.safetensors", spec=plan.net, shape=work.train.shape, classes=work.train.classes)
    if recorder is not None:
        recorder.close()
    work.out.end("record", seconds=done.seconds, examples=done.examples, steps=done.step)


def _recorder(work: Session, plan: RecordingPlan, asked: dict[str, Any], state: Path) -> Recorder:
    """A recorder that stands where the checkpoint stands."""
    return Recorder(
        work.out / "recording.zarr",
        examples=len(work.source.train),
        classes=work.train.classes,
        fields=plan.fields,
        data=work.source.fingerprint,
        resume=checkpoint.about(state, Standing)["epoch"] if state.exists() else 0,
        provenance=asked,
        partial=True,  # rows that cannot be read
    )


class CleanPass:
    """Stands in for a recorder: ignores the training pass, and records one in eval mode at the end of each epoch."""

    def __init__(self, recorder: Recorder, net: Normalised, data: Tensors) -> None:
        self.recorder, self.net, self.data = recorder, net, data

    def batch(self, ids: Tensor, logits: Tensor, labels: Tensor) -> None:
        """The training pass is not recorded."""

    @torch.inference_mode()
    def end_epoch(self) -> None:
        """See every usable example once, as it is."""
        self.net.eval()
        plan = [torch.from_numpy(self.data.usable[k : k + 1000]) for k in range(0, len(self.data.usable), 1000)]
        for ids, rows in zip(plan, self.data.batches(plan), strict=True):
            ids = ids.to(self.data.device)
            with autocast(self.data.device):
                logits = self.net(rows)
            self.recorder.batch(ids, logits, self.data.labels[ids])
        self.recorder.end_epoch()
