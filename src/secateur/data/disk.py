"""Data sets on disk and on the hub, read by Hugging Face `datasets`. `data.layouts` recognises folder layouts."""

import contextlib
import glob
import itertools
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache as cached
from pathlib import Path
from typing import Any

from secateur.data.columns import Columns
from secateur.data.decoding.labels import WITHOUT
from secateur.data.found import Form, Found
from secateur.data.layouts.listing import Listing, is_saved, listed, our_run
from secateur.data.layouts.metadata import describe
from secateur.data.layouts.places import Asked, Part
from secateur.data.layouts.rules import Described, Layout, holds_images, lay_out
from secateur.data.layouts.split_column import by_split_column
from secateur.data.layouts.splits import ALL, within
from secateur.data.parquet import read_parquet, silent
from secateur.errors import DataError, described, reason
from secateur.store.owned import is_run_folder
from secateur.untrusted import folder_name, read_regular

_STATE_BYTES = 1 << 26


@dataclass(frozen=True)
class _Tables:
    """The splits as tables; told: the source of labels, if not a column; beside, homes: see Columns."""

    form: Form
    splits: dict[str, Any]
    root: Path | None
    ignored: dict[str, list[str]] = field(default_factory=dict)
    told: str | None = None
    beside: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    homes: tuple[Path, ...] | None = None


def find(
    data: str,
    *,
    input: str | None = None,
    label: str | None = None,
    split: str | None = None,
    test: str | None = None,
    cache: Path | None = None,
) -> Found:
    """Open what `data` names: a folder of images, flat or by class, parquet files, a saved data set, a hub name.

    split, test: the splits that the user names, which decides what files beside them are. cache: where `datasets` puts
    its Arrow copies (parquet and hub data are copied there, about their own size). Raises DataError when there is no
    such thing, and where there are several ways to read it.
    """
    asked = Asked(label, split, test)
    if not data.strip():
        raise DataError("data: expected the name of a file or a folder, got none")
    found = _tables(data, cache, asked)
    splits: dict[str, Any] = {
        str(name): Columns.of(
            table,
            input,
            label,
            homes=found.homes,
            told=None if label == "none" else found.told,
            beside=found.beside.get(name, {}),
        )
        for name, table in found.splits.items()
    }
    if split == ALL and len(splits) == 1:
        splits = {ALL: next(iter(splits.values()))}
    return Found(data, found.form, by_split_column(splits) if split != ALL else splits, found.root, found.ignored)


def _tables(data: str, cache: Path | None, asked: Asked) -> _Tables:
    try:
        path = Path(data).expanduser()
        _refuse_out(path)
        if path.is_dir() and is_saved(path):
            return _saved(path)
        if path.is_dir():
            return _folder(path, cache, asked)
        named = path.is_file()
        files = [path] if named else _outside_runs(sorted(glob.glob(str(path), recursive=True)), path)
    except (OSError, RuntimeError) as error:  # a folder without permission; an unknown home
        raise DataError(f"data: {data} cannot be read ({reason(error)})") from None
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"data: {data!r} is not a valid path ({reason(error)})") from None
    if files:
        return _chosen(files, cache, asked, named=named)
    return _hub(data, cache)


def _outside_runs(files: Sequence[str], pattern: Path) -> list[Path]:
    """The files that are not in an OUT folder below the fixed part of the pattern; the user chose the folders above."""
    base = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts))

    @cached
    def in_run(folder: Path) -> bool:
        return folder != base and base in folder.parents and (is_run_folder(folder) or in_run(folder.parent))

    return [file for file in map(Path, files) if not in_run(file.parent)]


def _refuse_out(path: Path) -> None:
    """Raise DataError for the OUT folder of a run, which is not data itself, but may hold some."""
    run = our_run(path) if path.is_dir() else None
    if run is None:
        return
    what = {
        "mined": "the labelled and the mined rows",
        "joint": "the labelled rows and what the mined ones were condensed to",
        "kept": "the rows that were kept",
        "synthetic": "the condensed rows",
    }
    there = [f"{path / name}, {told}" for name, told in what.items() if (path / name).is_dir()]
    name = run["data"].get("name") if isinstance(run["data"], dict) else run["data"]
    way = "; or ".join(there) if there else f"the data it was made from, {name}"
    raise DataError(f"data: expected a data set, got {path}, the OUT folder of a run; pass {way}")


def _saved(path: Path) -> _Tables:
    import datasets

    _check_saved(path)
    try:
        with silent():
            loaded = datasets.load_from_disk(str(path))
    except Exception as error:
        if out := described(error, "reading the data"):
            raise out from None
        raise DataError(f"data: {path} could not be read as saved by `datasets` ({reason(error)})") from None
    splits = dict(loaded) if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
    return _Tables("saved", splits, path, homes=(path,))


def _check_saved(path: Path) -> None:
    """Check that the files that a saved data set names are regular files in its own folder."""
    folders = [path]
    if (path / "dataset_dict.json").is_file():
        splits = _state(path / "dataset_dict.json").get("splits")
        if not isinstance(splits, list) or not all(isinstance(s, str) for s in splits):
            raise DataError(f"data: {path / 'dataset_dict.json'} names no splits; save the data set again")
        folders = [path / folder_name(split, f"data: split of {path}") for split in splits]
    for folder in folders:
        files = _state(folder / "state.json").get("_data_files")
        names = [f.get("filename") for f in files if isinstance(f, dict)] if isinstance(files, list) else [None]
        for name in names:
            if not isinstance(name, str) or not (folder / folder_name(name, f"data: file of {folder}")).is_file():
                raise DataError(f"data: {folder} lacks the file {name!r} that its state.json names; save it again")


def _state(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(read_regular(path, limit=_STATE_BYTES))
    except DataError as error:
        raise DataError(f"data: {error}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"data: {path} is not JSON ({reason(error)}); save the data set again") from None
    return state if isinstance(state, dict) else {}


def _folder(path: Path, cache: Path | None, asked: Asked) -> _Tables:
    listing = listed(path)
    about = describe(listing.files, path, asked.label) if holds_images(listing) else Described()
    layout = lay_out(listing, str(path), asked=asked, described=about)
    if layout.form == "parquet":
        return _parquet(path, layout, cache)
    splits = {name: _images(path, part, layout) for name, part in layout.splits.items()}
    beside = {
        name: {c: [about.rows.get(file, {}).get(c) for file in part.files] for c in about.columns}
        for name, part in layout.splits.items()
    }
    return _Tables("folder", splits, path, layout.ignored, layout.label, beside)


def _chosen(files: Sequence[Path], cache: Path | None, asked: Asked, *, named: bool) -> _Tables:
    """Files that the user gave: one by its path, or several by a glob."""
    for file in files:
        if file.suffix.lower() != ".parquet" or not file.is_file():
            raise DataError(f"data: expected .parquet files or a folder, got {file}")
    root = Path(os.path.commonpath([file.parent for file in files]))
    names = tuple(sorted(str(file.relative_to(root)) for file in files))
    if named:
        word = "".join(within(Path(names[0]).stem))
        name = asked.split if asked.split and word in asked.names else "train"
        layout = Layout("parquet", {name: Part(names)})
    else:
        layout = lay_out(Listing(names), str(root), asked=Asked(asked.label, asked.split, asked.test, chosen=True))
    return _parquet(root, layout, cache)


def _parquet(root: Path, layout: Layout, cache: Path | None) -> _Tables:
    splits = {name: read_parquet(root, part, _text(cache)) for name, part in layout.splits.items()}
    return _Tables("parquet", splits, root, layout.ignored, homes=(root,))


def _images(root: Path, part: Part, layout: Layout) -> Any:
    """A table of image paths, with their classes if there are any."""
    import datasets
    import pyarrow as pa
    from datasets.table import InMemoryTable

    paths = pa.array([str(root / file) for file in part.files], pa.string())
    cells = pa.StructArray.from_arrays([pa.nulls(len(paths), pa.binary()), paths], ["bytes", "path"])
    columns: dict[str, Any] = {"image": cells}
    features: dict[str, Any] = {"image": datasets.Image()}
    if part.classes is not None:
        names = sorted({name for name in part.classes if name is not None})
        if not names:
            raise DataError(f"label: no image in {root} has a label; fix the metadata, {WITHOUT}")
        number = {name: i for i, name in enumerate(names)}
        columns[layout.column] = pa.array([-1 if name is None else number[name] for name in part.classes], pa.int64())
        features[layout.column] = datasets.ClassLabel(names=names)
    info = datasets.DatasetInfo(features=datasets.Features(features))
    return datasets.Dataset(InMemoryTable(pa.table(columns)), info=info)


def _hub(name: str, cache: Path | None) -> _Tables:
    """One quick question first: `datasets` would go on retrying a name that is only a path with a typing error."""
    import datasets
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import OfflineModeIsEnabled

    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", name) or Path(name).suffix == ".parquet":
        raise DataError(f"data: no file or folder {name}, no file matches it, and it is no hub name")
    try:
        with contextlib.suppress(OfflineModeIsEnabled):  # then `datasets` looks in its cache
            HfApi().dataset_info(name, timeout=10)
        with silent():
            loaded = datasets.load_dataset(name, cache_dir=_text(cache))
    except Exception as error:
        raise DataError(
            f"data: no file or folder {name}, and the hub did not give a data set of that name ({reason(error)})"
        ) from None
    kept = [constants.HF_HUB_CACHE, datasets.config.HF_DATASETS_CACHE, datasets.config.DOWNLOADED_DATASETS_PATH]
    homes = tuple(Path(home) for home in [*kept, *([cache] if cache else [])])
    return _Tables("hub", dict(loaded), None, homes=homes)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
