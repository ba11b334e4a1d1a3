"""The data of an earlier run, found again: only on this machine, and only where they are still the same."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from secateur.data.source import Source, open_data
from secateur.errors import WrongData
from secateur.study.out import Out
from secateur.study.session import with_test

_MOST_FILES = 2_000_000
"""Files that a folder named by run.json may hold: more than ImageNet has."""


class _Reading(BaseModel):
    """How the data were read: what of it may come from a file. Where copies go and what memory they take may not."""

    model_config = ConfigDict(strict=True, extra="ignore")
    input: str | None = None
    label: str | None = None
    split: str | None = None
    test: str | None = None
    size: Annotated[int, Field(ge=1, le=10_000)] | None = None
    on_bad: Literal["stop", "skip"] = "stop"
    on_rare: Literal["stop", "keep", "drop"] = "stop"


class _Data(BaseModel):
    """What run.json says of the data, as far as it serves to find them."""

    model_config = ConfigDict(strict=True, extra="ignore")
    name: str
    form: str
    fingerprint: str
    examples: Annotated[int, Field(ge=1)]
    reading: _Reading


def reopen(out: Out, data: Any = None) -> Source:
    """The data that an OUT folder was made from: `data` where the user names them, else by the name in run.json.

    run.json may come from somebody else, so its name is followed to `digits` and to files on this machine alone: never
    to the hub, nor to a pattern with more than one part, nor into a folder of far more files than the run had examples.
    Raises WrongData where the data are not found so, or have changed.
    """
    about = _about(out)
    if data is None:
        _check_here(about)
        data = about.name
    source = open_data(data, **about.reading.model_dump(exclude_none=True))
    if "-held-out-" in about.fingerprint:
        source = with_test(source, 0.2, always=True)
    if source.fingerprint != about.fingerprint:
        raise WrongData(
            f"data: {source.name} has changed since {out.path} was made (fingerprint {source.fingerprint}), or is "
            f"other data; name the right ones with --data"
        )
    return source


def _about(out: Out) -> _Data:
    found = out.run.get("data")
    if not isinstance(found, Mapping):
        raise WrongData(f"out: {out.path} is not the folder of a secateur run; expected run.json in it")
    read = found.get("reading")
    if odd := sorted(set(read if isinstance(read, Mapping) else ()) - set(_Reading.model_fields) - {"cache", "memory"}):
        raise WrongData(
            f"data: {out.path} was read with {odd[0]}, which this version does not know; use the version that made it"
        )
    try:
        return _Data.model_validate(dict(found))
    except ValidationError as error:
        first = error.errors()[0]
        raise WrongData(
            f"{out / 'run.json'}: data.{'.'.join(map(str, first['loc']))}: {first['msg']}; name the data with --data, "
            f"or run the command again that made the folder"
        ) from None


def _check_here(about: _Data) -> None:
    """Raise WrongData unless the name leads to files of this machine, and not too many of them."""
    if about.form == "arrays":
        raise WrongData(f"data: {about.name} exists only where it was made; call from Python with the data at hand")
    if about.name == "digits" or (about.form == "parquet" and _pattern(about.name)):
        return
    try:
        path = Path(about.name).expanduser()
        there = bool(about.name) and (path.is_dir() or (path.is_file() and path.suffix == ".parquet"))
    except (OSError, ValueError, RuntimeError):  # a name that no file, or the home of nobody, can have
        there = False
    if not there:
        raise WrongData(
            f"data: {about.name} is no folder or parquet file of this machine, and a name from run.json is looked up "
            f"nowhere else; name the data with --data"
        )
    most = min(10_000 + 10 * about.examples, _MOST_FILES)
    if path.is_dir() and _more_files(path, most):
        raise WrongData(
            f"data: {about.name} holds more than {most:,} files, for a run of {about.examples:,} examples; name the "
            f"data with --data"
        )


def _pattern(name: str) -> bool:
    """Do files of one existing folder match?

    >>> _pattern("/**/*.parquet"), _pattern("/no-such-folder/*.parquet")
    (False, False)
    """
    try:
        path = Path(name).expanduser()
    except RuntimeError:  # the home of nobody
        return False
    if any(mark in str(path.parent) for mark in "*?[") or "**" in path.name or not path.name.endswith(".parquet"):
        return False
    try:
        return path.parent.is_dir() and next(path.parent.glob(path.name), None) is not None
    except (OSError, ValueError):
        return False


def _more_files(folder: Path, most: int) -> bool:
    """Does a folder hold more than so many files? It stops counting there, and follows no links."""
    count = 0
    for _, folders, files in os.walk(folder):
        count += len(folders) + len(files)
        if count > most:
            return True
    return False
