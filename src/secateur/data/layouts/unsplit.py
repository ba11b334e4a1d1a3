"""Refuses images in folders that name no split, if something else says that some of them are held out."""

import re
from collections.abc import Mapping, Sequence
from posixpath import splitext

from secateur.data.layouts.kinds import ending
from secateur.data.layouts.places import Asked, Part, some
from secateur.data.layouts.splits import ALL, HELD_OUT, within
from secateur.errors import DataError

_LISTS = frozenset(".txt .csv .tsv .lst .list .json .jsonl .ndjson .xml .mat .yaml .yml .npy .npz .pkl".split())  # noqa: SIM905
_SPLIT = re.compile(r"(?<![A-Za-z])splits?(?![A-Za-z])", re.IGNORECASE)


def refuse_unsplit(parts: Mapping[str, Part], rest: Sequence[str], root: str, asked: Asked) -> None:
    """Raise DataError if file names separate test from train: those of the images, or of lists beside them.

    rest: files that are not read. Nothing is refused if the user named the split.
    """
    if set(parts) != {"train"} or asked.names:
        return
    files = parts["train"].files
    folders = [_outermost(file.split("/")[:-1]) for file in files]
    way = f"sort the images into train/ and test/, or pass --split {ALL} to read all of them as one split"
    if not all(folders) and (lists := [file for file in rest if _is_list(file)]):
        raise DataError(f"split: {root} holds {some(lists, 2)}, which may say which images are held out; {way}")
    said = [words or within(_stem(file)) for file, words in zip(files, folders, strict=True)]
    words = {word for found in said for word in found}
    if words & set(HELD_OUT) and ("train" in words or all(said)):
        named = [file for file, found in zip(files, said, strict=True) if set(found) & set(HELD_OUT)]
        raise DataError(f"split: the image names in {root} mention held-out rows ({some(named, 1)}); {way}")


def _outermost(folders: Sequence[str]) -> list[str]:
    """The splits in the name of the first folder that names any: everything below train/ is train."""
    return next(filter(None, map(within, folders)), [])


def _is_list(file: str) -> bool:
    name = _stem(file)
    held = bool(set(within(name)) & set(HELD_OUT)) or _SPLIT.search(name) is not None
    return ending(file) in _LISTS and held


def _stem(file: str) -> str:
    return splitext(file.rpartition("/")[2])[0]
