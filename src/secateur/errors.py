"""The errors users meet. Each message names the argument, what was expected, what came, where, and the way out.

SecateurError(ValueError)      bad input: every error below is one
├── DataError                  rows that cannot be read: missing labels, broken images, unknown columns
├── WrongData                  a store that belongs to other data, or an OUT that belongs to another run
├── StoreError                 files cut off or damaged on disk
├── NonFiniteError             training left the finite numbers
└── MissingExtra               an optional package is not installed
"""

import errno
import os
import re
import unicodedata


class SecateurError(ValueError):
    r"""Bad input; the message says what was expected, what was given, and what to do.

    A message may quote a file name or a label, so terminal control characters are escaped here.

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


class RowsNotSeen(UserWarning):
    """The first epoch of a recording skipped rows; the message says how many, and the likely cause."""


def printable(text: str) -> str:
    r"""Text on one line, with terminal control characters escaped.

    Line breaks, control characters, and marks that reorder or hide text are escaped; letters of any script are kept.

    >>> print(printable("a\tb\nc"), printable("caf\u00e9"), printable("\u202egnp.exe"))
    a\tb\nc café \u202egnp.exe
    """
    return "".join(
        c if c == " " or unicodedata.category(c) not in _STEERING else c.encode("unicode_escape").decode() for c in text
    )


_STEERING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def described(error: BaseException, doing: str = "") -> SecateurError | None:
    """Convert an error from outside this program to one that says what to do; None for anything else, which is a bug.

    Handles a full disk or quota, missing permission, a read-only file system, too many open files, any other OSError,
    and running out of memory, on the machine or an accelerator. Native libraries report these only in the message
    text. doing: the operation in progress.

    >>> print(described(OSError(28, "No space left on device", "out/a"), "saving the model"))
    saving the model: out/a: the disk is full; free some space, then run the same command again
    >>> print(described(RuntimeError('I/O error: Read-only file system (os error 30)'), "saving the model"))
    saving the model: the file system is read-only; name a folder that can be written, as --out
    """
    if isinstance(error, SecateurError):
        return error
    where = f"{doing}: " if doing else ""
    if _is_memory(error):
        way = "close other programs, or use a smaller --memory, batch or net"
        return SecateurError(f"{where}out of memory ({reason(error)}); {way}")
    if isinstance(error, OSError):
        names = [str(n) for n in (error.filename,) if n is not None and str(n) not in doing]
        return StoreError("".join(f"{part}: " for part in ([doing] if doing else []) + names) + _system(error))
    if isinstance(error, UnicodeEncodeError) and "surrogates" in error.reason:
        return SecateurError(f"{where}a name is not valid Unicode ({str(error.object)[:200]}); rename it")
    if isinstance(error, RuntimeError) and "home directory" in str(error):
        return SecateurError(f"{where}~ has no known home folder; set HOME, or give the full path")
    return None if (number := _number_in(str(error))) is None else StoreError(where + _system(OSError(number, "")))


def refused(error: BaseException, doing: str) -> SecateurError | None:
    """Convert a system error raised while reading a file; None if the file itself may be at fault.

    >>> print(refused(MemoryError("8 GB"), "reading out/a"))
    reading out/a: out of memory (8 GB); close other programs, or use a smaller --memory, batch or net
    >>> refused(ValueError("bad magic"), "reading out/a") is None
    True
    """
    number = error.errno if isinstance(error, OSError) else _number_in(str(error))
    ours = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EROFS)
    return described(error, doing) if isinstance(error, SecateurError) or _is_memory(error) or number in ours else None


def _is_memory(error: BaseException) -> bool:
    said = str(error)
    return (
        isinstance(error, MemoryError)
        or getattr(error, "errno", None) == errno.ENOMEM
        or type(error).__name__ in ("OutOfMemoryError", "ArrowMemoryError")
        or "can't allocate memory" in said
        or "out of memory" in said.lower()
        or "std::bad_alloc" in said
    )


def _number_in(said: str) -> int | None:
    """The errno in a library's message: `os error 28`, `code: 28`, `[Errno 28]`, or the text of `strerror`."""
    if (found := re.search(r"(?:os error |code: |\[[Ee]rrno )(\d{1,3})\b", said)) and int(found[1]) in errno.errorcode:
        return int(found[1])
    return next((n for n in _IN_WORDS if os.strerror(n) in said), None)


_IN_WORDS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EMFILE, errno.ENFILE)


def _system(error: OSError) -> str:
    """What went wrong, and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; free some space, then run the same command again"
    if error.errno is None and (found := re.match(r"\d+ requested and \d+ written", str(error))):  # as numpy says it
        return f"the disk is full ({found[0]}), or the file size limit is reached; free some space, then run again"
    if error.errno == errno.EFBIG:
        return "the file size limit is reached; raise it with `ulimit -f`, or free some space, then run again"
    if error.errno == errno.EROFS:
        return "the file system is read-only; name a folder that can be written, as --out"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"no permission ({reason_of(error)}); change the permissions, or choose another folder, as --out"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many open files; raise the limit with `ulimit -n`"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return f"a file is in the way of a folder ({reason_of(error)}); move it, or choose another folder"
    if error.errno == errno.ENAMETOOLONG:
        return "the name is too long; use a shorter one"
    if error.errno == errno.EIO:
        return "input/output error; check the disk, or choose a folder on another one"
    return reason_of(error)


def reason_of(error: OSError) -> str:
    """The system's message, without the number and the file name; never `None`.

    >>> reason_of(OSError(2, "No such file or directory", "x")), reason_of(OSError("odd"))
    ('No such file or directory', 'odd')
    """
    return error.strerror or (os.strerror(error.errno) if error.errno else reason(error))


def reason(error: BaseException) -> str:
    """The first line of what a library said, to be quoted in a message of our own.

    >>> reason(OSError("no room\\nhere")), reason(KeyError())
    ('no room', 'KeyError')
    """
    lines = str(error.__cause__ or error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
