"""Detect damage: run.json holds a digest of each table and net that a run wrote, and every read compares it.

The new digest is written just before the file is renamed into place, next to the digest of the file it replaces: after
a kill in between, either file is valid.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from secateur.errors import StoreError
from secateur.store.owned import run_in

_TOPS = ("scores.parquet", "subset.parquet", "mined.parquet", "model.safetensors", "synthetic.safetensors",
         "subsets", "sets", "cells")  # fmt: skip
_AGAIN = {
    "scores.parquet": "score again", "subset.parquet": "select again", "mined.parquet": "mine again",
    "model.safetensors": "train again (--force starts over)", "synthetic.safetensors": "condense again",
}  # fmt: skip
_DEEPEST = 3
"""The most folders between a file with a digest and its run.json."""


def is_noted(inside: tuple[str, ...]) -> bool:
    """Does a file have a digest in run.json? inside: the parts of its path below the folder."""
    if not inside or inside[0] not in _TOPS or ".." in inside or len(inside) > _DEEPEST:
        return False
    return inside[-1].endswith((".parquet", ".safetensors")) and inside[-1] != "state.safetensors"


def noted(run: Mapping[str, Any], root: Path, inside: tuple[str, ...], beside: Path) -> dict[str, list[str]]:
    """The digests of a run.json, with that of a file that is about to be renamed into place.

    inside: the parts of its path below root; beside: its temporary path.
    """
    name, digests = "/".join(inside), _digests(run)
    acceptable, before = [_digest(beside)], root.joinpath(*inside)
    if before.is_file() and (old := _digest(before)) in digests.get(name, [old]):
        acceptable.append(old)
    return digests | {name: acceptable}


def verify(path: Path) -> None:
    """Raise StoreError if a file does not match its digest in the run.json of its folder."""
    where = Path(os.path.abspath(path))
    for folder in where.parents[:_DEEPEST]:
        try:
            run = run_in(folder)
        except StoreError:  # reported by the code that reads run.json
            return
        if run:
            _compare(where, _digests(run).get(where.relative_to(folder).as_posix()))
            return


def verify_all(folder: Path) -> None:
    """`verify` every file with a digest in the folder's run.json."""
    for name, digests in _digests(run_in(folder)).items():
        _compare(folder / name, digests)


def _compare(path: Path, digests: list[str] | None) -> None:
    if digests is not None and path.is_file() and not path.is_symlink() and _digest(path) not in digests:
        again = _AGAIN.get(path.name, "make it again")
        raise StoreError(f"{path}: damaged or edited since it was written; delete it and {again}")


def _digests(run: Mapping[str, Any]) -> dict[str, list[str]]:
    """The valid entries: names that can have a digest, with lists of strings."""
    found = run.get("digests")
    return dict(_believed(found)) if isinstance(found, dict) else {}


def _believed(found: Mapping[Any, Any]) -> Iterator[tuple[str, list[str]]]:
    for name, digests in found.items():
        if isinstance(name, str) and isinstance(digests, list) and is_noted(PurePosixPath(name).parts):
            yield name, [d for d in digests if isinstance(d, str)]


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
