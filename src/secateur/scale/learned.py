"""Rows scored by a selector that learned from subsets; torch is imported when it learns."""

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float, Int

from secateur.errors import SecateurError
from secateur.progress import Progress
from secateur.ranges import ABOVE_0, SOME
from secateur.scale import features
from secateur.scale.indicators import Examples
from secateur.scale.stage import Stage
from secateur.scale.storage import Place
from secateur.scale.subsets import write_table


@dataclass(frozen=True)
class Selecting:
    """How rows are seen, learned from, and dealt out to clusters; what the paper's own code does can be asked for.

    components: numbers that each embedding is brought down to. pca: `all`, fitted once on all rows; `subset`, in each
    subset by itself and once more on all rows to score them, as the official code does, so that axes and signs of the
    two do not match. features: `standard`, every number brought to mean 0 and spread 1 over all rows; `given`, as they
    are, as in the paper. Adam's steps of 0.01 are the same for all weights, so as given the largest indicators decide
    alone. attention, labels, epochs, lr: see `secateur.training.quality.Learning`. clusters: of the image embeddings,
    by `spectral` clustering or, for more than 20,000 rows, `k-means`.
    """

    components: int = 6
    pca: str = "all"
    features: str = "standard"
    attention: str = "inside"
    labels: str = "standard"
    epochs: int = 20
    lr: float = 0.01
    clusters: int = 10
    cluster_by: str = "spectral"

    def __post_init__(self) -> None:
        for name in ("components", "epochs", "clusters"):
            SOME.check(getattr(self, name), name)
        ABOVE_0.check(self.lr, "lr")
        for name, allowed in (("pca", ("all", "subset")), ("features", ("standard", "given"))):
            if getattr(self, name) not in allowed:
                raise SecateurError(f"{name}: expected {' or '.join(allowed)}, got {getattr(self, name)!r}")


@dataclass(frozen=True)
class Scored:
    """rows (rows,): the quality expected of each; how well the quality of subsets was foretold, see `Instructed`."""

    rows: np.ndarray
    correlation: float
    chance: float
    fit: float
    subsets: np.ndarray  # (2, subsets): expected, gain


def scores(
    out: Place,
    rows: Examples,
    of: Int[np.ndarray, " rows"],
    quality: Float[np.ndarray, " subsets"],
    how: Selecting,
    *,
    seed: int,
    progress: Progress,
) -> Scored:
    """What the selector says of every row; what was learned before of the same rows and labels is read again.

    `tell_subsets` writes what is told of subsets.
    """
    seen, of_subsets = seen_by_selector(rows, of, how)
    digest = hashlib.sha256(seen.tobytes() + of_subsets.tobytes() + quality.tobytes()).hexdigest()
    knobs = {name: value for name, value in asdict(how).items() if not name.startswith("cluster")}
    stage = Stage("selector", knobs | {"data": digest, "seed": seed}, out)
    if not (stage.folder / "rows.npy").exists():
        with progress.stage("learning what a good subset is") as advance:
            _learn(stage.folder, seen, of_subsets, quality, how, seed, advance)
    (known, chance, fit), table = (stage.folder / "told.npy").read_array(), (stage.folder / "subsets.npy").read_array()
    rows_found = (stage.folder / "rows.npy").read_array()
    return Scored(rows_found, float(known), float(chance), float(fit), table)


def tell_subsets(place: Place, quality: Float[np.ndarray, " subsets"], scored: Scored) -> None:
    """Write selector.parquet: subset, quality, expected (by the selector that saw them all), gain (by one that did not
    see this one, over those that it saw).
    """
    expected, gain = scored.subsets
    columns = {"subset": np.arange(len(quality)), "quality": quality, "expected": expected, "gain": gain}
    write_table(place / "selector.parquet", columns)


def seen_by_selector(
    rows: Examples, of: Int[np.ndarray, " rows"], how: Selecting
) -> tuple[Float[np.ndarray, "rows width"], Float[np.ndarray, "subsets members width"]]:
    """What the selector sees of all rows, and of the members of each subset."""
    members = np.argsort(of, kind="stable")[np.count_nonzero(of < 0) :].reshape(int(of.max()) + 1, -1)
    seen = features.joined(rows.embeddings, rows.indicators, components=how.components)
    found = seen[members]
    if how.pca == "subset":
        each = features.of_subsets(rows.embeddings, rows.indicators, members, components=how.components)
        found = np.stack(list(each))
    if how.features == "standard":
        found, seen = features.standard(found, seen), features.standard(seen, seen)
    return seen, found


def _learn(
    folder: Place,
    seen: np.ndarray,
    of_subsets: np.ndarray,
    quality: np.ndarray,
    how: Selecting,
    seed: int,
    advance: Callable[[int, int], None],
) -> None:
    """Learn, and write what is found; the rows last, since they say that all is there."""
    from scipy.stats import spearmanr

    from secateur.training.quality import Learning, fitted, held_out

    learning = Learning(how.attention, how.labels, how.epochs, how.lr)
    unseen = held_out(of_subsets, quality, learning, seed=seed, advance=advance)
    selector = fitted(of_subsets, quality, learning, seed=seed)
    expected = selector.subsets(of_subsets)
    fit = float(spearmanr(expected, quality).statistic) if np.ptp(expected) > 0 else 0.0
    (folder / "told.npy").write_array(np.array([unseen.correlation, unseen.chance, fit]))
    (folder / "subsets.npy").write_array(np.stack([expected, unseen.gains]))
    (folder / "rows.npy").write_array(selector.rows(seen))
