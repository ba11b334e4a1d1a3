"""Where a file lies, in the terms that layouts are told apart by."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import unquote

from secateur.data.decoding.labels import NO_LABELS
from secateur.data.layouts.splits import whole, within
from secateur.errors import DataError

SPLIT = "split"
"""A hive key whose values are splits, where they are words for splits."""
_HIVE = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Asked:
    """What the user asked for. chosen: the files were named, by a glob, so that they belong together."""

    label: str | None = None
    split: str | None = None
    test: str | None = None
    chosen: bool = False

    @property
    def unlabelled(self) -> bool:
        """Are the inputs wanted alone?"""
        return self.label == NO_LABELS

    @property
    def names(self) -> set[str]:
        """The splits named, also by the words that stand for them."""
        given = {name for name in (self.split, self.test) if name is not None}
        return given | {word for name in given if (word := whole(name))}


@dataclass(frozen=True)
class Place:
    """One file. dirs: the folders it lies in, without those of the form key=value, which are `keys`."""

    path: str
    dirs: tuple[str, ...]
    keys: tuple[tuple[str, str | None], ...] = ()

    @property
    def stem(self) -> str:
        """Its name without the ending."""
        return PurePosixPath(self.path).stem

    @property
    def words(self) -> list[str]:
        """The splits that its folders and its name speak of, sorted."""
        return sorted({word for part in (*self.dirs, self.stem) for word in within(part)})

    def below(self, folders: int) -> "Place":
        """The same, seen from so many folders further down."""
        return Place(self.path, self.dirs[folders:], self.keys) if folders else self


def placed(paths: Iterable[str]) -> list[Place]:
    """Take paths apart. A folder `split=train` is one called train.

    >>> placed(["split=train/label=a%20b/0.png"])
    [Place(path='split=train/label=a%20b/0.png', dirs=('train',), keys=(('label', 'a b'),))]

    Raises DataError where some files lie in folders of the form key=value and others do not, or in those of other keys.
    """
    places = [_taken_apart(path) for path in paths]
    first = {tuple(key for key, _ in place.keys): place for place in reversed(places)}
    if len(first) > 1:
        a, b = sorted(place.path for place in first.values())[:2]
        raise DataError(
            f"data: the folders of {a} and of {b} do not give the same key=value pairs; lay them out alike, or pass one"
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
    """Seen from within a folder that holds all of the files in folders of its own, however often.

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

    classes: the class of each file, None where it is missing; None where the layout says nothing of classes. columns:
    what key=value folders add to a table, a value a file.
    """

    files: tuple[str, ...]
    classes: tuple[str | None, ...] | None = None
    columns: dict[str, tuple[str | None, ...]] = field(default_factory=dict)
