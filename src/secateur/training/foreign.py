"""What others bring to training: packages that may be absent, and nets that a function of your own makes."""

import importlib
from types import ModuleType
from typing import Any

from torch import nn

from secateur.errors import MissingExtra, SecateurError, reason


def optional(package: str, argument: str) -> ModuleType:
    """Import a package that is an extra of the same name; argument: what asked for it.

    Raises MissingExtra with the command that installs it, or with what keeps it from being imported.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        if error.name != package:
            raise MissingExtra(
                f"{argument}: {package} is there but cannot be imported ({reason(error)}); install what it lacks"
            ) from None
        raise MissingExtra(f'{argument}: {package} is not installed: pip install "secateur[{package}]"') from None


def own_net(argument: str, spec: str, *given: Any) -> nn.Module:
    """The net that the function `package.module:function` makes, called with `given`; argument: what asked for it."""
    module, _, function = spec.partition(":")
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise SecateurError(f"{argument}: {spec} cannot be imported ({error})") from None
    net = make(*given)
    if not isinstance(net, nn.Module):
        raise SecateurError(f"{argument}: {spec} must return a torch.nn.Module, got {type(net).__name__}")
    return net
