"""Recognise the layout of a folder by explicit rules, from file names alone.

Kinds of files. Images and parquet files are recognised by their suffix, in any case. `metadata.csv`, `.jsonl` and
`.parquet` beside or above images describe them. Hidden files, files left by the operating system, and parquet files
whose names begin with `_` are ignored, as is everything else. Every ignored file is counted in the output.

| the folder contains                                      | it is read as                                         |
| -------------------------------------------------------- | ----------------------------------------------------- |
| CLASS/IMAGE                                              | classes, one train split                              |
| label=CLASS/IMAGE                                        | the same                                              |
| images directly                                          | one train split without labels                        |
| train/..., test/..., val/... (any word of `datasets`)    | splits, each laid out as above                        |
| train_images/CLASS/..., test_images/CLASS/...            | splits                                                |
| WRAPPER/ that contains any of these                      | the same                                              |
| images, and metadata with a label column                 | the labels of the metadata, unless folders give some  |
| CLASS/IMAGE, and metadata without a label column         | classes                                               |
| parquet files in one folder                              | one train split                                       |
| train*.parquet, test*.parquet; train/*.parquet, ...      | splits: every file must name exactly one              |
| key=value/*.parquet                                      | an extra column; `split=train/` is a split            |
| a table whose column `split` has only words for splits   | splits, if some of them are held out                  |

These are errors that say what to do: images and parquet files in one folder; split names beside other names, unless
--split names the split; held-out names among classes; class folders inside folders that are not splits; images beside
folders of images; folders and metadata that disagree about classes; a flat folder of images with a table that may hold
their labels; images whose names, or a list of splits beside them, say that some are held out, where no folder does;
parquet files in several folders, which a glob reads as one; two folders for one split; a Delta Lake or Hudi table,
whose deleted rows would come back. `--split all` reads everything as one split.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from secateur.data.layouts.image_files import lay_out_images
from secateur.data.layouts.kinds import is_image, is_metadata, is_other_table, is_parquet, may_be_data
from secateur.data.layouts.listing import OURS, SAVED, Listing
from secateur.data.layouts.places import Asked, Part, some
from secateur.data.layouts.table_files import lay_out_tables
from secateur.data.layouts.unsplit import refuse_unsplit
from secateur.errors import DataError

BOOKKEEPING = "internal files of Spark and similar tools"
UNREAD = "files that may be data, but of unsupported types"
OTHER = "other files"
EMPTY = "folders without data"


@dataclass(frozen=True)
class Described:
    """The contents of the metadata files beside images.

    files: their paths. columns: all that they have, but the file name. labels: of each image named, its label; None
    where no column holds labels, else column is its name. asked: did the user name that column?
    """

    files: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    labels: Mapping[str, Any] | None = None
    column: str = "label"
    asked: bool = False
    rows: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of each image named, all columns


@dataclass(frozen=True)
class Layout:
    """How a folder is read. label: the source of the labels, in words; None if there are none."""

    form: Literal["folder", "parquet"]
    splits: dict[str, Part]
    label: str | None = None
    column: str = "label"
    ignored: dict[str, list[str]] = field(default_factory=dict)


def holds_images(listing: Listing) -> bool:
    """Are there images, so that metadata next to them counts?"""
    return any(is_image(file) for file in listing.files)


def lay_out(listing: Listing, root: str, *, asked: Asked = Asked(), described: Described = Described()) -> Layout:  # noqa: B008
    """Decide the split of each file and the source of the labels; see the table above. Reads no file.

    root: what messages call the folder. Raises DataError where there are no data, or several ways to read them.
    """
    ignored = {why: list(names) for why, names in listing.ignored.items()}
    _refuse_lakes(listing, root)
    images = [f for f in listing.files if is_image(f)]
    tables = [f for f in listing.files if is_parquet(f) and not (images and is_metadata(f))]
    inner = [f for f in tables if any(part.startswith("_") for part in f.split("/"))]
    tables = sorted(set(tables) - set(inner))
    if images and tables:
        raise DataError(
            f"data: {root} contains images ({some(images, 1)}) and parquet files ({some(tables, 1)}); pass the folder "
            f"of the images, or a glob of the parquet files, such as '{root}/**/*.parquet'"
        )
    if not images and not tables:
        raise DataError(_nothing(listing, root))
    data = {*images, *tables}
    _add(ignored, BOOKKEEPING, inner)
    rest = [f for f in listing.files if f not in data and f not in inner and f not in described.files]
    for file in rest:
        _add(ignored, _why(file, bool(tables)), [file])
    _add(ignored, EMPTY, [f"{f}/" for f in _empty(listing.folders, data)])
    if tables:
        return Layout("parquet", lay_out_tables(tables, root, asked, ignored), ignored=ignored)
    loose = [f for f in rest if is_other_table(f)]
    found = lay_out_images(images, root, asked, described, loose, ignored)
    refuse_unsplit(found[0], rest, root, asked)
    return Layout("folder", *found, ignored=ignored)


def _refuse_lakes(listing: Listing, root: str) -> None:
    parts = {part for f in listing.folders for part in f.split("/")}
    hidden = {f.rpartition("/")[2] for names in listing.ignored.values() for f in names}
    if "_delta_log" in parts or ".hoodie" in hidden:
        kind = "Delta Lake" if "_delta_log" in parts else "Hudi"
        raise DataError(
            f"data: {root} is a {kind} table, whose files may contain deleted rows; export it as plain parquet"
        )


def _nothing(listing: Listing, root: str) -> str:
    """The message for a folder without data."""
    inside = {why: listing.ignored.get(why, ()) for why in (SAVED, OURS)}
    if saved := inside[SAVED]:
        return (
            f"data: {root} has a data set saved by `datasets` in {some(saved, 1)}; pass {root}/{saved[0].rstrip('/')}"
        )
    if ours := inside[OURS]:
        return (
            f"data: {root} contains only OUT folders of runs ({some(ours, 1)}); pass kept/ in one of them, for example"
        )
    there = some(listing.files) or "nothing"
    return (
        f"data: {root} contains no parquet files and no folders of images; expected {root}/CLASS/IMAGE, or images "
        f"without labels directly in it, found {there}"
    )


def _why(file: str, tables: bool) -> str:
    if tables and any(part.startswith("_") for part in file.split("/")):
        return BOOKKEEPING
    return UNREAD if may_be_data(file) else OTHER


def _empty(folders: Sequence[str], data: Iterable[str]) -> list[str]:
    """The outermost folders without data below them."""
    parents = {f.rpartition("/")[0] for f in data}
    full = {p[:k] for parent in parents for p in [f"{parent}/"] for k, c in enumerate(p) if c == "/"}
    bare = [f for f in folders if f not in full]
    return [f for f in bare if "/" not in f or f.rpartition("/")[0] in full]


def _add(ignored: dict[str, list[str]], why: str, names: Iterable[str]) -> None:
    if names := list(names):
        ignored.setdefault(why, []).extend(names)
