"""A net behind the normalisation of its data, as every job builds it."""

import torch
from torch import Tensor, nn

from secateur.training.nets.zoo import Shape, make
from secateur.training.seeding import initialised


def default_net(shape: Shape, device: torch.device | None = None) -> str:
    """The net to use where none is named: by the size of the images.

    >>> default_net((20,)), default_net((3, 32, 32)), default_net((3, 224, 224))
    ('mlp', 'resnet9', 'resnet18')
    """
    if len(shape) != 3:
        return "mlp"
    if min(shape[1:]) > 64:
        return "resnet18"
    return "resnet9:2" if device is not None and device.type == "cuda" else "resnet9"


class Normalised(nn.Module):
    """A net behind the normalisation of the data it was made for."""

    mean: Tensor
    spread: Tensor

    def __init__(self, body: nn.Module, mean: Tensor, spread: Tensor) -> None:
        super().__init__()
        self.body = body
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)

    def normalise(self, rows: Tensor) -> Tensor:
        """Raw rows as the body sees them: float32, mean 0 and spread 1 a channel (a dimension, for vectors)."""
        shape = (1, -1) + (1,) * (rows.ndim - 2)
        return (rows.float() - self.mean.view(shape)) / self.spread.view(shape)

    def forward(self, rows: Tensor) -> Tensor:
        return self.body(self.normalise(rows))

    def pace(self, progress: float) -> None:
        """How much of a run is done, in [0, 1]: for a body that changes along it, which has this method too."""
        if (told := getattr(self.body, "pace", None)) is not None:
            told(progress)


def build(spec: str, *, shape: Shape, classes: int, mean: Tensor, spread: Tensor, seed: int) -> Normalised:
    """A fresh net, initialised from `seed`.

    spec: a name of NETS, with a width multiplier after a colon where wanted (`resnet9:0.5`); for residual nets the norm
    (`resnet18:norm=instance`: see `norms`); for mlp and vision transformers the units of each hidden layer
    (`mlp:hidden=300+120`), for the latter what is dropped (`vit_tiny:2,tokens=0.7,attention=0.5`: see Sparsity);
    `package.module:function` for your own, called as function(shape, classes) with shape (channels, height, width);
    `timm:NAME`. mean, spread: a value a channel, of the training data.
    """
    with initialised(seed):
        body = make(spec, shape, classes)
    return Normalised(body, mean, spread)
