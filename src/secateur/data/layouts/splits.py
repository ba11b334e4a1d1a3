"""Recognise split names; the words are those of Hugging Face `datasets`."""

import re
from collections.abc import Mapping
from typing import Any

from secateur.errors import DataError

ALL = "all"
"""The value of --split that reads everything as one split, whatever files and folders are called."""
HELD_OUT = ("test", "validation")
_WORDS = {
    "train": "train", "training": "train",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
}  # fmt: skip
_WORD = re.compile(
    rf"(?<![^-_. 0-9])({'|'.join(_WORDS)})(?:sets?|data|images?|imgs?|splits?)?(?![^-_. 0-9])", re.IGNORECASE
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def whole(name: str) -> str | None:
    """The split that a whole name stands for, in any case.

    >>> whole("Val"), whole("valley")
    ('validation', None)
    """
    return _WORDS.get(name.lower())


def within(name: str) -> list[str]:
    """The splits whose words occur in a name, delimited by its ends, digits, spaces, `-_.` and capitals; sorted.

    A word may end in `set`, `data`, `images` or `split`.

    >>> within("train-00000-of-00001"), within("my_test2"), within("contest"), within("train_test_split")
    (['train'], ['test'], [], ['test', 'train'])
    >>> within("testset"), within("TrainImages"), within("PublicTest")
    (['test'], ['train'], ['test'])
    """
    return sorted({_WORDS[found.lower()] for found in _WORD.findall(_CAMEL.sub("_", name))})


def choose_split(splits: Mapping[str, Any], asked: str | None, wanted: tuple[str, ...], argument: str) -> str | None:
    """The split to use: the one asked for, by its name or a synonym, or else the first of `wanted` that exists.

    >>> choose_split({"train": 0, "validation": 0}, None, ("test", "validation"), "test")
    'validation'
    >>> choose_split({"train": 0, "validation": 0}, "val", (), "test")
    'validation'
    """
    if asked is None:
        return next((name for name in wanted if name in splits), None)
    if asked not in splits and whole(asked) not in splits:
        raise DataError(f"{argument}: expected one of the splits {', '.join(map(str, splits))}, got {asked!r}")
    return asked if asked in splits else whole(asked)


def only_split(splits: Mapping[str, Any]) -> str:
    """The split to prune if none is called train: the only one, unless its name says that it is held out.

    Raises DataError where that is not clear.
    """
    name = next(iter(splits), None)
    if len(splits) == 1 and name is not None and not set(within(name)) & set(HELD_OUT):
        return name
    if len(splits) == 1:
        raise DataError(
            f"split: the only split is {name}, and held-out rows are not pruned by default; pass --split {name} to "
            f"prune it"
        )
    raise DataError(f"split: none of {', '.join(splits)} is named train; choose the one to prune with --split")
