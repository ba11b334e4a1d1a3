"""What enters a net's last linear layer, for any net."""

from typing import Any

from torch import Tensor, nn

from secateur.errors import SecateurError
from secateur.training.nets.head import head_of


class Penultimate:
    """A net that also tells its features: (features (batch, dims), logits (batch, classes)) of a batch of raw rows.

    The net runs as it stands, so mode, gradients and number format are the caller's choice; the listener on its head
    is there only while it runs. Raises SecateurError where the head is not what the logits come out of: not reached,
    applied to more than one vector an example, or of another width.
    """

    def __init__(self, net: nn.Module) -> None:
        self.net, self.head = net, head_of(net)

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        heard: list[Tensor] = []

        def hear(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            heard.append(inputs[0])

        listener = self.head.register_forward_pre_hook(hear)
        try:
            logits = self.net(rows)
        finally:
            listener.remove()
        shapes = [tuple(features.shape) for features in heard]
        expected = (len(rows), self.head.in_features)
        if shapes != [expected] or tuple(logits.shape) != (len(rows), self.head.out_features):
            raise SecateurError(
                f"net: expected its last linear layer to take {expected} once and to give the logits; it took "
                f"{shapes or 'nothing'}, and the logits are {tuple(logits.shape)}; name the right layer head"
            )
        return heard[0], logits
