"""Packages that may be absent: extras that are imported when they are asked for."""

import importlib
from types import ModuleType

from secateur.errors import MissingExtra, reason


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
