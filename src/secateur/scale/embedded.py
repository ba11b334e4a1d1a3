"""The OUT of `scale embed`: one writer, one kind of embeddings, and no shard among them that is none of theirs.

On a local disk shards lie in OUT itself, on an object store in OUT/generation/EPOCH-HASH, see `secateur.scale.claim`;
OUT/_embed.json says which embeddings they are, and which folder counts.
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
    """The folder that shards are written to, while it is ours. parts: how many there will be."""

    folder: Place
    parts: int
    _claim: Claim

    def __iter__(self) -> Iterator[Place]:
        return (self.folder / f"part-{number:06d}.parquet" for number in range(self.parts))

    def missing(self) -> set[str]:
        """The names of shards that are not there yet. Raises WrongData for one that is there and no embeddings."""
        there = set(self.folder.names())
        for shard in self:
            if shard.name in there and not _is_shard(shard):
                raise WrongData(f"out: {shard.url} holds no embeddings of this run; delete it, and run again")
        return {shard.name for shard in self} - there

    def check(self) -> None:
        """Raise WrongData where another command has taken OUT over."""
        self._claim.check()

    def publish(self) -> None:
        """Make them count. Raises WrongData where others were put among them, or OUT is another's by now."""
        found, names = [name for name in self.folder.names() if name.endswith(".parquet")], [s.name for s in self]
        if wrong := sorted(set(found) ^ set(names)):
            raise WrongData(
                f"out: {wrong[0]} was {'put into' if wrong[0] in found else 'taken from'} {self.folder.url} "
                f"meanwhile; move away what is not of this run, and run again"
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
    """Make OUT that of these embeddings, and keep a second command out of it.

    asked: what embeddings are told from others by; same: what else their bytes depend on. Raises WrongData where OUT is
    of something else, or of other embeddings unless `force`, which deletes them.
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
        raise WrongData(f"out: {out.url} holds something else ({there[0]}); name another --out")
    if before and not (isinstance(before.get("fingerprint"), str) and isinstance(before.get("by"), str)):
        raise WrongData(f"out: {out.url}/{ABOUT} was changed; put it back, or name another --out")
    own = _own(before, there)
    if strange := [name for name in there if name.endswith(".parquet") and name not in own]:
        raise WrongData(
            f"out: {out.url} holds {strange[0]}, which is none of its embeddings and would be taken for "
            f"some; move it away, or name another --out"
        )
    changed = {k: (before[k], v) for k, v in asked.items() if k in before and before[k] != v}
    if changed and not force:
        what = ", ".join(f"{k} was {old!r}, now {new!r}" for k, (old, new) in changed.items())
        raise WrongData(f"out: {out.url} holds other embeddings ({what}); name another --out, or --force")


def _own(before: Mapping[str, Any], there: Sequence[str]) -> list[str]:
    """The shards that were written by the run that `before` tells of, by name."""
    numbers = {name: int(found[1]) for name in there if (found := _PART.fullmatch(name))}
    return [name for name, number in numbers.items() if number < before.get("parts", 10**6)]


def _begin(claim: Claim, about: dict[str, Any]) -> None:
    """Say what OUT holds from now on; the shards go before that, so that none is ever taken for another's."""
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
    """Where the shards are that were embedded into a folder: in itself, or on a store below it."""
    return results(folder, told(folder, ABOUT))
