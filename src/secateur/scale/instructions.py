"""`scale instructions`: instruction data by a selector that learned from subsets whose quality was measured."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

import secateur
from secateur.errors import SecateurError, WrongData
from secateur.progress import Progress
from secateur.scale import subsets as parts
from secateur.scale.chosen import SELECTION, check_lists, chosen, write_chosen
from secateur.scale.indicators import Examples, Indicator, read
from secateur.scale.learned import Selecting, scores
from secateur.scale.quotas import count_of
from secateur.scale.shards import Columns, Survey
from secateur.scale.spectral import check_clusters, clustered
from secateur.scale.stage import Stage
from secateur.scale.storage import Place, expand
from secateur.store.files import locked
from secateur.store.schemas.scale import AnyInstructions

SELECTING = Selecting()
OURS = ("run.json", "subsets.parquet", "subsets", "stages", "selector.parquet", *SELECTION)
"""Everything that is written into OUT."""


@dataclass(frozen=True)
class Instructed:
    """What was done. kept and what follows are None as long as no quality was given.

    size: rows of a subset; left_over: rows in none. correlation: of the quality of subsets that the selector had not
    seen with what it expected of them, by ranks; chance: what is reached by chance in one of twenty cases; fit: the
    same of those it was trained on. score_kept, score_all: the mean quality expected of rows, in the unit that it was
    measured in. leanings: the rank correlation of the scores of rows with each indicator; where one has the wrong sign,
    the selector took where the images of good subsets lie for what makes rows good.
    """

    out: str
    rows: int
    subsets: int
    size: int
    left_over: int
    kept: int | None = None
    clusters: int | None = None
    correlation: float | None = None
    chance: float | None = None
    fit: float | None = None
    score_kept: float | None = None
    score_all: float | None = None
    leanings: dict[str, float] | None = None

    def as_json(self) -> dict[str, Any]:
        """For run.json and the command line."""
        return asdict(self)


def instructions(
    shards: str | Sequence[str],
    *,
    out: str = "secateur-scale",
    quality: str | Path | Mapping[Any, Any] | None = None,
    keep: int | float | None = None,
    indicators: Sequence[str] = (),
    text: str | None = None,
    subsets: int | None = None,
    how: Selecting = SELECTING,
    columns: Columns | None = None,
    write: Sequence[str] = (),
    seed: int = 0,
    force: bool = False,
    quiet: bool = False,
) -> Instructed:
    """Choose instruction data by a selector that learned what a good subset is (InstructionGPT-4, arXiv:2308.12067).

    Twice: without `quality` rows are dealt out to `subsets` (30) of one size, by k-means of their image embeddings,
    whose ids are written to OUT/subsets/NN.parquet. Fine-tune a model on each and measure it. With `quality`, a mapping
    or file of subset and quality (higher is better), a selector learns to tell it and scores all rows; the best of each
    cluster are kept, shares by largest remainder, ties to the lower id.

    columns: of ids and image embeddings; text: of text embeddings, if any. indicators: columns, `length:COLUMN` (ten
    times the characters of a text over those of the longest), or `package.module:function`, which gives of an Arrow
    table a number a row; with a factor if you like, as `reward*10`. seed: of the subsets in the first run, of the
    selector and clusters in the second. All rows are held in memory.

    Raises DataError for bad rows, SecateurError for an unfit quality, WrongData for an OUT of something else.
    """
    asked = [Indicator.parse(one) for one in indicators]
    check_lists(write)
    if (quality is None) != (keep is None):
        raise SecateurError("keep: expected it together with the quality of the subsets, got one of the two")
    work = _begin(shards, Place(str(out)), columns or Columns(), text, asked, seed, Progress(quiet=quiet))
    before = _before(work, {"subsets": subsets, "seed": seed if quality is None else None}, force=force)
    if quality is None or keep is None:
        return _dealt(work, before, subsets, force=force)
    options = {"keep": keep, "indicators": list(indicators), "text": text, "write": list(write)}
    return _selected(work, before, quality, how, options)


@dataclass(frozen=True)
class _Work:
    """What both runs work with."""

    out: Place
    found: Survey
    rows: Examples
    about: dict[str, Any]
    seed: int
    progress: Progress


def _begin(
    shards: str | Sequence[str],
    out: Place,
    columns: Columns,
    text: str | None,
    indicators: Sequence[Indicator],
    seed: int,
    progress: Progress,
) -> _Work:
    """Read the shards; nothing is written yet."""
    with progress.stage("reading") as advance:
        found, rows = read(expand(shards), columns, text, indicators)
        advance(found.rows, found.rows)
    about = {"fingerprint": found.fingerprint, "columns": [columns.id, columns.embedding]}
    return _Work(out, found, rows, about, seed, progress)


def _dealt(work: _Work, before: dict[str, Any] | None, subsets: int | None, *, force: bool) -> Instructed:
    """The first run: subsets, in files of their ids. Those that are there stay."""
    if before is None or "subsets.parquet" not in work.out.names():
        of = parts.alike(work.rows.image, 30 if subsets is None else subsets, seed=work.seed)
        with _claimed(work.out, clear=force):
            urls = [shard.url for shard in work.found.shards]
            more = {"subsets": int(of.max()) + 1, "seed": work.seed, "rows": len(of), "instructions": urls}
            (work.out / "run.json").write_json({"version": secateur.__version__} | work.about | more)
            parts.write_subsets(work.out, work.rows.ids, of)
    return _told(work.out, parts.read_subsets(work.out))


def _selected(
    work: _Work,
    before: dict[str, Any] | None,
    quality: str | Path | Mapping[Any, Any],
    how: Selecting,
    options: dict[str, Any],
) -> Instructed:
    """The second run: learn from the subsets that are there, score, choose."""
    if before is None or "subsets.parquet" not in work.out.names():
        raise SecateurError(
            f"quality: there are no subsets in {work.out.url} yet; run without it first, which makes them"
        )
    of, count = parts.read_subsets(work.out), count_of(options["keep"], len(work.rows.ids))
    labels = parts.quality_of(quality, before["subsets"])
    check_clusters(len(of), how.clusters, how.cluster_by)
    with _claimed(work.out):
        scored = scores(work.out, work.rows, of, labels, how, seed=work.seed, progress=work.progress)
        clusters = _clusters(work, how)
        kept = chosen(work.rows.ids, scored.rows, clusters, count)
        write_chosen(work.out, work.found, work.rows.ids, of, clusters, scored.rows, kept, options["write"])
        result = replace(
            _told(work.out, of), kept=count, clusters=int(clusters.max()) + 1, correlation=scored.correlation,
            chance=scored.chance, fit=scored.fit, score_kept=float(scored.rows[kept].mean()),
            score_all=float(scored.rows.mean()),
            leanings=leanings(scored.rows, work.rows.indicators, options["indicators"]),
        )  # fmt: skip
        asked = {"how": asdict(how), "seed": work.seed} | options
        (work.out / "run.json").write_json(before | {"asked": asked, "result": result.as_json()})
    return result


def leanings(
    scores: Float[np.ndarray, " rows"], indicators: Float[np.ndarray, "rows indicators"], names: Sequence[str]
) -> dict[str, float]:
    """The rank correlation of the scores with each indicator; 0 where one is the same for all rows.

    >>> leanings(np.array([1., 2., 3.]), np.array([[5., 1.], [6., 1.], [9., 1.]]), ["clip", "reward"])
    {'clip': 1.0, 'reward': 0.0}
    """
    from scipy.stats import spearmanr

    flat = np.ptp(scores) == 0
    return {
        name: 0.0 if flat or np.ptp(values) == 0 else float(spearmanr(scores, values).statistic)
        for name, values in zip(names, indicators.T, strict=True)
    }


def _told(place: Place, of: Int[np.ndarray, " rows"]) -> Instructed:
    return Instructed(place.url, len(of), int(of.max()) + 1, int((of == 0).sum()), int((of < 0).sum()))


def _clusters(work: _Work, how: Selecting) -> Int[np.ndarray, " rows"]:
    """The cluster of each row, found once."""
    asked = {"clusters": how.clusters, "by": how.cluster_by, "seed": work.seed}
    file = Stage("clusters", work.about | asked, work.out).folder / "clusters.npy"
    if not file.exists():
        with work.progress.stage(f"finding {how.clusters} clusters") as advance:
            file.write_array(clustered(work.rows.image, how.clusters, by=how.cluster_by, seed=work.seed))
            advance(1, 1)
    return file.read_array()


def _before(work: _Work, made: dict[str, int | None], *, force: bool) -> dict[str, Any] | None:
    """What run.json says of the subsets that are there; None where OUT is empty, or is to be begun anew.

    made: how they must have been made; None where the second run takes what is there.

    Raises WrongData where OUT is of another command, of other shards, or of subsets made otherwise.
    """
    place, asked = work.out, work.about | {name: value for name, value in made.items() if value is not None}
    there = [name for name in place.names() if not name.startswith(".")]
    if not there:
        return None
    before = (place / "run.json").read_json(AnyInstructions) if "run.json" in there else {}
    if "instructions" not in before:
        raise WrongData(f"out: {place.url} holds something else ({there[0]}); name another --out")
    if force:
        return None
    changed = [f"{k} was {before[k]}, now {v}" for k, v in asked.items() if before[k] != v]
    if changed:
        raise WrongData(
            f"out: the subsets in {place.url} were made otherwise ({'; '.join(changed)}); name another --out, or "
            f"--force to start over, after which their quality must be measured again"
        )
    return before


@contextmanager
def _claimed(place: Place, *, clear: bool = False) -> Iterator[None]:
    """Keep a second command on this machine out of OUT; clear: delete what was made there."""
    with ExitStack() as held:
        if (path := place.local) is not None:
            path.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(path))
        for name in OURS if clear else ():
            (place / name).remove()
        yield
