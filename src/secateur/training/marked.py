"""The fingerprint of the data that somebody's own loop trains on."""

from typing import Any

from secateur.data.source import Source, open_data
from secateur.errors import DataError, SecateurError


def fingerprint_of(data: Any, examples: int) -> str | None:
    """The fingerprint that `secateur.prune` would find; a str is one, None is none.

    Raises SecateurError for what is no data set, or has another number of rows.
    """
    if data is None or isinstance(data, str):
        return data
    try:
        source = data if isinstance(data, Source) else open_data(data)
    except DataError as error:
        told = str(error).removeprefix("data: ")
        raise SecateurError(
            f"data: {told}; expected what secateur.prune takes (a Path, arrays (inputs, labels), a Dataset of (input, "
            "label), a datasets.Dataset) or its fingerprint as a str"
        ) from None
    if (rows := len(source.train)) != examples:
        raise SecateurError(f"data: expected {examples} rows, as examples says, got {rows}")
    return source.fingerprint
