"""How condensed sets and coresets are judged: fresh nets trained on the rows alone, tested at the last epoch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from secateur.condensation.passes import Passes
from secateur.condensation.real import Real
from secateur.condensation.siamese import draw
from secateur.data.tensors import Tensors
from secateur.errors import SecateurError
from secateur.training.evaluate import accuracy
from secateur.training.nets import Normalised, build
from secateur.training.seeding import generator


@dataclass(frozen=True)
class Protocol:
    """The evaluation of the condensation papers: SGD with momentum 0.9, decay 5e-4, batches of 256, hard labels.

    chosen: the families of augmentation that vary each image by itself, one family a batch; () for none. epochs: the
    loop runs one more, as published; by default 1000 with augmentation and 300 without. The rate falls to a tenth after
    epoch epochs // 2 + 1, where the momentum starts anew. compiled: see `Passes`; nets that cannot be are not. Source:
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


def fit(net: Normalised, images: Tensor, labels: Tensor, protocol: Protocol, stream: torch.Generator) -> None:
    """Train a net in place. images: (rows, ...) normalised float32; labels: (rows,) int64."""
    body = net.body.train()
    passes = Passes(compiled=protocol.compiled and not dict(body.named_buffers()))
    drop = (protocol.length - 1) // 2 + 1
    optimizer = _optimizer(body, protocol.rate)
    for epoch in range(protocol.length):
        for ids in torch.split(torch.randperm(len(images), generator=stream), protocol.batch):
            ids = ids.to(images.device)
            some, vary = images[ids], draw(protocol.chosen, stream, count=len(ids))
            gradients, _ = passes.gradients(body, some if vary is None else vary(some), labels[ids])
            for name, weight in body.named_parameters():
                weight.grad = gradients.get(name)
            optimizer.step()
        if epoch == drop:
            optimizer = _optimizer(body, protocol.rate / 10)


def _optimizer(net: torch.nn.Module, rate: float) -> torch.optim.SGD:
    return torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4)


def judge(
    images: Tensor, labels: Tensor, real: Real, test: Tensors, *, net: str, protocol: Protocol, seed: int
) -> float:
    """The test accuracy of one fresh net, by its spec, trained on the rows: images (rows, ...) normalised by the
    statistics of `real`, labels (rows,). Raises SecateurError for a net that does not take such rows.
    """
    if protocol.length < 1:
        raise SecateurError(f"epochs: expected 0 or more, got {protocol.epochs}")
    fresh = build(net, shape=real.shape, classes=real.classes, mean=real.mean, spread=real.spread, seed=seed)
    fresh = fresh.to(images.device)
    fit(fresh, images, labels, protocol, generator(seed, "protocol"))
    return accuracy(fresh, test).overall
