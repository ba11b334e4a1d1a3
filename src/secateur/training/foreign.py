"""What others bring to training: what a function of your own makes."""

import importlib
from typing import Any

from torch import nn

from secateur.errors import SecateurError


def own(argument: str, spec: str, *given: Any) -> Any:
    """What the function `package.module:function` gives, called with `given`; argument: what asked for it."""
    module, _, function = spec.partition(":")
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise SecateurError(f"{argument}: {spec} cannot be imported ({error})") from None
    return make(*given)


def own_net(argument: str, spec: str, *given: Any) -> nn.Module:
    """The net that the function gives."""
    net = own(argument, spec, *given)
    if not isinstance(net, nn.Module):
        raise SecateurError(f"{argument}: {spec} must return a torch.nn.Module, got {type(net).__name__}")
    return net
