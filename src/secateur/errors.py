"""The errors users meet. Each message names the argument, what was expected, what came, where, and the way out.

SecateurError(ValueError)      bad input: every error below is one
├── DataError                  rows that cannot be read: missing labels, broken images, unknown columns
├── WrongData                  a store that belongs to other data, or an OUT that belongs to another run
├── StoreError                 files cut off or damaged on disk
├── NonFiniteError             training left the finite numbers
└── MissingExtra               an optional package is not installed
"""

import errno
import unicodedata


class SecateurError(ValueError):
    r"""Bad input; the message says what was expected, what came, and what to do.

    A message may quote a file name or a label, so characters that would steer a terminal are escaped here, once.

    >>> print(SecateurError("label: got \x1b[2Jcat"))
    label: got \x1b[2Jcat
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message)))


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


def printable(text: str) -> str:
    r"""Text on one line, with everything a terminal could take for a command written as an escape.

    Line ends, control characters, and the marks that reorder or hide text are escaped; letters of any script stay.

    >>> print(printable("a\tb\nc"), printable("caf\u00e9"), printable("\u202egnp.exe"))
    a\tb\nc café \u202egnp.exe
    """
    return "".join(
        c if c == " " or unicodedata.category(c) not in _STEERING else c.encode("unicode_escape").decode() for c in text
    )


_STEERING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def described(error: BaseException, doing: str = "") -> SecateurError | None:
    """What failed outside of this program, as an error with a way out; None for anything else, which is a bug.

    Known are a full disk or quota, missing permission, a read-only file system, too many open files, any other OSError,
    and memory that ran out, on the machine or an accelerator. doing: what was under way.

    >>> print(described(OSError(28, "No space left on device", "out/a"), "saving the model"))
    saving the model: out/a: the disk is full; free some space, then run the same command again
    """
    where = f"{doing}: " if doing else ""
    if isinstance(error, MemoryError) or type(error).__name__ in ("OutOfMemoryError", "ArrowMemoryError"):
        way = "close other programs, or take a smaller --memory, batch or net"
        return SecateurError(f"{where}memory ran out ({reason(error)}); {way}")
    if not isinstance(error, OSError):
        return _described_by_text(error, where)
    named = "" if error.filename is None else f"{error.filename}: "
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(f"{where}{named}the disk is full; free some space, then run the same command again")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return StoreError(f"{where}{named}no permission ({reason_of(error)}); change it, or name another folder")
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return StoreError(f"{where}{named}too many open files; raise the limit with `ulimit -n`")
    return StoreError(f"{where}{named}{reason_of(error)}")


def _described_by_text(error: BaseException, where: str) -> SecateurError | None:
    """Libraries written in other languages say it in words: safetensors, torch and arrow have no errno."""
    said = str(error)
    if "No space left on device" in said or "Disk quota exceeded" in said:
        return StoreError(f"{where}the disk is full; free some space, then run the same command again")
    if "Permission denied" in said or "Read-only file system" in said:
        return StoreError(f"{where}no permission ({reason(error)}); change it, or name another folder")
    if "can't allocate memory" in said or "out of memory" in said.lower() or "std::bad_alloc" in said:
        way = "close other programs, or take a smaller --memory, batch or net"
        return SecateurError(f"{where}memory ran out ({reason(error)}); {way}")
    return None


def reason_of(error: OSError) -> str:
    """What the system said, without the number and the name: never `None`.

    >>> reason_of(OSError(2, "No such file or directory", "x")), reason_of(OSError("odd"))
    ('No such file or directory', 'odd')
    """
    return error.strerror or reason(error)


def reason(error: BaseException) -> str:
    """The first line of what a library said, to be quoted in a message of our own.

    >>> reason(OSError("no room\\nhere")), reason(KeyError())
    ('no room', 'KeyError')
    """
    lines = str(error.__cause__ or error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
