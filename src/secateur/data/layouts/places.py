"""The parts of a file's path that decide its layout."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote

from secateur.data.decoding.labels import NO_LABELS
from secateur.data.layouts.splits import whole, within
from secateur.errors import DataError

SPLIT = "split"
"""A hive key whose values name splits, if all are words for splits."""
_HIVE = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Asked:
    """The user's options. chosen: the files were given by a glob, so they belong together."""

    label: str | None = None
    split: str | None = None
    test: str | None = None
    chosen: bool = False

    @property
    def unlabelled(self) -> bool:
        """Should labels be ignored?"""
        return self.label == NO_LABELS

    @property
    def names(self) -> set[str]:
        """The named splits, including synonyms."""
        given = {name for name in (self.split, self.test) if name is not None}
        return given | {word for name in given if (word := whole(name))}


@dataclass(frozen=True)
class Place:
    """One file. dirs: its folders, except those of the form key=value, which are in `keys`."""

    path: str
    dirs: tuple[str, ...]
    keys: tuple[tuple[str, str | None], ...] = ()

    @property
    def stem(self) -> str:
        """Its name without the suffix."""
        return PurePosixPath(self.path).stem

    @property
    def words(self) -> list[str]:
        """The splits that its folders and its name mention, sorted."""
        return sorted({word for part in (*self.dirs, self.stem) for word in within(part)})

    def below(self, folders: int) -> "Place":
        """The same file, relative to a folder that many levels down."""
        return Place(self.path, self.dirs[folders:], self.keys) if folders else self


def placed(paths: Iterable[str]) -> list[Place]:
    """Parse paths. A folder `split=train` counts as one called train.

    >>> placed(["split=train/label=a%20b/0.png"])
    [Place(path='split=train/label=a%20b/0.png', dirs=('train',), keys=(('label', 'a b'),))]

    Raises DataError where some files lie in folders of the form key=value and others do not, or in those of other keys.
    """
    places = [_taken_apart(path) for path in paths]
    first = {tuple(key for key, _ in place.keys): place for place in reversed(places)}
    if len(first) > 1:
        a, b = sorted(place.path for place in first.values())[:2]
        raise DataError(
            f"data: the folders of {a} and of {b} do not have the same key=value pairs; give them the same layout, or "
            "pass one"
        )
    return places


def _taken_apart(path: str) -> Place:
    dirs: list[str] = []
    keys: list[tuple[str, str | None]] = []
    for part in path.split("/")[:-1]:
        found = _HIVE.fullmatch(part)
        if found is None:
            dirs.append(part)
        elif found[1] == SPLIT and whole(found[2]):
            dirs.append(found[2])
        else:
            value = unquote(found[2])
            keys.append((found[1], None if value in (_NULL, "") else value))
    return Place(path, tuple(dirs), tuple(keys))


def unwrapped(places: Sequence[Place]) -> list[Place]:
    """Relative to the innermost folder that contains all of the files in subfolders.

    >>> [p.dirs for p in unwrapped(placed(["set/cat/0.png", "set/dog/1.png"]))]
    [('cat',), ('dog',)]
    """
    depth = 0
    while places and all(len(p.dirs) > depth for p in places):
        names = {p.dirs[depth] for p in places}
        deeper = any(len(p.dirs) > depth + 1 for p in places)
        if len(names) > 1 or whole(next(iter(names))) or not deeper:
            break
        depth += 1
    return [place.below(depth) for place in places]


def some(names: Iterable[str], most: int = 3) -> str:
    """A few names for a message.

    >>> some("edcba")
    'a, b, c and 2 more'
    """
    names = sorted(set(names))
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


@dataclass(frozen=True)
class Part:
    """The files of one split.

    classes: the class of each file, None if it is missing; None if the layout has no classes. columns:
    those that key=value folders add to a table, one value per file.
    """

    files: tuple[str, ...]
    classes: tuple[str | None, ...] | None = None
    columns: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
