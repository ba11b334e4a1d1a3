"""Make text from files safe to use: as a folder name, as Python source, as the name of a file to open.

Nothing read from a file is trusted. Displayed text goes through `errors.printable`, which every SecateurError and
every printed line applies; text used as a path or as code goes through this module.
"""

import os
import stat
from pathlib import Path

from secateur.errors import DataError

_LONGEST = 255
"""Bytes that a file system allows in one name."""


def folder_name(text: str, what: str) -> str:
    """The text itself, if it is a valid name for a single folder.

    Raises DataError for an empty name, `.` and `..`, names with a slash, a NUL or a control character, and names longer
    than 255 bytes; what: the kind of text, for the message.

    >>> folder_name("golden retriever", "label")
    'golden retriever'
    """
    if fault := _name_fault(text):
        raise DataError(f"{what}: expected a valid folder name, got {text!r}, which {fault}; rename it")
    return text


def _name_fault(text: str) -> str | None:
    if text in ("", ".", ".."):
        return "is not the name of a folder"
    if any(c in "/\\" or ord(c) < 32 or ord(c) == 127 for c in text):
        return "contains a slash or a control character"
    try:
        return "is longer than 255 bytes" if len(text.encode()) > _LONGEST else None
    except UnicodeEncodeError:
        return "is not valid text"


def literal(text: str | os.PathLike[str]) -> str:
    r"""Text as a Python string literal in double quotes, so that a path cannot end the string.

    >>> print(literal('a"b'), literal("out/kept"))
    "a\"b" "out/kept"
    """
    body = "".join('\\"' if c == '"' else c if c.isprintable() and c != "\\" else _escape(c) for c in str(text))
    return f'"{body}"'


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def read_regular(path: str | os.PathLike[str], *, limit: int) -> bytes:
    """The bytes of a regular file of at most `limit` bytes.

    Raises DataError for a device, a pipe, a socket, a folder, a file that is larger, and a file that cannot be read;
    never blocks, and never reads past the limit.
    """
    where = Path(path)
    try:
        descriptor = os.open(where, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise DataError(f"{where}: expected a regular file, found {_kind(about.st_mode)}; leave the row out")
            if about.st_size > limit:
                raise DataError(f"{where}: expected at most {limit:,} bytes, found {about.st_size:,}")
            return file.read(limit + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{where}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")
