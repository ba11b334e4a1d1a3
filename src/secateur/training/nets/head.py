"""Which layer of a net gives the logits."""

from torch import nn

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
