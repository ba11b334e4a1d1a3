"""Everything the result of a training run depends on, as one value with a name of its own."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur.data.source import Source
from secateur.dynamic import Rule
from secateur.store.tables import Subset
from secateur.training.adversarial import Adversary
from secateur.training.aims import Plain
from secateur.training.distill import Distill
from secateur.training.nets import model_in
from secateur.training.objective import Aim
from secateur.training.recipes import Recipe

PLAIN = Plain()


@dataclass(frozen=True)
class Run:
    """What is trained: everything a result depends on."""

    name: str  # how tables call it
    net: str
    recipe: Recipe
    steps: int
    seed: int
    subset: Subset | None = None
    teacher: Any = None
    distill: Distill | None = None
    adversary: Adversary | None = None
    margins: np.ndarray | None = None  # (examples,), as the adversary's rule may need
    rule: Rule | None = None  # chooses each epoch anew; then so many epochs of it, and steps is 0
    epochs: int = 0
    aim: Aim = PLAIN
    start: Path | None = None  # a saved net to go on from
    unlabelled: Source | None = None  # a pool beside the data
    difficulty: np.ndarray | None = None  # (examples,) in [0, 1]

    def digest(self, fingerprint: str, budgets: np.ndarray | None) -> str:
        """A name for it, with the data's; budgets: the adversary's, of every example."""
        about: dict[str, Any] = {
            "data": fingerprint,
            "net": self.net,
            "recipe": dataclasses.asdict(self.recipe),
            "steps": self.steps,
            "seed": self.seed,
            "ids": None
            if self.subset is None
            else content_hash(self.subset.ids.tobytes() + self.subset.weights.tobytes()),
            "distill": None if self.distill is None else self.distill.as_dict(),
            "teacher": self.hash_of_teacher if self.distill or "teacher" in self.aim.needs else None,
        }
        return content_hash(json.dumps(about | self._newer(budgets), sort_keys=True).encode())

    @property
    def hash_of_teacher(self) -> str:
        """A name for its weights."""
        return _teacher_hash(self.teacher)

    def _newer(self, budgets: np.ndarray | None) -> dict[str, Any]:
        """What came later has no key where it is not used, so that older cells keep their names."""
        about: dict[str, Any] = {}
        if self.rule is not None:
            about["rule"] = {"spec": repr(self.rule), "epochs": self.epochs}
        if self.adversary is not None and budgets is not None:
            about["adversary"] = dataclasses.asdict(self.adversary) | {"budgets": content_hash(budgets.tobytes())}
        if self.aim != PLAIN:
            about["aim"] = repr(self.aim)
        if self.start is not None:
            about["start"] = _teacher_hash(self.start)
        if self.unlabelled is not None:
            about["unlabelled"] = self.unlabelled.fingerprint
        if self.difficulty is not None:
            about["difficulty"] = content_hash(self.difficulty.tobytes())
        return about


def _teacher_hash(teacher: Any) -> str:
    """Of a net's weights, wherever they are."""
    if isinstance(teacher, (str, Path)):
        path = model_in(Path(teacher))
        return content_hash(path.read_bytes()) if path.is_file() else str(path)
    values = [np.ascontiguousarray(v.detach().float().cpu().numpy()) for v in teacher.state_dict().values()]
    return content_hash(b"".join(v.tobytes() for v in values))


def content_hash(content: bytes) -> str:
    """A short name for bytes."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()
