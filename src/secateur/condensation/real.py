"""The real data as condensers see them: rows by class, normalised as they are drawn; and what is begun with."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from secateur.condensation.mosaic import SIDE, compose
from secateur.errors import SecateurError
from secateur.registry import unknown

STARTS = ("noise", "real", "mosaic")
"""What rows may begin as, beside ids."""
STATISTICS: dict[str, tuple[list[float], list[float]]] = {
    "mnist": ([0.1307], [0.3081]),
    "fashion-mnist": ([0.2861], [0.3530]),
    "svhn": ([0.4377, 0.4438, 0.4728], [0.1980, 0.2010, 0.1970]),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    "cifar100": ([0.5071, 0.4866, 0.4409], [0.2673, 0.2564, 0.2762]),
    "tiny-imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}
"""Mean and spread a channel, of pixels in [0, 1], as the published tables were made with. Those of CIFAR-10 are not the
spread of its pixels: take them to reproduce numbers, `data` otherwise."""


@dataclass(frozen=True)
class Real:
    """Labelled rows in memory.

    rows: uint8 (examples, channels, height, width) or float32 (examples, dims), on the device; labels: (examples,)
    int64; ids: (examples,) their numbers in the train split. mean, spread: a value a channel (a dimension), in the
    units of the rows. names: of the classes.
    """

    rows: Tensor
    labels: Tensor
    ids: np.ndarray
    names: tuple[str, ...]
    mean: Tensor
    spread: Tensor

    @classmethod
    def of(
        cls,
        rows: Tensor,
        labels: Tensor,
        *,
        ids: np.ndarray | None = None,
        names: tuple[str, ...] | None = None,
        statistics: str = "data",
    ) -> "Real":
        """statistics: `data` for those of the rows, or a name of STATISTICS.

        Raises SecateurError for what is not a row and a label of each example, for one class, for a class without rows,
        and for statistics that do not fit.

        >>> real = Real.of(torch.tensor([[0.0], [2.0]]), torch.tensor([0, 1]))
        >>> real.mean, real.normalise(real.rows).flatten()
        (tensor([1.]), tensor([-0.7071,  0.7071]))
        """
        _check_given(rows, labels)
        names = tuple(str(k) for k in range(int(labels.max()) + 1)) if names is None else names
        counts = torch.bincount(labels, minlength=len(names))
        if len(names) < 2:
            raise SecateurError(f"label: expected at least 2 classes, got {len(names)}; there is nothing to tell apart")
        if (counts == 0).any():
            raise SecateurError(f"label: class {names[int(counts.argmin())]!r} has no rows to condense; leave it out")
        mean, spread = _statistics(rows, statistics)
        ids = np.arange(len(rows)) if ids is None else ids
        return cls(rows, labels, ids, names, mean, spread)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a row, channels first."""
        return tuple(self.rows.shape[1:])

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.names)

    @cached_property
    def members(self) -> list[Tensor]:
        """The places of the rows of each class, (rows of it,) on the CPU."""
        labels = self.labels.cpu()
        return [torch.nonzero(labels == c).flatten() for c in range(self.classes)]

    def normalise(self, rows: Tensor) -> Tensor:
        """Raw rows in float32 with mean 0 and spread 1 a channel."""
        wide = (1, -1) + (1,) * (rows.ndim - 2)
        return (rows.float() - self.mean.view(wide)) / self.spread.view(wide)

    def draw(self, batch: int, generator: torch.Generator) -> list[Tensor]:
        """Of each class, `batch` normalised rows, or all it has: drawn without replacement, a tensor a class."""
        places = [m[torch.randperm(len(m), generator=generator)[:batch]] for m in self.members]
        drawn = self.normalise(self.rows[torch.cat(places).to(self.rows.device)])
        return list(torch.split(drawn, [len(p) for p in places]))


def _check_given(rows: Tensor, labels: Tensor) -> None:
    for name, given in (("rows", rows), ("labels", labels)):
        if not isinstance(given, Tensor):
            raise SecateurError(f"{name}: expected a tensor, got {type(given).__name__}; torch.from_numpy makes one")
    if rows.ndim not in (2, 4):
        raise SecateurError(
            f"rows: expected (examples, channels, height, width) or (examples, dims), got shape {tuple(rows.shape)}; "
            f"grey images have one channel (rows[:, None])"
        )
    if labels.shape != rows.shape[:1] or labels.is_floating_point():
        raise SecateurError(
            f"labels: expected the whole number of the class of each of {len(rows)} rows, got {labels.dtype} of shape "
            f"{tuple(labels.shape)}"
        )


def _statistics(rows: Tensor, name: str) -> tuple[Tensor, Tensor]:
    if name == "data":
        axes = (0, 2, 3) if rows.ndim == 4 else (0,)
        spread, mean = torch.std_mean(rows.float(), dim=axes)
        return mean, spread.clamp_min(1e-6)  # a constant channel stays constant
    if name not in STATISTICS:
        raise unknown("statistics", name, ["data", *STATISTICS])
    mean, spread = (255 * torch.tensor(values, device=rows.device) for values in STATISTICS[name])
    if rows.ndim != 4 or rows.shape[1] != len(mean):
        raise SecateurError(
            f"statistics: those of {name} are for images of {len(mean)} channels, and the rows have shape "
            f"{tuple(rows.shape[1:])}; use data"
        )
    return mean, spread


def start(
    real: Real, *, per_class: int, generator: torch.Generator, init: str | np.ndarray = "noise", side: int = SIDE
) -> Tensor:
    """What condensing begins with: (classes * per_class, ...) normalised float32, class by class.

    init: `noise`, standard normal; `real`, random rows of each class; `mosaic`, side x side random rows of the class
    shrunk into each; or ids of the train split, per_class of each class in any order, as a selector returns them.
    Raises SecateurError for fewer rows than asked for.

    >>> real = Real.of(torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([0, 1, 1]))
    >>> start(real, per_class=1, generator=torch.Generator(), init=np.array([2, 0])).flatten()
    tensor([-1.,  1.])
    """
    if isinstance(per_class, bool) or per_class < 1:
        raise SecateurError(f"per_class: expected at least 1 synthetic row a class, got {per_class}")
    if isinstance(init, str) and init == "noise":
        return torch.randn(real.classes * per_class, *real.shape, generator=generator).to(real.rows.device)
    if isinstance(init, str):
        if init not in STARTS:
            raise unknown("init", init, list(STARTS))
        each = side**2 if init == "mosaic" else 1
        _check_enough(real, per_class, each)
        places = [m[torch.randperm(len(m), generator=generator)[: each * per_class]] for m in real.members]
    else:
        places = _named(real, np.asarray(init), per_class)
    rows = real.normalise(real.rows[torch.cat(places).to(real.rows.device)])
    return compose(rows, side) if isinstance(init, str) and init == "mosaic" else rows


def _check_enough(real: Real, per_class: int, each: int) -> None:
    counts = [len(m) for m in real.members]
    if min(counts) < each * per_class:
        few = counts.index(min(counts))
        wanted = f"{per_class} is" if each == 1 else f"{per_class} mosaics of {each} are"
        raise SecateurError(
            f"per_class: {wanted} more than the {counts[few]} rows of class {real.names[few]!r}, from which the "
            f"synthetic ones would start; ask for {counts[few] // each} or fewer, or start from noise (init=noise, "
            f"--init noise)"
        )


def _named(real: Real, ids: np.ndarray, per_class: int) -> list[Tensor]:
    place_of = {int(i): k for k, i in enumerate(real.ids)}
    if strangers := [int(i) for i in ids if int(i) not in place_of]:
        raise SecateurError(f"init: id {strangers[0]} is not among the usable rows of the train split")
    places = torch.tensor([place_of[int(i)] for i in ids], dtype=torch.int64)
    own = real.labels.cpu()[places]
    parts = [places[own == c] for c in range(real.classes)]
    for name, part in zip(real.names, parts, strict=True):
        if len(part) != per_class:
            raise SecateurError(f"init: expected {per_class} ids of class {name!r}, got {len(part)}")
    return parts
