"""Subsets of one size, of rows that are alike, and the quality that was measured of each."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from secateur.errors import DataError, SecateurError, WrongData, reason
from secateur.geometry import Clusters, k_means, to_centres
from secateur.scale.choose import as_column
from secateur.scale.storage import Place

_STARTS = 10
"""k-means is begun so often; from one start of rows drawn alike it may part one group and join two others."""


def alike(rows: Float[np.ndarray, "rows dims"], subsets: int, *, seed: int) -> Int[np.ndarray, " rows"]:
    """The subset of each row, -1 for those left over: k-means, the best of ten starts, brought to one size by `evened`.

    Where the paper draws starts by k-means++, these are rows drawn alike. Raises SecateurError for too few rows.
    """
    if not 3 <= subsets <= len(rows):
        raise SecateurError(f"subsets: expected 3 to {len(rows)}, the rows there are, got {subsets}")
    best = grouped(rows, subsets, seed=seed)
    return evened(apart(rows, best.centroids), best.of)


def grouped(rows: Float[np.ndarray, "rows dims"], groups: int, *, seed: int) -> Clusters:
    """k-means from ten starts, the closest of what they find."""
    starts = [k_means(rows, groups, seed=_STARTS * seed + k) for k in range(_STARTS)]
    spread = [np.square(to_centres(rows, c.centroids, c.of, metric="euclidean")).sum() for c in starts]
    return starts[int(np.argmin(spread))]


def apart(
    rows: Float[np.ndarray, "rows dims"], centres: Float[np.ndarray, "groups dims"]
) -> Float[np.ndarray, "rows groups"]:
    """The distance of every row to every centre.

    >>> apart(np.array([[3., 4.]]), np.array([[0., 0.], [3., 0.]]))
    array([[5., 4.]])
    """
    every = [np.full(len(rows), k, dtype=np.int64) for k in range(len(centres))]
    return np.stack([to_centres(rows, centres, of, metric="euclidean") for of in every], axis=1)


def evened(distances: Float[np.ndarray, "rows groups"], of: Int[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    """Groups of floor(rows / groups) each; -1 for the rows left over, fewer than there are groups.

    A group that has too many keeps those nearest to its centre. Of the others, the row that is nearest to a centre of a
    group with room goes there first, and so on. Of two as near the lower row, then the lower group, goes first.

    >>> evened(np.array([[0., 9.], [1., 8.], [2., 7.], [3., 6.]]), np.array([0, 0, 0, 0]))
    array([0, 0, 1, 1])
    """
    count, groups = distances.shape
    size = count // groups
    found = np.full(count, -1, dtype=np.int64)
    for group in range(groups):
        members = np.flatnonzero(of == group)
        found[members[np.argsort(distances[members, group], kind="stable")[:size]]] = group
    room = size - np.bincount(found[found >= 0], minlength=groups)
    movers = np.flatnonzero(found < 0)
    for pair in np.argsort(distances[movers], axis=None, kind="stable"):
        row, group = movers[pair // groups], pair % groups
        if found[row] < 0 and room[group]:
            found[row] = group
            room[group] -= 1
    return found


def write_subsets(out: Place, ids: np.ndarray, of: Int[np.ndarray, " rows"]) -> list[str]:
    """Write subsets/NN.parquet, the ids of each, then subsets.parquet (id, subset), which says that all are there."""
    import pyarrow as pa

    names = [f"{number:02d}.parquet" for number in range(int(of.max()) + 1)]
    for number, name in enumerate(names):
        write_table(out / "subsets" / name, {"id": as_column(ids[of == number])})
    write_table(out / "subsets.parquet", {"id": as_column(ids), "subset": pa.array(of, pa.int32(), mask=of < 0)})
    return names


def write_table(place: Place, columns: Mapping[str, Any]) -> None:
    """Columns as a parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with place.writing() as file:
        pq.write_table(pa.table(dict(columns)), file, compression="zstd")


def read_subsets(out: Place, ids: np.ndarray) -> Int[np.ndarray, " rows"]:
    """Read the subset of each row back; ids: those of the rows.

    Raises WrongData if the file was changed, or a file in subsets/ has other ids.
    """
    found = _table(out / "subsets.parquet")
    fits = {"id", "subset"} <= set(found.column_names) and found["id"].combine_chunks().equals(as_column(ids))
    if not fits or not _dealt(of := _numbers(found["subset"])):
        raise WrongData(
            f"out: {out.url}/subsets.parquet was changed since it was written; restore it, or pass --force to start "
            "over"
        )
    for number in range(int(of.max()) + 1):
        place = out / "subsets" / f"{number:02d}.parquet"
        listed = _table(place)
        if listed.column_names != ["id"] or not listed["id"].combine_chunks().equals(as_column(ids[of == number])):
            raise WrongData(
                f"out: {place.url} has other ids than subsets.parquet; restore it, or pass --force to start over"
            )
    return of


def _table(place: Place) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with place.open() as file:
            return pq.read_table(file)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, SecateurError):
            raise
        raise WrongData(f"out: {place.url} cannot be read ({reason(error)}); pass --force to start over") from None


def _numbers(column: Any) -> np.ndarray:
    import pyarrow as pa

    return column.fill_null(-1).to_numpy().astype(np.int64) if pa.types.is_integer(column.type) else np.array([-2])


def _dealt(of: np.ndarray) -> bool:
    """Are these subset numbers from 0 up, with subsets of equal size?"""
    if of.min() < -1 or of.max() < 0 or of.max() >= len(of):
        return False
    sizes = np.bincount(of[of >= 0])
    return bool((sizes == sizes[0]).all())


def quality_of(given: str | Path | Mapping[Any, Any], subsets: int) -> Float[np.ndarray, " subsets"]:
    """The quality of each subset, higher is better: of a mapping, or a file with the columns subset and quality.

    A file is CSV, parquet or JSON (a list of such rows, or one object, quality by subset). Raises SecateurError for
    subsets that are unknown, missing or there twice, and for a quality that is no finite number.

    >>> quality_of({"02": 0.5, 0: 0.25, 1: "0.75"}, 3)
    array([0.25, 0.75, 0.5 ])
    """
    where = "what was given" if isinstance(given, Mapping) else str(given)
    pairs = list(given.items()) if isinstance(given, Mapping) else _pairs(where)
    numbers = [_whole(name, subsets, where) for name, _ in pairs]
    if twice := sorted({n for n in numbers if numbers.count(n) > 1}):
        raise SecateurError(f"quality: {where} has subset {_listed(twice)} more than once; one measurement for each")
    if missing := sorted(set(range(subsets)) - set(numbers)):
        raise SecateurError(
            f"quality: {where} lacks subset {_listed(missing)} of 0 to {subsets - 1}; measure all of them"
        )
    found = np.empty(subsets)
    found[numbers] = [_number(value) for _, value in pairs]
    if (odd := np.flatnonzero(~np.isfinite(found))).size:
        raise SecateurError(
            f"quality: {where} has no finite number for subset {_listed(odd.tolist())}; measure it again, all "
            f"are needed"
        )
    if np.ptp(found) == 0:
        raise SecateurError(
            f"quality: all {subsets} subsets have {found[0]:g}, so there is nothing to learn; measure more exactly"
        )
    return found


def _listed(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (" ..." if len(numbers) > 10 else "")


_LONGEST = 18
"""Digits of a number of a subset."""


def _whole(name: Any, subsets: int, where: str) -> int:
    """`7`, `"07"` and `"07.parquet"` are subset 7."""
    text = str(name).strip().removesuffix(".parquet")
    if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST) or int(text) >= subsets:
        raise SecateurError(
            f"quality: {where} has subset {name!r}; expected the numbers 0 to {subsets - 1} of subsets/"
        )
    return int(text)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def _pairs(file: str) -> list[tuple[Any, Any]]:
    """Subset and quality, row by row of a file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    place = Place(file)
    if not place.exists():
        raise DataError(f"quality: there is no file {file}; expected CSV, parquet or JSON with subset and quality")
    kind = file.rpartition(".")[2].lower()
    try:
        if kind == "parquet":
            with place.open() as opened:
                rows = pq.read_table(opened).to_pylist()
        elif kind == "json":
            rows = place.read_json(Any)  # validated below
        else:
            with place.open() as opened:
                rows = list(csv.DictReader(opened.read().decode("utf-8-sig").splitlines(), skipinitialspace=True))
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise DataError(f"quality: {file} is no {kind} file ({error}); write it again") from None
    if isinstance(rows, dict):
        return list(rows.items())
    if (
        not rows
        or not isinstance(rows, list)
        or not all(isinstance(r, dict) and {"subset", "quality"} <= r.keys() for r in rows)
    ):
        raise DataError(f"quality: {file} must have the columns subset and quality, as `subset,quality` and `0,0.71`")
    return [(row["subset"], row["quality"]) for row in rows]
