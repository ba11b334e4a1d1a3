"""The OUT of `scale embed`: one writer, one kind of embeddings, and no other files among the shards.

On a local disk the shards are in OUT itself, on an object store in OUT/generation/EPOCH-HASH, see
`secateur.scale.claim`. OUT/_embed.json says which embeddings they are, and which folder is current.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from secateur.errors import WrongData
from secateur.scale.claim import HOW, Claim, How, held, results, told
from secateur.scale.shards import opened
from secateur.scale.storage import Place

ABOUT, SOURCE = "_embed.json", "_source.txt"
_PART = re.compile(r"part-([0-9]{6})\.parquet")


@dataclass(frozen=True)
class Shards:
    """The folder that shards are written to, while this command holds it. parts: the number of shards."""

    folder: Place
    parts: int
    _claim: Claim

    def __iter__(self) -> Iterator[Place]:
        return (self.folder / f"part-{number:06d}.parquet" for number in range(self.parts))

    def missing(self) -> set[str]:
        """The names of the shards still to write. Raises WrongData if a shard exists but has no embeddings."""
        there = set(self.folder.names())
        for shard in self:
            if shard.name in there and not _is_shard(shard):
                raise WrongData(f"out: {shard.url} has no embeddings of this run; delete it and run again")
        return {shard.name for shard in self} - there

    def check(self) -> None:
        """Raise WrongData if another command has taken over OUT."""
        self._claim.check()

    def publish(self) -> None:
        """Make them the current embeddings. Raises WrongData if shards were added or OUT taken over."""
        found, names = [name for name in self.folder.names() if name.endswith(".parquet")], [s.name for s in self]
        if wrong := sorted(set(found) ^ set(names)):
            raise WrongData(
                f"out: {wrong[0]} was {'added to' if wrong[0] in found else 'removed from'} {self.folder.url} "
                f"during the run; move files of other runs elsewhere, and run again"
            )
        if self._claim.out.local is None:
            self._claim.publish(self._claim.about, self.folder)


@contextmanager
def claimed(
    out: Place,
    asked: Mapping[str, Any],
    parts: int,
    how: How = HOW,
    *,
    same: Sequence[Any] = (),
    force: bool,
    say: Callable[[str], None],
) -> Iterator[Shards]:
    """Reserve OUT for these embeddings and keep other commands out of it.

    asked: what identifies the embeddings; same: what else their bytes depend on. Raises WrongData if OUT contains
    something else, or other embeddings without `force`, which deletes them.
    """

    def judge(before: Mapping[str, Any], there: Sequence[str]) -> None:
        _judge(out, before, there, asked, force)

    with held(out, (ABOUT, SOURCE), judge, how, say=say, file=ABOUT) as claim:
        if force or "fingerprint" not in claim.about:
            _begin(claim, {**asked, "parts": parts})
        digest = hashlib.sha256(json.dumps([dict(asked), *same], sort_keys=True).encode()).hexdigest()[:16]
        yield Shards(claim.folder(digest), parts, claim)


def _judge(out: Place, before: Mapping[str, Any], there: Sequence[str], asked: Mapping[str, Any], force: bool) -> None:
    if there and not before:
        raise WrongData(f"out: {out.url} contains other files ({there[0]}); choose another --out")
    if before and not (isinstance(before.get("fingerprint"), str) and isinstance(before.get("by"), str)):
        raise WrongData(f"out: {out.url}/{ABOUT} was edited or damaged; restore it, or choose another --out")
    own = _own(before, there)
    if strange := [name for name in there if name.endswith(".parquet") and name not in own]:
        raise WrongData(
            f"out: {out.url} contains {strange[0]}, which this run did not write but later commands would "
            f"read; move it elsewhere, or choose another --out"
        )
    changed = {k: (before[k], v) for k, v in asked.items() if k in before and before[k] != v}
    if changed and not force:
        what = ", ".join(f"{k} was {old!r}, now {new!r}" for k, (old, new) in changed.items())
        raise WrongData(f"out: {out.url} contains other embeddings ({what}); choose another --out, or pass --force")


def _own(before: Mapping[str, Any], there: Sequence[str]) -> list[str]:
    """The names of the shards written by the run that `before` describes."""
    numbers = {name: int(found[1]) for name in there if (found := _PART.fullmatch(name))}
    return [name for name, number in numbers.items() if number < before.get("parts", 10**6)]


def _begin(claim: Claim, about: dict[str, Any]) -> None:
    """Record what OUT will hold. Old shards are deleted first, so that none is ever mistaken for a new one."""
    old = _own(claim.about, claim.out.names()) if "fingerprint" in claim.about else []
    if claim.out.local is not None:
        for name in old:
            (claim.out / name).remove()
    else:
        claim.ours = [ABOUT, SOURCE, *old]
    claim.begin(about)


def _is_shard(shard: Place) -> bool:
    file = opened(shard)
    return file.metadata.num_rows == 0 or "embedding" in file.schema_arrow.names


def shards_in(folder: Place) -> Place:
    """Where the shards of an OUT are: in the folder itself, or on an object store below it."""
    return results(folder, told(folder, ABOUT))
