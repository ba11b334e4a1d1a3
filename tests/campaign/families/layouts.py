"""Folders as ImageFolder, Spark, pandas, zip tools and the hub lay them out, and as nobody should.

The oracle: what is understood is the train rows and their classes, or the run is refused. Test rows never enter train.
"""

import csv
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq

from tests.campaign.cases import Argv, Case, Expect, Ground, Outcome, Plan, numbered
from tests.campaign.ground import picture, pictures, table

Build = Callable[[Path], None]
HOSTILE = (
    "../../evil", "../evil", "/x", "/tmp/secateur-evil", "a\0b", "..", ".", "", " ", "~", "-rf", "con", "x" * 300,
    "a/b",
    "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "a\nb", "a\rb", "\u202eevil", "<script>evil()</script>", "a\"b'c", "$(x)",
    "{{7*7}}", "%s%n", "NULL", "nan", "None", "true", "\u00e9", "e\u0301", "\U0001f600", "a\\b", "C:\\x", "strange",
    "kept", "train", "test", ".hidden", "__MACOSX", "*", "?", "[a]", "a=b", "label=cat", "\ud83d\ude00", "\ufeffbom",
)  # fmt: skip


def _rows(folder: Path, names: list[str], start: int = 0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        picture(start + i).save(folder / name)


def _metadata(folder: Path, labels: list[str], *, kind: str = "csv", column: str = "label", each: int = 4) -> None:
    names = [f"{i:02d}.png" for i in range(each * len(labels))]
    _rows(folder, names)
    lines = [{"file_name": n, column: labels[i % len(labels)]} for i, n in enumerate(names)]
    if kind == "jsonl":
        (folder / "metadata.jsonl").write_text("\n".join(json.dumps(line) for line in lines), errors="replace")
        return
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8", errors="replace") as file:
        writer = csv.DictWriter(file, ["file_name", column])
        writer.writeheader()
        writer.writerows(lines)


def _both(d: Path) -> None:
    pictures(d / "train")
    pictures(d / "test", 3, 100)


def _with(*more: Build) -> Build:
    def build(d: Path) -> None:
        _both(d)
        for each in more:
            each(d)

    return build


def _write(name: str, content: bytes = b"junk") -> Build:
    def build(d: Path) -> None:
        (d / name).parent.mkdir(parents=True, exist_ok=True)
        (d / name).write_bytes(content)

    return build


def _tables(*names: str) -> Build:
    def build(d: Path) -> None:
        for k, name in enumerate(names):
            (d / name).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(table(18, seed=k), d / name)

    return build


def _hive(*names: str, nested: str = "") -> Build:
    def build(d: Path) -> None:
        for k, name in enumerate(names):
            at = d / nested / name
            at.mkdir(parents=True, exist_ok=True)
            pq.write_table(table(9, seed=k).drop_columns(["label"]), at / "part-0.parquet")

    return build


def _link(target: str, name: str) -> Build:
    def build(d: Path) -> None:
        (d / name).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, d / name)

    return build


def _pipe(name: str) -> Build:
    return lambda d: os.mkfifo(d / name)


def _captions(d: Path) -> None:
    pictures(d)
    for name in ("cat", "dog", "fox"):
        lines = [f"{i:02d}.png,caption {name} {i % 2}" for i in range(6)]
        (d / name / "metadata.csv").write_text("file_name,text\n" + "\n".join(lines))


TRAIN = {18}
"""Rows of `pictures`, and of each table of `_tables`."""
KNOWN: dict[str, tuple[Build, set[int], int, bool]] = {
    # name: how it is built, the rows that train may have, classes, may it be refused
    "train and test": (_both, TRAIN, 3, False),
    "one level": (lambda d: pictures(d), TRAIN, 3, False),
    "training and testing": (lambda d: (pictures(d / "training"), pictures(d / "testing", 3))[0], TRAIN, 3, True),
    "three splits": (_with(lambda d: pictures(d / "val", 2)), TRAIN, 3, False),
    "Train and Test": (lambda d: (pictures(d / "Train"), pictures(d / "Test", 3))[0], TRAIN, 3, True),
    "below data": (lambda d: (pictures(d / "data/train"), pictures(d / "data/test", 3))[0], TRAIN, 3, True),
    "below images": (lambda d: pictures(d / "train/images"), TRAIN, 3, True),
    "split below class": (
        lambda d: [pictures(d / k / s, 2, classes=("x",)) for k in ("cat", "dog") for s in ("train", "test")] and None,
        {4},
        2,
        True,
    ),
    "folders in classes": (lambda d: pictures(d / "train/pets") or pictures(d / "train/wild", 3), {27}, 2, True),
    "test and train beside": (_with(lambda d: pictures(d / "extra", 2)), TRAIN, 3, True),
    "mac leftovers": (_with(_write("__MACOSX/train/cat/._00.png"), _write("train/cat/._00.png")), TRAIN, 3, False),
    "mac leftovers in classes": (lambda d: pictures(d) or _write("__MACOSX/cat/._00.png")(d), TRAIN, 3, False),
    "desktop files": (
        _with(_write(".DS_Store"), _write("train/cat/Thumbs.db"), _write("train/desktop.ini")),
        TRAIN,
        3,
        False,
    ),
    "hidden class": (_with(lambda d: pictures(d / "train/.cache", 2)), TRAIN, 3, False),
    "readme": (_with(_write("README.md"), _write("LICENSE"), _write("train/cat/notes.txt")), TRAIN, 3, False),
    "empty class": (_with(lambda d: (d / "train/owl").mkdir()), TRAIN, 3, True),
    "empty test": (lambda d: pictures(d / "train") or (d / "test").mkdir(), TRAIN, 3, True),
    "zip beside": (_with(_write("train.zip", b"PK\x03\x04junk")), TRAIN, 3, False),
    "link to a class": (_with(_link("cat", "train/cat-again")), {18, 24}, 3, True),
    "link to itself": (_with(_link("loop", "train/loop")), TRAIN, 3, True),
    "link to above": (_with(_link("..", "train/cat/up")), TRAIN, 3, True),
    "link to nothing": (_with(_link("none.png", "train/cat/zz.png")), TRAIN, 3, True),
    "link to a device": (_with(_link("/dev/zero", "train/cat/zz.png")), TRAIN, 3, True),
    "link to /": (_with(_link("/", "train/root")), TRAIN, 3, True),
    "pipe among classes": (_with(_pipe("train/pipe")), TRAIN, 3, True),
    "pipe among images": (_with(_pipe("train/cat/zz.png")), TRAIN, 3, True),
    "captions in classes": (_captions, TRAIN, 3, True),
    "metadata of labels": (lambda d: _metadata(d / "train", ["a", "b"]), {8}, 2, True),
    "metadata in jsonl": (lambda d: _metadata(d / "train", ["a", "b"], kind="jsonl"), {8}, 2, True),
    "metadata for train and test": (
        lambda d: _metadata(d / "train", ["a", "b"]) or _metadata(d / "test", ["a", "b"], each=2),
        {8},
        2,
        True,
    ),
    "images and parquet": (_with(_tables("data.parquet")), TRAIN, 3, True),
    "uppercase": (lambda d: [_rows(d / k, [f"{i}.PNG" for i in range(4)]) for k in ("a", "b")] and None, {8}, 2, False),
    "parquet named": (_tables("train.parquet", "test.parquet"), TRAIN, 3, False),
    "parquet shards": (
        _tables("train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "test-0.parquet"),
        {36},
        3,
        False,
    ),
    "parquet in split folders": (_tables("train/0.parquet", "test/0.parquet"), TRAIN, 3, True),
    "parquet below data": (_tables("data/train-0.parquet", "data/test-0.parquet"), TRAIN, 3, True),
    "parquet of configs": (
        _tables("plain/train-0.parquet", "other/train-0.parquet", "other/test-0.parquet"),
        set(),
        3,
        True,
    ),
    "parquet and a stray": (_tables("train.parquet", "test.parquet", "more.parquet"), TRAIN, 3, True),
    "parquet validation": (_tables("train.parquet", "validation.parquet", "test.parquet"), TRAIN, 3, False),
    "parquet: latest is no test": (_tables("latest.parquet"), TRAIN, 3, False),
    "parquet: contest": (_tables("contest-train.parquet", "contest-test.parquet"), TRAIN, 3, True),
    "spark": (
        lambda d: _tables("part-0.snappy.parquet", "part-1.snappy.parquet")(d) or _write("_SUCCESS", b"")(d),
        {36},
        3,
        False,
    ),
    "spark crc": (lambda d: _tables("part-0.parquet")(d) or _write(".part-0.parquet.crc")(d), TRAIN, 3, False),
    "spark temporary": (lambda d: _tables("part-0.parquet", "_temporary/0/part-0.parquet")(d), TRAIN, 3, True),
    "spark splits": (_tables("split=train/part-0.parquet", "split=test/part-0.parquet"), TRAIN, 3, True),
    "hive labels": (_hive("label=cat", "label=dog", "label=fox"), {27}, 3, True),
    "hive labels in splits": (
        lambda d: (
            _hive("label=cat", "label=dog", nested="train")(d) or _hive("label=cat", "label=dog", nested="test")(d)
        ),
        {18},
        2,
        True,
    ),
    "hive null": (_hive("label=cat", "label=dog", "label=__HIVE_DEFAULT_PARTITION__"), {18, 27}, 2, True),
    "hive encoded": (_hive("label=a%2F..%2Fb", "label=dog"), {18}, 2, True),
    "parquet checkpoint": (_tables("train.parquet", ".ipynb_checkpoints/train-checkpoint.parquet"), TRAIN, 3, False),
}


def _make(build: Build, more: Argv, command: Argv) -> Callable[[Path, Ground], list[Argv]]:
    def make(folder: Path, ground: Ground) -> list[Argv]:
        (folder / "data").mkdir()
        build(folder / "data")
        few = ["--net", "mlp:0.1", "--threads", "1", "--json", "--out", "out"]
        return [[command[0], "data", *command[1:], *few, *more]]

    return make


def _understood(rows: set[int], classes: int) -> Callable[[Path, list[Outcome]], str | None]:
    def check(folder: Path, outcomes: list[Outcome]) -> str | None:
        import secateur as sc

        recording = sc.Recording.open(folder / "out" / "recording.zarr")
        if recording.examples not in rows:
            return f"took {recording.examples} rows for train, expected {sorted(rows)}"
        if recording.classes < classes:
            return f"took {recording.classes} classes, expected {classes}"
        return None

    return check


def cases(plan: Plan) -> list[Case]:
    """Layouts, hostile names of classes as labels and as folders, and names of files."""
    return numbered(_cases(plan))


RECORD = ["record", "--epochs", "1"]
PRUNE = ["prune", "--keep", "0.5", "--method", "el2n", "--record-epochs", "1"]


def _cases(plan: Plan) -> Iterator[Case]:
    for name, (build, rows, classes, refused) in KNOWN.items():
        expect: Expect = "either" if refused else "ok"
        check = _understood(rows, classes)
        yield Case(name, _make(build, [], RECORD), expect, check)
        yield Case(f"{name}, pruned", _make(build, [], PRUNE), expect, check)
        yield Case(f"{name}, skipped", _make(build, ["--on-bad", "skip"], RECORD), "either", check)
    for label in HOSTILE:
        for kind in ("csv", "jsonl"):
            labels = [label, "good"]
            build = lambda d, labels=labels, kind=kind: _metadata(d / "train", labels, kind=kind)
            yield Case(f"label {label[:30]!r} in {kind}", _make(build, [], PRUNE), "either", _calm)
        if label.strip("./") and "\0" not in label and len(label) < 250 and "/" not in label and "\ud83d" not in label:
            build = lambda d, label=label: pictures(d / "train", 4, classes=(label, "good"))
            yield Case(f"folder {label[:30]!r}", _make(build, [], PRUNE), "either", _calm)
            build = lambda d, label=label: (
                _rows(d / "train/a", [f"{label}{i}.png" for i in range(3)])
                or _rows(d / "train/b", ["0.png", "1.png", "2.png"])
            )
            yield Case(f"file {label[:30]!r}", _make(build, [], PRUNE), "either", _calm)


def _calm(folder: Path, outcomes: list[Outcome]) -> str | None:
    """No script of a label in the report, no link out of kept/, no class folder that is none."""
    report = folder / "out" / "report.html"
    if report.exists() and "<script>evil" in report.read_text(errors="replace"):
        return "a label became a script of the report"
    for path in (folder / "out").rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(folder):
            return f"{path.name} links out of the folder"
    return None
