"""Scores, subsets and mined rows on disk: parquet tables that a person can open, with their provenance inside."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from secateur.errors import SecateurError, StoreError, WrongData, reason, refused
from secateur.store.digests import verify
from secateur.store.files import replacing
from secateur.store.schemas import parsed
from secateur.store.schemas.tables import Provenance

_KEY = b"secateur"
NONE = {"label": -1, "rank": 0}
"""What stands for null in whole numbers."""


@dataclass(frozen=True)
class Scores:
    """One column a score over all examples of the train split; nan where a row could not be read."""

    labels: np.ndarray  # (examples,), -1 where missing
    columns: Mapping[str, np.ndarray]  # each (examples,)
    provenance: Mapping[str, Any]

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.columns:
            raise SecateurError(f"{name}: expected one of the scores {', '.join(self.columns)}; score with it first")
        return self.columns[name]

    def save(self, path: Path) -> None:
        """Write scores.parquet: id, label, one column a score."""
        _write(path, {"id": np.arange(len(self.labels)), "label": self.labels, **self.columns}, self.provenance)

    @classmethod
    def open(cls, path: Path) -> "Scores":
        """Read scores.parquet."""
        columns, provenance = _read(path, {"id": "whole", "label": "whole"}, more="number")
        _check_numbered(path, columns)
        columns.pop("id")
        return cls(columns.pop("label"), columns, provenance)


@dataclass(frozen=True)
class Subset:
    """The examples kept, and why: ids (kept,) sorted int64, weights (kept,), and a row for every example.

    The table's columns are id, label, score (higher is harder), rank (1 is the hardest), kept, weight and reason. An
    example without a label has -1 and one without a score rank 0; in the file both are null.
    """

    ids: np.ndarray
    weights: np.ndarray
    provenance: Mapping[str, Any]
    table: Mapping[str, Any] = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def build(
        cls,
        *,
        labels: np.ndarray,
        scores: np.ndarray,
        ids: np.ndarray,
        reasons: np.ndarray,
        provenance: Mapping[str, Any],
        weights: np.ndarray | None = None,
    ) -> "Subset":
        """Make the table from a selection; `reasons` (examples,) says of every example why it is in or out."""
        ids = np.asarray(ids, dtype=np.int64)
        kept = np.zeros(len(labels), dtype=bool)
        kept[ids] = True
        every = np.zeros(len(labels), dtype=np.float32)
        every[ids] = 1.0 if weights is None else weights
        order = np.lexsort((np.arange(len(scores)), -scores))  # nan sorts last
        rank = np.empty(len(scores), dtype=np.int64)
        rank[order] = np.arange(1, len(scores) + 1)
        rank[np.isnan(scores)] = 0
        table = {
            "id": np.arange(len(labels)),
            "label": labels,
            "score": scores,
            "rank": rank,
            "kept": kept,
            "weight": every,
            "reason": reasons,
        }
        return cls(ids, every[ids], dict(provenance), table)

    @classmethod
    def given(cls, ids: np.ndarray, *, labels: np.ndarray, fingerprint: str) -> "Subset":
        """A subset that was chosen elsewhere, of the data of this fingerprint; without scores or reasons."""
        none, reasons = np.full(len(labels), np.nan), np.full(len(labels), "", dtype=object)
        about = {"fingerprint": fingerprint}
        return cls.build(labels=labels, scores=none, ids=np.sort(ids), reasons=reasons, provenance=about)

    @property
    def digest(self) -> str:
        """Tells subsets apart by what they keep: 16 hex digits."""
        return hashlib.sha256(self.ids.tobytes()).hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write subset.parquet."""
        _write(path, self.table, self.provenance)

    @classmethod
    def open(cls, path: str | Path) -> "Subset":
        """Read a subset: the parquet file, or the OUT folder that holds it."""
        path = Path(path)
        path = path / "subset.parquet" if path.is_dir() else path
        table, provenance = _read(path, _SUBSET)
        _check_subset(path, table, provenance)
        kept = np.asarray(table["kept"])
        return cls(np.flatnonzero(kept).astype(np.int64), np.asarray(table["weight"])[kept], provenance, table)

    def check_data(self, fingerprint: str) -> None:
        """Raise WrongData unless the subset was chosen from the data of this fingerprint."""
        made_from = self.provenance.get("fingerprint")
        if made_from != fingerprint:
            raise WrongData(
                f"subset: chosen from data with fingerprint {made_from}, but this data has {fingerprint}; "
                f"its row numbers mean other examples here: select again from this data"
            )


@dataclass(frozen=True)
class Mined:
    """The rows of a pool that were mined: ids (mined,) sorted int64, labels (mined,), and a row for every candidate.

    The table's columns are id (row of the pool), label, class (its name), confidence and kept.
    """

    ids: np.ndarray
    labels: np.ndarray
    provenance: Mapping[str, Any]
    table: Mapping[str, Any] = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, table: Mapping[str, np.ndarray], provenance: Mapping[str, Any]) -> "Mined":
        """The kept rows of a table."""
        kept = np.asarray(table["kept"])
        return cls(np.asarray(table["id"])[kept], np.asarray(table["label"])[kept], dict(provenance), table)

    def save(self, path: Path) -> None:
        """Write mined.parquet."""
        _write(path, self.table, self.provenance)

    @classmethod
    def open(cls, path: str | Path) -> "Mined":
        """Read the parquet file, or the OUT folder that holds it."""
        path = Path(path)
        path = path / "mined.parquet" if path.is_dir() else path
        table, provenance = _read(path, _MINED)
        ids, labels, sure = (table[name] for name in ("id", "label", "confidence"))
        _check_rows(path, table, "increasing ids", (ids >= 0) & np.r_[True, ids[1:] > ids[:-1]][: len(ids)])
        _check_rows(path, table, "a label of 0 or more and a finite confidence", (labels >= 0) & np.isfinite(sure))
        return cls.of(table, provenance)


def _write(path: Path, columns: Mapping[str, np.ndarray], provenance: Mapping[str, Any]) -> None:
    table = pa.table({n: pa.array(v, mask=v == NONE[n] if n in NONE else None) for n, v in columns.items()})
    table = table.replace_schema_metadata({_KEY: json.dumps(dict(provenance), sort_keys=True)})
    with replacing(path) as beside:
        pq.write_table(table, beside)


def _read(path: Path, kinds: Mapping[str, str], *, more: str | None = None) -> tuple[dict[str, np.ndarray], Any]:
    """The columns and the provenance.

    kinds: of each required column, `whole`, `number`, `flag` or `text`; more: the kind of all others, which are
    skipped if None. Raises StoreError if the file is anything else, truncated, or claims more rows than it can hold.
    """
    if not path.is_file():
        raise StoreError(f"{path}: expected a parquet file written by secateur, found none")
    verify(path)
    try:
        with pq.ParquetFile(path) as file:
            _check_size(file, path)
            names = [n for n in file.schema_arrow.names if n in kinds or more is not None]
            table = file.read(columns=names)
        if missing := [n for n in kinds if n not in table.column_names]:
            raise KeyError(f"no column {missing[0]}")
        provenance = parsed((table.schema.metadata or {})[_KEY], Provenance, path)
        return {n: _column(table[n], n, kinds.get(n, more or "")) for n in table.column_names}, provenance
    except Exception as error:
        told = StoreError(f"{path}: not a complete table written by secateur ({reason(error)}); make it again")
        raise refused(error, f"reading {path}") or told from None


def _check_size(file: Any, path: Path) -> None:
    """A row takes more than a byte, since ids do not repeat; a file that claims more rows is not read."""
    rows, groups, size = file.metadata.num_rows, file.metadata.num_row_groups, path.stat().st_size
    counted = sum(file.metadata.row_group(k).num_rows for k in range(groups))
    if not 0 <= rows <= size or counted != rows or file.metadata.num_columns > _MOST_COLUMNS:
        raise ValueError(f"{rows} rows of {file.metadata.num_columns} columns in {size} bytes")


_MOST_COLUMNS = 10_000


def _column(column: Any, name: str, kind: str) -> np.ndarray:
    types = pa.types
    fits = {
        "whole": types.is_integer,
        "number": lambda t: types.is_integer(t) or types.is_floating(t) or types.is_boolean(t),
        "flag": types.is_boolean,
        "text": lambda t: types.is_string(t) or types.is_large_string(t),
    }[kind]
    if not fits(column.type):
        raise TypeError(f"column {name} holds {column.type}, expected {kind}s")
    filled = column.fill_null(NONE[name]) if name in NONE else column
    if filled.null_count:
        raise ValueError(f"column {name} has {filled.null_count} nulls")
    return filled.to_numpy(zero_copy_only=False)


def _check_rows(path: Path, table: Mapping[str, np.ndarray], rule: str, good: Any) -> None:
    """Raise StoreError for the first row that breaks the rule; good: (rows,) bool."""
    if not (good := np.asarray(good)).all():
        row = int(np.argmin(good))
        told = ", ".join(f"{n} {table[n][row]}" for n in list(table)[:6])
        raise StoreError(f"{path}: damaged or edited (row {row}: {told}; expected {rule}); make it again")


def _check_numbered(path: Path, table: Mapping[str, np.ndarray]) -> None:
    """Row i is example i, and labels are -1 or more."""
    ids = table["id"]
    _check_rows(path, table, "ids that count up from 0", ids == np.arange(len(ids)))
    _check_rows(path, table, "a label of 0 or more, or none", table["label"] >= -1)


def _check_subset(path: Path, table: Mapping[str, np.ndarray], provenance: Mapping[str, Any]) -> None:
    """The invariants of a selection: ranks that count the scored rows, and weights only for kept rows."""
    _check_numbered(path, table)
    kept, weight, score, rank = (table[name] for name in ("kept", "weight", "score", "rank"))
    _check_rows(path, table, "a weight of 0 or more", np.isfinite(weight) & (weight >= 0))
    _check_rows(path, table, "no weight unless kept", kept | (weight == 0))
    _check_rows(path, table, "a rank for every row with a score, and for no other", (rank > 0) == ~np.isnan(score))
    ranked = rank[rank > 0]
    if not np.array_equal(np.sort(ranked), np.arange(1, len(ranked) + 1)):
        raise StoreError(f"{path}: damaged or edited (expected every rank once); make it again")
    if (count := provenance.get("kept", int(kept.sum()))) != kept.sum():
        raise StoreError(f"{path}: damaged or edited (expected {count} rows kept, found {kept.sum()}); make it again")


_SUBSET = {
    "id": "whole", "label": "whole", "score": "number", "rank": "whole", "kept": "flag", "weight": "number",
    "reason": "text",
}  # fmt: skip
_MINED = {"id": "whole", "label": "whole", "class": "text", "confidence": "number", "kept": "flag"}
