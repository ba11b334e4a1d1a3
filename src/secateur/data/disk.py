"""Data sets on disk and on the hub: which files are which splits, read by Hugging Face `datasets`."""

import contextlib
import glob
import re
from pathlib import Path
from typing import Any

from secateur.data.columns import Columns
from secateur.data.found import Form, Found
from secateur.errors import DataError

Tables = tuple[Form, dict[str, Any], Path | None]
_WORDS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "eval": "test",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
}  # fmt: skip
_WORD = re.compile(rf"(?:^|[-_.])({'|'.join(_WORDS)})(?:[-_.]|$)", re.IGNORECASE)


def find(data: str, *, input: str | None = None, label: str | None = None, cache: Path | None = None) -> Found:
    """Open what `data` names: `digits`, a folder of images by class, parquet files, a saved data set, a hub name.

    cache: where `datasets` puts its Arrow copies (parquet and hub data are copied there, about their own size).
    Raises DataError when there is no such thing.
    """
    form, tables, root = _tables(data, cache)
    splits = {name: Columns.of(table, input, label) for name, table in tables.items()}
    return Found(data, form, splits, root)


def _tables(data: str, cache: Path | None) -> Tables:
    import datasets

    path = Path(data).expanduser()
    if path.is_dir() and _is_saved(path):
        loaded = datasets.load_from_disk(str(path))
        splits = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
        return "saved", splits, path
    if path.is_dir():
        files = sorted(str(p) for p in path.rglob("*.parquet") if not _hidden(p, path))
        return _parquet(files, path, cache) if files else _folder(path, cache)
    files = sorted(glob.glob(str(path), recursive=True))
    if files:
        if wrong := [f for f in files if not f.endswith(".parquet")]:
            raise DataError(f"data: expected .parquet files or a folder, got {wrong[0]}")
        return _parquet(files, path.parent, cache)
    return _hub(data, cache)


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
        raise DataError(f"data: {root} could not be read as parquet ({_reason(error)})") from None
    return "parquet", splits, root


def _folder(path: Path, cache: Path | None) -> Tables:
    """Class folders, or split folders (train/, test/) of class folders."""
    from datasets import load_dataset

    folders = sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not folders:
        raise DataError(f"data: {path} holds no parquet files and no folders of images; expected {path}/CLASS/IMAGE")
    named = {p: _WORDS.get(p.name.lower()) for p in folders}
    roots = {str(word): p for p, word in named.items()} if all(named.values()) else {"train": path}
    splits = {}
    for name, root in roots.items():
        try:
            files = {"train": f"{glob.escape(str(root))}/**"}  # named, lest a class called `train` be taken for a split
            splits[name] = load_dataset(
                "imagefolder", data_files=files, split="train", drop_labels=False, cache_dir=_text(cache)
            )
        except Exception as error:
            raise DataError(f"data: {root} could not be read as images by class ({_reason(error)})") from None
    return "folder", splits, path


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
            f"data: no file or folder {name}, and the hub did not give a data set of that name ({_reason(error)})"
        ) from None
    return "hub", dict(loaded), None


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _reason(error: Exception) -> str:
    """The first line of what a library said."""
    lines = str(error.__cause__ or error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
