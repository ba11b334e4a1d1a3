"""Small data sets made on the spot."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("cat", "dog", "owl")


def pixels(i, size=8, channels=3):
    rng = np.random.default_rng(i)
    return rng.integers(0, 256, (size, size, channels) if channels > 1 else (size, size), dtype=np.uint8)


def png(array, **options):
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format="PNG", **options)
    return buffer.getvalue()


def image_table(n=12, size=8, named=True, columns=("image", "label"), encoded=None):
    """A table of n images, label i % 3."""
    import datasets

    encoded = [png(pixels(i, size)) for i in range(n)] if encoded is None else encoded
    label = datasets.ClassLabel(names=list(CLASSES)) if named else datasets.Value("int64")
    features = datasets.Features({columns[0]: datasets.Image(), columns[1]: label})
    cells = [None if e is None else {"bytes": e, "path": None} for e in encoded]
    return datasets.Dataset.from_dict({columns[0]: cells, columns[1]: [i % 3 for i in range(n)]}, features=features)


def write_parquet(path: Path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image_table(**options).to_parquet(str(path))
    return path


def write_folder(root: Path, n=12, size=8, split=None):
    """root/[split/]CLASS/name.png"""
    for i in range(n):
        folder = root / (split or "") / CLASSES[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:03d}.png").write_bytes(png(pixels(i, size)))
    return root
