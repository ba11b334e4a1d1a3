"""The recorder: writes what an epoch told about each example, at row = id, while any loop trains."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from secateur.errors import RowsNotSeen, SecateurError, StoreError
from secateur.fields import FIELDS, RECORDED
from secateur.store.recording import Recording, RecordingWriter
from secateur.training.buffers import Buffers
from secateur.training.given import whole_numbers
from secateur.training.marked import fingerprint_of
from secateur.training.ranks import barrier, joined, rank

BUFFER_LIMIT = 1 << 28
"""(examples x classes) up to which the default fields include those that need such a buffer."""


def check_fields(fields: Sequence[str] | None) -> None:
    """Raise SecateurError for a field that no recorder knows."""
    if unknown := sorted(set(fields or ()) - set(RECORDED)):
        raise SecateurError(f"fields: expected some of {', '.join(RECORDED)}, got {', '.join(unknown)}")


class Recorder:
    """Writes every per-epoch field of a training run from the logits the loop already has.

    Two lines in your own loop, one a batch and one an epoch:

        recorder = sc.Recorder("run/recording.zarr", examples=len(train_set), classes=10)
        for epoch in range(epochs):
            for ids, images, labels in loader:      # the data set returns the row number with each row
                ...
                recorder.batch(ids, logits, labels)
            recorder.end_epoch()
        recording = recorder.close()

    Everything stays on the device of the logits and nothing synchronises until `end_epoch`, which writes one row a
    field. Under torch.distributed, call it on every rank: the rows of all ranks are merged, and an example that a
    sampler repeated counts once, as the lowest rank first saw it. With `loss=` alone, regression is recorded.

    ids are the row numbers in the data set, each once in a batch, and the label of an id stays the same. The first
    epoch warns (`RowsNotSeen`) of rows that it left out, as `DataLoader(drop_last=True)` does: they have no value until
    an epoch sees them, and scores that read all epochs refuse such a recording.

    path: the .zarr folder to write. examples: rows of the train split. classes: taken from the first logits if not
    given. fields: what to record (`secateur.fields.RECORDED`); by default everything, leaving out what needs an
    (examples, classes) buffer where that has more than 2^28 entries. data: the data set, as `secateur.prune` takes it,
    or its fingerprint as a str, so that later steps can refuse other data. partial: True says that epochs leave rows
    out on purpose, and warns of none. state: what `state_dict` gave, to go on in the middle of an epoch. resume: True
    goes on after the last recorded epoch, a number after so many epochs, forgetting later ones: pass the epoch of your
    own checkpoint. All ranks must be able to read `path` then.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        examples: int,
        classes: int | None = None,
        fields: Sequence[str] | None = None,
        data: Any = None,
        resume: bool | int = False,
        provenance: Mapping[str, Any] | None = None,
        partial: bool = False,
        state: Mapping[str, Tensor] | None = None,
    ) -> None:
        if isinstance(examples, bool) or not isinstance(examples, (int, np.integer)) or examples < 1:
            raise SecateurError(f"examples: expected a count of at least 1, got {examples!r}")
        check_fields(fields)
        joined("Recorder")
        self.path, self.examples, self.classes = Path(path), int(examples), classes
        self.epochs = 0
        self._fields = None if fields is None else tuple(n for n in RECORDED if n in fields)
        self._fingerprint = fingerprint_of(data, self.examples)
        self._partial, self._state = partial, state
        if state is not None:
            resume = int(state["epochs"])
        self._provenance = dict(provenance or {})
        self._writer: RecordingWriter | None = None
        self._buffers: Buffers | None = None
        if resume is not False and self.path.exists():
            self._reopen(None if resume is True else resume)
        elif self.path.exists():
            raise StoreError(f"{self.path}: there is a recording already; pass resume=True, or another path")
        elif resume not in (False, True, 0):
            raise StoreError(f"{self.path}: there is no recording to go on with after epoch {resume}")

    def batch(
        self,
        ids: ArrayLike | Tensor,
        logits: Tensor | None = None,
        labels: ArrayLike | Tensor | None = None,
        *,
        loss: Tensor | None = None,
    ) -> None:
        """Record one batch; ids (batch,), logits (batch, classes), labels (batch,), loss (batch,) if not cross-entropy.

        The first sight of an example in an epoch counts. Non-finite logits are reported by `end_epoch`, wrong ids and
        labels too where they are on an accelerator, since looking would make the device wait, and the label of an id
        that changed.
        """
        ids = whole_numbers("ids", ids, self.examples, once=True)
        for name, tensor in (("logits", logits), ("loss", loss)):
            if tensor is not None and not (isinstance(tensor, Tensor) and tensor.is_floating_point()):
                got = str(tensor.dtype) if isinstance(tensor, Tensor) else type(tensor).__name__
                raise SecateurError(f"{name}: expected a tensor of floats, got {got}")
        values = logits if logits is not None else loss
        if logits is None and self._buffers is not None and self._buffers.labelled:
            raise SecateurError("batch: expected logits and labels, as in the batches before, got loss alone")
        if values is None or (logits is not None and labels is None):
            raise SecateurError("batch: expected logits and labels, or loss alone")
        self._check_batch(ids, logits, None, loss)
        labels = None if labels is None or logits is None else whole_numbers("labels", labels, logits.shape[-1])
        self._check_batch(ids, None, labels, None)
        buffers = self._allocate(values, logits)
        device = values.device
        with torch.no_grad():
            buffers.take(
                ids.to(device, torch.int64, non_blocking=True),
                None if logits is None else logits.detach().float(),
                None if labels is None else labels.detach().to(device, torch.int64, non_blocking=True),
                None if loss is None else loss.detach().float(),
                checked=device.type == ids.device.type == "cpu",  # as `whole_numbers` did
            )

    def end_epoch(self) -> None:
        """Merge the ranks, check what came and write one row of every field; rank 0 writes.

        Raises SecateurError for wrong ids or probabilities in place of logits and NonFiniteError for nan or inf; the
        epoch is not written then, earlier ones stay.
        """
        whole = self._buffers is None and self._state is not None and "rows" in self._state  # before any batch
        buffers = self._loaded() if whole else self._buffers
        if buffers is None:
            raise SecateurError("end_epoch: no batch was recorded; call batch(ids, logits, labels) in the loop first")
        buffers.merge()
        buffers.check(self.epochs)
        if not self.epochs and not self._partial:
            self._warn(self.examples - int(buffers.seen.sum()))
        if rank() == 0:
            writer = self._open_writer()
            buffers.save(writer.carry / f"{self.epochs + 1:06d}.safetensors")
            writer.append(buffers.epoch_rows())
            writer.forget_carry(before=self.epochs)  # a caller's checkpoint may be one epoch behind
        self.epochs += 1
        buffers.start_epoch()
        if whole:  # the device of the logits is not known yet: load again when it is
            self._buffers = self._state = None
        barrier()

    def _warn(self, unseen: int) -> None:
        if unseen and rank() == 0:
            told = (
                f"{self.path}: {unseen} of {self.examples} ids were not seen in the first epoch, and scores need every "
                "row in it; likely the DataLoader has drop_last=True, or a sampler that leaves rows out: use "
                "drop_last=False, or pass partial=True if that is intended"
            )
            warnings.warn(told, RowsNotSeen, stacklevel=3)

    def state_dict(self) -> dict[str, Tensor]:
        """Where the recording stands, in the middle of an epoch too: for `state=`. Every rank calls it."""
        held = {} if self._buffers is None else self._buffers.state()
        return held | {"epochs": torch.tensor(self.epochs)}

    def flush(self) -> None:
        """Write the fields without an epoch axis as they stand, so that an unfinished recording can be scored."""
        if rank() == 0 and self.epochs:
            assert self._fields is not None
            self._open_writer().write_tables(self._loaded().tables(self._fields))
        barrier()

    def close(self) -> Recording:
        """Write the fields without an epoch axis, mark the recording complete and open it for reading."""
        self.flush()
        if rank() == 0 and self.epochs:
            self._open_writer().finish()
        barrier()
        return Recording.open(self.path)

    def _check_batch(self, ids: Tensor, logits: Tensor | None, labels: Tensor | None, loss: Tensor | None) -> None:
        for name, tensor, axes in (("logits", logits, 2), ("labels", labels, 1), ("loss", loss, 1)):
            if tensor is not None and (tensor.ndim != axes or len(tensor) != len(ids)):
                shape = "(batch, classes)" if axes == 2 else "(batch,)"
                raise SecateurError(f"{name}: expected shape {shape} with batch {len(ids)}, got {tuple(tensor.shape)}")
        if logits is not None and logits.shape[1] != (self.classes or max(logits.shape[1], 2)):
            raise SecateurError(f"logits: expected {self.classes or 'at least 2'} classes, got {logits.shape[1]}")

    def _allocate(self, values: Tensor, logits: Tensor | None) -> Buffers:
        """Buffers on the device of the first batch, filled from the last recorded epoch on a resumed run."""
        if self._buffers is not None:
            return self._buffers
        self.classes = self.classes or (None if logits is None else logits.shape[1])
        if self._fields is None:
            fits = self.examples * (self.classes or 0) <= BUFFER_LIMIT
            everything = [n for n in RECORDED if fits or not FIELDS[n].per_class]
            self._fields = ("loss", "seen") if logits is None else tuple(everything)
        if logits is None and (needy := [n for n in self._fields if n not in ("loss", "seen")]):
            raise SecateurError(f"batch: {', '.join(needy)} need logits; pass logits and labels, or fields=['loss']")
        return self._loaded(values.device)

    def _loaded(self, device: torch.device | None = None) -> Buffers:
        """The buffers, filled from the last recorded epoch where this process has not recorded one itself."""
        if self._buffers is None:
            assert self._fields is not None
            self._buffers = Buffers(self.examples, self._fields, self.classes or 0, device or torch.device("cpu"))
            if self._state is not None and "rows" in self._state:
                self._buffers.take_up(self._state)
            elif self.epochs:
                self._buffers.load(self._new_writer().carry / f"{self.epochs:06d}.safetensors")
        return self._buffers

    def _reopen(self, epochs: int | None) -> None:
        """Go on with a recording: rank 0 rewinds it to the newest epoch whose carry-over is on disk."""
        recording = Recording.open(self.path)
        self.classes = self.classes or recording.classes
        self._fields = self._fields or recording.fields
        writer = self._new_writer()
        self.epochs = recording.epochs if epochs is None else epochs
        held = self._state is not None and "rows" in self._state
        if self.epochs and not held and not (writer.carry / f"{self.epochs:06d}.safetensors").exists():
            known = sorted(int(p.stem) for p in writer.carry.glob("*.safetensors"))
            raise StoreError(f"{self.path}: can go on after epoch {known or 0} only, not after {self.epochs}")
        barrier()
        if rank() == 0:
            writer.reopen(self.epochs)
            self._writer = writer
        barrier()

    def _open_writer(self) -> RecordingWriter:
        if self._writer is None:
            self._writer = self._new_writer()
            self._writer.create()
        return self._writer

    def _new_writer(self) -> RecordingWriter:
        assert self._fields is not None
        return RecordingWriter(
            self.path,
            examples=self.examples,
            fields=self._fields,
            classes=self.classes,
            fingerprint=self._fingerprint,
            provenance=self._provenance,
        )
