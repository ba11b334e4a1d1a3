"""The errors users meet. Each message names the argument, what was expected, what came, where, and the way out.

SecateurError(ValueError)      bad input: every error below is one
├── DataError                  rows that cannot be read: missing labels, broken images, unknown columns
├── WrongData                  a store that belongs to other data, or an OUT that belongs to another run
├── StoreError                 files cut off or damaged on disk
├── NonFiniteError             training left the finite numbers
└── MissingExtra               an optional package is not installed
"""


class SecateurError(ValueError):
    """Bad input; the message says what was expected, what came, and what to do."""


class DataError(SecateurError):
    """The data set cannot be read as asked; the message names the row or the column."""


class WrongData(SecateurError):
    """A recording, subset or OUT folder is used with data or options it was not made from."""


class StoreError(SecateurError):
    """A file on disk is missing, cut off or damaged."""


class NonFiniteError(SecateurError):
    """The training loss became nan or infinite; the message says at which epoch and step."""


class MissingExtra(SecateurError):
    """An optional package is needed; the message is the command that installs it."""


class RowsNotSeen(UserWarning):
    """The first epoch of a recording left rows out; the message says how many, and the likely cause."""


def reason(error: BaseException) -> str:
    """The first line of what a library said, to be quoted in a message of our own.

    >>> reason(OSError("no room\\nhere")), reason(KeyError())
    ('no room', 'KeyError')
    """
    lines = str(error.__cause__ or error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
