"""Small data and finished OUT folders, which every case starts from."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.campaign.cases import Ground

CLASSES = ("cat", "dog", "fox")
DIMS = 6
MLP = ["--net", "mlp:0.1", "--threads", "1", "--json"]


def vectors(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rows (rows, DIMS) float32 in three clouds, and their classes in turn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(rows) % 3
    return (rng.normal(size=(rows, DIMS)) + 2 * np.eye(3, DIMS)[labels]).astype(np.float32), labels


def table(rows: int, seed: int = 0) -> pa.Table:
    """The same as a table of x and label."""
    x, labels = vectors(rows, seed)
    return pa.table({"x": pa.array(x.tolist(), pa.list_(pa.float32())), "label": pa.array(labels)})


def picture(number: int, side: int = 8) -> Image.Image:
    """An image of noise around a grey that goes by its class."""
    rng = np.random.default_rng(number)
    values = 60 * (number % 3) + rng.integers(0, 60, (side, side, 3))
    return Image.fromarray(values.astype(np.uint8))


def pictures(folder: Path, each: int = 6, start: int = 0, classes: tuple[str, ...] = CLASSES) -> None:
    """A folder of images by class."""
    for k, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            picture(start + 3 * i + k % 3).save(folder / name / f"{i:02d}.png")


def shards(folder: Path, rows: int = 120, dims: int = 8) -> None:
    """Two shards of embeddings, with near-duplicates and a score."""
    rng = np.random.default_rng(1)
    found = rng.normal(size=(rows, dims)) + 3 * np.eye(4, dims)[np.arange(rows) % 4]
    found[:10] = found[20:30] + 1e-3
    folder.mkdir()
    for number, part in enumerate((slice(0, 70), slice(70, rows))):
        embeddings = pa.array(found[part].astype(np.float32).tolist(), pa.list_(pa.float32()))
        ids, clip = np.arange(rows)[part], rng.random(rows)[part]
        captions = [f"row {i}" for i in ids]
        made = pa.table({"id": ids, "embedding": embeddings, "clip": clip, "caption": captions})
        pq.write_table(made, folder / f"{number}.parquet")


def ground(path: Path) -> Ground:
    """Make all of it under `path`, which is empty."""
    from tests.campaign.worker import run

    made = Ground(path)
    (path / "vec").mkdir(parents=True)
    pq.write_table(table(60), path / "vec" / "train.parquet")
    pq.write_table(table(30, seed=1), path / "vec" / "test.parquet")
    pq.write_table(table(40, seed=2).drop_columns(["label"]), path / "pool.parquet")
    pictures(path / "pics" / "train")
    pictures(path / "pics" / "test", each=3, start=100)
    shards(path / "shards")
    quality = "\n".join(f"{k},{0.1 * k}" for k in range(6))
    (path / "quality.csv").write_text(f"subset,quality\n{quality}\n")
    for argv in _finished(made):
        done = run(argv)
        if done.code != 0:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr}{done.crash}")
    return made


def _finished(made: Ground) -> list[list[str]]:
    """The commands that make the OUT folders."""
    vec, pics, few, out = made.at("vec"), made.at("pics"), ["--epochs", "1"], made.at
    watched = ["--record-epochs", "2", *few]
    pruned = ["prune", vec, "--keep", "0.5", "--method", "el2n", "--train", *watched, *MLP, "--out", out("run")]
    condensed = ["condense", vec, "--per-class", "1", "--steps", "2", "--no-evaluate", "--threads", "1"]
    scaled = ["scale", "prune", out("shards"), "--keep", "0.5", "--clusters", "4", "--workers", "1"]
    subsets = ["scale", "instructions", out("shards"), "--subsets", "6", "--indicators", "clip", "--components", "3"]
    compared = ["compare", vec, "--methods", "el2n", "--keep", "0.5", *watched, *MLP, "--out", out("compared")]
    mined = ["mine", vec, out("pool.parquet"), "--top", "2", *few, *MLP, "--out", out("mined")]
    return [
        pruned,
        ["record", pics, *few, *MLP, "--out", out("run-pics")],
        ["prune", pics, "--keep", "0.5", "--method", "el2n", *watched, *MLP, "--out", out("pruned-pics")],
        [*condensed, "--out", out("condensed")],
        [*scaled, "--out", out("scaled")],
        [*subsets, "--out", out("instructed")],
        compared,
        mined,
    ]
