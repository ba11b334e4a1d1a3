"""`secateur scale`: embeddings by the shard."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from secateur.cli import options as o
from secateur.cli import show
from secateur.cli.scaled import tell

Shards = Annotated[list[str], typer.Argument(help="parquet shards: files, folders, globs in quotes; paths or URLs")]
ScaleOut = Annotated[str, typer.Option("--out", help="folder or URL for everything the command writes")]
Clusters = Annotated[int | None, typer.Option(help="how many; by default the root of the rows")]
Sample = Annotated[int | None, typer.Option(help="rows the centroids are found from; 256 for each by default")]
Engine = Annotated[str, typer.Option(help="who works: local, processes here; or ray")]
Workers = Annotated[int | None, typer.Option(help="how many processes, one thread each; one a core by default")]
Border = Annotated[
    float,
    typer.Option(help="how much farther a row may be from other centroids to be compared there too; 0: not at all"),
]
UnitRows = Annotated[int, typer.Option(help="rows a task takes, which bounds the memory of a worker")]
OnBad = Annotated[str, typer.Option(help="rows of zeros, nan or null: stop, or drop and list them")]
Id = Annotated[str, typer.Option("--id", help="the column of ids")]
Embedding = Annotated[str, typer.Option(help="the column of embeddings")]
_BY, _FLOOR = "density, prototypes or random", "a cluster keeps this part of an even share at least"
_PREFER = "inside a cluster: hard, the farthest from its centroid; easy; or random"
_TEMPERATURE = "of the density: lower favours wide clusters more"
Prefer = Annotated[str | None, typer.Option(help=_PREFER)]
Floor = Annotated[float, typer.Option(help=_FLOOR)]
Temperature = Annotated[float, typer.Option(help=_TEMPERATURE)]
Threshold = Annotated[float | None, typer.Option(help="rows of a higher cosine are duplicates; 0.95 by default")]
DedupTo = Annotated[float | None, typer.Option(help="in place of a threshold: so large a fraction is left by dedup")]
DedupPrefer = Annotated[str, typer.Option(help="which of duplicates stays: hard, easy or random")]
Write = Annotated[str, typer.Option(help="of what is kept also: shards, uids, keys; several with commas")]
Score = Annotated[str | None, typer.Option(help="a column to filter by")]
ScoreMin = Annotated[float | None, typer.Option(help="the lowest value that passes")]
ScoreMax = Annotated[float | None, typer.Option(help="the highest value that passes")]
ScoreTop = Annotated[float | None, typer.Option(help="the highest fraction passes")]
ScoreQuantiles = Annotated[str | None, typer.Option(help="from one to another, as 0.1,0.9")]
TakeOver = Annotated[
    bool,
    typer.Option("--take-over", help="on an object store: take OUT over at once; the command that holds it stops"),
]
SingleWriter = Annotated[
    bool,
    typer.Option(
        "--unsafe-single-writer", help="on an object store without conditional writes: no other command is using OUT"
    ),
]

_SHARED: dict[str, tuple[Any, Any]] = {
    "clusters": (Clusters, None),
    "sample": (Sample, None),
    "write": (Write, ""),
    "engine": (Engine, "local"),
    "workers": (Workers, None),
    "border": (Border, 0.005),
    "unit_rows": (UnitRows, 131_072),
    "on_bad": (OnBad, "stop"),
    "id": (Id, "id"),
    "embedding": (Embedding, "embedding"),
    "out": (ScaleOut, "secateur-scale"),
    "take_over": (TakeOver, False),
    "unsafe_single_writer": (SingleWriter, False),
    "seed": (o.Seed, 0),
    "force": (o.Force, False),
    "json": (o.AsJson, False),
}


def works_on_shards(command: Callable[..., dict[str, Any]]) -> Callable[..., None]:
    """Give a command the options they share; it gives back what `secateur.scale.prune` takes beside."""

    def run(**given: Any) -> None:
        from secateur import scale as s

        shared = {name: given.pop(name) for name in _SHARED}
        clustering = s.Clustering(
            shared["clusters"], shared["sample"], unit_rows=shared["unit_rows"], on_bad=shared["on_bad"],
            seed=shared["seed"], border=shared["border"],
        )  # fmt: skip
        found = s.prune(
            given["shards"], out=shared["out"], clustering=clustering, write=o.split_list(shared["write"]),
            columns=s.Columns(shared["id"], shared["embedding"]), engine=shared["engine"], workers=shared["workers"],
            force=shared["force"], quiet=shared["json"], **command(**given),
            claiming=s.How(shared["take_over"], shared["unsafe_single_writer"]),
        )  # fmt: skip
        tell(found, as_json=shared["json"])

    return o.with_options(run, command, _SHARED)


@works_on_shards
def prune(
    shards: Shards,
    *,
    keep: o.Keep,
    by: Annotated[str, typer.Option(help=_BY)] = "density",
    prefer: Prefer = None,
    floor: Floor = 0.5,
    temperature: Temperature = 0.1,
    threshold: Threshold = None,
    dedup_to: DedupTo = None,
    dedup_prefer: DedupPrefer = "hard",
    no_dedup: Annotated[bool, typer.Option("--no-dedup", help="leave duplicates in")] = False,
    score: Score = None,
    score_min: ScoreMin = None,
    score_max: ScoreMax = None,
    score_top: ScoreTop = None,
    score_quantiles: ScoreQuantiles = None,
) -> dict[str, Any]:
    """Prune embeddings: cluster, filter, drop near-duplicates, keep of each cluster what its density gives it."""
    from secateur.errors import SecateurError
    from secateur.scale import Choice

    if no_dedup and (threshold is not None or dedup_to is not None):
        raise SecateurError("no_dedup: expected it without --threshold and --dedup-to, which say how to dedup")

    return {
        "keep": o.parse_keep(keep),
        "filter": _filter(score, score_min, score_max, score_top, score_quantiles),
        "dedup": None if no_dedup else _dedup(threshold, dedup_to, dedup_prefer),
        "choice": Choice(by, prefer, floor, temperature),  # type: ignore[arg-type]
    }


@works_on_shards
def cluster(shards: Shards) -> dict[str, Any]:
    """Cluster embeddings: the cluster of every row, and its distance to the centroid, in OUT/manifest.parquet."""
    return {"keep": None, "dedup": None}


@works_on_shards
def dedup(
    shards: Shards, *, threshold: Threshold = None, dedup_to: DedupTo = None, dedup_prefer: DedupPrefer = "hard"
) -> dict[str, Any]:
    """Drop near-duplicates and keep the rest."""
    return {"keep": None, "dedup": _dedup(threshold, dedup_to, dedup_prefer)}


@works_on_shards
def filter(
    shards: Shards,
    *,
    score: Annotated[str, typer.Option(help="the column to filter by")],
    score_min: ScoreMin = None,
    score_max: ScoreMax = None,
    score_top: ScoreTop = None,
    score_quantiles: ScoreQuantiles = None,
) -> dict[str, Any]:
    """Keep the rows whose column is in a range, between quantiles, or in the top fraction."""
    return {"keep": None, "dedup": None, "filter": _filter(score, score_min, score_max, score_top, score_quantiles)}


@works_on_shards
def density(
    shards: Shards, *, keep: o.Keep, prefer: Prefer = None, floor: Floor = 0.5, temperature: Temperature = 0.1
) -> dict[str, Any]:
    """Keep of each cluster what its density gives it; nothing is filtered or taken for a duplicate."""
    return _chosen(keep, "density", prefer, floor, temperature)


@works_on_shards
def prototypes(shards: Shards, *, keep: o.Keep, prefer: Prefer = None, floor: Floor = 0.5) -> dict[str, Any]:
    """Keep the rows farthest from their centroid (SSP); nothing is filtered or taken for a duplicate."""
    return _chosen(keep, "prototypes", prefer, floor)


def _chosen(keep: str, *choice: Any) -> dict[str, Any]:
    from secateur.scale import Choice

    return {"keep": o.parse_keep(keep), "dedup": None, "choice": Choice(*choice)}


def select(
    run: Annotated[str, typer.Argument(help="OUT of a finished `scale prune`, or of one of its stages")],
    *,
    out: ScaleOut,
    keep: Annotated[str | None, typer.Option(help="0.3 is a fraction, 500 a count; by default as in the run")] = None,
    by: Annotated[str | None, typer.Option(help=f"{_BY}; by default as in the run")] = None,
    prefer: Prefer = None,
    floor: Annotated[float | None, typer.Option(help=_FLOOR)] = None,
    temperature: Annotated[float | None, typer.Option(help=_TEMPERATURE)] = None,
    write: Write = "",
    engine: Engine = "local",
    workers: Workers = None,
    take_over: TakeOver = False,
    unsafe_single_writer: SingleWriter = False,
    force: o.Force = False,
    json: o.AsJson = False,
) -> None:
    """Choose anew from a finished run, into another OUT, without clustering, filtering or comparing rows again."""
    from secateur.scale import How
    from secateur.scale import select as choose

    given = {"by": by, "prefer": prefer, "floor": floor, "temperature": temperature}
    found = choose(
        run, out=out, keep="as before" if keep is None else o.parse_keep(keep), write=o.split_list(write),
        choice={name: value for name, value in given.items() if value is not None}, engine=engine, workers=workers,
        force=force, quiet=json, claiming=How(take_over, unsafe_single_writer),
    )  # fmt: skip
    tell(found, as_json=json)


def _dedup(threshold: float | None, target: float | None, prefer: str) -> Any:
    from secateur.errors import SecateurError
    from secateur.scale import Dedup

    if threshold is not None and target is not None:
        raise SecateurError("dedup_to: expected it or --threshold, got both")
    return Dedup(0.95 if threshold is None and target is None else threshold, target, prefer)  # type: ignore[arg-type]


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
    from secateur.ranges import plain_number

    try:
        low, high = (float(plain_number(part)) for part in text.split(","))
    except ValueError:
        raise SecateurError(f"score_quantiles: expected two numbers as 0.1,0.9, got {text!r}") from None
    return low, high


def embed(
    data: o.Data,
    *,
    by: Annotated[
        str, typer.Option(help="an OUT folder, timm:NAME, transformers:NAME, package.module:function, or input")
    ],
    net: Annotated[str | None, typer.Option(help="the net of your own that OUT holds, package.module:function")] = None,
    text: Annotated[str | None, typer.Option(help="DATA is parquet shards, and this the column to embed")] = None,
    id: Annotated[str, typer.Option("--id", help="with --text: the column of ids; without it, row numbers")] = "id",
    out: ScaleOut = "secateur-shards",
    rows: Annotated[int | None, typer.Option(help="rows of a shard; 65536 by default")] = None,
    batch: Annotated[int, typer.Option(help="rows that are embedded at a time")] = 256,
    input: o.Input = None,
    label: o.Label = None,
    split: o.Split = None,
    size: o.Size = None,
    on_bad: o.OnBad = "stop",
    memory: o.Memory = None,
    cache: o.Cache = None,
    device: o.Device = "auto",
    take_over: TakeOver = False,
    unsafe_single_writer: SingleWriter = False,
    force: o.Force = False,
    json: o.AsJson = False,
) -> None:
    """Embed a data set, or texts, into shards, to be pruned: by the net of a run, or one trained elsewhere."""
    from secateur.errors import SecateurError
    from secateur.scale import How
    from secateur.scale.embed import embed as images
    from secateur.scale.texts import embed_texts

    own = {"input": input, "label": label, "split": split, "size": size, "cache": cache, "memory": memory, "rows": rows,
           "net": net}  # fmt: skip
    given = {name: value for name, value in own.items() if value is not None}
    how: dict[str, Any] = {"by": by, "out": out, "batch": batch, "device": device, "force": force, "quiet": json,
                           "claiming": How(take_over, unsafe_single_writer)}  # fmt: skip
    if text is not None:
        if given:
            raise SecateurError(f"{next(iter(given))}: is of data sets; with --text, each shard gives one of its own")
        found = embed_texts(data, text=text, id=id, on_bad=on_bad, **how)
    else:
        found = images(data, on_bad=on_bad, **how | given | {"memory": o.parse_memory(memory)})
    if json:
        show.as_json([place.url for place in found])
    else:
        show.pairs(
            [
                ["shards", f"{len(found)} in {found[0].url.rpartition('/')[0] if found else out}"],
                ["next", f"secateur scale prune {out} --keep 0.3 --by random --dedup-to 0.9 --write shards"],
            ]
        )
