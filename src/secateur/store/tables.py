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

from secateur.errors import SecateurError, StoreError, WrongData
from secateur.store.digests import verify
from secateur.store.files import replacing

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
        columns, provenance = _read(path)
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
        table, provenance = _read(path / "subset.parquet" if path.is_dir() else path)
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
        return cls.of(*_read(path / "mined.parquet" if path.is_dir() else path))


def _write(path: Path, columns: Mapping[str, np.ndarray], provenance: Mapping[str, Any]) -> None:
    table = pa.table({n: pa.array(v, mask=v == NONE[n] if n in NONE else None) for n, v in columns.items()})
    table = table.replace_schema_metadata({_KEY: json.dumps(dict(provenance), sort_keys=True)})
    with replacing(path) as beside:
        pq.write_table(table, beside)


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    if not path.is_file():
        raise StoreError(f"{path}: expected a parquet file written by secateur, found none")
    verify(path)
    try:
        table = pq.read_table(path)
        provenance = json.loads((table.schema.metadata or {})[_KEY])
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise StoreError(f"{path}: not a whole table written by secateur ({error}); make it again") from None
    whole = {n: table[n].fill_null(NONE[n]) if n in NONE else table[n] for n in table.column_names}
    return {n: column.to_numpy(zero_copy_only=False) for n, column in whole.items()}, provenance
