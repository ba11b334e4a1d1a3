"""A data set ready to be recorded: its train split, its test split, its classes, and a fingerprint of it all."""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from secateur.data.decoding.labels import NO_LABELS, WITHOUT, class_names, class_numbers, class_order
from secateur.data.decoding.rows import ImageRows, Rows
from secateur.data.decoding.scan import scan
from secateur.data.found import Form, Found, Labelled
from secateur.data.layouts.splits import HELD_OUT, choose_split, only_split
from secateur.data.rare import check_told_apart, rare_rows
from secateur.errors import DataError
from secateur.ranges import BYTES, SIDE, in_ranges

Progress = Callable[[str, int, int], None]
UNLABELLED = ("unlabelled",)
"""The classes of data without labels: all examples are of this one."""


@dataclass(frozen=True)
class Split:
    """One split: row i is example i. Unreadable rows keep their number and are listed in `bad`.

    Data without labels are of one class, 0, so that what goes class by class takes them whole; `labelled` tells.
    """

    name: str
    classes: tuple[str, ...]
    labels: np.ndarray = field(repr=False)  # (examples,) int64, -1 where missing
    rows: Rows = field(repr=False)
    values: np.ndarray | None = field(repr=False)  # all decoded rows, or None where they are streamed
    shape: tuple[int, ...]  # (height, width, channels) or (dims,)
    bad: Mapping[int, str]
    usable: np.ndarray = field(repr=False)  # the ids to work with, int64, sorted: readable, and of this part
    fingerprint: str
    labelled: bool = True
    dropped: tuple[int, ...] = ()  # classes that were dropped because they are rare

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def is_image(self) -> bool:
        """Are the rows images? They are float vectors otherwise."""
        return len(self.shape) == 3

    def decoded(self, i: int) -> np.ndarray:
        """Row i: pixels (height, width, channels) uint8 or a vector (dims,) float32."""
        if self.values is not None:
            return self.values[i]
        return self.rows.value(self.rows.raw([i])[0])

    def require_labels(self, what: str, *, without: str = "") -> None:
        """Raise DataError where there are no labels; what: that needs them, without: what works without, if any does.

        Every job that trains a net or goes by class calls this before it begins.
        """
        if not self.labelled:
            rest = f"; these work without: {without}" if without else ""
            raise DataError(
                f"label: {what} needs labels, and the data have none: name their column with --label, or give each "
                f"class a folder of its own{rest}"
            )


@dataclass(frozen=True)
class Source:
    """A data set: the train split, and the test split, which is read on first use.

    told: a line that says how the data were read; ignored: a line that says what was not read, and why.
    """

    name: str
    form: Form
    train: Split
    train_as_found: Labelled = field(repr=False)
    root: Path | None
    _open_test: Callable[[], Split | None] = field(repr=False)
    told: str = ""
    ignored: str = ""

    @property
    def fingerprint(self) -> str:
        """Of the train split's ids, labels and bytes."""
        return self.train.fingerprint

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names, in the order of the class numbers."""
        return self.train.classes

    @property
    def labelled(self) -> bool:
        """Do the data have labels? Without, `labels` are 0 and `classes` a single one, which must not be trained on."""
        return self.train.labelled

    def require_labels(self, what: str, *, without: str = "") -> None:
        """Raise DataError where the data have no labels; see Split."""
        self.train.require_labels(what, without=without)

    @cached_property
    def test(self) -> Split | None:
        """The test split, or None where the data has none."""
        return self._open_test()


@in_ranges
def open_data(
    data: Any,
    *,
    input: str | None = None,
    label: str | None = None,
    split: str | None = None,
    test: Any = None,
    size: Annotated[int | None, SIDE] = None,
    on_bad: Literal["stop", "skip"] = "stop",
    on_rare: Literal["stop", "keep", "drop"] = "stop",
    memory: Annotated[int | None, BYTES] = None,
    cache: str | Path | None = None,
    progress: Progress = lambda what, done, total: None,
) -> Source:
    """Open a data set and read it through once.

    data: `digits`; the path of a folder of images by class, of a parquet file or glob, of a data set saved by
    `datasets`; a hub name; or, from Python, a `datasets.Dataset`, a map-style torch Dataset, or a pair of arrays
    (images or vectors, labels). input, label, split, test: the columns and splits, guessed where there is no doubt;
    from Python, test may be a data set of its own. Inputs alone are data without labels: images directly in a folder,
    a table of one column, one array, a Dataset of bare inputs, and anything read with label `none`. size: bring images
    to squares of that side. on_bad: `skip` leaves out rows that cannot be read and lists them. on_rare: of classes with
    a single example, too few to learn from and to validate, `keep` uses the rows, `drop` lists them as bad. memory:
    bytes the decoded rows may take, half of the machine's by default; above, they are decoded as they are needed.
    cache: where `datasets` keeps its Arrow copies.

    Raises DataError, naming the row or column, when the data cannot be read as asked.
    """
    if on_bad not in ("stop", "skip"):
        raise DataError(f"on_bad: expected stop or skip, got {on_bad!r}")
    if on_rare not in ("stop", "keep", "drop"):
        raise DataError(f"on_rare: expected stop, keep or drop, got {on_rare!r}")
    if isinstance(data, Source):
        return data
    budget = default_memory() if memory is None else memory
    reading = _Reading(size, on_bad, on_rare, budget, progress)
    named_test, other_test = (test, None) if isinstance(test, str) else (None, test)
    if other_test is not None and isinstance(data, (str, Path)):
        raise DataError(f"test: {data} has splits of its own; expected the name of one of them")
    found = _find(data, other_test, input, label, (split, named_test), None if cache is None else Path(cache))
    train_name = choose_split(found.splits, split, ("train",), "split") or only_split(found.splits)
    test_name = choose_split(found.splits, named_test, HELD_OUT, "test")
    if test_name == train_name and named_test is None:  # held-out rows are pruned, as asked, and are not a test split
        test_name = None
    if test_name == train_name:
        raise DataError(f"test: {test_name!r} is the split to prune")
    train = reading.split(found.splits[train_name], "train", None)

    def open_test() -> Split | None:
        return None if test_name is None else reading.split(found.splits[test_name], "test", train)

    from secateur.data.told import left_out, understood

    told, ignored = understood(found, train, train_name, test_name), left_out(found, train, (train_name, test_name))
    return Source(found.name, found.form, train, found.splits[train_name], found.root, open_test, told, ignored)


def _find(
    data: Any,
    test: Any,
    input: str | None,
    label: str | None,
    named: tuple[str | None, str | None],
    cache: Path | None,
) -> Found:
    """named: the splits to prune and to test on, as the user named them."""
    import datasets

    datasets.disable_progress_bars()  # the jobs have their own
    if isinstance(data, str) and data == "digits":
        from secateur.data.digits import digits

        return digits(labelled=label != NO_LABELS)
    if isinstance(data, (str, Path)):
        from secateur.data.disk import find

        return find(str(data), input=input, label=label, split=named[0], test=named[1], cache=cache)
    from secateur.data.python import from_python

    return from_python(data, test, input=input, label=label, split=named[0])


@dataclass(frozen=True)
class _Reading:
    """How rows are read, the same for every split."""

    size: int | None
    on_bad: str
    on_rare: str
    memory: int
    progress: Progress

    def split(self, labelled: Labelled, name: str, like: Split | None) -> Split:
        """Read one split through; `like` is the train split, whose classes and shape the test split shares."""
        if not len(labelled):
            raise DataError(f"{name}: the split is empty")
        classes, labels, declared = _numbered(labelled, name, like)
        rows = labelled.rows(self.size)
        found = scan(
            rows,
            name=name,
            shape=None if like is None else like.shape,
            memory=self.memory,
            decode_all=self.on_bad == "skip",
            progress=lambda done: self.progress(f"reading {name}", done, len(rows)),
        )
        bad = found.bad | {int(i): "no label" for i in np.flatnonzero(labels < 0)}
        self._report_bad(bad, name, rows)
        has_labels = classes is not UNLABELLED
        rare = rare_rows(
            np.where(np.isin(np.arange(len(labels)), list(bad)), -1, labels), classes, on_rare=self.on_rare,
            declared=declared, dropped=None if like is None else like.dropped,
        ) if has_labels else {}  # fmt: skip
        bad |= {int(i): told for i, told in rare.items() if i not in bad}
        usable = np.setdiff1d(np.arange(len(labels)), list(bad)).astype(np.int64)
        if not len(usable):
            raise DataError(f"{name}: no row can be used")
        if has_labels and like is None:
            check_told_apart(labels[usable], classes)
        if not has_labels:
            labels[list(bad)] = -1
        digest = hashlib.blake2b(labels.tobytes(), digest_size=16)
        if rare:  # the same rows, but different training data
            digest.update(f"without {sorted(rare)}".encode())
        digest.update(f"{'' if has_labels else 'unlabelled '}{len(labels)} {found.digest}".encode())
        mark = digest.hexdigest()
        dropped = tuple(sorted({int(labels[i]) for i in rare}))
        return Split(name, classes, labels, rows, found.values, found.shape, bad, usable, mark, has_labels, dropped)

    def _report_bad(self, bad: Mapping[int, str], name: str, rows: Rows) -> None:
        if not bad or self.on_bad == "skip":
            return
        listed = "; ".join(f"row {i}{_file(rows, i)}: {bad[i]}" for i in sorted(bad)[:5])
        more = f"; and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise DataError(f"{name} has {len(bad)} rows that cannot be used - {listed}{more}; mend them, or --on-bad skip")


def _file(rows: Rows, i: int) -> str:
    """The file of a row, in brackets, if it has one of its own."""
    try:
        path = rows.path(i) if isinstance(rows, ImageRows) else None
    except DataError:  # outside the allowed folders
        return ""
    return "" if path is None else f" ({path.parent.name}/{path.name})"


def _numbered(labelled: Labelled, name: str, like: Split | None) -> tuple[tuple[str, ...], np.ndarray, bool]:
    """The classes, labels (examples,) by number, all 0 where there are none, and do the data declare their classes?"""
    given = labelled.labels()
    if like is not None and like.labelled != (given is not None):
        has, train = ("no labels", "has them") if given is None else ("labels", "has none")
        raise DataError(
            f"label: the {name} split has {has}, but train {train}; name a column that both have, {WITHOUT}"
        )
    if given is None:
        return UNLABELLED, np.zeros(len(labelled), dtype=np.int64), False
    values, feature = given
    named = class_names(values, feature, split=name)
    classes = class_order(named, feature) if like is None else like.classes
    return classes, class_numbers(named, classes, split=name), hasattr(feature, "names")


def default_memory() -> int:
    """Half of the machine's memory, in bytes; of the container's, where one sets a limit."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    if limit.is_file() and (text := limit.read_text().strip()).isdigit():
        total = min(total, int(text))
    return total // 2
