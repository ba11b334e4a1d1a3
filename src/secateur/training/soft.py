"""What a teacher says of a few views of every example, asked once and kept: for a teacher that is expensive."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from secateur.data.tensors import Tensors
from secateur.errors import StoreError, reason
from secateur.store.files import replacing
from secateur.training.augment import Draws, Views
from secateur.training.machine import autocast
from secateur.training.seeding import generator

MOST_CLASSES = 2048
"""Numbers of classes up to here are exact in float16, which `top` needs."""


class SoftLabels:
    """The teacher's logits on `views` views of the examples `ids`; epoch e shows and hears view e mod `views`.

    A view is drawn for an example, not for a batch, by its own number and by nothing of the run: students of any seed
    share what is kept. A file a view in `folder`, float16, written when it is first needed and read from then on: bit
    for bit what the teacher says of those views, rounded to float16, where its answers do not depend on how rows are
    put into batches. top: keep the highest `top` logits alone, and the mean probability of the rest at temperature 1.
    """

    def __init__(
        self,
        teacher: nn.Module,
        data: Tensors,
        how: Views,
        ids: np.ndarray,
        *,
        views: int,
        folder: Path,
        top: int = 0,
        batch: int = 500,
    ) -> None:
        self.teacher, self.data, self.how, self.folder = teacher, data, how, folder
        self.ids, self.views, self.top, self.batch = np.unique(ids), views, top, batch
        self._place = torch.full((len(data),), -1, dtype=torch.long)
        self._place[torch.from_numpy(self.ids)] = torch.arange(len(self.ids))
        self._view = -1

    def turn_to(self, epoch: int) -> None:
        """Show the view of that epoch from now on; asks the teacher where nobody has."""
        if self._view == epoch % self.views:
            return
        self._view = epoch % self.views
        size = self.data.shape[1:] if len(self.data.shape) == 3 else ()
        stream = generator(0, "views that are kept", self._view)
        self._draws = self.how.draw(len(self.data), size, stream) if size else Draws(None, None)
        path = self.folder / f"view-{self._view}.npy"
        if not path.exists():
            with replacing(path) as beside, beside.open("wb") as file:
                np.save(file, self._asked())
        self._kept = self._read(path)

    def _read(self, path: Path) -> Tensor:
        """What stands in a file. Raises StoreError where that is no answer to this view."""
        columns = 2 * self.top + 1 if self.top else self.data.classes
        try:
            kept = np.load(path, allow_pickle=False)
        except Exception as error:
            raise StoreError(f"{path}: damaged ({reason(error)}); delete it and run again") from None
        if kept.shape != (len(self.ids), columns) or kept.dtype != np.float16:
            raise StoreError(
                f"{path}: expected float16 answers of shape {(len(self.ids), columns)}, got {kept.dtype} of shape "
                f"{kept.shape}; delete it and run again"
            )
        at = kept[:, self.top : 2 * self.top]
        if not ((at >= 0) & (at < self.data.classes) & (at == np.floor(at))).all():
            raise StoreError(f"{path}: names classes that the data do not have; delete it and run again")
        return torch.from_numpy(kept)

    def shown(self, ids: Tensor, rows: Tensor) -> Tensor:
        """The view of raw rows of `ids`."""
        return self.how.place(rows, self._draws.of(ids.cpu())) if rows.ndim == 4 else rows

    def __call__(self, ids: Tensor) -> Tensor:
        """Logits (batch, classes) in float32."""
        kept = self._kept[self._place[ids.cpu()]].to(self.data.device).float()
        return kept if not self.top else _spread(kept, self.data.classes)

    @torch.no_grad()
    def _asked(self) -> np.ndarray:
        """What the teacher says of the view, (ids, classes) float16, or (ids, 2 top + 1) of the highest."""
        parts = torch.split(torch.from_numpy(self.ids), self.batch)
        said = []
        for at, rows in zip(parts, self.data.batches(parts), strict=True):
            with autocast(self.data.device):
                logits = self.teacher(self.shown(at, rows)).float()
            said.append((_highest(logits, self.top) if self.top else logits).half().cpu())
        return torch.cat(said).numpy()


def _highest(logits: Tensor, top: int) -> Tensor:
    """The `top` highest logits, their classes, and the log of the mean exponential of the rest: (batch, 2 top + 1)."""
    values, classes = logits.topk(top, dim=1)
    rest = logits.scatter(1, classes, -torch.inf).logsumexp(dim=1, keepdim=True)
    return torch.cat((values, classes.to(values), rest - np.log(logits.shape[1] - top)), dim=1)


def _spread(kept: Tensor, classes: int) -> Tensor:
    """Logits (batch, classes) again, all of the rest alike."""
    top = kept.shape[1] // 2
    values, at, rest = torch.split(kept, [top, top, 1], dim=1)
    return rest.expand(-1, classes).scatter(1, at.long(), values)
