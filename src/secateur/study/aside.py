"""Keep what `--force` replaces until there is a new run: set it aside, restore it, or delete it.

It lies in `.replaced-TOKEN`. While names are moved there, the old run.json says `aside: TOKEN`: if the job is killed
then, or before the new run writes anything, everything is restored. The first write of the new run puts into run.json
`discard: TOKEN`: from then on the next job deletes the old run. A folder of that name with another token
is left alone.
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
    shutil.copy2(folder / RUN, aside / RUN)  # unchanged, so that it can be restored
    write_json(folder / RUN, {**run, "owns": sorted(owns), "aside": token})
    for name in NAMES:
        if name in owns - {RUN} and os.path.lexists(folder / name):
            (folder / name).rename(aside / name)
    return token


def effective(folder: Path, run: dict[str, Any]) -> dict[str, Any]:
    """The run that a folder holds after restoring, or deleting, what a killed run had set aside."""
    aside = _place(folder, run, "aside")
    if aside is None:
        return {k: v for k, v in run.items() if k != "aside"}
    return run_in(aside) or {k: v for k, v in run.items() if k != "aside"}


def recover(folder: Path, run: Mapping[str, Any]) -> None:
    """Restore or delete what was set aside, as run.json says; do nothing if nothing was set aside."""
    if "aside" in run:
        _bring_back(folder, run)
    elif "discard" in run:
        _discard(folder, run)


def _bring_back(folder: Path, run: Mapping[str, Any]) -> None:
    """Undo `set_aside`, even if it was interrupted; run: the current run.json."""
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
