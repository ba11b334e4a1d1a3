"""`scale instructions`: instruction data by a selector that learned from subsets whose quality was measured."""

from collections.abc import Mapping, Sequence
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
from secateur.scale.claim import GENERATIONS, HOW, Claim, How, held, visible
from secateur.scale.indicators import Examples, Indicator, read
from secateur.scale.learned import Selecting, scores, tell_subsets
from secateur.scale.quotas import count_of
from secateur.scale.shards import Columns, Survey
from secateur.scale.spectral import check_clusters, clustered
from secateur.scale.stage import Stage
from secateur.scale.storage import Place, expand

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
    dealt: str = ""  # the folder of subsets/
    files: str = ""  # that of manifest.parquet and the like

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
    claiming: How = HOW,
) -> Instructed:
    """Choose instruction data by a selector that learned what a good subset is (InstructionGPT-4, arXiv:2308.12067).

    Twice: without `quality` rows are dealt out to `subsets` (30) of one size, by k-means of their image embeddings,
    whose ids are written to OUT/subsets/NN.parquet. Fine-tune a model on each and measure it. With `quality`, a mapping
    or file of subset and quality (higher is better), a selector learns to tell it and scores all rows; the best of each
    cluster are kept, shares by largest remainder, ties to the lower id.

    columns: of ids and image embeddings; text: of text embeddings, if any. indicators: columns, `length:COLUMN` (ten
    times the characters of a text over those of the longest), or `package.module:function`, which gives of an Arrow
    table a number a row; with a factor if you like, as `reward*10`. seed: of the subsets in the first run, of the
    selector and clusters in the second. All rows are held in memory. claiming: see `secateur.scale.claim.How`.

    Raises DataError for bad rows, SecateurError for an unfit quality, WrongData for an OUT of something else.
    """
    asked = [Indicator.parse(one) for one in indicators]
    check_lists(write)
    if (quality is None) != (keep is None):
        raise SecateurError("keep: expected it together with the quality of the subsets, got one of the two")
    work = _begin(shards, Place(str(out)), columns or Columns(), text, asked, seed, Progress(quiet=quiet))
    made = {"subsets": subsets, "seed": seed if quality is None else None}

    def judge(before: Mapping[str, Any], there: Sequence[str]) -> None:
        _judge(work, before, there, made, force=force)
        if quality is not None and (force or not _has_subsets(before, there)):
            raise SecateurError(
                f"quality: there are no subsets in {work.out.url} yet; first run without it to make them"
            )

    with held(work.out, OURS, judge, claiming, say=work.progress.say) as claim:
        if quality is None or keep is None:
            return _dealt(work, claim, subsets, force=force)
        options = {"keep": keep, "indicators": list(indicators), "text": text, "write": list(write)}
        return _selected(work, claim, quality, how, options)


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


def _dealt(work: _Work, claim: Claim, subsets: int | None, *, force: bool) -> Instructed:
    """The first run: subsets, in files of their ids. Those that are there stay."""
    if force or not _has_subsets(claim.about, visible(work.out)):
        of = parts.alike(work.rows.image, 30 if subsets is None else subsets, seed=work.seed)
        urls = [shard.url for shard in work.found.shards]
        more = {"subsets": int(of.max()) + 1, "seed": work.seed, "rows": len(of), "instructions": urls}
        claim.begin({"version": secateur.__version__} | work.about | more)
        place = claim.folder(Stage("subsets", work.about | more, work.out).digest)
        parts.write_subsets(place, work.rows.ids, of)
        claim.publish({} if place == work.out else {"dealt": f"{GENERATIONS}/{place.name}"}, place)
    return _told(work.out, _subsets(work, claim.about), _where(work.out, claim.about))


def _has_subsets(about: Mapping[str, Any], there: Sequence[str]) -> bool:
    return "dealt" in about or ("instructions" in about and "subsets.parquet" in there)


def _where(out: Place, about: Mapping[str, Any]) -> Place:
    """The folder of the subsets."""
    return out / about["dealt"] if "dealt" in about else out


def _subsets(work: _Work, about: Mapping[str, Any]) -> Int[np.ndarray, " rows"]:
    """The subset of each row, read back."""
    place = _where(work.out, about)
    of = parts.read_subsets(place, work.rows.ids)
    if int(of.max()) + 1 != about["subsets"]:
        raise WrongData(
            f"out: {place.url}/subsets.parquet has {int(of.max()) + 1} subsets, but run.json says "
            f"{about['subsets']}; one of the files was changed: restore it, or pass --force to start over"
        )
    return of


def _selected(
    work: _Work, claim: Claim, quality: str | Path | Mapping[Any, Any], how: Selecting, options: dict[str, Any]
) -> Instructed:
    """The second run: learn from the subsets that are there, score, choose."""
    before = claim.about
    of, count = _subsets(work, before), count_of(options["keep"], len(work.rows.ids))
    labels = parts.quality_of(quality, before["subsets"])
    check_clusters(len(of), how.clusters, how.cluster_by)
    asked = {"how": asdict(how), "seed": work.seed} | options
    told_of = work.about | asked | {"quality": labels.tolist()}
    place = claim.folder(Stage("instructions", told_of, work.out).digest)
    scored = scores(work.out, work.rows, of, labels, how, seed=work.seed, progress=work.progress)
    clusters = _clusters(work, how)
    kept = chosen(work.rows.ids, scored.rows, clusters, count)
    claim.check()
    claim.unfinished()
    tell_subsets(place, labels, scored)
    write_chosen(place, work.found, work.rows.ids, of, clusters, scored.rows, kept, options["write"])
    result = replace(
        _told(work.out, of, _where(work.out, before)), kept=count, clusters=int(clusters.max()) + 1,
        correlation=scored.correlation, chance=scored.chance, fit=scored.fit,
        score_kept=float(scored.rows[kept].mean()), score_all=float(scored.rows.mean()),
        leanings=leanings(scored.rows, work.rows.indicators, options["indicators"]), files=place.url,
    )  # fmt: skip
    also = [before["dealt"].partition("/")[2]] if "dealt" in before else []
    claim.publish({"asked": asked, "result": result.as_json()}, place, also=also)
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


def _told(place: Place, of: Int[np.ndarray, " rows"], subsets: Place) -> Instructed:
    sizes = (int(of.max()) + 1, int((of == 0).sum()), int((of < 0).sum()))
    return Instructed(place.url, len(of), *sizes, dealt=subsets.url)


def _clusters(work: _Work, how: Selecting) -> Int[np.ndarray, " rows"]:
    """The cluster of each row, found once."""
    asked = {"clusters": how.clusters, "by": how.cluster_by, "seed": work.seed}
    file = Stage("clusters", work.about | asked, work.out).folder / "clusters.npy"
    if not file.exists():
        with work.progress.stage(f"finding {how.clusters} clusters") as advance:
            file.write_array(clustered(work.rows.image, how.clusters, by=how.cluster_by, seed=work.seed))
            advance(1, 1)
    return file.read_array()


def _judge(
    work: _Work, before: Mapping[str, Any], there: Sequence[str], made: Mapping[str, int | None], *, force: bool
) -> None:
    """Raise WrongData if OUT belongs to another command, other shards, or subsets made with other options.

    made: how they must have been made; None where the second run takes what is there.
    """
    place, asked = work.out, work.about | {name: value for name, value in made.items() if value is not None}
    if there and "instructions" not in before:
        raise WrongData(f"out: {place.url} contains other files ({there[0]}); choose another --out")
    if not before or force:
        return
    changed = [f"{k} was {before.get(k)!r}, now {v!r}" for k, v in asked.items() if before.get(k) != v]
    if changed:
        raise WrongData(
            f"out: the subsets in {place.url} were made with other options ({'; '.join(changed)}); choose another "
            "--out, or pass --force to start over, after which their quality must be measured again"
        )
