"""Files of ids that must stay or go."""

import io
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tests.campaign.cases import Argv, Case, Expect, Ground, Outcome, Plan, drawn, numbered

IDS = (3, 5, 41)
Bytes = Callable[[], bytes]


class Evil:
    """A pickle of it makes a folder when it is read."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        import os

        return os.mkdir, ("PWNED",)


def npy(values: object, **how: object) -> bytes:
    """An array as a .npy file."""
    held = io.BytesIO()
    np.save(held, np.asarray(values, **how), allow_pickle=True)
    return held.getvalue()


def parquet(**columns: object) -> bytes:
    """Columns as a parquet file."""
    held = io.BytesIO()
    pq.write_table(pa.table(columns), held)
    return held.getvalue()


def _npz() -> bytes:
    held = io.BytesIO()
    np.savez(held, id=np.array(IDS))
    return held.getvalue()


GOOD: dict[str, Bytes] = {
    "ids.npy": lambda: npy(IDS),
    "ids.txt": lambda: b"3\n5\n41\n",
    "ids.csv": lambda: b"id,why\n3,a\n5,b\n41,c\n",
    "ids.parquet": lambda: parquet(id=list(IDS)),
    "small.npy": lambda: npy(IDS, dtype=np.uint8),
    "crlf.txt": lambda: b"3\r\n5\r\n41\r\n",
}
BAD: dict[str, Bytes] = {
    "objects.npy": lambda: npy([Evil(), 1], dtype=object),
    "pickle.npy": lambda: pickle.dumps(Evil()),
    "pickle.txt": lambda: pickle.dumps(Evil()),
    "cut.npy": lambda: npy(IDS)[:-3],
    "head.npy": lambda: npy(IDS)[:20],
    "empty.npy": lambda: b"",
    "npz.npy": _npz,
    "floats.npy": lambda: npy([3.0, 5.5]),
    "nan.npy": lambda: npy([np.nan]),
    "bools.npy": lambda: npy([True, False]),
    "two.npy": lambda: npy([[3, 5], [1, 2]]),
    "one.npy": lambda: npy(3),
    "text.npy": lambda: npy(["3", "5"]),
    "negative.npy": lambda: npy([-1]),
    "far.npy": lambda: npy([60]),
    "big.npy": lambda: npy([2**62]),
    "unsigned.npy": lambda: npy([2**64 - 1], dtype=np.uint64),
    "dates.npy": lambda: npy(np.array([3], "datetime64[D]")),
    "complex.npy": lambda: npy([3 + 0j]),
    "fields.npy": lambda: npy(np.array([(3,)], dtype=[("id", int)])),
    "shape.npy": lambda: npy(IDS).replace(b"(3,)", b"(9,)"),
    "vast.npy": lambda: npy(IDS).replace(b"(3,), ", b"(10**9)"),
    "cut.parquet": lambda: parquet(id=list(IDS))[:-9],
    "text.parquet": lambda: b"3\n5\n",
    "no.parquet": lambda: b"",
    "other.parquet": lambda: parquet(ids=list(IDS)),
    "nulls.parquet": lambda: parquet(id=[3, None]),
    "floats.parquet": lambda: parquet(id=[3.5]),
    "words.parquet": lambda: parquet(id=["3", "x"]),
    "lists.parquet": lambda: parquet(id=[[3], [5]]),
    "negative.parquet": lambda: parquet(id=[-3]),
    "float.txt": lambda: b"3.5\n4\n",
    "negative.txt": lambda: b"3\n-1\n",
    "huge.txt": lambda: b"3\n" + b"9" * 30 + b"\n",
    "hex.txt": lambda: b"3\n0x10\n",
    "binary.txt": lambda: bytes(range(256)),
    "latin.txt": lambda: b"3\n\xe9\n",
    "utf16.txt": lambda: "3\n5\n".encode("utf-16"),
    "words.txt": lambda: b"3\nfive\n",
    "far.txt": lambda: b"3\n60\n",
    "super.txt": lambda: "3\n\u00b2\n".encode(),
    "nul.txt": lambda: b"3\n\0\n",
    "digits.txt": lambda: b"3\n" + b"9" * 5000 + b"\n",
    "escape.txt": lambda: b"3\n\x1b[31m\n",
    "ids.json": lambda: b"[3, 5, 41]",
    "evil.parquet": lambda: b"PAR1" + b"\xff" * 40 + b"PAR1",
}
ODD: dict[str, Bytes] = {
    "arabic.txt": lambda: "3\n\u0665\n".encode(),
    "twice.npy": lambda: npy([3, 3, 5]),
    "none.npy": lambda: npy([], dtype=int),
    "none.txt": lambda: b"",
    "header.txt": lambda: b"id\n",
    "blank.txt": lambda: b"3\n\n\n5\n",
    "twice.txt": lambda: b"3\n3\n",
    "spaces.txt": lambda: b" 3 \n\t5\n",
    "bom.txt": b"\xef\xbb\xbf3\n5\n".__bytes__,
    "all.npy": lambda: npy(range(60)),
    "none.parquet": lambda: parquet(id=pa.array([], pa.int64())),
    "quotes.csv": lambda: b'"id"\n"3"\n',
    "fortran.npy": lambda: npy(np.array(IDS)[::-1]),
    "swapped.npy": lambda: npy(np.array(IDS, dtype=">i8")),
}


def _make(option: str, name: str, content: Bytes) -> Callable[[Path, Ground], list[Argv]]:
    def make(folder: Path, ground: Ground) -> list[Argv]:
        ground.copy("run", folder)
        (folder / name).write_bytes(content())
        return [["select", "out", "--keep", "30", "--method", "el2n", option, name, "--json"]]

    return make


def _held(option: str) -> Callable[[Path, list[Outcome]], str | None]:
    def check(folder: Path, outcomes: list[Outcome]) -> str | None:
        found = pq.read_table(folder / "out" / "subset.parquet").to_pydict()
        kept = {i for i, k in zip(found["id"], found["kept"], strict=True) if k}
        wanted = set(IDS) <= kept if option == "--must-keep" else not set(IDS) & kept
        return None if wanted else f"{option} {IDS} was not heeded"

    return check


def cases(plan: Plan) -> list[Case]:
    """Each under both options, special files, and text that hypothesis draws."""
    return numbered(_cases(plan))


def _cases(plan: Plan) -> Iterator[Case]:
    for option in ("--must-keep", "--exclude"):
        for files, expect in ((GOOD, "ok"), (BAD, "refused"), (ODD, "either")):
            for name, content in files.items():
                told: Expect = expect  # type: ignore[assignment]
                check = _held(option) if files is GOOD else None
                yield Case(f"{option} {name}", _make(option, name, content), told, check)
        for name in ("/dev/zero", "/dev/null", "pipe", "folder", "loop", "missing", ""):
            yield Case(f"{option} at {name}", _special(option, name), "either" if "null" in name else "refused")
    lines = st.lists(st.one_of(st.integers(-5, 70).map(str), st.text(max_size=4)), max_size=6)
    for k, drawn_lines in enumerate(drawn(lines, 40, plan.seed)):
        text = "\n".join(drawn_lines).encode("utf-8", "surrogatepass")
        yield Case(f"drawn lines {k}", _make("--exclude", "drawn.txt", lambda text=text: text))


def _special(option: str, name: str) -> Callable[[Path, Ground], list[Argv]]:
    def make(folder: Path, ground: Ground) -> list[Argv]:
        import os

        ground.copy("run", folder)
        (folder / "folder").mkdir()
        os.mkfifo(folder / "pipe")
        os.symlink("loop", folder / "loop")
        return [["select", "out", "--keep", "30", "--method", "el2n", option, name, "--json"]]

    return make
