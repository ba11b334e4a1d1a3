"""The recording on disk: one zarr array a field, chunks of one epoch x a block of examples, appended by the epoch.

The number of epochs in the group's attributes is written last: an epoch counts once every field has its row.
Chunks carry a checksum, and a chunk that is missing reads as a value outside its field's range, so that a store cut
off mid-write is noticed where it is read.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zarr

from secateur.errors import SecateurError, StoreError, described, reason, refused
from secateur.fields import FIELDS, RECORDED
from secateur.store.arrays import attributes_of, has_array, new_array, open_array
from secateur.store.files import may_write, remove, replacing, writing
from secateur.store.probed import Probed
from secateur.store.schemas import arrays

BLOCK = 1 << 17
"""Examples a chunk, and a block of `Recording.blocks`."""
FORMAT = 1


class Column:
    """One field of a recording, read when indexed: `column[-1]`, `column[:, 100:200]`, `np.asarray(column)`."""

    def __init__(self, name: str, array: "zarr.Array[Any]", shape: tuple[int, ...]) -> None:
        self.name, self._array, self.shape = name, array, shape
        self.dtype = np.dtype(array.dtype)

    def __getitem__(self, index: Any) -> np.ndarray:
        index = index if isinstance(index, tuple) else (index,)
        first = index[0]
        if isinstance(first, slice):
            first = slice(*first.indices(self.shape[0]))
        elif not -self.shape[0] <= first < self.shape[0]:
            raise IndexError(f"{self.name} has {self.shape[0]} rows, got index {first}")
        elif first < 0:
            first += self.shape[0]
        try:
            return np.asarray(self._array[(first, *index[1:])])
        except Exception as error:
            damaged = f"{self.name}: a chunk of the recording is damaged ({reason(error)}); record again"
            raise refused(error, f"reading {self.name}") or StoreError(damaged) from error

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)

    def __len__(self) -> int:
        return self.shape[0]


class Block(NamedTuple):
    """Some consecutive examples and their rows of several fields."""

    examples: slice
    arrays: dict[str, np.ndarray]


class Recording:
    """What a training run told about each example, and what probes found out afterwards: named arrays.

    Axes come in the order (runs, epochs, examples, classes or dims).
    """

    def __init__(self, path: Path, attributes: Mapping[str, Any]) -> None:
        self.path, self._attributes = path, attributes
        self.probed = Probed(path.with_name("probes.zarr"))

    @classmethod
    def open(cls, path: str | Path) -> "Recording":
        """Open a finished or still growing recording: the .zarr folder, or the OUT folder that contains it.

        Raises StoreError if its attributes are invalid or do not match the arrays on disk.
        """
        path = Path(path)
        if (path / "recording.zarr").is_dir():
            path = path / "recording.zarr"
        if not (path / "zarr.json").is_file():
            raise StoreError(f"{path}: expected a recording, found none")
        attributes = attributes_of(path, arrays.Recording)
        if attributes["format"] != FORMAT:
            raise StoreError(f"{path}: expected a recording of format {FORMAT}, got {attributes['format']}")
        if odd := sorted(set(attributes["fields"]) - set(RECORDED)):
            raise StoreError(
                f"{path}: has the field {odd[0]}, which this version does not know; use the version that wrote it"
            )
        recording = cls(path, attributes)
        for field in attributes["fields"]:  # so that no size is trusted that the arrays do not have
            if has_array(path, field):
                open_array(path, field, recording._sizes)
        return recording

    @property
    def _sizes(self) -> dict[str, int | None]:
        return {"examples": self.examples, "classes": self.classes}

    @property
    def epochs(self) -> int:
        """How many epochs are recorded."""
        return int(self._attributes["epochs"])

    @property
    def examples(self) -> int:
        """How many examples the train split has, unreadable ones included."""
        return int(self._attributes["examples"])

    @property
    def classes(self) -> int | None:
        """How many classes the logits had; None for regression."""
        return self._attributes["classes"]

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that can be read: recorded, then probed."""
        return (*self._attributes["fields"], *self.probed.fields)

    @property
    def complete(self) -> bool:
        """Was the recording closed by the run that wrote it?"""
        return bool(self._attributes["complete"])

    @property
    def fingerprint(self) -> str | None:
        """Of the data that was recorded, where the run knew it."""
        return self._attributes["fingerprint"]

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the recording came from: net, recipe, seed, versions."""
        return dict(self._attributes["provenance"])

    def __contains__(self, field: object) -> bool:
        return field in self.fields

    def __getitem__(self, field: str) -> Column:
        """One field as a lazy array.

        Raises SecateurError when the run did not record it, naming what it did record.
        """
        if field in self.probed.fields:
            filled = self.probed.array(field, self._sizes)
            return Column(field, filled, tuple(filled.shape))
        if field not in self:
            raise SecateurError(f"{field}: this recording has no such field{self._way_out(field)}")
        if not has_array(self.path, field):
            raise StoreError(f"{self.path}: {field} is not on disk, the run was not closed; run the command again")
        array = open_array(self.path, field, self._sizes)
        shape = tuple(array.shape)
        if FIELDS[field].axes[0] == "epochs":
            if shape[0] < self.epochs:
                raise StoreError(f"{self.path}: {field} has {shape[0]} epochs of {self.epochs}; record again")
            shape = (self.epochs, *shape[1:])
        return Column(field, array, shape)

    def _way_out(self, field: str) -> str:
        if field not in FIELDS:
            return f" (no such field exists); it holds {', '.join(self.fields)}"
        if FIELDS[field].probe != "recorder":
            return (
                f"; the probe `{FIELDS[field].probe}` fills it, which needs the data: run `secateur prune DATA` with a "
                f"method that uses it and the same --out"
            )
        return f"; it holds {', '.join(self.fields)}. Record again with it among the fields"

    def blocks(self, fields: Sequence[str], *, epochs: slice = slice(None), size: int = BLOCK) -> Iterator[Block]:
        """The fields a block of examples at a time, so that memory does not grow with the data set."""
        columns = {name: self[name] for name in fields}
        for start in range(0, self.examples, size):
            examples = slice(start, min(start + size, self.examples))
            part = {"runs": slice(None), "epochs": epochs, "examples": examples}
            index = {n: tuple(part[a] for a in FIELDS[n].axes if a in part) for n in fields}
            yield Block(examples, {n: column[index[n]] for n, column in columns.items()})


class RecordingWriter:
    """Creates a recording, or goes on with one, an epoch at a time."""

    def __init__(
        self,
        path: Path,
        *,
        examples: int,
        fields: Sequence[str],
        classes: int | None,
        fingerprint: str | None,
        provenance: Mapping[str, Any],
    ) -> None:
        self.path = path
        self._asked: dict[str, Any] = {
            "format": FORMAT,
            "examples": examples,
            "classes": classes,
            "fields": list(fields),
            "fingerprint": fingerprint,
            "provenance": dict(provenance),
        }

    @classmethod
    def unrecorded(cls, path: Path, labels: np.ndarray, classes: int, fingerprint: str) -> Recording:
        """A recording of no run, for what needs none: the labels alone, which probes may stand beside."""
        if not path.exists():
            about: dict[str, Any] = {"classes": classes, "fingerprint": fingerprint, "provenance": {}}
            writer = cls(path, examples=len(labels), fields=("labels",), **about)
            writer.create()
            writer.write_tables({"labels": labels})
            writer.finish()
        return Recording.open(path)

    def create(self) -> None:
        """Start an empty recording; a recording that is there already is an error."""
        if self.path.exists():
            raise StoreError(f"{self.path}: there is a recording already; resume it, or choose another path")
        with replacing(self.path) as beside:
            self._group = zarr.create_group(beside, attributes={**self._asked, "epochs": 0, "complete": False})
            for name in self._each_epoch():
                self._create(name, (0, int(self._asked["examples"])))
        may_write(self.path)
        self._group = self._opened()
        self.epochs = 0

    def reopen(self, epochs: int) -> None:
        """Go on after `epochs` recorded epochs, forgetting later ones."""
        recording = Recording.open(self.path)
        self._group = self._opened()
        for key, value in self._asked.items():
            if key != "provenance" and value is not None and self._group.attrs.get(key) != value:
                raise StoreError(f"{self.path}: recorded with {key} {self._group.attrs.get(key)}, not {value}")
        self.epochs = epochs
        if self.epochs > recording.epochs:
            raise StoreError(f"{self.path}: holds {recording.epochs} epochs, cannot go on after {self.epochs}")
        with writing(self.path):
            for stray in self.path.rglob("*.partial"):
                stray.unlink()
            for name in self._each_epoch():
                self._array(name).resize((self.epochs, recording.examples))
            self._group.attrs.update({"epochs": self.epochs, "complete": False})

    def _opened(self) -> zarr.Group:
        """Open for writing; `Recording.open` has validated the contents."""
        return zarr.open_group(self.path, mode="r+", zarr_format=3, use_consolidated=False)

    def append(self, rows: Mapping[str, np.ndarray]) -> None:
        """Write one epoch, every field (examples,); it counts once all of it is on disk."""
        try:
            for name in self._each_epoch():
                array = self._array(name)
                array.resize((self.epochs + 1, array.shape[1]))
                array[self.epochs] = rows[name].astype(array.dtype, copy=False)
            self._group.attrs["epochs"] = self.epochs + 1
        except Exception as error:
            if (told := described(error)) is None:
                raise
            safe = f"epochs 0 to {self.epochs - 1} are safe" if self.epochs else "nothing was recorded before it"
            raise StoreError(
                f"{self.path}: epoch {self.epochs} could not be written ({told}); {safe}: free some space, then run "
                f"again to go on"
            ) from error
        self.epochs += 1

    def write_tables(self, tables: Mapping[str, np.ndarray]) -> None:
        """Write the fields without an epoch axis."""
        with writing(self.path):
            for name, values in tables.items():
                if name not in self._group:
                    self._create(name, values.shape)
                self._array(name)[...] = values

    def finish(self) -> None:
        """Mark the recording complete and forget what was carried from epoch to epoch."""
        with writing(self.path):
            self._group.attrs["complete"] = True
            remove(self.carry)

    @property
    def carry(self) -> Path:
        """Where the recorder keeps what it must remember from one epoch to the next, until it is closed."""
        return self.path / ".carry"

    def forget_carry(self, *, before: int) -> None:
        """Delete what was carried over to epochs earlier than `before`."""
        for path in self.carry.glob("*.safetensors"):
            if path.stem.isdecimal() and int(path.stem) < before:
                path.unlink()

    def _each_epoch(self) -> list[str]:
        fields: Any = self._group.attrs["fields"]
        return [name for name in fields if FIELDS[name].axes[0] == "epochs"]

    def _array(self, name: str) -> "zarr.Array[Any]":
        array = self._group[name]
        assert isinstance(array, zarr.Array)
        return array

    def _create(self, name: str, shape: tuple[int, ...]) -> None:
        new_array(self._group, name, shape, tuple(1 if axis == "epochs" else BLOCK for axis in FIELDS[name].axes))
