"""Parquet files as a table of `datasets`."""

import contextlib
import glob
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from secateur.data.layouts.places import Part
from secateur.errors import DataError, described, reason


def read_parquet(root: Path, part: Part, cache: str | None) -> Any:
    """Parquet files as one table, in order, with the columns from their key=value folders.

    Raises DataError, naming the file, if one cannot be read or its columns differ from those of the first.
    """
    from datasets import Value, load_dataset

    shapes = [_shape_of(root / file) for file in part.files]
    files = [k for k, (count, _) in enumerate(shapes) if count] or [0]  # Spark writes empty ones beside the others
    _refuse_unlike([(root / part.files[k], shapes[k][1]) for k in files])
    if not any(count for count, _ in shapes):
        raise DataError(f"data: {root / part.files[0]} has no rows; expected a table of examples")
    names = [glob.escape(str(root / part.files[k])) for k in files]
    try:
        with silent():
            table = load_dataset("parquet", data_files=names, split="train", cache_dir=cache)
    except Exception as error:
        if out := described(error, "reading the data"):
            raise out from None
        what = root / part.files[0] if len(part.files) == 1 else root
        raise DataError(f"data: {what} could not be read as parquet ({reason(error)})") from None
    for name, values in part.columns.items():
        if name in table.column_names:
            raise DataError(
                f"data: {name} is both a column of the files in {root} and of their folders; rename the folders"
            )
        column = [value for value, (count, _) in zip(values, shapes, strict=True) for _ in range(count)]
        table = table.add_column(name, column, feature=Value("string"))
    return table


def _shape_of(path: Path) -> tuple[int, list[str]]:
    """The number of rows and the columns of a parquet file; raises an error that names the file if it is not one."""
    import pyarrow.parquet as pq

    try:
        with path.open("rb") as file:
            found = pq.ParquetFile(file)
            return int(found.metadata.num_rows), list(found.schema_arrow.names)
    except Exception as error:
        if out := described(error) if not isinstance(error, OSError) or error.errno else None:
            raise out from None
        raise DataError(f"data: {path} could not be read as parquet ({reason(error)})") from None


def _refuse_unlike(files: Sequence[tuple[Path, list[str]]]) -> None:
    """Raise DataError for duplicate columns, and for files whose columns differ from those of the first."""
    first, expected = files[0]
    for path, columns in files:
        if twice := sorted({name for name in columns if columns.count(name) > 1}):
            raise DataError(f"data: {path} has the column {twice[0]!r} twice; rename one")
        if odd := sorted(set(columns) ^ set(expected)):
            raise DataError(
                f"data: {first} and {path} do not have the same columns ({', '.join(odd)}); make them match, or "
                f"pass one of them"
            )


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Silence `datasets`: it prints errors itself, unescaped, and the error we raise says enough."""
    import datasets

    before = datasets.logging.get_verbosity()
    datasets.logging.set_verbosity(datasets.logging.CRITICAL + 1)
    try:
        yield
    finally:
        datasets.logging.set_verbosity(before)
