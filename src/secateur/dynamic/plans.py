"""What a rule is told, what it answers, and what it says of itself."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np


class Plan(NamedTuple):
    """What one epoch visits.

    ids (visits,) int64, in order; weights (visits,), what each one's loss is multiplied by, None for 1; rate: what the
    learning rate is multiplied by.
    """

    ids: np.ndarray
    weights: np.ndarray | None = None
    rate: float = 1.0


class Progress(NamedTuple):
    """The epoch to be planned, from 0, and how many there will be, where that is known."""

    epoch: int
    epochs: int | None = None

    @property
    def done(self) -> float:
        """The share of the run that lies behind, 0 where its length is not known.

        >>> Progress(3, 12).done, Progress(3).done
        (0.25, 0.0)
        """
        return self.epoch / self.epochs if self.epochs else 0.0

    @property
    def last(self) -> bool:
        """Is this known to be the last epoch?"""
        return self.epoch + 1 == self.epochs


@dataclass(frozen=True)
class Heard:
    """What is known of every example: the last that was reported of it, each (examples,).

    loss, confidence (highest probability): nan where nothing was. correct: False there. visited: was it in the epoch
    before? score: what the user gave of each example. memory: what the rule itself noted, by name.
    """

    loss: np.ndarray
    correct: np.ndarray
    confidence: np.ndarray
    visited: np.ndarray
    score: np.ndarray | None = None
    memory: Mapping[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def of(cls, examples: int, **known: Any) -> "Heard":
        """What is known before the first epoch, and what else is given.

        >>> Heard.of(2, loss=np.array([0.5, 2.])).confidence
        array([nan, nan])
        """
        unknown, false = np.full(examples, np.nan), np.zeros(examples, dtype=bool)
        return cls(**{"loss": unknown, "correct": false, "confidence": unknown, "visited": ~false} | known)

    def __len__(self) -> int:
        return len(self.loss)


Memory = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Rule(ABC):
    """A rule of dynamic pruning: a frozen value with pure functions. Its ids are places in the arrays it is told.

    unbiased: over many plans every example counts once on average (visits times weight). anneals: the last epochs visit
    everything, with weight 1. needs: what must be reported (loss, correct, confidence), or given (score). by_length: it
    has a schedule over the run, and a user should say how many epochs there will be. source: the paper.
    """

    source: ClassVar[str] = ""
    unbiased: ClassVar[bool] = False
    anneals: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ("loss",)
    by_length: ClassVar[bool] = False

    def due(self, heard: Heard, progress: Progress) -> np.ndarray:
        """The ids that somebody should look at, without training on them, before the epoch is planned."""
        return np.arange(0)

    def learn(self, heard: Heard, progress: Progress, rng: np.random.Generator) -> Memory:
        """What to note before the epoch is planned; called once an epoch."""
        return heard.memory

    @abstractmethod
    def plan(self, heard: Heard, progress: Progress, rng: np.random.Generator) -> Plan:
        """What the epoch visits."""


class Choosing(Rule):
    """A rule that notes in `learn` whom it has `chosen` (examples,), and visits them in an order of the epoch's own."""

    def plan(self, heard: Heard, progress: Progress, rng: np.random.Generator) -> Plan:
        """Whom it has chosen; asked before anything was noted, it chooses first."""
        memory = heard.memory or self.learn(heard, progress, rng)
        return Plan(rng.permutation(np.flatnonzero(memory["chosen"])))
