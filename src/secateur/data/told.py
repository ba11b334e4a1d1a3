"""One line that says how a data set was read, and one that says what was ignored."""

from collections.abc import Sequence
from unicodedata import normalize

from secateur.data.columns import Columns
from secateur.data.found import Found
from secateur.data.source import Split

_FORMS = {
    "digits": "the bundled digits",
    "folder": "a folder of images",
    "parquet": "parquet",
    "saved": "a data set saved by `datasets`",
    "hub": "a data set from the hub",
    "arrays": "rows from Python",
}
_NAMED = 5
"""The most classes that are listed."""


def understood(found: Found, train: Split, train_name: str, test_name: str | None) -> str:
    """The form, the splits and their rows, the inputs, the source of the labels, and the classes."""
    rows = [f"{train_name} {len(train):,} rows"]
    if test_name is not None:
        rows.append(f"test split {test_name} {len(found.splits[test_name]):,} rows")
    parts = [_FORMS[found.form], *rows, _inputs(found, train, train_name), *_labels(found, train, train_name)]
    return f"data: {', '.join(part for part in parts if part)}"


def left_out(found: Found, train: Split, used: Sequence[str | None]) -> str:
    """What was ignored, by reason: how many, and one example."""
    parts = [f"{why}: {len(names):,} ({min(names)})" for why, names in found.ignored.items() if names]
    parts += [f"split {name}: {len(rows):,} rows" for name, rows in found.splits.items() if name not in used]
    if train.bad:
        first = min(train.bad)
        parts.append(f"unusable rows: {len(train.bad):,} (row {first}: {train.bad[first]})")
    return f"ignored: {'; '.join(parts) or 'nothing'}"


def _inputs(found: Found, train: Split, name: str) -> str:
    what = "x".join(map(str, train.shape[:2])) + " images" if train.is_image else f"vectors of {train.shape[0]}"
    split = found.splits[name]
    if isinstance(split, Columns) and found.form not in ("folder", "digits"):
        return f"{what} from column {split.input!r}"
    return what


def _labels(found: Found, train: Split, name: str) -> list[str]:
    if not train.labelled:
        return ["no labels"]
    split = found.splits[name]
    told = split.told if isinstance(split, Columns) and found.form != "digits" else None
    classes = train.classes
    some = ", ".join(classes[:_NAMED]) + (", ..." if len(classes) > _NAMED else "")
    alike = _alike(classes)
    twins = [f"two of them look alike: {alike[0]} and {alike[1]}"] if alike else []
    return [*([told] if told else []), f"{len(classes):,} classes ({some})", *twins]


def _alike(classes: Sequence[str]) -> tuple[str, str] | None:
    """Two class names that differ only in case, spaces or Unicode form, in ASCII so that the difference shows."""
    seen: dict[str, str] = {}
    for name in classes:
        if (first := seen.setdefault("".join(normalize("NFKC", name).casefold().split()), name)) != name:
            return ascii(first), ascii(name)
    return None
