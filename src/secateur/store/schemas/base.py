"""Validation of values from files, and the building blocks of schemas."""

import json
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, InstanceOf, TypeAdapter, ValidationError

from secateur.errors import StoreError

LOOSE = ConfigDict(extra="allow")
"""Unknown keys are ignored."""
_MOST = 10**12

Count = Annotated[int, Field(ge=0, le=_MOST)]
Natural = Annotated[int, Field(ge=1, le=_MOST)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**64)]
Seconds = Annotated[float, Field(ge=0, le=_MOST)]
Number = Annotated[float, Field(ge=-1e300, le=1e300)]
Part = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[InstanceOf[str], Field(max_length=100_000)]
"""Any text, including file names that are not valid Unicode."""
Hex = Annotated[str, Field(pattern=r"\A[0-9a-f]{8,64}\z")]
"""A digest; also used as a folder name."""
Name = Annotated[str, Field(pattern=r"\A[A-Za-z0-9_]{1,64}\z")]

_WAY = "restore it, or start over in another --out"


def parsed(text: str | bytes, schema: Any, where: object) -> Any:
    """Parse JSON text and validate it against the schema.

    Raises StoreError, naming where, for anything else: invalid Unicode, truncated or endlessly nested text, NaN and
    infinities.
    """
    try:
        value = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        told = "nested too deeply" if isinstance(error, RecursionError) else error
        raise StoreError(f"{where}: damaged, not JSON ({told}); {_WAY}") from None
    return checked(value, schema, where)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def checked(value: object, schema: Any, where: object) -> Any:
    """The value itself, if it is valid. Raises StoreError that names where, the key, and the value found.

    >>> checked([1, 2], list[int], "out/a.json")
    [1, 2]
    >>> checked([1, "2"], list[int], "out/a.json")
    Traceback (most recent call last):
        ...
    secateur.errors.StoreError: out/a.json: damaged or edited (1: expected a valid integer, got '2'); restore it, or \
start over in another --out
    """
    try:
        _adapter(schema).validate_python(value, strict=True)  # "1" is not 1, and True is not
    except ValidationError as error:
        raise StoreError(f"{where}: damaged or edited ({_told(error)}); {_WAY}") from None
    except RecursionError:
        raise StoreError(f"{where}: damaged or edited (nested too deeply); {_WAY}") from None
    return value


def fault_of(value: object, schema: Any) -> str | None:
    """What is wrong with a value, or None; for checks of a part of a larger value."""
    try:
        _adapter(schema).validate_python(value, strict=True)
    except ValidationError as error:
        return _told(error)
    return None


@cache
def _adapter(schema: Any) -> Any:
    return TypeAdapter(schema)


def _told(error: ValidationError) -> str:
    """The first fault: where it is, what was expected, what was found."""
    first = error.errors(include_url=False)[0]
    path = ".".join(str(part) for part in first["loc"] if not str(part).startswith(("function-", "list[", "dict[")))
    said = first["msg"].removeprefix("Value error, ")
    for theirs, ours in _OURS.items():
        said = said.replace(theirs, ours)
    got = "" if first["type"] in ("missing", "value_error") else f", got {_shown(first['input'])}"
    return f"{path}: {said}{got}" if path else f"{said}{got}"


_OURS = {
    "Input should be": "expected",
    "Field required": "expected, found none",
    "Extra inputs are not permitted": "expected no such key",
    "String should match": "expected text of the",
}


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def holds(*checks: Callable[[Any], str | None]) -> AfterValidator:
    """For `Annotated`: further checks of the whole value; each returns what is wrong, or None."""

    def run(value: Any) -> Any:
        for check in checks:
            if (fault := check(value)) is not None:
                raise ValueError(fault)
        return value

    return AfterValidator(run)
