"""Coresets to compare a condensed set with: the same number of real rows per class, chosen by features or scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from secateur.condensation import Real
from secateur.errors import SecateurError, StoreError, WrongData
from secateur.methods import method as find_method
from secateur.select import herding, k_center
from secateur.store.recording import Recording
from secateur.store.scoring import compute
from secateur.store.tables import Scores
from secateur.study.pick import NO_CHECK, Picker
from secateur.study.pool import Pool
from secateur.study.run import content_hash
from secateur.study.score import uses_of
from secateur.training import seeding
from secateur.training.distill import load_teacher
from secateur.training.nets import load_about
from secateur.training.probes.penultimate import Penultimate

CORESETS = ("random", "herding", "k-center")
"""Coresets that need only the rows."""
SCORED = ("forgetting", "dual")
"""Coresets that need a recorded run."""
_BATCH = 500


@dataclass(frozen=True)
class Recorded:
    """A recorded run on the same data, as the evaluation uses it.

    net: the one that was trained on all of the data, frozen, in eval mode: raw rows -> logits. picked: of each kind of
    SCORED the ids (classes * per_class,), class by class. about: what distinguishes it from other runs.
    """

    real: Real
    net: nn.Module
    picked: Mapping[str, np.ndarray]
    about: Mapping[str, Any]

    @classmethod
    def open(cls, out: Path, real: Real, *, fingerprint: str, per_class: int, named: Sequence[str] = ()) -> "Recorded":
        """Read the OUT folder of `record` (or `prune`, or `compare`); nothing is written to it.

        fingerprint: of the data that `real` comes from. named: the nets that the user named; see `load_net`. Raises
        WrongData for a recording of other data, SecateurError for one without a trained net, and for a class of fewer
        than `per_class` rows.
        """
        try:
            recording, model = Recording.open(out), out / "model.safetensors"
        except StoreError as error:
            raise StoreError(f"recording: {error}; `secateur record DATA --out OUT` makes one") from None
        if recording.fingerprint != fingerprint:
            raise WrongData(
                f"recording: {out} was made from other data (fingerprint {recording.fingerprint}, not {fingerprint}); "
                f"give the OUT folder of `secateur record` on this data"
            )
        if not model.exists():
            raise SecateurError(
                f"recording: {out} holds no fully trained net (model.safetensors); `secateur record DATA "
                f"--out {out}` trains one"
            )
        net = load_teacher(
            out, device=real.rows.device, rows=real.rows[:2], classes=real.classes, named=named,
            option="--nets (nets= in Python)",
        )  # fmt: skip
        picked = {kind: by_scores(recording, kind, real, per_class) for kind in SCORED}
        about = {"net": load_about(model).spec, "epochs": recording.epochs, "model": content_hash(model.read_bytes())}
        return cls(real, net, picked, about)

    @cached_property
    def features(self) -> np.ndarray:
        """Last-layer features of each row of `real`: (rows, dims) float32."""
        tell, device = Penultimate(self.net), self.real.rows.device.type
        with torch.inference_mode(), torch.autocast(device, enabled=False):
            return torch.cat([tell(rows)[0].float() for rows in torch.split(self.real.rows, _BATCH)]).cpu().numpy()


def by_scores(recording: Recording, kind: str, real: Real, per_class: int) -> np.ndarray:
    """Ids (classes * per_class,) that a method chooses from the recording, class by class, as many of each.

    `forgetting` takes the examples that were forgotten most often, as in the tables of DC; `dual` draws by its Beta
    density, which for so few rows is at the easy end: at such sizes the hardest rows of a class teach little.
    """
    method, pool, chosen = find_method(kind), Pool.of(recording), []
    setting = pool.setting(per_class * real.classes / len(real.ids))
    uses = uses_of([method], recording, [setting.keep])
    scores = Scores(pool.labels, {use.label: compute(recording, use) for use in uses}, {})
    picker = Picker(pool, method, setting, scores, NO_CHECK, seeding.rng(0, kind, "coreset"))
    for name, places in zip(real.names, real.members, strict=True):
        if len(places) < per_class:
            raise SecateurError(
                f"per_class: {per_class} is more than the {len(places)} rows of class {name!r}, so no coreset can have "
                f"that size; use {len(places)} or fewer, or skip the evaluation (--no-evaluate)"
            )
        chosen.append(picker.pick(real.ids[places.numpy()], per_class))
    return np.concatenate(chosen)


def coreset(real: Real, kind: str, per_class: int, recorded: Recorded | None = None) -> np.ndarray:
    """Ids (classes * per_class,) chosen class by class: by `herding` or `k-center`, which starts nearest to the mean,
    or by a kind of SCORED if a run is recorded.

    The first two use the features of the recorded net, as in the published tables, or the normalised rows.
    """
    if recorded is not None and kind in recorded.picked:
        return recorded.picked[kind]
    space = real.normalise(real.rows).flatten(1).cpu().numpy() if recorded is None else recorded.features
    chosen = []
    for places in real.members:
        own = space[places.numpy()]
        if kind == "herding":
            picked = herding(own, keep=per_class)
        else:
            picked = k_center(own, keep=per_class, start="mean", rng=seeding.rng(0, "k-center"))
        chosen.append(real.ids[places.numpy()[picked]])
    return np.concatenate(chosen)
