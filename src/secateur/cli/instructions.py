"""`secateur scale instructions`: two runs, with a model fine-tuned on each subset between them."""

from typing import Annotated, Any

import typer

from secateur.cli import options as o
from secateur.cli import show
from secateur.cli.scale import Embedding, Id, ScaleOut, Shards, SingleWriter, TakeOver, Write


def instructions(
    shards: Shards,
    *,
    quality: Annotated[
        str | None,
        typer.Option(
            help="for the second run: CSV, parquet or JSON with columns subset and quality (higher is better)"
        ),
    ] = None,
    keep: Annotated[
        str | None, typer.Option(help="how many rows to keep: 0.3 is a fraction, 500 a count; use with --quality")
    ] = None,
    indicators: Annotated[
        str,
        typer.Option(
            help="further inputs, separated by commas: a column, length:COLUMN of a text, package.module:function; "
            "scale one with a factor, such as reward*10"
        ),
    ] = "",
    text_embedding: Annotated[str | None, typer.Option(help="a second column, of text embeddings")] = None,
    subsets: Annotated[int | None, typer.Option(help="subsets to measure; 30 by default")] = None,
    clusters: Annotated[int, typer.Option(help="number of clusters; the best rows of each are kept")] = 10,
    cluster_by: Annotated[str, typer.Option(help="spectral, or k-means for more than 20,000 rows")] = "spectral",
    components: Annotated[int, typer.Option(help="PCA components kept of each embedding")] = 6,
    pca: Annotated[str, typer.Option(help="fit PCA on all rows, or on each subset as the official code does")] = "all",
    features: Annotated[
        str, typer.Option(help="standard (standardised), or given (as they are, as in the paper)")
    ] = "standard",
    labels: Annotated[
        str, typer.Option(help="standard (standardise the quality), or given (as it is, as in the paper)")
    ] = "standard",
    attention: Annotated[
        str, typer.Option(help="inside each subset, or across subsets as the official code does")
    ] = "inside",
    epochs: Annotated[int, typer.Option(help="training epochs of the selector")] = 20,
    lr: Annotated[float, typer.Option(help="learning rate of the selector")] = 0.01,
    write: Write = "",
    id: Id = "id",
    embedding: Embedding = "embedding",
    out: ScaleOut = "secateur-scale",
    take_over: TakeOver = False,
    unsafe_single_writer: SingleWriter = False,
    seed: o.Seed = 0,
    force: o.Force = False,
    json: o.AsJson = False,
) -> None:
    """Choose instruction data with a selector that learns from subsets whose quality you measure."""
    from secateur import scale as s

    how = s.Selecting(components, pca, features, attention, labels, epochs, lr, clusters, cluster_by)
    found = s.instructions(
        shards, out=out, quality=quality, keep=None if keep is None else o.parse_keep(keep),
        indicators=o.split_list(indicators), text=text_embedding, subsets=subsets, how=how,
        columns=s.Columns(id, embedding), write=o.split_list(write), seed=seed, force=force, quiet=json,
        claiming=s.How(take_over, unsafe_single_writer),
    )  # fmt: skip
    if json:
        show.as_json(found.as_json())
    else:
        show.pairs(_lines(found))


def _lines(found: Any) -> list[list[str]]:
    """What was done, and the next step."""
    left = f"; {found.left_over} rows are in no subset" if found.left_over else ""
    lines = [["subsets", f"{found.subsets} of {found.size:,} rows, in {found.dealt}/subsets{left}"]]
    if found.kept is None:
        return [
            *lines,
            ["next", "fine-tune a model on each subset, measure it, and write a file of `subset,quality`, as `0,0.71`"],
            ["then", "the same command with --quality FILE --keep 0.1"],
        ]
    learned = "better than chance" if found.correlation > found.chance else "no better than chance: do not trust it"
    leans = ", ".join(f"{name} {value:+.2f}" for name, value in found.leanings.items())
    return [
        *lines,
        [
            "kept",
            f"{found.kept:,} of {found.rows:,} ({found.kept / found.rows:.1%}), the best of {found.clusters} clusters",
        ],
        ["learned", f"rank correlation {found.correlation:.2f} with the quality of subsets not seen; {learned}"],
        ["", f"({found.chance:.2f} or more comes by chance in one of twenty cases; of subsets seen: {found.fit:.2f})"],
        *([["score", f"by ranks goes with {leans}; is that as it should be?"]] if found.leanings else []),
        ["expected", f"quality {found.score_kept:.4g} of what is kept, {found.score_all:.4g} of all"],
        ["in", f"{found.files}/manifest.parquet, kept_ids.parquet, selector.parquet"],
    ]
