"""Labels of every kind of input, as class names and as class numbers."""

from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import numpy as np

from secateur.errors import DataError

NO_LABELS = "none"
"""The value of --label that means no labels."""
WITHOUT = f"or read the data without labels: --label {NO_LABELS}"
"""The same, for messages."""
_EXACT = 2**53
"""Floats above this cannot hold every whole number exactly."""
_LONGEST = 1000
"""The longest class name, in characters; also the most digits that Python converts to a number."""


def class_name(value: Any) -> str | None:
    """The class name of one label; None if it is missing: null, nan, or blank text.

    Takes text, bytes of UTF-8, whole numbers, bools, whole floats, and arrays and tensors of a single one of these
    without axes. Raises DataError, without the row, for anything else.

    >>> [class_name(v) for v in ("cat", b"cat", 1, 2.0, True, np.int64(3), np.array(4), None, float("nan"), " ")]
    ['cat', 'cat', '1', '2', '1', '3', '4', None, None, None]
    """
    value = _plain(value)
    if value is None:
        return None
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise DataError(
                f"label: expected text or a whole number, got bytes that are not UTF-8 ({value[:20]!r})"
            ) from None
    if isinstance(value, str):
        if len(value) > _LONGEST:
            raise DataError(f"label: expected the name of a class, got text of {len(value):,} characters")
        return str(value) if value.strip() else None
    if isinstance(value, (bool, int)):
        return str(int(value))
    if isinstance(value, (float, Decimal)):
        if value != value:
            return None
        if not -_EXACT <= value <= _EXACT or int(value) != value:
            raise DataError(f"label: expected classes, got the number {value}")
        return str(int(value))
    raise DataError(f"label: expected text or a whole number, got {_told(value)}")


def _plain(value: Any) -> Any:
    """Numpy scalars and zero-dimensional arrays and tensors as Python numbers."""
    if isinstance(value, (np.ndarray, np.generic)) or hasattr(value, "detach"):
        value = value.detach().cpu() if hasattr(value, "detach") else value
        if getattr(value, "ndim", 0) == 0:
            return value.item()
    return value


def _told(value: Any) -> str:
    shape = getattr(value, "shape", None)
    size = len(value) if isinstance(value, (list, tuple)) else shape[0] if shape else 0
    if size == 1:
        return "an array of one number; drop that axis of the labels"
    if size or isinstance(value, (list, tuple)):
        return f"an array of {size} numbers; for one-hot labels, pass the class number (their argmax)"
    return f"a {type(value).__name__}"


def class_names(values: Iterable[Any], feature: Any = None, *, split: str = "train") -> list[str | None]:
    """The class name of each label; None if it is missing (see `class_name`) or -1 in a ClassLabel.

    feature: the column's feature, whose names a ClassLabel gives. Raises DataError, with the row, for what is no label.

    >>> class_names([1, 2.0, None, float("nan"), -1])
    ['1', '2', None, None, '-1']
    """
    names = getattr(feature, "names", None)
    out: list[str | None] = []
    for i, value in enumerate(values):
        try:
            name = class_name(value)
        except DataError as error:
            kind = ": looks like a regression target" if "the number" in str(error) else ""
            raise DataError(
                f"{error} at {split} row {i}{kind}; choose another column with --label, {WITHOUT}"
            ) from None
        out.append(name if names is None or name is None else _declared(name, names, f"{split} row {i}"))
    return out


def _declared(number: str, names: list[str], where: str) -> str | None:
    """The name of a declared class, given its number."""
    if number == "-1":
        return None
    if not number.isdecimal() or int(number) >= len(names):
        raise DataError(
            f"label: expected a class from 0 to {len(names) - 1}, as the column declares, got {number} at {where}"
        )
    return names[int(number)] or None


def class_order(names: list[str | None], feature: Any = None) -> tuple[str, ...]:
    """The classes in the order of their numbers: a ClassLabel's own, or sorted, numerically if all are numbers.

    >>> class_order(["10", "9", None, "10"])
    ('9', '10')
    """
    if getattr(feature, "names", None) is not None:
        return tuple(feature.names)
    present = {n for n in names if n is not None}
    numeric = all(n.removeprefix("-").isdecimal() and len(n) <= _LONGEST for n in present)
    return tuple(sorted(present, key=(lambda n: (int(n), n)) if numeric else (lambda n: n)))  # 01 is not 1


def class_numbers(names: list[str | None], classes: tuple[str, ...], *, split: str = "train") -> np.ndarray:
    """Labels (examples,) as numbers below the number of classes, -1 where missing.

    >>> class_numbers(["dog", "cat", None], ("cat", "dog"))
    array([ 1,  0, -1])
    """
    number = {name: i for i, name in enumerate(classes)}
    if strange := sorted({n for n in names if n is not None} - set(classes)):
        raise DataError(f"label: the {split} split has the classes {', '.join(strange[:5])}, which train does not have")
    return np.array([-1 if n is None else number[n] for n in names], dtype=np.int64)
