"""An OUT that is this command's own: who may write there, where results go, and the one write that makes them count.

On a local disk a lock of the system keeps a second command out for as long as the first lives, stopped or not, and
results lie in OUT itself.

On an object store nothing can keep a driver, or one of its workers, from writing late: it may be stopped (SIGSTOP, a
network that hangs) between any check and the write after it. So nothing that counts is ever written over:

- What stages leave, in OUT/stages/, is named by a hash of all it depends on, and is the same whoever writes it.
- A result goes to a folder of its own, OUT/generation/EPOCH-HASH/. The hash is that of the selection: two drivers
  write to one such folder only if they write the same bytes.
- OUT/run.json says which folder counts. It is only ever replaced by a conditional write, on the condition that it is
  still what this driver left there when it came. A driver that takes OUT over rewrites run.json first, with its own,
  higher epoch; from then on the condition of all drivers before it fails, and they stop with an error.
- Folders are deleted only after such a write, and only those with a lower number than `floor`, which that write put
  into run.json; no driver takes up a folder below it. So one that wakes up late deletes nothing that counts.

Hence of two drivers that both succeed the later one's result stands, whole, and run.json tells of that one.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.errors import SecateurError, StoreError, WrongData, reason
from secateur.scale import lease, swap
from secateur.scale.storage import Place
from secateur.store.files import locked
from secateur.store.owned import LOCK

RUN = "run.json"
GENERATIONS = "generation"
_RESULT = ("asked", "result", "generation")
Judge = Callable[[dict[str, Any], Sequence[str]], None]
"""Raises WrongData where OUT is not ours to write to: what run.json says, and the names in OUT."""


@dataclass(frozen=True)
class How:
    """How OUT is claimed. take_over: without waiting for the lease of another command, which then stops with an error.

    single_writer: no other command is at work in OUT, says who asked; needed for stores without conditional writes.
    """

    take_over: bool = False
    single_writer: bool = False


HOW = How()


@dataclass
class Claim:
    """OUT while it is ours. about: what run.json says, or the `file` that stands for it."""

    out: Place
    ours: Sequence[str]
    about: dict[str, Any]
    held: lease.Lease | None = None
    tag: str | None = None
    safe: bool = True
    file: str = RUN

    @property
    def _local(self) -> bool:
        return self.out.local is not None

    @property
    def epoch(self) -> int:
        """The number of this claim; no other has it."""
        return int(self.about["epoch"])

    def check(self) -> None:
        """Raise WrongData where another command has taken OUT over."""
        if self.held is not None:
            self.held.check()

    def begin(self, about: dict[str, Any]) -> None:
        """Say whose OUT this is from now on, in place of all before; what was made there is deleted."""
        self._write(self._numbers(cleared=True) | about)
        if self._local:
            for name in self.ours:
                if name != self.file:
                    (self.out / name).remove()
        else:
            self._clean(stages=True)

    def fence(self) -> None:
        """Shut out who held OUT before."""
        if not self._local and self.about:
            self._write(self.about)

    def folder(self, digest: str) -> Place:
        """Where the result of a selection goes: the folder that was begun for it, or a new one."""
        if self._local:
            return self.out
        names = [name for name in (self.out / GENERATIONS).names() if _number(name) >= self.about["floor"]]
        fitting = [name for name in names if name.partition("-")[2] == digest and _number(name) <= self.epoch]
        found = fitting[-1] if fitting else f"{self.epoch:08d}-{digest}"
        return self.out / GENERATIONS / found

    def unfinished(self) -> None:
        """The former result goes: run.json tells of none until there is another. Elsewhere than here it stays."""
        if self._local and any(name in self.about for name in _RESULT):
            self._write({name: value for name, value in self.about.items() if name not in _RESULT})

    def publish(self, about: dict[str, Any], folder: Place, *, also: Sequence[str] = ()) -> None:
        """Make a result count. also: other generations that stay. Raises WrongData where OUT is another's by now."""
        about = self.about | about
        if not self._local:
            self.check()
            about |= {"generation": f"{GENERATIONS}/{folder.name}", "floor": _number(folder.name), "also": list(also)}
        self._write(about)
        if not self._local:
            self._clean()

    def _numbers(self, *, cleared: bool) -> dict[str, Any]:
        if self._local:
            return {}
        return {"epoch": self.epoch, "floor": self.epoch if cleared else self.about["floor"]}

    def _write(self, about: dict[str, Any]) -> None:
        if self._local:
            (self.out / self.file).write_json(about)
        else:
            tag = swap.write(self.out / self.file, about, self.tag, safe=self.safe)
            if tag is None:
                raise lease.lost(self.out / self.file)
            self.tag = tag
        self.about = about

    def _clean(self, *, stages: bool = False) -> None:
        """Delete what counts no longer, and what versions before this one left in OUT itself."""
        there = self.out.names()
        gone = [self.out / name for name in self.ours if name in there and name != self.file]
        stay = {*self.about.get("also", ()), str(self.about.get("generation", "")).rpartition("/")[2]}
        for name in (self.out / GENERATIONS).names():
            if _number(name) < self.about["floor"] and name not in stay:
                gone.append(self.out / GENERATIONS / name)
        for place in gone:
            if stages or place.name != "stages":
                self.check()
                place.remove()


@contextmanager
def held(
    out: Place,
    ours: Sequence[str],
    judge: Judge,
    how: How = HOW,
    *,
    say: Callable[[str], None] = lambda text: None,
    file: str = RUN,
) -> Iterator[Claim]:
    """Claim OUT, and let it go at the end. Nothing is written before `judge` has nothing against it.

    ours: names of everything that is written there; file: the one that says whose it is. Raises WrongData where another
    command is at work in OUT, and SecateurError where a store cannot tell one writer from two.
    """
    _judged(out, judge, file)
    if (path := out.local) is not None:
        with _made(path), locked(path):
            yield Claim(out, ours, _judged(out, judge, file), file=file)  # once more: now nobody else writes
        return
    if how.single_writer:
        about, _ = swap.read(out / file)
        yield _fenced(Claim(out, ours, {}, safe=False, file=file), judge, 1 + _epoch(about))
        return
    if lease.NAME not in out.names() and not swap.is_conditional(out):
        raise SecateurError(
            f"out: {out.url} has no conditional writes, so two commands could mix their files there; make sure that "
            f"this is the only one and say --unsafe-single-writer, or write to a local folder or to S3"
        )
    about, _ = swap.read(out / file)
    mine = lease.acquire(out, at_least=_epoch(about), take_over=how.take_over, say=say)
    try:
        yield _fenced(Claim(out, ours, {}, mine, file=file), judge, mine.epoch)
    finally:
        with suppress(SecateurError):
            mine.release()


@contextmanager
def _made(path: Path) -> Iterator[None]:
    """A folder, made if need be; what was made goes again where nothing but the lock was put into it."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if made and [entry.name for entry in path.iterdir()] == [LOCK]:
            (path / LOCK).unlink()
            with suppress(OSError):  # something of somebody else's lies in one by now
                for folder in made:
                    folder.rmdir()


def _fenced(claim: Claim, judge: Judge, epoch: int) -> Claim:
    """The claim, after which whoever held OUT before can make nothing count."""
    out = claim.out
    found, claim.tag = swap.read(out / claim.file)
    about = checked(found, out, claim.file)
    if claim.safe and about.get("epoch", 0) >= epoch:
        raise lease.lost(out / claim.file)
    judge(about, visible(out))
    claim.about = about and about | {"epoch": epoch, "floor": about.get("floor", 0)}
    claim.fence()
    if not about:
        claim.about = {"epoch": epoch, "floor": 0}
    return claim


def _judged(out: Place, judge: Judge, file: str) -> dict[str, Any]:
    about = told(out, file)
    judge(about, visible(out))
    return about


def visible(out: Place) -> list[str]:
    """What is in OUT, hidden files aside."""
    return [name for name in out.names() if not name.startswith(".")]


def told(out: Place, file: str = RUN) -> dict[str, Any]:
    """What run.json says, {} where there is none. Raises WrongData where it is not as it was written."""
    if file not in out.names():
        return {}
    try:
        return checked((out / file).read_json(Any), out, file)
    except StoreError as error:
        what = reason(error).partition("; delete it")[0]  # without it OUT would be nobody's
        raise WrongData(f"out: {what}; put the file back, or name another --out") from None


def results(out: Place, about: dict[str, Any]) -> Place:
    """The folder of the result that run.json tells of."""
    return out / about["generation"] if "generation" in about else out


def checked(about: Any, out: Place, file: str = RUN) -> dict[str, Any]:
    """What a run.json says, as far as it is relied on."""
    if about is None:
        return {}
    wrong = None if isinstance(about, dict) else "it is no object"
    for name, kind in _KINDS.items():
        if wrong is None and name in about and not kind(about[name]):
            wrong = f"its {name!r} is not as it was written"
    if wrong is None and ({"shards", "instructions"} & about.keys()) and "fingerprint" not in about:
        wrong = "it has no fingerprint"
    if wrong:
        raise WrongData(f"out: {out.url}/{file} was changed ({wrong}); put it back, or name another --out")
    return dict(about)


def _urls(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _generation(value: Any) -> bool:
    top, _, name = value.partition("/") if isinstance(value, str) else ("", "", "")
    return top == GENERATIONS and _number(name) >= 0


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**18


_KINDS: dict[str, Callable[[Any], bool]] = {
    "fingerprint": lambda value: isinstance(value, str),
    "shards": _urls,
    "instructions": _urls,
    "columns": _urls,
    "rows": _count,
    "parts": _count,
    "dims": _count,
    "subsets": _count,
    "seed": lambda value: isinstance(value, int),
    "epoch": _count,
    "floor": _count,
    "generation": _generation,
    "dealt": _generation,
    "also": _urls,
    "asked": lambda value: isinstance(value, dict),
    "result": lambda value: isinstance(value, dict),
}


def _number(name: str) -> int:
    """The number of a generation, -1 for a name that is of none."""
    number, _, digest = name.partition("-")
    fits = len(number) == 8 and number.isdecimal() and number.isascii() and digest.isalnum() and digest.isascii()
    return int(number) if fits else -1


def _epoch(about: Any) -> int:
    found = about.get("epoch", 0) if isinstance(about, dict) else 0
    return found if _count(found) else 0
