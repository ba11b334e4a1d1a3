"""JSON objects on a store that are written only where nobody else wrote them meanwhile."""

import json
import time
import uuid
from contextlib import suppress
from typing import Any

from secateur.errors import SecateurError, StoreError, reason
from secateur.scale.storage import Place

_TRIES = 10
_REFUSED = {"PreconditionFailed", "412"}
_AGAIN = {"ConditionalRequestConflict", "OperationAborted", "409"}


def read(place: Place) -> tuple[Any, str | None]:
    """What stands in an object, and its tag; (None, None) where there is none.

    The tag is asked for before and after, so that it is that of what was read.
    """
    for _ in range(_TRIES):
        before = _tag(place)
        if before is None:
            return None, None
        files, path = place._now()
        try:
            text = files.cat_file(path)
        except FileNotFoundError:
            continue
        except Exception as error:
            raise StoreError(f"{place.url}: cannot be read ({reason(error)})") from error
        if _tag(place) == before:
            try:
                return json.loads(text), before
            except ValueError as error:
                raise StoreError(f"{place.url}: damaged ({reason(error)})") from None
    raise StoreError(f"{place.url}: changes all the time; is another command at work there? Wait for it")


def write(place: Place, value: dict[str, Any], tag: str | None, *, safe: bool = True) -> str | None:
    """Write where the tag is still this one, or, for None, where no object is. Gives the new tag; None: it was not.

    An answer that was lost makes a client ask twice, and the second time is refused. So each value has a number of its
    own, and what was refused is looked at. safe: False writes whatever is there.
    """
    value = value | {"nonce": uuid.uuid4().hex}
    for attempt in range(_TRIES):
        try:
            if put(place, value, tag, safe=safe):
                return _tag(place) or "?"
        except _Conflict:
            time.sleep(0.05 * (attempt + 1))
            continue
        found, now = read(place)
        return now if isinstance(found, dict) and found.get("nonce") == value["nonce"] else None
    raise StoreError(f"{place.url}: could not be written, other writers came in between {_TRIES} times; run again")


def put(place: Place, value: Any, tag: str | None, *, safe: bool = True) -> bool:
    """Write once; False where the condition does not hold."""
    files, path = place._now()
    condition = {} if not safe else {"mode": "create"} if tag is None else {"IfMatch": tag}
    try:
        files.pipe_file(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode(), **condition)
    except FileExistsError:
        return False
    except Exception as error:
        code = _code(error)
        if code in _AGAIN:
            raise _Conflict from error
        if code in _REFUSED or (tag is not None and isinstance(error, FileNotFoundError)):
            return False
        raise StoreError(f"{place.url}: could not be written ({reason(error)})") from error
    return True


class _Conflict(Exception):
    """Another request for the same object was under way; this one was not carried out."""


def is_conditional(folder: Place) -> bool:
    """Does the store keep its word: no second object under a name, none in place of another than the one named?"""
    place = folder / f".probe-{uuid.uuid4().hex}"
    try:
        first = put(place, 1, None)
        return first and not put(place, 2, None) and not put(place, 3, f'"{32 * "0"}"')
    except (StoreError, _Conflict):
        return False
    finally:
        with suppress(SecateurError):
            place.remove()


def _tag(place: Place) -> str | None:
    """What the store calls this version of an object; None where there is none."""
    files, path = place._now()
    try:
        about = files.info(path)
    except FileNotFoundError:
        return None
    except Exception as error:
        raise StoreError(f"{place.url}: cannot be read ({reason(error)})") from error
    if about.get("type") == "directory":
        return None
    return str(about.get("ETag") or about.get("etag") or "?")


def _code(error: BaseException) -> str:
    """What an S3 client calls an error."""
    for one in (error, error.__cause__):
        answer = getattr(one, "response", None)
        if isinstance(answer, dict):
            return str(answer.get("Error", {}).get("Code", ""))
    return ""
