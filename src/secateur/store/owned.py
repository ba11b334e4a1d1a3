"""Which folders are runs of ours, and which of their entries are ours: run.json lists them, and no others are touched.

A name is listed (`owns`) before the first write to it, so a killed run still owns its own files. A list
counts only for the names that a command writes, NAMES, so an edited run.json cannot claim anything else. For folders of
versions that wrote no list, the stages imply which names are ours (`_adopted`). A folder with a recording from a user's
own training loop has no run.json; there a table is ours if its metadata says so.
"""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from secateur.errors import StoreError, WrongData
from secateur.store.files import read_json
from secateur.store.partial import is_partial, sweep

RUN, LOCK = "run.json", ".lock"
NAMES = (
    "run.json", "log.jsonl", "recording.zarr", "probes.zarr", "scores.parquet", "subset.parquet", "subsets",
    "kept", "query.json", "proxy.json", "slim.json", "model.safetensors", "state", "soft", "cells", "compare.json",
    "report.html", "bill.json", "mined", "mined.parquet", "condensed", "joint", "recordings",
    "synthetic", "synthetic.safetensors", "sets", "contact.png", "condense.json",
)  # fmt: skip
"""Everything a command may write into OUT."""
_COPIES = ("kept", "mined", "joint")
"""Replaced as a whole and never written into, so their contents are not checked."""
TABLES = ("scores.parquet", "subset.parquet", "subsets")
"""What may be written next to a recording that has no run.json."""
_KEY = b"secateur"
_LARGEST = 1 << 28
"""The largest run.json that is read, in bytes."""
_LOGGED = ("log.jsonl", "state")
_PROVEN = {
    "record": ("recording.zarr", "model.safetensors", *_LOGGED),
    "score": ("scores.parquet",),
    "select": ("scores.parquet", "subset.parquet", "subsets"),
    "kept": ("kept", "bill.json", "report.html"),
    "query": ("query.json", *_LOGGED),
    "probe": ("probes.zarr", "recording.zarr", *_LOGGED),
    "train": ("cells", "soft", *_LOGGED),
    "slim": ("slim.json", "model.safetensors"),
    "mine": ("mined", "mined.parquet", "state"),
    "joint": ("joint", "condensed"),
    "condense": (
        "synthetic", "synthetic.safetensors", "sets", "contact.png", "condense.json", "report.html", *_LOGGED,
    ),
}  # fmt: skip
"""The names that are ours if an old run.json lists the stage."""
_COMPARED = ("compare.json", "subsets", "scores.parquet", "bill.json", "report.html", "proxy.json")


def run_in(folder: Path) -> dict[str, Any]:
    """The contents of run.json in a folder, if a job of ours wrote it; empty if there is none or it is not ours.

    Raises StoreError if it is not JSON.
    """
    run = _json_in(folder)
    return run if _is_run(run) else {}


def is_run_folder(folder: Path) -> bool:
    """Is this the OUT folder of a run of ours, of `scale`, or of a user's own loop with a recording in it?

    Such a folder is never read as data. Reads little, raises nothing.
    """
    try:
        run = _json_in(folder)
    except StoreError:
        return False
    return _is_run(run) or _is_scale(run) or is_recorded(folder)


def is_recorded(folder: Path) -> bool:
    """Does the folder contain a recording?"""
    return _is_recording(folder / "recording.zarr")


def _is_recording(store: Path) -> bool:
    try:
        about = json.loads((store / "zarr.json").read_text(encoding="utf-8")) if _is_file(store / "zarr.json") else {}
    except (OSError, ValueError, RecursionError):
        return False
    told = about.get("attributes") if isinstance(about, dict) else None
    return isinstance(told, dict) and {"format", "examples", "epochs", "fields", "complete"} <= set(told)


def is_foreign_run(folder: Path) -> bool:
    """Does run.json belong to another command of ours, such as `scale`?"""
    return _is_scale(_json_in(folder))


def _is_run(run: Any) -> bool:
    if not isinstance(run, dict) or not isinstance(run.get("versions"), dict) or "secateur" not in run["versions"]:
        return False
    data = run.get("data")
    return isinstance(data, dict) and "fingerprint" in data and isinstance(run.get("stages"), dict)


def _is_scale(run: Any) -> bool:
    return isinstance(run, dict) and isinstance(run.get("version"), str) and "versions" not in run


def _json_in(folder: Path) -> Any:
    path = folder / RUN
    return read_json(path) if _is_file(path) and path.stat().st_size <= _LARGEST else {}


def _is_file(path: Path) -> bool:
    """A regular file: no link, no pipe."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def owned_names(folder: Path, run: Mapping[str, Any]) -> set[str]:
    """The top-level names that a run of ours wrote, according to run.json."""
    listed = run.get("owns")
    if isinstance(listed, list):
        return {RUN, *(name for name in NAMES if name in listed)}
    return {RUN} | _adopted(folder, run) if run else set()


def _adopted(folder: Path, run: Mapping[str, Any]) -> set[str]:
    """The names that the stages of a run.json without a list imply; `cells` and `soft` also by the hashes in them."""
    proven = {name for stage in run["stages"] for name in _PROVEN.get(re.split(r"[ -]", stage)[0], ())}
    compared = read_json(folder / "compare.json") if _is_file(folder / "compare.json") else None
    about = compared.get("about") if isinstance(compared, dict) else None
    if isinstance(about, dict) and isinstance(about.get("data"), dict):
        proven |= set(_COMPARED) if about["data"].get("fingerprint") == run["data"]["fingerprint"] else set()
    proven |= {name for name in ("cells", "soft") if _only_hashes(folder / name)}
    return {name for name in proven if os.path.lexists(folder / name)}


def _only_hashes(folder: Path) -> bool:
    if folder.is_symlink() or not folder.is_dir():
        return False
    return all(re.fullmatch(r"[0-9a-f]{16,64}", entry.name) for entry in os.scandir(folder))


def foreign_names(folder: Path, owns: set[str]) -> list[str]:
    """Names that a command would write, but that something else uses."""
    return sorted(name for name in NAMES if name not in owns and os.path.lexists(folder / name))


def strangers(folder: Path) -> list[str]:
    """Everything in a folder except a lock and the partial files of killed runs."""
    return sorted(e.name for e in os.scandir(folder) if e.name != LOCK and not is_partial(e.name))


def check_plain(folder: Path, owns: set[str]) -> None:
    """Raise WrongData for links, pipes and devices where a run would write: they lead out of the folder or block."""
    for name in sorted(owns):
        for path in _entries(folder / name, deep=name not in _COPIES):
            mode = os.lstat(path).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                what = "a link" if stat.S_ISLNK(mode) else "not a regular file"
                raise WrongData(
                    f"out: {path} is {what}, and a run would write there; remove it, or choose another --out"
                )


def _entries(path: Path, *, deep: bool) -> Iterator[Path]:
    if not os.path.lexists(path):
        return
    yield path
    if deep and path.is_dir() and not path.is_symlink():
        for folder, folders, files in os.walk(path):
            yield from (Path(folder) / name for name in (*folders, *files))


def sweep_all(folder: Path, owns: set[str]) -> None:
    """Delete the partial files of killed runs in a folder of ours."""
    sweep(folder, alone=True)
    for name in owns - set(_COPIES):
        for place, _, _ in os.walk(folder / name) if not (folder / name).is_symlink() else ():
            sweep(Path(place), alone=True)


def check_table(path: Path) -> None:
    """Raise WrongData if a file has the name of a table of ours but not its metadata."""
    if not os.path.lexists(path):
        return
    try:
        ours = _is_file(path) and _KEY in (pq.read_metadata(path).metadata or {})
    except Exception:
        ours = False
    if not ours:
        raise WrongData(f"out: {path} was not written by secateur; move it away, or choose another folder")


def not_ours(folder: Path, name: str) -> str:
    """The message for a name that something else uses."""
    return (
        f"out: {folder} contains {name}, which secateur did not write and will not replace; move it away, or choose "
        "another --out"
    )
