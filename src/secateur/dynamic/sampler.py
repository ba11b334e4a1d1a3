"""A torch sampler that asks a rule once an epoch what to visit, and hears how it went."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.utils.data import Sampler as TorchSampler

from secateur.dynamic.plans import Heard, Plan, Progress, Rule
from secateur.dynamic.rules import rule as find_rule
from secateur.errors import NonFiniteError, SecateurError, reason
from secateur.training.given import whole_numbers
from secateur.training.ranks import merged, rank, ranks
from secateur.training.seeding import rng

_SHOWN = ("loss", "correct", "confidence")


class Sampler(TorchSampler[int]):
    """Chooses what each epoch visits by a rule of dynamic pruning, in any loop.

    rule: one of `secateur.dynamic`, or its name with knobs (`infobatch:drop=0.3`). examples: rows of the data set,
    whose numbers are the ids. epochs: how many there will be; rules that anneal or have a schedule leave that out where
    it is not known, and a warning says so. pool: the ids to choose from (all). score (examples,): for rules that need
    one, higher first.

    A pass over the sampler is an epoch. Multiply each loss by `weights(ids)` before taking the mean, and `report` the
    losses as they were. A rule that looks at more than it trains on names those ids in `due`, between epochs: report
    them from a pass in eval mode, or leave it, and the rule goes by what it heard last.

    Under torch.distributed each rank gets its part of one plan, and what all report is merged before the next. Where
    the ranks do not divide the plan, examples are repeated so that all have as many, their weight divided among the
    copies.

    >>> sampler = Sampler("random:keep=0.5", examples=6)
    >>> len(list(sampler)), sampler.weights(torch.tensor([3, 4]))
    (3, tensor([1., 1.]))
    """

    listens = True

    def __init__(
        self,
        rule: str | Rule,
        *,
        examples: int,
        seed: int = 0,
        epochs: int | None = None,
        pool: np.ndarray | None = None,
        score: np.ndarray | None = None,
        shard: bool = True,
    ) -> None:
        if not isinstance(examples, (int, np.integer)) or examples < 1:
            raise SecateurError(f"examples: expected a count of 1 or more, got {examples!r}")
        self.rule, self.seed, self.epochs, self.examples, self.shard = find_rule(rule), seed, epochs, examples, shard
        self.ids = _ids_of(pool, examples)
        self._check(score)
        self._heard = Heard.of(len(self.ids), score=None if score is None else np.asarray(score)[self.ids])
        self._rows = torch.full((len(_SHOWN), examples), torch.nan)  # on the device of what is reported
        self._fresh = torch.zeros(examples, dtype=torch.bool)
        self._weights = torch.ones(examples)
        self._plan: Plan | None = None
        self._epoch, self._next = -1, 0  # of the plan; of the next pass
        self._begun = self._announced = False  # is the plan being visited? was the next pass given a number?
        self._stood = self._heard  # before the plan was made

    def _check(self, score: np.ndarray | None) -> None:
        if "score" in self.rule.needs and (score is None or np.shape(score) != (self.examples,)):
            got = "none" if score is None else f"shape {np.shape(score)}"
            raise SecateurError(
                f"score: {type(self.rule).__name__} needs one an example ({self.examples},), got {got}; give the "
                "sampler score=..., or `secateur train` the --subset of a pruning, whose scores it takes"
            )
        if "score" in self.rule.needs and (bad := ~np.isfinite(np.asarray(score)[self.ids])).any():
            where = int(self.ids[bad.argmax()])
            raise SecateurError(f"score: {np.asarray(score)[where]} at example {where}; give each one a number")
        if self.rule.by_length and self.epochs is None:
            told = (
                f"{type(self.rule).__name__} has a schedule over the run: pass epochs=N, or it stays at its beginning"
            )
            warnings.warn(told, stacklevel=3)

    @property
    def rate(self) -> float:
        """What the learning rate is to be multiplied by in the epoch under way: read it while the pass goes on."""
        return 1.0 if self._plan is None else self._plan.rate

    @property
    def due(self) -> np.ndarray:
        """The ids to look at, without training on them, before the next epoch is planned; of all ranks."""
        if self._plan is not None and not self._begun:
            return self.ids[self.rule.due(self._stood, Progress(self._epoch, self.epochs))]
        coming = self._next if self._plan is None or self._announced else self._epoch + 1
        return self.ids[self.rule.due(self._take(), Progress(coming, self.epochs))]

    def plan(self, epoch: int) -> Plan:
        """What the epoch visits, over all ranks; the same however often it is asked for."""
        plan = self._ahead(epoch)
        self._begun = True
        return plan

    def _ahead(self, epoch: int) -> Plan:
        """The plan of an epoch, which may not have begun; made again if something was looked at since."""
        if self._plan is not None and not self._begun and bool(merged(self._fresh).any()):
            self._heard, self._plan = self._stood, None
        if self._plan is None or epoch != self._epoch:
            self._stood = self._take()
            self._plan, self._epoch, self._begun = self._planned(epoch), epoch, False
            self._weights = self._weights_of(self._plan)
        return self._plan

    def _planned(self, epoch: int) -> Plan:
        progress, heard = Progress(epoch, self.epochs), self._stood
        if self._plan is not None and "loss" in self.rule.needs and np.isnan(heard.loss).all():
            raise SecateurError(
                f"loss: none was reported in epoch {self._epoch}, so there is nothing to plan epoch {epoch} by; "
                "call sampler.report(ids, loss) after each batch"
            )
        heard = replace(heard, memory=self.rule.learn(heard, progress, rng(self.seed, "learn", epoch)))
        plan = self.rule.plan(heard, progress, rng(self.seed, "plan", epoch))
        self._check_plan(plan, epoch)
        visited = np.zeros(len(self.ids), dtype=bool)
        visited[plan.ids] = True
        self._heard = replace(heard, visited=visited)
        return plan._replace(ids=self.ids[plan.ids])

    def _check_plan(self, plan: Plan, epoch: int) -> None:
        """Of rules that others wrote: some ids, each once and of those there are, and as many weights."""
        if not isinstance(plan, Plan) or np.asarray(plan.ids).dtype.kind not in "iu":
            raise SecateurError(f"rule: expected a Plan with whole numbers as ids from {self.rule}, got {plan!r:.80}")
        if not len(plan.ids):
            raise SecateurError(f"rule: {self.rule} leaves nothing to train on in epoch {epoch}; keep more")
        if len(np.unique(plan.ids)) < len(plan.ids) or plan.ids.min() < 0 or plan.ids.max() >= len(self.ids):
            raise SecateurError(f"rule: expected each id once and from 0 to {len(self.ids) - 1} from {self.rule}")
        if plan.weights is not None and plan.weights.shape != plan.ids.shape:
            raise SecateurError(
                f"rule: expected {len(plan.ids)} weights, one an id, from {self.rule}, got {plan.weights.shape}"
            )

    def _weights_of(self, plan: Plan) -> Tensor:
        """A weight an example (examples,): the plan's, divided among its copies."""
        out = np.ones(self.examples, dtype=np.float32)
        out[plan.ids] = 1.0 if plan.weights is None else plan.weights
        visits = self._visits(plan)
        return torch.from_numpy(out / np.maximum(np.bincount(visits, minlength=self.examples), 1).astype(np.float32))

    def _visits(self, plan: Plan) -> np.ndarray:
        """The ids, some of them again where the ranks do not divide their number."""
        return np.resize(plan.ids, -(-len(plan.ids) // self._parts) * self._parts)

    @property
    def _parts(self) -> int:
        return ranks() if self.shard else 1

    def weights(self, ids: ArrayLike | Tensor) -> Tensor:
        """What each loss of a batch (batch,) is to be multiplied by before the mean is taken; 1 for ids not visited."""
        ids = whole_numbers("ids", ids, self.examples, once=True)
        if self._weights.device != ids.device:
            self._weights = self._weights.to(ids.device)
        return self._weights[ids]

    def report(
        self,
        ids: ArrayLike | Tensor,
        loss: ArrayLike | Tensor,
        *,
        correct: ArrayLike | Tensor | None = None,
        confidence: ArrayLike | Tensor | None = None,
    ) -> None:
        """Hear of a batch: ids, losses as they were before any weight, was it right, highest probability: (batch,).

        Each is a list, an array or a tensor. Raises SecateurError for ids that are no row numbers, or come twice.
        """
        ids = whole_numbers("ids", ids, self.examples, once=True)
        loss = _floats("loss", loss)
        more = {"correct": correct, "confidence": confidence}
        given = {"loss": loss} | {n: None if v is None else _floats(n, v) for n, v in more.items()}
        for name, values in given.items():
            if values is None and name in self.rule.needs:
                raise SecateurError(
                    f"{name}: {type(self.rule).__name__} needs it, got none; call report(ids, loss, correct=answers == "
                    "labels, confidence=logits.softmax(1).amax(1))"
                )
            if values is not None and values.shape != ids.shape:
                raise SecateurError(
                    f"{name}: expected one value an id ({len(ids)},), got shape {tuple(values.shape)}; "
                    "take losses with reduction='none'"
                )
        if self._rows.device != loss.device:
            self._rows, self._fresh = self._rows.to(loss.device), self._fresh.to(loss.device)
        at = ids.to(loss.device)
        for row, values in zip(self._rows, given.values(), strict=True):
            if values is not None:
                row[at] = values.detach().to(row)
        self._fresh[at] = True

    def _take(self) -> Heard:
        """What is known of the examples of the pool, with what all ranks reported since it was last asked for."""
        fresh = merged(self._fresh, self._rows.T)
        if bool(fresh.any()):
            at = torch.from_numpy(self.ids).to(fresh.device)
            new, rows = fresh[at].cpu().numpy(), self._rows[:, at].double().cpu().numpy()
            if (bad := new & ~np.isfinite(rows[0])).any():
                where = int(bad.argmax())
                raise NonFiniteError(f"loss: {rows[0, where]} was reported of example {self.ids[where]}")
            loss, correct, confidence = (new & ~np.isnan(row) for row in rows)
            self._heard = replace(
                self._heard,
                loss=np.where(loss, rows[0], self._heard.loss),
                correct=np.where(correct, rows[1] > 0, self._heard.correct),
                confidence=np.where(confidence, rows[2], self._heard.confidence),
            )
            self._fresh = torch.zeros_like(self._fresh)
        return self._heard

    def __iter__(self) -> Iterator[int]:
        plan = self.plan(self._next)
        self._next, self._announced = self._next + 1, False
        return iter(self._visits(plan)[rank() % self._parts :: self._parts].tolist())

    def __len__(self) -> int:
        plan = self._ahead(self._next) if self._plan is None or self._announced else self._plan
        return len(self._visits(plan)) // self._parts

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch the next pass is, where passes do not count them."""
        self._next, self._announced = epoch, True

    def _about(self) -> str:
        return f"{self.rule!r} on {len(self.ids)} of {self.examples} examples, seed {self.seed}"

    def state_dict(self) -> dict[str, Tensor]:
        """Everything the next plans depend on; every rank calls it and gets the same."""
        heard = self._take()
        arrays: dict[str, Any] = {n: getattr(heard, n) for n in (*_SHOWN, "visited")}
        arrays |= {f"memory.{name}": values for name, values in heard.memory.items()}
        arrays["about"] = np.frombuffer(self._about().encode(), dtype=np.uint8)
        arrays["at"] = np.array([self._epoch, self._next, self._announced])
        if self._plan is not None:
            arrays |= {"plan.ids": self._plan.ids, "plan.rate": np.array(self._plan.rate)}
            arrays |= {} if self._plan.weights is None else {"plan.weights": self._plan.weights}
        return {name: torch.from_numpy(np.array(values)) for name, values in arrays.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state_dict` stood: it plans what the uninterrupted run would have planned.

        Raises SecateurError for the state of another rule, seed or data.
        """
        arrays = {name: values.cpu().numpy() for name, values in state.items()}
        if (about := arrays["about"].tobytes().decode()) != self._about():
            raise SecateurError(f"state: it is of {about}, and this sampler of {self._about()}; make it the same way")
        memory = {n.removeprefix("memory."): a for n, a in arrays.items() if n.startswith("memory.")}
        self._heard = replace(self._heard, memory=memory, **{n: arrays[n] for n in (*_SHOWN, "visited")})
        self._epoch, self._next, announced = arrays["at"].tolist()
        self._announced = bool(announced)
        self._fresh = torch.zeros_like(self._fresh)
        self._plan, self._stood = None, self._heard
        if "plan.ids" in arrays:
            self._begun = True
            self._plan = Plan(arrays["plan.ids"], arrays.get("plan.weights"), float(arrays["plan.rate"]))
            self._weights = self._weights_of(self._plan)


def _ids_of(pool: np.ndarray | None, examples: int) -> np.ndarray:
    """The ids to choose from, sorted."""
    if pool is None:
        return np.arange(examples)
    given = np.asarray(pool)
    if given.dtype == bool:
        raise SecateurError("pool: expected ids, got a mask; pass np.flatnonzero(mask)")
    if given.ndim != 1 or given.dtype.kind not in "iu" or not len(given):
        raise SecateurError(f"pool: expected ids from 0 to {examples - 1}, got {given.dtype} of shape {given.shape}")
    if given.min() < 0 or given.max() >= examples:
        raise SecateurError(f"pool: expected ids from 0 to {examples - 1}, got {given.min()} to {given.max()}")
    return np.unique(given).astype(np.int64)


def _floats(name: str, given: Any) -> Tensor:
    """What was given as a tensor."""
    try:
        return torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise SecateurError(f"{name}: expected numbers of shape (batch,), got {reason(error)}") from None
