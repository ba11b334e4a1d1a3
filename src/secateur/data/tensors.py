"""The rows of a split as batches of tensors: from memory, or decoded by worker processes as they are needed."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from secateur.data.decoding.scan import fitted
from secateur.data.source import Split
from secateur.errors import DataError

_SHARE_OF_DEVICE = 0.25
"""A set that takes more of an accelerator's free memory than this stays on the host."""


class Tensors:
    """One split on one device. Both ways of holding it give the same batches in the same order.

    shape: of a row, channels first.
    """

    def __init__(self, split: Split, device: torch.device, *, workers: int | None = None) -> None:
        self.split, self.device = split, device
        self._labels = torch.from_numpy(split.labels).to(device)
        self.shape = _channels_first(split.shape)
        self.usable = split.usable
        self._workers = min(_cores(), 8) if workers is None else workers
        self._values = None if split.values is None else torch.from_numpy(split.values)
        if self._values is not None and _fits(self._values, device):
            self._values = self._values.to(device)

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def labels(self) -> Tensor:
        """Class numbers (examples,) int64 on the device, -1 where missing. Raises DataError for data without labels."""
        self.split.require_labels("training or testing a net")
        return self._labels

    @property
    def classes(self) -> int:
        """How many classes there are. Raises DataError for data without labels."""
        self.split.require_labels("training or testing a net")
        return len(self.split.classes)

    def batches(self, plan: Sequence[Tensor]) -> Iterator[Tensor]:
        """Raw rows for each batch of ids (batch,): uint8 (batch, channels, height, width) or float32 (batch, dims)."""
        for rows in self._from_memory(plan) if self._values is not None else self._streamed(plan):
            rows = rows.to(self.device, non_blocking=True)
            yield rows.permute(0, 3, 1, 2) if rows.ndim == 4 else rows

    def sample(self, ids: np.ndarray) -> Tensor:
        """The rows of `ids` as one batch."""
        return next(self.batches([torch.from_numpy(ids)]))

    def _from_memory(self, plan: Sequence[Tensor]) -> Iterator[Tensor]:
        assert self._values is not None
        for ids in plan:
            yield self._values[ids.to(self._values.device)]

    def _streamed(self, plan: Sequence[Tensor]) -> Iterator[Tensor]:
        yield from DataLoader(
            _Stream(self.split),
            batch_sampler=[ids.tolist() for ids in plan],
            collate_fn=_as_is,
            num_workers=self._workers,
            pin_memory=self.device.type == "cuda",
        )


class _Stream(Dataset[Tensor]):
    """Decodes rows; a list of ids is one item."""

    def __init__(self, split: Split) -> None:
        self.split = split

    def __getitems__(self, ids: list[int]) -> Tensor:
        raw = self.split.rows.raw(ids)
        return torch.from_numpy(np.stack([self._value(i, r) for i, r in zip(ids, raw, strict=True)]))

    def __getitem__(self, i: int) -> Tensor:
        return self.__getitems__([i])[0]

    def _value(self, i: int, raw: object) -> np.ndarray:
        where = f"{self.split.name} row {i}"
        try:
            return fitted(self.split.rows.value(raw), self.split.shape, where)
        except DataError as error:
            raise DataError(f"{where}: {error}; find all such rows and leave them out with --on-bad skip") from None


def _cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _as_is(batch: Any) -> Any:
    return batch


def _channels_first(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[2], *shape[:2]) if len(shape) == 3 else shape


def _fits(values: Tensor, device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    free, _ = torch.cuda.mem_get_info(device)
    return values.nbytes < _SHARE_OF_DEVICE * free
