"""`secateur scale`: embeddings by the shard."""

from pathlib import Path
from typing import Annotated, Any

import typer

from secateur.cli import options as o
from secateur.cli import show

Shards = Annotated[list[str], typer.Argument(help="parquet shards: files, folders, globs in quotes; paths or URLs")]
ScaleOut = Annotated[str, typer.Option("--out", help="folder or URL for everything the command writes")]
Clusters = Annotated[int | None, typer.Option(help="how many; by default the root of the rows")]
Sample = Annotated[int | None, typer.Option(help="rows the centroids are found from; 128 for each by default")]
Engine = Annotated[str, typer.Option(help="who works: local, processes here; or ray")]
Workers = Annotated[int | None, typer.Option(help="how many processes, one thread each; one a core by default")]
UnitRows = Annotated[int, typer.Option(help="rows a task takes, which bounds the memory of a worker")]
OnBad = Annotated[str, typer.Option(help="rows of zeros, nan or null: stop, or drop and list them")]
Id = Annotated[str, typer.Option("--id", help="the column of ids")]
Embedding = Annotated[str, typer.Option(help="the column of embeddings")]


def prune(
    shards: Shards,
    *,
    keep: o.Keep,
    out: ScaleOut = "secateur-scale",
    by: Annotated[str, typer.Option(help="density, prototypes or random")] = "density",
    prefer: Annotated[
        str | None, typer.Option(help="inside a cluster: hard, the farthest from its centroid; easy; or random")
    ] = None,
    floor: Annotated[float, typer.Option(help="a cluster keeps this part of an even share at least")] = 0.5,
    temperature: Annotated[float, typer.Option(help="of the density: lower favours wide clusters more")] = 0.1,
    threshold: Annotated[float, typer.Option(help="rows of a higher cosine are duplicates")] = 0.95,
    dedup_to: Annotated[
        float | None, typer.Option(help="in place of a threshold: so large a fraction is left by dedup")
    ] = None,
    dedup_prefer: Annotated[str, typer.Option(help="which of duplicates stays: hard, easy or random")] = "hard",
    no_dedup: Annotated[bool, typer.Option("--no-dedup", help="leave duplicates in")] = False,
    score: Annotated[str | None, typer.Option(help="a column to filter by")] = None,
    score_min: Annotated[float | None, typer.Option(help="the lowest value that passes")] = None,
    score_max: Annotated[float | None, typer.Option(help="the highest value that passes")] = None,
    score_top: Annotated[float | None, typer.Option(help="the highest fraction passes")] = None,
    score_quantiles: Annotated[str | None, typer.Option(help="from one to another, as 0.1,0.9")] = None,
    clusters: Clusters = None,
    sample: Sample = None,
    write: Annotated[str, typer.Option(help="of what is kept also: shards, uids, keys; several with commas")] = "",
    engine: Engine = "local",
    workers: Workers = None,
    unit_rows: UnitRows = 131_072,
    on_bad: OnBad = "stop",
    id: Id = "id",
    embedding: Embedding = "embedding",
    seed: o.Seed = 0,
    force: o.Force = False,
    json: o.AsJson = False,
) -> None:
    """Prune embeddings: cluster, filter, drop near-duplicates, keep of each cluster what its density gives it."""
    from secateur import scale as s

    wanted = o.parse_keep(keep)
    column = _filter(score, score_min, score_max, score_top, score_quantiles)
    found = s.prune(
        shards, keep=wanted, out=out,
        clustering=s.Clustering(clusters, sample, unit_rows=unit_rows, on_bad=on_bad, seed=seed),
        filter=column, dedup=_dedup(no_dedup, threshold, dedup_to, dedup_prefer),
        choice=s.Choice(by, prefer, floor, temperature), columns=s.Columns(id, embedding),  # type: ignore[arg-type]
        write=o.split_list(write), engine=engine, workers=workers, force=force, quiet=json,
    )  # fmt: skip
    if json:
        show.as_json(found.as_json())
    else:
        show.pairs(_told(found))


def _dedup(off: bool, threshold: float, target: float | None, prefer: str) -> Any:
    from secateur.scale import Dedup

    return None if off else Dedup(None if target is not None else threshold, target, prefer)  # type: ignore[arg-type]


def _filter(column: str | None, low: float | None, high: float | None, top: float | None, quantiles: str | None) -> Any:
    from secateur.errors import SecateurError
    from secateur.scale import Filter

    if column is None:
        if any(v is not None for v in (low, high, top, quantiles)):
            raise SecateurError("score: expected the column that --score-min and the like are of, as --score clip")
        return None
    return Filter(column, low, high, top, None if quantiles is None else _pair(quantiles))


def _pair(text: str) -> tuple[float, float]:
    from secateur.errors import SecateurError

    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise SecateurError(f"score_quantiles: expected two numbers as 0.1,0.9, got {text!r}") from None
    return low, high


def _told(found: Any) -> list[list[str]]:
    """What became of all rows."""
    rows = [["rows", f"{found.rows:,} in {found.clusters:,} clusters"]]
    parts = {"bad": found.bad, "filtered": found.filtered, "duplicates": found.duplicates, "pruned": found.pruned}
    rows += [[name, f"{count:,} ({count / found.rows:.1%})"] for name, count in parts.items() if count]
    rows.append(["kept", f"{found.kept:,} ({found.kept / found.rows:.1%})"])
    if found.threshold is not None:
        rows.append(["duplicate", f"above a cosine of {found.threshold:.4f}"])
    return [*rows, ["in", f"{found.out}/manifest.parquet, kept_ids.parquet"]]


def embed(
    data: o.Data,
    *,
    by: Annotated[
        str, typer.Option(help="an OUT folder, timm:NAME, transformers:NAME, package.module:function, or input")
    ],
    out: ScaleOut = "secateur-shards",
    rows: Annotated[int, typer.Option(help="rows of a shard")] = 65_536,
    batch: Annotated[int, typer.Option(help="rows that are embedded at a time")] = 256,
    input: o.Input = None,
    label: o.Label = None,
    split: o.Split = None,
    size: o.Size = None,
    on_bad: o.OnBad = "stop",
    memory: o.Memory = None,
    cache: o.Cache = None,
    device: o.Device = "auto",
    force: o.Force = False,
    json: o.AsJson = False,
) -> None:
    """Embed a data set into shards, to be pruned: by the net of a run, or one trained elsewhere."""
    from secateur.scale.embed import embed as run

    reading = {"input": input, "label": label, "split": split, "size": size, "on_bad": on_bad, "cache": cache}
    given = {name: value for name, value in reading.items() if value is not None}
    found = run(
        data, by=by, out=out, rows=rows, batch=batch, device=device, force=force, quiet=json,
        memory=o.parse_memory(memory), **given,
    )  # fmt: skip
    if json:
        show.as_json([place.url for place in found])
    else:
        show.pairs([["shards", f"{len(found)} in {out}"], ["next", f"secateur scale prune {Path(out)} --keep 0.3"]])
