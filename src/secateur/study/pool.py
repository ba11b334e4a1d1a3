"""What is selected from: the examples, their labels, and everything recorded and probed of them."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from secateur.errors import SecateurError
from secateur.methods import Setting
from secateur.select.limits import Ids
from secateur.store.recording import Recording
from secateur.study.score import setting_of


@dataclass(frozen=True)
class Pool:
    """What is selected from: labels (examples,), -1 for rows that cannot be used; what was recorded, if anything."""

    labels: np.ndarray
    fingerprint: str | None
    recording: Recording | None = None
    labelled: bool = True

    @classmethod
    def of(cls, recording: Recording, *, labelled: bool = True) -> "Pool":
        """The examples that a recording saw."""
        return cls(np.asarray(recording["labels"]), recording.fingerprint, recording, labelled)

    @cached_property
    def usable(self) -> Ids:
        """The ids that may be selected, sorted."""
        return np.flatnonzero(self.labels >= 0)

    def setting(self, keep: float) -> Setting:
        """What a method's knobs depend on."""
        if self.recording is None:
            return Setting(keep, 0, int(self.labels.max()) + 1)
        return setting_of(self.recording, keep)

    def field(self, name: str) -> np.ndarray:
        """One field of every example, read once."""
        if name == "labels":
            return self.labels
        if self.recording is None:
            raise SecateurError(f"{name}: nothing is recorded or probed; run `secateur prune DATA` first")
        if name not in self._read:
            self._read[name] = np.asarray(self.recording[name])
        return self._read[name]

    @cached_property
    def _read(self) -> dict[str, np.ndarray]:
        return {}
