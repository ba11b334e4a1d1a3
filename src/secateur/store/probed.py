"""What probes filled in, on disk: a zarr group a probe beside the recording, written a block of examples at a time.

A group's attribute `done` says how many rows are filled, over all of its runs, and is written after them: a killed
probe goes on with the block it was at. Rows that cannot be used stay nan (255 for yes-or-no fields).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from secateur.errors import StoreError
from secateur.fields import FIELDS, check
from secateur.store.arrays import MISSING, attributes_of, new_array, open_array
from secateur.store.files import remove, writing
from secateur.store.schemas import arrays

BLOCK = 8192
"""Examples a chunk; what a killed probe computes again at most."""


class Probed:
    """The fields that probes have filled beside one recording."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._groups = {p.name: p for p in sorted(path.iterdir()) if p.is_dir()} if path.is_dir() else {}

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that are filled to the end."""
        return tuple(n for n, f in FIELDS.items() if f.probe in self._groups and n in self._finished(f.probe))

    def asked(self, field: str) -> dict[str, Any]:
        """How the field was filled: the probe's knobs, and the net or the file it read."""
        return dict(self._attributes(FIELDS[field].probe)["asked"])

    def array(self, field: str, sizes: Mapping[str, int | None]) -> "zarr.Array[Any]":
        """The array of one field; sizes: of the axes of its recording."""
        probe = FIELDS[field].probe
        return open_array(self._groups[probe], field, {**sizes, "runs": self._attributes(probe)["runs"]})

    def _finished(self, probe: str) -> Sequence[str]:
        attributes = self._attributes(probe)
        fields: Sequence[str] = attributes["fields"]
        return fields if attributes["done"] == attributes["runs"] * attributes["examples"] else ()

    def _attributes(self, probe: str) -> dict[str, Any]:
        """Raises StoreError if they are damaged or inconsistent."""
        group = self._groups[probe]
        if not (group / "zarr.json").exists():  # killed before the group was complete
            return {"asked": {}, "fields": (), "done": -1, "runs": 1, "examples": 0}
        found: dict[str, Any] = attributes_of(group, arrays.Probe)
        strange = [name for name in found["fields"] if name not in FIELDS or FIELDS[name].probe != probe]
        if strange or found["done"] > found["runs"] * found["examples"]:
            told = f"the field {strange[0]}" if strange else f"{found['done']} rows filled"
            raise StoreError(f"{group}: damaged or edited, it has {told}; delete the folder to fill it again")
        return found


class ProbeWriter:
    """Fills the fields of one probe, from where an earlier run that was asked the same stood."""

    def __init__(self, path: Path, probe: str, asked: Mapping[str, Any], *, examples: int, runs: int = 1) -> None:
        self.path, self.probe, self.examples, self.runs = path / probe, probe, examples, runs
        before = Probed(path)._attributes(probe) if self.path.is_dir() else {}
        same = before.get("asked") == dict(asked) and (before["runs"], before["examples"]) == (runs, examples)
        with writing(self.path):
            if not same or before["done"] < 0:
                remove(self.path)
                about = {"asked": dict(asked), "fields": [], "done": 0, "runs": runs, "examples": examples}
                zarr.create_group(self.path, attributes={**about, "seconds": 0.0})
            self._group = zarr.open_group(self.path, mode="r+", zarr_format=3, use_consolidated=False)

    @property
    def done(self) -> int:
        """Rows filled so far, over all runs."""
        return int(str(self._group.attrs["done"]))

    @property
    def seconds(self) -> float:
        """What filling took so far, over all the times it was started."""
        return float(str(self._group.attrs.get("seconds", 0.0)))

    def write(self, run: int, rows: slice, ids: np.ndarray, found: Mapping[str, np.ndarray], seconds: float) -> None:
        """Fill the examples `rows` of one run: values (ids, ...) for those that can be used.

        Raises SecateurError, naming the example, where a value is not one the field may have.
        """
        with writing(self.path):
            for name, values in found.items():
                _check(name, values, ids)
                array = self._array(name, values)
                block = np.full((rows.stop - rows.start, *values.shape[1:]), MISSING[str(array.dtype)], array.dtype)
                block[ids - rows.start] = values
                if FIELDS[name].axes[0] == "runs":
                    array[run, rows] = block
                else:
                    array[rows] = block
            told = {"fields": sorted({*self._fields(), *found}), "done": run * self.examples + rows.stop}
            self._group.attrs.update({**told, "seconds": self.seconds + seconds})

    def _fields(self) -> list[str]:
        fields: Any = self._group.attrs["fields"]
        return list(fields)

    def _array(self, name: str, values: np.ndarray) -> "zarr.Array[Any]":
        if name not in self._group:
            by_run = FIELDS[name].axes[0] == "runs"
            rest = values.shape[1:]
            shape = (self.runs, self.examples, *rest) if by_run else (self.examples, *rest)
            new_array(self._group, name, shape, (1, BLOCK, *rest) if by_run else (BLOCK, *rest))
        array = self._group[name]
        assert isinstance(array, zarr.Array)
        return array


def _check(name: str, values: np.ndarray, ids: np.ndarray) -> None:
    """Look at one block as one of the field; the error names the example by its id."""
    if FIELDS[name].axes[0] == "runs":
        values = values[None]
    check({name: values}, ids=ids)
