"""The split and class of each image. The rules are in `secateur.data.layouts.rules`."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from secateur.data.columns import LABEL_NAMES
from secateur.data.decoding.labels import NO_LABELS
from secateur.data.layouts.places import Asked, Part, Place, placed, some, unwrapped
from secateur.data.layouts.splits import ALL, HELD_OUT, whole, within
from secateur.errors import DataError

if TYPE_CHECKING:
    from secateur.data.layouts.rules import Described

NOT_NAMED = "images of splits you did not ask for"
NOT_DESCRIBED = "images that are not in the metadata"
NO_LABEL_IN = "metadata without a label column"
AGREES = "metadata that agrees with the folders"
NOT_ASKED = "metadata, since you asked for no labels"
_ALL_AS_ONE = f"--split {ALL} to read all folders as classes"

Found = tuple[dict[str, Part], str | None, str]


def lay_out_images(
    files: Sequence[str],
    root: str,
    asked: Asked,
    described: "Described",
    tables: Sequence[str],
    ignored: dict[str, list[str]],
) -> Found:
    """The files of each split with their classes, where the labels come from, and the name of their column.

    tables: files that may hold labels. What is left out is added to `ignored`. See `lay_out`.
    """
    places, key = _keyed(placed(files), root, asked)
    splits = _splits(unwrapped(places), root, asked, ignored)
    by_metadata = {name: _metadata_wins(group, name, root, asked, described) for name, group in splits.items()}
    parts: dict[str, Part] = {}
    told: str | None = None
    if any(by_metadata.values()):
        key = described.column
    for name, group in splits.items():
        if by_metadata[name]:
            assert described.labels is not None
            named = [p for p in group if p.path in described.labels]
            _note(ignored, NOT_DESCRIBED, [p.path for p in group if p.path not in described.labels])
            classes = tuple(described.labels[p.path] for p in named)
            parts[name] = Part(tuple(p.path for p in named), classes)
            told = f"labels from {some(described.files, 1)}"
        else:
            parts[name] = _by_folder(group, name, root, asked, described, tables)
            told = told or (None if parts[name].classes is None else "labels from folder names")
    if not any(by_metadata.values()) and described.files:
        why = NOT_ASKED if asked.unlabelled else AGREES if described.labels is not None else NO_LABEL_IN
        _note(ignored, why, described.files)
    return parts, told, key


def _keyed(places: Sequence[Place], root: str, asked: Asked) -> tuple[list[Place], str]:
    """Treat folders label=cat as folders called cat; also returns the key."""
    keys = [key for key, _ in places[0].keys]
    if not keys or asked.unlabelled:
        return list(places), "label"
    usual = [key for key in keys if key in LABEL_NAMES]
    if asked.label in keys:
        key = str(asked.label)
    elif len(usual) == 1:
        key = usual[0]
    else:
        raise DataError(
            f"label: the folder names of {root} have the keys {some(keys)}; choose the one with the labels by --label, "
            f"or read the images without labels: --label {NO_LABELS}"
        )
    at = keys.index(key)
    return [replace(p, dirs=(*p.dirs, _MISSING if p.keys[at][1] is None else str(p.keys[at][1]))) for p in places], key


_MISSING = ""
"""The class of a folder whose key has an empty value; no folder has an empty name."""


def _splits(places: list[Place], root: str, asked: Asked, ignored: dict[str, list[str]]) -> dict[str, list[Place]]:
    """The files of each split, relative to its folder."""
    tops = sorted({p.dirs[0] for p in places if p.dirs})
    loose = [p.path for p in places if not p.dirs]
    exact = {top: whole(top) for top in tops}
    deep = any(len(p.dirs) > 1 for p in places)
    if asked.split == ALL or not tops:
        return {ALL if asked.split == ALL else "train": places}
    if all(exact.values()) and not loose:
        return _grouped(places, {top: str(word) for top, word in exact.items()}, root)
    if named := _named(tops, asked):
        rest = [p.path for p in places if not p.dirs or p.dirs[0] not in named]
        _note(ignored, NOT_NAMED, rest)
        return _grouped([p for p in places if p.dirs and p.dirs[0] in named], named, root)
    within_all = {top: within(top) for top in tops}
    if deep and not loose and all(len(words) == 1 for words in within_all.values()):
        return _grouped(places, {top: words[0] for top, words in within_all.items()}, root)
    _refuse_mixture(within_all, exact, root, deep=deep, loose=loose)
    return {"train": places}


def _named(tops: Sequence[str], asked: Asked) -> dict[str, str]:
    """The split folders, if the user named one of them: the named ones, and those with usual split names."""
    own = {top: top for top in tops if top in asked.names}
    words = {top: word for top in tops if (word := whole(top))}
    return words | own if own or asked.names & set(words.values()) else {}


def _grouped(places: Sequence[Place], names: dict[str, str], root: str) -> dict[str, list[Place]]:
    if twice := [n for n in names.values() if list(names.values()).count(n) > 1]:
        folders = some(top for top, name in names.items() if name == twice[0])
        raise DataError(
            f"split: the folders {folders} of {root} all mean the {twice[0]} split; keep one, or pass {_ALL_AS_ONE}"
        )
    groups: dict[str, list[Place]] = {}
    for place in places:
        groups.setdefault(names[place.dirs[0]], []).append(place.below(1))
    return groups


def _refuse_mixture(
    words: dict[str, list[str]], exact: dict[str, str | None], root: str, *, deep: bool, loose: Sequence[str]
) -> None:
    """Refuse split names beside other names. Only a lone `train` among folders of images counts as a class."""
    said = {word for found in words.values() for word in found}
    held = any(word in HELD_OUT for word in exact.values()) or (said & set(HELD_OUT) and "train" in said)
    if not (held or (any(exact.values()) and (deep or loose)) or (deep and said)):
        return
    named = [f"{top}/" for top, found in words.items() if found]
    others = [f"{top}/" for top, found in words.items() if not found] + list(loose)
    beside = f" beside {some(others)}" if others else ""
    raise DataError(
        f"split: {root} contains {some(named)}{beside}: splits or classes? Name the splits with --split and --test, "
        f"which ignores the others, or pass {_ALL_AS_ONE}"
    )


def _by_folder(
    places: list[Place], name: str, root: str, asked: Asked, described: "Described", tables: Sequence[str]
) -> Part:
    """The images of one split; their classes are their folder names, if there are any and labels are wanted."""
    files = tuple(p.path for p in places)
    if asked.unlabelled:
        return Part(files)
    inside = unwrapped(places)
    depths = {len(p.dirs) for p in inside}
    if depths == {0}:
        _refuse_loose_tables(name, root, described, tables)
        return Part(files)
    if 0 in depths:
        stray = some((p.path for p in inside if not p.dirs), 1)
        raise DataError(
            f"label: {_called(root, name)} contains both images and folders of images; move {stray} into class "
            f"folders, or read all images without labels: --label {NO_LABELS}"
        )
    if depths != {1}:
        nested = some((p.path for p in inside if len(p.dirs) > 1), 1)
        raise DataError(
            f"label: {_called(root, name)} has folders inside class folders ({nested}); arrange the images as "
            f"CLASS/IMAGE, pass a folder further down, or read all images without labels: --label {NO_LABELS}"
        )
    return Part(files, tuple(p.dirs[0] or None for p in inside))


def _refuse_loose_tables(name: str, root: str, described: "Described", tables: Sequence[str]) -> None:
    alone = f"or read the images without labels: --label {NO_LABELS}"
    if described.labels is not None:
        raise DataError(
            f"label: {some(described.files, 1)} in {root} lists no image of {name}; add them to it, {alone}"
        )
    if described.files:
        raise DataError(
            f"label: {some(described.files, 1)} in {root} has the columns {some(described.columns)}, and none is "
            f"called {', '.join(LABEL_NAMES)}; name the label column with --label, {alone}"
        )
    if tables:
        raise DataError(
            f"label: {_called(root, name)} has images outside class folders, and {some(tables, 1)}, which may hold "
            f"their labels; rename it to metadata.csv, with the columns file_name and label, {alone}"
        )


def _metadata_wins(places: Sequence[Place], name: str, root: str, asked: Asked, described: "Described") -> bool:
    """Do the labels of a split come from metadata? Raises DataError if it disagrees with class folders."""
    labels = described.labels
    if asked.unlabelled or labels is None or not any(p.path in labels for p in places):
        return False
    inside = unwrapped(places)
    folders = {p.path: p.dirs[0] for p in inside if len(p.dirs) == 1}
    if len(folders) < len(places) or len(set(folders.values())) < 2:
        return True
    pairs = {(folders[p.path], labels[p.path]) for p in inside if p.path in labels}
    if len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}):
        return False
    if described.asked:
        return True
    first = next(p.path for p in inside if p.path in labels and folders[p.path] != labels[p.path])
    raise DataError(
        f"label: {some(described.files, 1)} in {root} labels {first} as {labels[first]!r}, but its folder is another "
        f"class; name the label column with --label to use it, or remove the metadata to use the folders"
    )


def _called(root: str, name: str) -> str:
    return root if name in ("train", ALL) else f"{name} of {root}"


def _note(ignored: dict[str, list[str]], why: str, names: Sequence[str]) -> None:
    if names:
        ignored.setdefault(why, []).extend(names)
