"""Data sets on disk and on the hub: which files are which splits, read by Hugging Face `datasets`."""

import contextlib
import glob
import itertools
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from secateur.data.columns import NO_LABELS, Columns
from secateur.data.found import Form, Found
from secateur.errors import DataError, StoreError, reason
from secateur.store.files import read_json
from secateur.store.owned import is_run_folder
from secateur.store.schemas.runs import LikeRun

Tables = tuple[Form, dict[str, Any], Path | None]
_WORDS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
}  # fmt: skip
_WORD = re.compile(rf"(?:^|[-_.])({'|'.join(_WORDS)})(?:[-_.]|$)", re.IGNORECASE)


def find(data: str, *, input: str | None = None, label: str | None = None, cache: Path | None = None) -> Found:
    """Open what `data` names: a folder of images, flat or by class, parquet files, a saved data set, a hub name.

    cache: where `datasets` puts its Arrow copies (parquet and hub data are copied there, about their own size).
    Raises DataError when there is no such thing.
    """
    form, tables, root = _tables(data, cache, label)
    splits = {name: Columns.of(table, input, label) for name, table in tables.items()}
    return Found(data, form, splits, root)


def _tables(data: str, cache: Path | None, label: str | None) -> Tables:
    import datasets

    path = Path(data).expanduser()
    _refuse_out(path)
    if path.is_dir() and _is_saved(path):
        loaded = datasets.load_from_disk(str(path))
        splits = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
        return "saved", splits, path
    if path.is_dir():
        files = sorted(str(p) for p in _outside(outs_below(path), path.rglob("*.parquet")) if not _hidden(p, path))
        return _parquet(files, path, cache) if files else _folder(path, cache, label)
    files = sorted(
        map(str, _outside(outs_below(_before_pattern(path)), map(Path, glob.glob(str(path), recursive=True))))
    )
    if files:
        if wrong := [f for f in files if not f.endswith(".parquet")]:
            raise DataError(f"data: expected .parquet files or a folder, got {wrong[0]}")
        return _parquet(files, path.parent, cache)
    return _hub(data, cache)


def _refuse_out(path: Path) -> None:
    """Raise DataError for the OUT folder of a run, which is not data itself, but may hold some."""
    run: Any = None
    with contextlib.suppress(StoreError):  # there is none, or it is somebody else's
        run = read_json(path / "run.json", LikeRun) if path.is_dir() else None
    if run is None:
        return
    what = {
        "mined": "the labelled and the mined rows",
        "joint": "the labelled rows and what the mined ones were condensed to",
        "kept": "the rows that were kept",
        "synthetic": "the condensed rows",
    }
    there = [f"{path / name}, {told}" for name, told in what.items() if (path / name).is_dir()]
    way = "; or ".join(there) if there else f"the data it was made from, {run['data'].get('name')}"
    raise DataError(f"data: expected a data set, got {path}, the OUT folder of a run; pass {way}")


def outs_below(root: Path) -> list[Path]:
    """The OUT folders of runs anywhere below a folder, sorted: what reading it leaves out."""
    found = []
    for folder, folders, _ in os.walk(root):
        places = {name: Path(folder) / name for name in folders if not name.startswith(".")}
        outs = [name for name, place in places.items() if is_run_folder(place)]
        folders[:] = [name for name in places if name not in outs]
        found += [places[name] for name in outs]
    return sorted(found)


def _before_pattern(path: Path) -> Path:
    """The folder that a pattern begins in: what lies above it was named by the user."""
    plain = itertools.takewhile(lambda part: not glob.has_magic(part), path.parts)
    return Path(*plain)


def _outside(outs: list[Path], files: Iterable[Path]) -> list[Path]:
    """The files that lie in none of some folders."""
    left_out = [Path(os.path.abspath(out)) for out in outs]
    return [file for file in files if not set(left_out) & set(Path(os.path.abspath(file)).parents)]


def _is_saved(path: Path) -> bool:
    return (path / "state.json").exists() or (path / "dataset_dict.json").exists()


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _parquet(files: list[str], root: Path, cache: Path | None) -> Tables:
    """Files named after splits (train.parquet, test-00000.parquet) are those splits; else all are one train split."""
    from datasets import load_dataset

    words = [_WORD.search(Path(f).stem) for f in files]
    groups: dict[str, list[str]] = {}
    for file, word in zip(files, words, strict=True):
        name = _WORDS[word.group(1).lower()] if word and all(words) else "train"
        groups.setdefault(name, []).append(file)
    try:
        splits = {
            name: load_dataset("parquet", data_files=group, split="train", cache_dir=_text(cache))
            for name, group in groups.items()
        }
    except Exception as error:
        raise DataError(f"data: {root} could not be read as parquet ({reason(error)})") from None
    return "parquet", splits, root


def _folder(path: Path, cache: Path | None, label: str | None) -> Tables:
    """Class folders, or split folders (train/, test/) of class folders; images directly in a folder have no labels."""
    folders = _folders(path)
    if not folders and not _holds_images(path):
        raise DataError(
            f"data: {path} holds no parquet files and no folders of images; expected {path}/CLASS/IMAGE, or images "
            f"without labels directly in it"
        )
    named = {p: _WORDS.get(p.name.lower()) for p in folders}
    roots = {str(word): p for p, word in named.items()} if folders and all(named.values()) else {"train": path}
    return "folder", {name: _images(root, cache, label) for name, root in roots.items()}, path


def _images(root: Path, cache: Path | None, label: str | None) -> Any:
    """The images of one split, their labels the names of their folders, unless they lie in none or none is asked."""
    from datasets import load_dataset

    flat = _holds_images(root)
    if label != NO_LABELS and flat and _folders(root):
        raise DataError(
            f"label: {root} holds images beside folders of images; move them into class folders, or read all of them "
            f"without labels: --label {NO_LABELS}"
        )
    drop = flat or label == NO_LABELS
    files: dict[str, Any] = {
        "train": f"{glob.escape(str(root))}/**"
    }  # lest a class called `train` be taken for a split
    if outs := outs_below(root):
        files = {"train": _without(files["train"], outs)}
    try:
        return load_dataset("imagefolder", data_files=files, split="train", drop_labels=drop, cache_dir=_text(cache))
    except Exception as error:
        raise DataError(f"data: {root} could not be read as a folder of images ({reason(error)})") from None


def _without(pattern: str, outs: list[Path]) -> list[str]:
    """The files that a pattern finds, in its order, but for those in OUT folders."""
    from datasets.data_files import resolve_pattern

    return [glob.escape(str(file)) for file in _outside(outs, map(Path, resolve_pattern(pattern, "")))]


def _folders(path: Path) -> list[Path]:
    found = (p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    return sorted(p for p in found if not is_run_folder(p))


def _holds_images(path: Path) -> bool:
    """Do images lie directly in the folder?"""
    from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

    known = set(ImageFolder.EXTENSIONS)
    return any(p.suffix.lower() in known and not p.name.startswith(".") and p.is_file() for p in path.iterdir())


def _hub(name: str, cache: Path | None) -> Tables:
    """One quick question first: `datasets` would go on retrying a name that is only a path with a typing error."""
    from datasets import load_dataset
    from huggingface_hub import HfApi
    from huggingface_hub.errors import OfflineModeIsEnabled

    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name) or Path(name).suffix == ".parquet":
        raise DataError(f"data: no file or folder {name}, no file matches it, and it is no hub name")
    try:
        with contextlib.suppress(OfflineModeIsEnabled):  # then `datasets` looks in its cache
            HfApi().dataset_info(name, timeout=10)
        loaded = load_dataset(name, cache_dir=_text(cache))
    except Exception as error:
        raise DataError(
            f"data: no file or folder {name}, and the hub did not give a data set of that name ({reason(error)})"
        ) from None
    return "hub", dict(loaded), None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
