"""What enters a net's last linear layer, for any net."""

from typing import Any

from torch import Tensor, nn

from secateur.errors import SecateurError


def head_of(net: nn.Module) -> nn.Linear:
    """The last linear layer: `head` of the net or of its `body` where that is linear, else the last one registered.

    >>> head_of(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))).in_features
    3
    """
    named = getattr(getattr(net, "body", net), "head", None)
    if isinstance(named, nn.Linear):
        return named
    linear = [module for module in net.modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise SecateurError(
            f"net: expected a net that ends in a torch.nn.Linear, whose input is the features; "
            f"{type(getattr(net, 'body', net)).__name__} has none; end it in one, named head"
        )
    return linear[-1]


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
