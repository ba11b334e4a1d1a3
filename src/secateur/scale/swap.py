"""Compare-and-swap for JSON objects on an object store."""

import json
import time
import uuid
from contextlib import suppress
from typing import Any

from secateur.errors import SecateurError, StoreError, reason
from secateur.scale.storage import Place
from secateur.store.schemas import parsed

_TRIES = 10
_REFUSED = {"PreconditionFailed", "412"}
_AGAIN = {"ConditionalRequestConflict", "OperationAborted", "409"}


def read(place: Place) -> tuple[Any, str | None]:
    """The value of an object and its tag; (None, None) if there is none."""
    files, path = place._now()
    try:
        text, tag = _answer(files, path)
    except FileNotFoundError:
        return None, None
    except Exception as error:
        raise StoreError(f"{place.url}: cannot be read ({reason(error)})") from error
    return parsed(text, Any, place.url), tag


def _answer(files: Any, path: str) -> tuple[bytes, str]:
    """Bytes and tag of one version: in one request on S3, elsewhere by retrying until both reads agree."""
    if hasattr(files, "_call_s3"):
        from fsspec.asyn import sync

        return sync(files.loop, _from_s3, files, path)
    while True:
        before, text, after = _tag(files, path), files.cat_file(path), _tag(files, path)
        if before == after:
            return text, after


async def _from_s3(files: Any, path: str) -> tuple[bytes, str]:
    bucket, key, _ = files.split_path(path)
    answer = await files._call_s3("get_object", Bucket=bucket, Key=key, **files.req_kw)
    return await answer["Body"].read(), str(answer["ETag"])


def _tag(files: Any, path: str) -> str:
    about = files.info(path)
    return str(about.get("etag") or about.get("mtime") or about.get("created") or "?")


def write(place: Place, value: dict[str, Any], tag: str | None, *, safe: bool = True) -> str | None:
    """Write if the tag is still this one, or, for None, if there is no object. Returns the new tag, or None if refused.

    If a response is lost, a client retries, and the retry is refused. So each value has a unique nonce, and after a
    refusal the object is read again. safe: False writes unconditionally.
    """
    value = value | {"nonce": uuid.uuid4().hex}
    for attempt in range(_TRIES):
        try:
            if (new := put(place, value, tag, safe=safe)) is not None and new != "?":
                return new
        except _Conflict:
            time.sleep(0.05 * (attempt + 1))
            continue
        found, now = read(place)  # refused, or the response has no tag
        return now if isinstance(found, dict) and found.get("nonce") == value["nonce"] else None
    raise StoreError(f"{place.url}: could not be written, since other writers interfered {_TRIES} times; run again")


def put(place: Place, value: Any, tag: str | None, *, safe: bool = True) -> str | None:
    """Write once; the new tag, `?` if the store does not return it, None if the condition does not hold."""
    files, path = place._now()
    condition = {} if not safe else {"mode": "create"} if tag is None else {"IfMatch": tag}
    try:
        answer = files.pipe_file(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode(), **condition)
    except FileExistsError:
        return None
    except Exception as error:
        code = _code(error)
        if code in _AGAIN:
            raise _Conflict from error
        if code in _REFUSED or (tag is not None and isinstance(error, FileNotFoundError)):
            return None
        raise StoreError(f"{place.url}: could not be written ({reason(error)})") from error
    return str(answer["ETag"]) if isinstance(answer, dict) and answer.get("ETag") else "?"


class _Conflict(Exception):
    """Another request for the same object was in progress, so this one was rejected."""


def is_conditional(folder: Place) -> bool:
    """Does the store enforce conditional writes: no second create, and no replacement under a wrong tag?"""
    place = folder / f".probe-{uuid.uuid4().hex}"
    try:
        if put(place, 1, None) is None or put(place, 2, None) is not None:
            return False
        return put(place, 3, f'"{32 * "0"}"') is None
    except (StoreError, _Conflict):
        return False
    finally:
        with suppress(SecateurError):
            place.remove()


def _code(error: BaseException) -> str:
    """The error code of an S3 client's exception."""
    for one in (error, error.__cause__):
        answer = getattr(one, "response", None)
        if isinstance(answer, dict):
            return str(answer.get("Error", {}).get("Code", ""))
    return ""
