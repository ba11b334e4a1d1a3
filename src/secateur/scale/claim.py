"""Claim OUT for one command: who may write there, where results go, and the one write that publishes them.

On a local disk an operating-system lock keeps a second command out as long as the first exists, even if suspended, and
results are in OUT itself.

On an object store nothing can stop a driver, or one of its workers, from writing late: it may be suspended (SIGSTOP, a
network that hangs) between any check and the write after it. So published files are never overwritten:

- Stage outputs, in OUT/stages/, are named by a hash of all their inputs, so every driver writes the same bytes there.
- A result goes to its own folder, OUT/generation/EPOCH-HASH/. The hash is that of the selection: two drivers
  write to the same folder only if they write the same bytes.
- OUT/run.json names the published folder. It is only ever replaced by a conditional write, which requires that it is
  still what this driver wrote when it claimed OUT. A driver that takes OUT over first rewrites run.json with its own,
  higher epoch; from then on the conditional writes of all earlier drivers fail, and they stop with an error.
- Folders are deleted only after such a write, and only those with a number below `floor`, which that write stored
  in run.json; no driver uses a folder below it. So a driver that wakes up late deletes nothing that is published.

Hence if two drivers both succeed, the later result is complete, and run.json names it.
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
"""Called with run.json and the names in OUT; raises WrongData if this command may not write there."""


@dataclass(frozen=True)
class How:
    """How OUT is claimed. take_over: take the lease of another command at once; that command stops with an error.

    single_writer: the user guarantees that no other command uses OUT; needed for stores without conditional writes.
    """

    take_over: bool = False
    single_writer: bool = False


HOW = How()


@dataclass
class Claim:
    """OUT while this command holds it. about: the contents of run.json, or of the `file` used in its place."""

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
        """The unique number of this claim."""
        return int(self.about["epoch"])

    def check(self) -> None:
        """Raise WrongData if another command has taken OUT over."""
        if self.held is not None:
            self.held.check()

    def begin(self, about: dict[str, Any]) -> None:
        """Replace run.json and delete all earlier results."""
        self._write(self._numbers(cleared=True) | about)
        if self._local:
            for name in self.ours:
                if name != self.file:
                    (self.out / name).remove()
        else:
            self._clean(stages=True)

    def fence(self) -> None:
        """Shut out the previous holder of OUT."""
        if not self._local and self.about:
            self._write(self.about)

    def folder(self, digest: str) -> Place:
        """The folder for the result of a selection: one that was begun for it, or a new one."""
        if self._local:
            return self.out
        names = [name for name in (self.out / GENERATIONS).names() if _number(name) >= self.about["floor"]]
        fitting = [name for name in names if name.partition("-")[2] == digest and _number(name) <= self.epoch]
        found = fitting[-1] if fitting else f"{self.epoch:08d}-{digest}"
        return self.out / GENERATIONS / found

    def unfinished(self) -> None:
        """On a local disk, remove the former result from run.json until there is a new one; on a store it stays."""
        if self._local and any(name in self.about for name in _RESULT):
            self._write({name: value for name, value in self.about.items() if name not in _RESULT})

    def publish(self, about: dict[str, Any], folder: Place, *, also: Sequence[str] = ()) -> None:
        """Publish a result. also: other generations to keep. Raises WrongData if another command has taken OUT over."""
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
        """Delete outdated results, and what earlier versions left in OUT itself."""
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
    """Claim OUT, and release it at the end. Nothing is written until `judge` agrees.

    ours: names of everything that is written there; file: the one that says whose it is. Raises WrongData if another
    command is running in OUT, and SecateurError for a store without conditional writes.
    """
    _judged(out, judge, file)
    if (path := out.local) is not None:
        with _made(path), locked(path):
            yield Claim(out, ours, _judged(out, judge, file), file=file)  # again, now that nobody else can write
        return
    if how.single_writer:
        about, _ = swap.read(out / file)
        yield _fenced(Claim(out, ours, {}, safe=False, file=file), judge, 1 + _epoch(about))
        return
    if lease.NAME not in out.names() and not swap.is_conditional(out):
        raise SecateurError(
            f"out: {out.url} has no conditional writes, so two commands could mix their files there; make sure that "
            f"this is the only one and pass --unsafe-single-writer, or write to a local folder or to S3"
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
    """Create a folder if needed; remove it again if nothing but the lock was put into it."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if made and [entry.name for entry in path.iterdir()] == [LOCK]:
            (path / LOCK).unlink()
            with suppress(OSError):  # by now it contains something that is not ours
                for folder in made:
                    folder.rmdir()


def _fenced(claim: Claim, judge: Judge, epoch: int) -> Claim:
    """The claim, after which no earlier holder of OUT can publish anything."""
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
    """The names in OUT, except hidden ones."""
    return [name for name in out.names() if not name.startswith(".")]


def told(out: Place, file: str = RUN) -> dict[str, Any]:
    """The contents of run.json, {} if there is none. Raises WrongData if it was edited or damaged."""
    if file not in out.names():
        return {}
    try:
        return checked((out / file).read_json(Any), out, file)
    except StoreError as error:
        what = reason(error).partition("; delete it")[0]  # deleting it would orphan OUT
        raise WrongData(f"out: {what}; restore the file, or choose another --out") from None


def results(out: Place, about: dict[str, Any]) -> Place:
    """The folder of the result that run.json names."""
    return out / about["generation"] if "generation" in about else out


def checked(about: Any, out: Place, file: str = RUN) -> dict[str, Any]:
    """Validate the parts of run.json that are used here."""
    if about is None:
        return {}
    wrong = None if isinstance(about, dict) else "it is not an object"
    for name, kind in _KINDS.items():
        if wrong is None and name in about and not kind(about[name]):
            wrong = f"invalid value of {name!r}"
    if wrong is None and ({"shards", "instructions"} & about.keys()) and "fingerprint" not in about:
        wrong = "it has no fingerprint"
    if wrong:
        raise WrongData(f"out: {out.url}/{file} was edited or damaged ({wrong}); restore it, or choose another --out")
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
    """The number of a generation, -1 if the name is not one."""
    number, _, digest = name.partition("-")
    fits = len(number) == 8 and number.isdecimal() and number.isascii() and digest.isalnum() and digest.isascii()
    return int(number) if fits else -1


def _epoch(about: Any) -> int:
    found = about.get("epoch", 0) if isinstance(about, dict) else 0
    return found if _count(found) else 0
