"""The layouts of files in a folder, told apart by explicit rules, from their names alone.

What a file is. Images and parquet files are data by their endings, in any case of letters. `metadata.csv`, `.jsonl` and
`.parquet` beside or above images describe them. Hidden files, what systems leave behind, and, among parquet files,
names that begin with `_`, are ignored; so is everything else. What is ignored is told.

| below the folder lie                                     | they are read as                                      |
| -------------------------------------------------------- | ----------------------------------------------------- |
| CLASS/IMAGE                                              | classes, one train split                              |
| label=CLASS/IMAGE                                        | the same                                              |
| images directly                                          | one train split without labels                        |
| train/..., test/..., val/... (any word of `datasets`)    | splits, each laid out as above                        |
| train_images/CLASS/..., test_images/CLASS/...            | splits                                                |
| WRAPPER/ with all of this in it                          | the same                                              |
| images, and metadata with a column of labels             | the labels of metadata, where folders give none       |
| CLASS/IMAGE, and metadata without a column of labels     | classes                                               |
| parquet files in one folder                              | one train split                                       |
| train*.parquet, test*.parquet; train/*.parquet, ...      | splits: every file must name exactly one              |
| key=value/*.parquet                                      | a column more; `split=train/` is a split              |
| a table, its column `split` all words for splits         | splits, where some of them are held out               |

These stop, with the way out: images and parquet files in one folder; names of splits beside names that are none, unless
--split names the split; held-out names among classes; folders of classes in folders that are no splits; images beside
folders of images; folders and metadata that disagree about classes; a flat folder of images with a table that may hold
their labels; images whose names, or a list of splits beside them, say that some are held out, in folders that do not;
parquet files of several folders, which a glob reads as one; two folders for one split; a table in the
format of Delta Lake or Hudi, whose deleted rows would come back. `--split all` reads everything as one split.
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

BOOKKEEPING = "files that Spark and others keep for themselves"
UNREAD = "files of kinds that are not read, but may be data"
OTHER = "other files"
EMPTY = "folders without data"


@dataclass(frozen=True)
class Described:
    """What the metadata files beside images say.

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
    """What a folder was understood as. label: where the labels come from, in words; None where there are none."""

    form: Literal["folder", "parquet"]
    splits: dict[str, Part]
    label: str | None = None
    column: str = "label"
    ignored: dict[str, list[str]] = field(default_factory=dict)


def holds_images(listing: Listing) -> bool:
    """Are there images, so that metadata beside them counts?"""
    return any(is_image(file) for file in listing.files)


def lay_out(listing: Listing, root: str, *, asked: Asked = Asked(), described: Described = Described()) -> Layout:  # noqa: B008
    """Decide which files are which splits, and where the labels come from; see the table above. Reads no file.

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
            f"data: {root} holds images ({some(images, 1)}) and parquet files ({some(tables, 1)}); pass the folder of "
            f"the images, or a glob of the parquet files, such as '{root}/**/*.parquet'"
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
            f"data: {root} is a table of {kind}, whose files may hold rows that were deleted; export it as plain "
            f"parquet"
        )


def _nothing(listing: Listing, root: str) -> str:
    """What to say of a folder without data."""
    inside = {why: listing.ignored.get(why, ()) for why in (SAVED, OURS)}
    if saved := inside[SAVED]:
        return (
            f"data: {root} holds a data set saved by `datasets` in {some(saved, 1)}; pass {root}/{saved[0].rstrip('/')}"
        )
    if ours := inside[OURS]:
        return f"data: {root} holds nothing but OUT folders of runs ({some(ours, 1)}); pass kept/ in one, or the like"
    there = some(listing.files) or "nothing"
    return (
        f"data: {root} holds no parquet files and no folders of images; expected {root}/CLASS/IMAGE, or images without "
        f"labels directly in it, found {there}"
    )


def _why(file: str, tables: bool) -> str:
    if tables and any(part.startswith("_") for part in file.split("/")):
        return BOOKKEEPING
    return UNREAD if may_be_data(file) else OTHER


def _empty(folders: Sequence[str], data: Iterable[str]) -> list[str]:
    """The outermost folders that no data lie below."""
    parents = {f.rpartition("/")[0] for f in data}
    full = {p[:k] for parent in parents for p in [f"{parent}/"] for k, c in enumerate(p) if c == "/"}
    bare = [f for f in folders if f not in full]
    return [f for f in bare if "/" not in f or f.rpartition("/")[0] in full]


def _add(ignored: dict[str, list[str]], why: str, names: Iterable[str]) -> None:
    if names := list(names):
        ignored.setdefault(why, []).extend(names)
