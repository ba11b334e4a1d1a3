"""How many epochs a method needs, found by trying its scores on made-up recordings before anything is recorded."""

import dataclasses

import numpy as np

from secateur.errors import SecateurError
from secateur.fields import FIELDS
from secateur.methods.model import Method, Setting, Use

MOST = 200
"""Epochs up to which enough are looked for: those of the recipe `paper`."""


def refuse_too_few(method: Method, setting: Setting) -> None:
    """Raise SecateurError, with the number that is enough, where so many epochs are too few for a method's scores.

    >>> from secateur.methods import method
    >>> refuse_too_few(method("dual"), Setting(0.3, 2, 10))
    Traceback (most recent call last):
        ...
    secateur.errors.SecateurError: record_epochs: dual cannot be told from 2 epochs (window: expected 2 to 2, the \
epochs recorded, got 3); record 3 or more: --record-epochs 3
    """
    wrong = _wrong(method, setting)
    if wrong is None:
        return
    longer = range(setting.epochs + 1, MOST + 1)
    enough = next((n for n in longer if _wrong(method, dataclasses.replace(setting, epochs=n)) is None), None)
    if enough is None:
        raise SecateurError(f"method: {method.name}: {wrong}")
    plural = "epoch" if setting.epochs == 1 else "epochs"
    raise SecateurError(
        f"record_epochs: {method.name} cannot be told from {setting.epochs} {plural} ({wrong}); record {enough} or "
        f"more: --record-epochs {enough}"
    )


def _wrong(method: Method, setting: Setting) -> SecateurError | None:
    """What the first score that cannot be worked out says."""
    uses = (method.use(setting), *method.companion_uses(setting).values(), *method.also(setting))
    for use in uses:
        if use is not None and all(set(FIELDS[n].axes) <= {"epochs", "examples"} for n in use.entry.needs):
            try:
                _try(use, setting.epochs)
            except SecateurError as error:
                return error
    return None


def _try(use: Use, epochs: int) -> None:
    """The score of two examples that nothing was recorded of but zeros."""
    if use.epochs is not None and use.epochs < 1 and use.epochs != -1:
        raise SecateurError(f"epochs: expected 1 or more of those recorded, or -1 for the last, got {use.epochs}")
    rows = len(range(epochs)[use.rows(epochs)])
    sizes = {"epochs": rows, "examples": 2}
    use.entry.fn(
        *(np.zeros([sizes[axis] for axis in FIELDS[n].axes], FIELDS[n].dtype) for n in use.entry.needs), **use.knobs
    )
