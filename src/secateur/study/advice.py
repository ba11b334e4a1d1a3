"""What a person is told of condensing beside the numbers: how long it takes, and how its rows are trained on."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from secateur.condensation import CONDENSERS, Condenser, Real, Synthetic
from secateur.errors import StoreError
from secateur.training.nets import NETS

TRAINED = "--net {} --recipe sgd --epochs 300"
"""How a net is trained on condensed rows: benchmarks/condense.md."""

_PLAIN = re.compile(r"[\w.:,=+-]+")


def how_to_train(data: Any) -> str | None:
    """For rows that were condensed, OUT/synthetic, what net to train on them and how long; None for other data."""
    folder = Path(data) if isinstance(data, str | Path) else Path()
    saved = folder.parent / "synthetic.safetensors"
    if folder.name != "synthetic" or not saved.exists():
        return None
    try:
        about = Synthetic.about(saved)
    except StoreError:  # of somebody else, or damaged: nothing is advised
        return None
    net = str(about.get("net"))
    if about.get("method") not in CONDENSERS or net.partition(":")[0] not in NETS or not _PLAIN.fullmatch(net):
        return None  # somebody else's words, which may be typed again as a command
    return (
        f"these rows were condensed by {about['method']} with {net}: few rows are few steps an epoch, nets "
        f"unlike that one may learn little, and recipes other than sgd may go astray in long runs "
        f"({TRAINED.format(net)})"
    )


def before(condenser: Condenser, steps: int, real: Real, *, compiled: bool) -> Iterator[str]:
    """How long the published runs are, where it is one; what compiling would save, where it was measured to."""
    if steps == condenser.steps:
        yield (
            f"{steps:,} steps, as published; much is there after some hundredths of them (--steps {steps // 40}), and "
            f"what is there can be judged at any time"
        )
    on_cpu, shape = real.rows.device.type == "cpu", real.shape
    if not compiled and on_cpu and len(shape) == 3 and min(shape[1:]) >= 28 and steps >= 100:
        yield (
            "compiled (--compile, or compile=1 where rows were mined) steps of dm take about half as long, of the "
            "others two thirds to nine tenths, after a minute of compiling, which needs a C++ compiler"
        )
