"""What a recorder knows about every example in the epoch under way, on the device of the logits."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor

from secateur.errors import NonFiniteError, SecateurError
from secateur.fields import FIELDS
from secateur.store.files import replacing
from secateur.training.checkpoint import damage, tensors_in
from secateur.training.given import ONCE, repeated
from secateur.training.measure import measure
from secateur.training.ranks import merged, rank, ranks

_NEVER = torch.iinfo(torch.int64).max


class Buffers:
    """One row a field, all examples wide, and the logits each example last had where a field needs them.

    Nothing here synchronises with the device but `merge`, `check` and what reads rows out, once an epoch.
    """

    def __init__(self, examples: int, fields: Sequence[str], classes: int, device: torch.device) -> None:
        self.names = [n for n in fields if FIELDS[n].axes[0] == "epochs" and n != "seen"]
        self.rows = torch.full((len(self.names), examples), torch.nan, device=device)  # (fields, examples)
        self.seen = torch.zeros(examples, dtype=torch.bool, device=device)
        self.labels = torch.full((examples,), -1, device=device)
        self.times = torch.zeros(examples, dtype=torch.int64, device=device)
        self.labelled = set(self.names) != {"loss"}  # some of the fields are made of logits
        keeps_logits = any(FIELDS[n].per_class for n in fields)
        self.logits = torch.full((examples, classes if keeps_logits else 0), torch.nan, device=device)  # last seen
        self.logits_sum = torch.zeros((examples, classes if "logits_mean" in fields else 0), device=device)
        self.start_epoch()

    def start_epoch(self) -> None:
        """Forget which examples this epoch has seen; their rows stay, for those that no batch will visit."""
        device = self.rows.device
        self.seen.zero_()
        self.steps = 0
        self.counts = torch.zeros(len(_COUNTED), dtype=torch.int64, device=device)
        self.clash = torch.full((3,), -1, device=device)  # an id, the label it had and the one that came
        self.first_bad = torch.tensor(_NEVER, device=device)

    def take(
        self, ids: Tensor, logits: Tensor | None, labels: Tensor | None, loss: Tensor | None, *, checked: bool = False
    ) -> None:
        """Scatter one batch to the rows of its ids; an example this epoch has seen already is left as it is.

        checked: ids and labels are known to be in range, and no id comes twice; otherwise faults are counted.
        """
        inside = (ids >= 0) & (ids < self.seen.numel())
        at = torch.where(inside, ids, 0)
        fresh = inside & ~self.seen[at]
        if logits is not None:
            assert labels is not None
            if not checked:
                known = (labels >= 0) & (labels < logits.shape[1])
                self.counts[3] += (~known).sum()
                labels = torch.where(known, labels, 0)
            previous = self.logits[at] if self.logits.shape[1] else None
            measured = measure(logits, labels, self.names, previous=previous, loss=loss)
            self._compare(at, inside, labels)
            self._keep_logits(at, fresh, logits, labels)
        else:
            assert loss is not None
            measured = {"loss": loss}
        new = torch.stack([measured[name] for name in self.names])
        self.rows[:, at] = torch.where(fresh, new, self.rows[:, at])
        self._count(inside, logits if logits is not None else loss)
        if not checked:
            self.counts[4] += repeated(ids).sum()
        self.seen[at] |= inside
        self.steps += 1

    def _keep_logits(self, at: Tensor, fresh: Tensor, logits: Tensor, labels: Tensor) -> None:
        before = self.labels[at]
        self.labels[at] = torch.where(fresh & (before < 0), labels, before)
        if self.logits.shape[1]:
            self.logits[at] = torch.where(fresh[:, None], logits, self.logits[at])

    def _compare(self, at: Tensor, inside: Tensor, labels: Tensor) -> None:
        """Remember, on the device, the first example whose label is no longer what it was."""
        if not len(at):
            return
        before = self.labels[at]
        other = inside & (before >= 0) & (before != labels)
        where = other.to(torch.uint8).argmax()[None]
        found = torch.stack([at, before, labels]).index_select(1, where)[:, 0]
        self.clash = torch.where((self.clash[0] < 0) & other.any(), found, self.clash)

    def _count(self, inside: Tensor, values: Tensor | None) -> None:
        """Keep count, on the device, of what `check` will report."""
        assert values is not None
        like = torch.zeros_like(inside)
        if values.ndim == 2:
            like = (values >= 0).all(1) & ((values.sum(1) - 1).abs() < 1e-3)
        self.counts[0] += inside.numel()  # a number of the host's: making a tensor of it would synchronise
        self.counts[1] += like.sum()
        self.counts[2] += (~inside).sum()
        step = torch.where(torch.isfinite(values).all(), _NEVER, self.steps)
        self.first_bad = torch.minimum(self.first_bad, step)

    def merge(self) -> None:
        """End the epoch: give every rank the rows of all; an example that several saw is the lowest rank's."""
        mine, labels = self.seen, self.labels.clone()
        self.seen = merged(self.seen, self.rows.T, self.labels, self.logits)
        if ranks() > 1:
            self._compare(torch.arange(len(labels), device=labels.device), mine, labels)
            clashes = [torch.empty_like(self.clash) for _ in range(ranks())]
            dist.all_gather(clashes, self.clash)
            self.clash = next((c for c in clashes if int(c[0]) >= 0), self.clash)
            dist.all_reduce(self.counts)
            dist.all_reduce(self.first_bad, dist.ReduceOp.MIN)
        self.times += self.seen
        if self.logits_sum.shape[1]:
            self.logits_sum += torch.where(self.seen[:, None], self.logits, 0)

    def check(self, epoch: int) -> None:
        """Refuse an epoch of impossible values; raises SecateurError or NonFiniteError."""
        rows, like_probabilities, wrong_ids, wrong_labels, repeats = self.counts.tolist()
        if (first := int(self.first_bad)) != _NEVER:
            raise NonFiniteError(f"logits: expected finite values, got nan or inf at epoch {epoch}, step {first}")
        if wrong_ids:
            raise SecateurError(f"ids: expected 0 to {self.seen.numel() - 1}, got {wrong_ids} others in epoch {epoch}")
        if wrong_labels:
            raise SecateurError(f"labels: expected numbers of classes, got {wrong_labels} others in epoch {epoch}")
        if repeats:
            raise SecateurError(f"ids: expected each once in a batch, got {repeats} repeated in epoch {epoch}; {ONCE}")
        self._check_labels(epoch)
        if rows and like_probabilities == rows:
            raise SecateurError("logits: every row is a probability distribution; pass logits, from before the softmax")

    def _check_labels(self, epoch: int) -> None:
        at, before, now = self.clash.tolist()
        if at >= 0:
            raise SecateurError(
                f"ids: example {at} had label {before} and has label {now} in epoch {epoch}; ids must be the row"
                " numbers in the data set, not positions in the batch or in a shuffled order"
            )

    def epoch_rows(self) -> dict[str, np.ndarray]:
        """The rows of the epoch, as they are written."""
        rows = self.rows.cpu().numpy()
        out = {name: row for name, row in zip(self.names, rows, strict=True) if FIELDS[name].dtype != "bool"}
        for name, row in zip(self.names, rows, strict=True):
            if FIELDS[name].dtype == "bool":
                out[name] = np.where(np.isnan(row), 255, row).astype(np.uint8)
        return out | {"seen": self.seen.cpu().numpy().astype(np.uint8)}

    def tables(self, fields: Sequence[str]) -> dict[str, np.ndarray]:
        """The fields without an epoch axis."""
        tables = {"labels": self.labels, "logits_mean": self.logits_sum / self.times[:, None]}
        return {name: values.cpu().numpy() for name, values in tables.items() if name in fields}

    def save(self, path: Path) -> None:
        """Write what the next epoch needs of this one."""
        tensors = {name: getattr(self, name).contiguous() for name in _CARRIED}
        with replacing(path) as beside:
            save_file(tensors, beside)

    def load(self, path: Path) -> None:
        """Take up what `save` wrote."""
        what, way = "what the recorder carried over", "record again"
        found = tensors_in(path, what, way, device=str(self.rows.device))
        with damage(path, what, way):
            for name in _CARRIED:
                own, values = getattr(self, name), found[name]
                if (values.shape, values.dtype) != (own.shape, own.dtype):
                    raise ValueError(f"{name} is {values.dtype} of shape {tuple(values.shape)}, not {tuple(own.shape)}")
                setattr(self, name, values)

    def state(self) -> dict[str, Tensor]:
        """Everything, in the middle of an epoch too, on the CPU; every rank calls it and gets the rows of all."""
        now = {name: getattr(self, name).clone() for name in (*_CARRIED, *_UNDER_WAY)}
        now["seen"] = merged(now["seen"], now["rows"].T, now["labels"], now["logits"])
        if ranks() > 1:
            dist.all_reduce(now["counts"])
            dist.all_reduce(now["first_bad"], dist.ReduceOp.MIN)
        return {name: values.cpu() for name, values in now.items()} | {"steps": torch.tensor(self.steps)}

    def take_up(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state` stood; what was counted is counted on by rank 0."""
        for name in (*_CARRIED, *_UNDER_WAY):
            setattr(self, name, state[name].clone().to(self.rows.device))
        self.steps = int(state["steps"])
        if rank():
            self.counts.zero_()


_CARRIED = ("rows", "labels", "times", "logits", "logits_sum")
_UNDER_WAY = ("seen", "counts", "clash", "first_bad")
_COUNTED = ("rows", "rows like probabilities", "wrong ids", "wrong labels", "repeated ids")
