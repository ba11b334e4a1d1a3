"""The split of each parquet file. The rules are in `secateur.data.layouts.rules`."""

import re
from collections.abc import Sequence

from secateur.data.layouts.places import Asked, Part, Place, placed, some
from secateur.data.layouts.splits import ALL, within
from secateur.errors import DataError

NOT_NAMED = "files of splits you did not ask for"
_SHARD = re.compile(r"-\d+(-of-\d+)?$")


def lay_out_tables(files: Sequence[str], root: str, asked: Asked, ignored: dict[str, list[str]]) -> dict[str, Part]:
    """The files of each split; see `lay_out`. Other files are added to `ignored`."""
    places = placed(files)
    if asked.split == ALL:
        return {ALL: _part(places)}
    for place in places:
        if len(place.words) > 1:
            raise DataError(
                f"split: the path of {place.path} in {root} names the splits {' and '.join(place.words)}; pass a "
                f"folder further down, or --split {ALL} to read all files as one split"
            )
    groups = _groups(places, asked, ignored) if asked.names else _by_words(places, root)
    if not asked.chosen:
        _refuse_several([p for group in groups.values() for p in group], root)
    return {name: _part(group) for name, group in groups.items()}


def _groups(places: Sequence[Place], asked: Asked, ignored: dict[str, list[str]]) -> dict[str, list[Place]]:
    """Splits that the user named: files that mention no split are grouped by the name of their folder, or their own."""
    groups: dict[str, list[Place]] = {}
    for place in places:
        own = place.dirs[0] if place.dirs else _SHARD.sub("", place.stem)
        groups.setdefault(own if own in asked.names else "".join(place.words), []).append(place)
    rest = groups.pop("", [])
    if not groups:  # as if none had been named; a missing split is reported elsewhere
        return {"train": rest}
    if rest:
        ignored.setdefault(NOT_NAMED, []).extend(p.path for p in rest)
    return groups


def _by_words(places: Sequence[Place], root: str) -> dict[str, list[Place]]:
    groups: dict[str, list[Place]] = {}
    for place in places:
        groups.setdefault("".join(place.words), []).append(place)
    plain = groups.get("", [])
    if plain and len(groups) > 1:
        named = [p.path for name, group in groups.items() if name for p in group]
        raise DataError(
            f"split: {root} contains files that name a split ({some(named, 2)}) and files that name none "
            f"({some((p.path for p in plain), 2)}); name the split with --split, which ignores the others, or pass "
            f"--split {ALL} to read all files as one split"
        )
    return {"train": plain} if plain else groups


def _refuse_several(places: Sequence[Place], root: str) -> None:
    """Files in several folders could be classes, languages or separate data sets."""
    rests = {tuple(part for part in place.dirs if not within(part)) for place in places}
    if len(rests) > 1:
        folders = {"/".join(rest) or "." for rest in rests}
        raise DataError(
            f"data: the parquet files of {root} are in several folders ({some(folders)}), whose names would be lost; "
            f"pass one of them, or a glob to read them as one: '{root}/**/*.parquet'"
        )


def _part(places: Sequence[Place]) -> Part:
    names = [key for key, _ in places[0].keys]
    columns = {name: tuple(place.keys[k][1] for place in places) for k, name in enumerate(names)}
    return Part(tuple(place.path for place in places), columns=columns)
