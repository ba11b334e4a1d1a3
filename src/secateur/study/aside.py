"""What `--force` replaces, until there is something in its place: set aside, brought back, or deleted.

It lies in `.replaced-TOKEN`. While names are moved there, the old run.json says `aside: TOKEN`: a kill then, or before
the new run writes anything, has all of it brought back. The new run.json, which the first write brings, says
`discard: TOKEN`: from then on the old run is deleted, by whoever comes next. A folder of that name with another token
is nobody's, and stays.
"""

import os
import re
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from secateur.store.files import write_json
from secateur.store.owned import NAMES, RUN, owned_names, run_in
from secateur.store.partial import delete


def set_aside(folder: Path, run: Mapping[str, Any]) -> str:
    """Move what a run wrote out of the way of a new one; returns the token of where it is."""
    token = secrets.token_hex(8)
    aside = folder / f".replaced-{token}"
    owns = owned_names(folder, run)
    aside.mkdir()
    shutil.copy2(folder / RUN, aside / RUN)  # as it was, to be brought back
    write_json(folder / RUN, {**run, "owns": sorted(owns), "aside": token})
    for name in NAMES:
        if name in owns - {RUN} and os.path.lexists(folder / name):
            (folder / name).rename(aside / name)
    return token


def effective(folder: Path, run: dict[str, Any]) -> dict[str, Any]:
    """The run that a folder holds once what a killed run had set aside is brought back, or deleted."""
    aside = _place(folder, run, "aside")
    if aside is None:
        return {k: v for k, v in run.items() if k != "aside"}
    return run_in(aside) or {k: v for k, v in run.items() if k != "aside"}


def recover(folder: Path, run: Mapping[str, Any]) -> None:
    """Bring back what was set aside, or delete it, as run.json says; nothing where nothing was."""
    if "aside" in run:
        _bring_back(folder, run)
    elif "discard" in run:
        _discard(folder, run)


def _bring_back(folder: Path, run: Mapping[str, Any]) -> None:
    """Undo `set_aside`, whole or half done; run: what run.json says now."""
    aside = _place(folder, run, "aside")
    if aside is None:
        write_json(folder / RUN, {k: v for k, v in run.items() if k != "aside"})
        return
    for name in NAMES:
        if name != RUN and os.path.lexists(aside / name) and not os.path.lexists(folder / name):
            (aside / name).rename(folder / name)
    if (aside / RUN).exists():
        os.replace(aside / RUN, folder / RUN)
    delete(aside)


def _discard(folder: Path, run: Mapping[str, Any]) -> None:
    if (aside := _place(folder, run, "discard")) is not None:
        delete(aside)
    write_json(folder / RUN, {k: v for k, v in run.items() if k != "discard"})


def _place(folder: Path, run: Mapping[str, Any], key: str) -> Path | None:
    token = run.get(key)
    if not isinstance(token, str) or not re.fullmatch(r"[0-9a-f]{16}", token):
        return None
    aside = folder / f".replaced-{token}"
    return aside if aside.is_dir() and not aside.is_symlink() else None
