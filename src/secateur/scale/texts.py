"""`scale embed --text`: the texts of parquet shards into embedding shards, shard by shard."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from secateur.errors import DataError, SecateurError
from secateur.progress import Progress
from secateur.scale.claim import HOW, How
from secateur.scale.embed import half
from secateur.scale.embedded import Shards, claimed
from secateur.scale.shards import batches, footer, opened
from secateur.scale.storage import Place, expand
from secateur.training.machine import pick_device
from secateur.training.texts import TextEmbedder, text_embedder

_ROWS = 8192
"""Rows that are read, embedded and written at a time: a row group."""


def embed_texts(
    shards: str | Sequence[str],
    *,
    text: str,
    by: str,
    out: str = "secateur-shards",
    id: str = "id",
    batch: int = 256,
    device: str = "auto",
    on_bad: str = "stop",
    force: bool = False,
    quiet: bool = False,
    claiming: How = HOW,
) -> list[Place]:
    """Write a shard for each shard: its columns, embedding (float16) of the column `text`, and id.

    by: `transformers:NAME` or `package.module:function`, see `secateur.training.texts`. id: the column of ids; where no
    shard has it, ids are row numbers, counted through all shards. on_bad: rows without a text `stop` the run, or are
    left out (`skip`). One command at a time writes to OUT; claiming: what to do about another. A stopped run goes on
    after its last whole shard.

    Raises DataError for shards without the column, or rows without a text; WrongData for an OUT of something else.
    """
    if batch < 1:
        raise SecateurError(f"batch: expected 1 or more, got {batch}")
    if on_bad not in ("stop", "skip"):
        raise SecateurError(f"on_bad: expected stop or skip, got {on_bad!r}")
    progress, place, places = Progress(quiet=quiet), Place(str(out)), expand(shards)
    counts, named, seen = _survey(places, text, id)
    asked = {"fingerprint": seen, "by": by, "text": text, "id": id, "on_bad": on_bad}
    embedder = text_embedder(by, device=pick_device(device))
    starts = np.cumsum([0, *counts]).tolist()

    def work(number: int) -> _Shard:
        return _Shard(places[number], text, None if named else id, starts[number], embedder, batch, on_bad)

    with claimed(place, asked, len(places), claiming, same=(batch,), force=force, say=progress.say) as made:
        with progress.stage("embedding") as advance:
            cut, gone = _fill(made, work, starts, advance)
        made.publish()
    if cut:
        progress.say(f"{cut} texts are longer than {by} takes; their ends were left out")
    if gone:
        progress.say(f"{gone} rows have no text, and were left out")
    return list(made)


def _fill(
    made: Shards, work: "Callable[[int], _Shard]", starts: Sequence[int], advance: Callable[..., None]
) -> tuple[int, int]:
    """Write the shards that are not there yet; how many texts were cut, and how many rows have none."""
    missing, cut, gone = made.missing(), 0, 0
    for number, target in enumerate(made):
        if target.name in missing:
            made.check()
            shard = work(number)
            shard.write(target, lambda at, start=starts[number]: advance(start + at, starts[-1]))
            cut, gone = cut + shard.cut, gone + shard.gone
        advance(starts[number + 1], starts[-1])
    return cut, gone


def _survey(places: Sequence[Place], text: str, id: str) -> tuple[list[int], bool, str]:
    """Rows of each shard, whether they have ids of their own, and a digest of all."""
    digest, counts, named = hashlib.sha256(), [], []
    for shard in places:
        file = opened(shard)
        names = file.schema_arrow.names
        if text not in names:
            raise DataError(
                f"shards: {shard.url} has no column {text!r}, only {', '.join(names)}; name one with --text"
            )
        kind = str(file.schema_arrow.field(text).type)
        if kind not in ("string", "large_string"):
            raise DataError(f"shards: column {text!r} of {shard.url} holds {kind}; expected texts")
        if "embedding" in names:
            raise DataError(f"shards: {shard.url} has a column embedding already; name it otherwise, or leave it out")
        named.append(id in names)
        if named[-1] != named[0]:
            raise DataError(
                f"shards: {(places[0] if named[-1] else shard).url} has no column {id!r}, but others have; give all of "
                f"them one, or none"
            )
        counts.append(file.metadata.num_rows)
        digest.update(f"{counts[-1]} {footer(file)}\n".encode())
    return counts, all(named), digest.hexdigest()[:32]


class _Shard:
    """One shard on its way; numbered: what to call the row numbers where there are no ids."""

    def __init__(
        self, shard: Place, text: str, numbered: str | None, start: int, embedder: TextEmbedder, batch: int, on_bad: str
    ) -> None:
        self.shard, self.text, self.numbered, self.start = shard, text, numbered, start
        self.embedder, self.batch, self.on_bad, self.cut, self.gone = embedder, batch, on_bad, 0, 0

    def write(self, target: Place, advance: Any) -> None:
        """Write the whole of it."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with target.writing() as file:
            writer = None
            for table in self._tables(advance):
                writer = writer or pq.ParquetWriter(file, table.schema)
                writer.write_table(table, row_group_size=_ROWS)
            if writer is None:
                pq.write_table(pa.table({self.numbered or "id": pa.array([], pa.int64())}), file)
            else:
                writer.close()

    def _tables(self, advance: Any) -> Iterator[Any]:
        import pyarrow as pa

        file, at = opened(self.shard), 0
        for part in batches(self.shard, file, None, file.schema_arrow.names, size=_ROWS):
            table = pa.Table.from_batches([part])
            rows, texts = self._with_text(table.column(self.text).to_pylist(), at)
            at += len(table)
            if len(rows):
                vectors = self._embedded(texts, rows)
                kept = table.take(rows - (at - len(table)))
                if self.numbered is not None:
                    kept = kept.add_column(0, self.numbered, pa.array(self.start + rows))
                lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
                yield kept.append_column("embedding", lists)
            advance(at)

    def _with_text(self, texts: list[str | None], at: int) -> tuple[np.ndarray, list[str]]:
        """The rows of the shard that have a text, and the texts."""
        good = [k for k, said in enumerate(texts) if said is not None and said.strip()]
        if len(good) < len(texts) and self.on_bad == "stop":
            first = next(k for k, said in enumerate(texts) if said is None or not said.strip())
            raise DataError(
                f"texts: row {at + first} of {self.shard.url} has none; give it one, or leave such rows out with "
                f"--on-bad skip"
            )
        self.gone += len(texts) - len(good)
        return at + np.array(good, dtype=np.int64), [str(texts[k]) for k in good]

    def _embedded(self, texts: list[str], rows: np.ndarray) -> np.ndarray:
        found = []
        for k in range(0, len(texts), self.batch):
            vectors, cut = self.embedder(texts[k : k + self.batch])
            self.cut += cut
            found.append(vectors.cpu().numpy())
        return half(np.concatenate(found), lambda row: f"row {rows[row]} of {self.shard.url}")
