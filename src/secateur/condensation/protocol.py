"""How condensed sets and coresets are judged: fresh nets trained on the rows alone, tested at the last epoch.

With the labels they have, or with what a teacher says of each view.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from secateur.condensation.passes import Passes, compiles, laid_out
from secateur.condensation.real import Real
from secateur.condensation.siamese import draw
from secateur.condensation.synthetic import Synthetic
from secateur.data.tensors import Tensors
from secateur.errors import NonFiniteError, SecateurError
from secateur.training.distill import divergence
from secateur.training.evaluate import accuracy
from secateur.training.machine import autocast
from secateur.training.nets import Normalised, build
from secateur.training.objective import heard
from secateur.training.seeding import generator


@dataclass(frozen=True)
class Protocol:
    """The evaluation of the condensation papers: SGD with momentum 0.9, decay 5e-4, batches of 256, hard labels.

    chosen: the families of augmentation that vary each image by itself, one family a batch; () for none. epochs: the
    loop runs one more, as published; by default 1000 with augmentation and 300 without. The rate falls to a tenth after
    epoch epochs // 2 + 1, where the momentum starts anew. compiled: see `passes.compiles`; other nets are not. Source:
    the code of DC, DSA and DM.
    """

    chosen: tuple[str, ...] = ()
    epochs: int | None = None
    rate: float = 0.01
    batch: int = 256
    compiled: bool = False

    @property
    def length(self) -> int:
        """The epochs that are run.

        >>> Protocol().length, Protocol(("crop",)).length, Protocol(epochs=5).length
        (301, 1001, 6)
        """
        return (self.epochs if self.epochs is not None else 1000 if self.chosen else 300) + 1


@dataclass(frozen=True)
class Soft:
    """A teacher whose soft labels stand in place of the hard ones.

    net: frozen, in eval mode, raw rows (batch, ...) -> logits (batch, classes). It is asked about the varied images
    themselves, at every step. t: the temperature of `divergence`, 4 as in `Distill`.
    """

    net: nn.Module
    t: float = 4.0

    def loss(self, logits: Tensor, raw: Tensor) -> Tensor:
        """t^2 * KL(teacher || student), the mean over a batch: logits (batch, classes) of the student, raw rows.

        >>> float(Soft(nn.Identity()).loss(torch.tensor([[2.0, 1.0]]), torch.tensor([[5.0, 4.0]])))  # the same odds
        0.0
        >>> sure = 2 * torch.tensor([[3.0, 1.0]]).log()  # 3/4 and 1/4 at a temperature of 2
        >>> round(float(Soft(nn.Identity(), t=2).loss(torch.zeros(1, 2), sure)), 3)  # 4 (3/4 ln 3/2 + 1/4 ln 1/2)
        0.523
        """
        return divergence(logits, heard(self.net, raw), self.t).mean()

    def agrees(self, held: Synthetic) -> float:
        """The share of rows that the teacher takes for what they are labelled; mosaics as they are trained on.

        >>> rows = torch.tensor([[3.0, -2.0], [-1.0, 1.0]])  # [8, 3] and [4, 6]: it says 0 and 1
        >>> held = Synthetic(rows, torch.tensor([0, 0]), torch.tensor([5.0, 5.0]), torch.tensor([1.0, 1.0]))
        >>> Soft(nn.Identity()).agrees(held)
        0.5
        """
        shown = held.expanded()
        return float((heard(self.net, shown.raw()).argmax(1) == shown.labels).float().mean())

    def gradients(self, net: nn.Module, rows: Tensor, raw: Tensor) -> dict[str, Tensor]:
        """Of the loss, by name of the weight of the net: normalised rows, and the same ones raw."""
        weights = {name: weight for name, weight in net.named_parameters() if weight.requires_grad}
        with autocast(rows.device):
            logits = net(laid_out(rows)).float()
        found = torch.autograd.grad(self.loss(logits, raw), list(weights.values()))
        return dict(zip(weights, found, strict=True))


def fit(
    net: Normalised,
    images: Tensor,
    labels: Tensor,
    protocol: Protocol,
    stream: torch.Generator,
    soft: Soft | None = None,
) -> None:
    """Train a net in place. images: (rows, ...) normalised float32 by the statistics of the net; labels: (rows,) int64,
    which are not looked at where a teacher's stand in their place.
    """
    body = net.body.train()
    passes = Passes(compiled=protocol.compiled and compiles(body))
    drop = (protocol.length - 1) // 2 + 1
    wide = (1, -1) + (1,) * (images.ndim - 2)
    optimizer = _optimizer(body, protocol.rate)
    for epoch in range(protocol.length):
        for ids in torch.split(torch.randperm(len(images), generator=stream), protocol.batch):
            ids = ids.to(images.device)
            seen, vary = images[ids], draw(protocol.chosen, stream, count=len(ids))
            seen = seen if vary is None else vary(seen)
            if soft is None:
                gradients, _ = passes.gradients(body, seen, labels[ids])
            else:
                gradients = soft.gradients(body, seen, seen * net.spread.view(wide) + net.mean.view(wide))
            for name, weight in body.named_parameters():
                weight.grad = gradients.get(name)
            optimizer.step()
        if epoch == drop:
            optimizer = _optimizer(body, protocol.rate / 10)


def _optimizer(net: torch.nn.Module, rate: float) -> torch.optim.SGD:
    return torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)


def judge(
    images: Tensor,
    labels: Tensor,
    real: Real,
    test: Tensors,
    *,
    net: str,
    protocol: Protocol,
    seed: int,
    soft: Soft | None = None,
) -> float:
    """The test accuracy of one fresh net, by its spec, trained on the rows: images (rows, ...) normalised by the
    statistics of `real`, labels (rows,). soft: a teacher, heard in place of the labels; the net begins alike, and sees
    the same views in the same order, without. Raises SecateurError for a net that does not take such rows,
    NonFiniteError for one whose weights leave the finite numbers.
    """
    if protocol.length < 1:
        raise SecateurError(f"epochs: expected 0 or more, got {protocol.epochs}")
    fresh = build(net, shape=real.shape, classes=real.classes, mean=real.mean, spread=real.spread, seed=seed)
    fresh = fresh.to(images.device)
    fit(fresh, images, labels, protocol, generator(seed, "protocol"), soft)
    if not all(bool(torch.isfinite(weight).all()) for weight in fresh.parameters()):
        raise NonFiniteError(
            f"nets: the weights of {net} left the finite numbers while it was trained on these rows; judge with "
            "another net, or condense at a lower rate (--rate)"
        )
    return accuracy(fresh, test).overall
