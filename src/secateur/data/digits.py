"""The bundled data set that needs no network: 1,797 grey 8x8 images of handwritten digits, from scikit-learn."""

import numpy as np

from secateur.data.columns import Columns
from secateur.data.decoding.images import encode
from secateur.data.found import Found

_TEST_ROWS = 360


def digits(*, labelled: bool = True) -> Found:
    """The digits as a data set of images; the last 360 rows are the test split."""
    import datasets
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=[str(d) for d in range(10)])}
    )
    splits = {}
    for name, part in (("train", slice(None, -_TEST_ROWS)), ("test", slice(-_TEST_ROWS, None))):
        images = [{"bytes": encode(image), "path": None} for image in pixels[part]]
        labels = bunch.target[part].tolist()
        table = datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)
        splits[name] = Columns(table, "image", "label" if labelled else None)
    return Found("digits", "digits", splits)
