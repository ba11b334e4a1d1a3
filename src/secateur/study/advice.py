"""Advice on condensing: how long it takes, and how to train on condensed rows."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from secateur.condensation import CONDENSERS, Condenser, Real, Synthetic
from secateur.errors import StoreError
from secateur.training.nets import NETS

TRAINED = "--net {} --recipe sgd --epochs 300"
"""Options for training a net on condensed rows; see benchmarks/condense.md."""

_PLAIN = re.compile(r"[\w.:,=+-]+")


def how_to_train(data: Any) -> str | None:
    """Which net to train on condensed rows (OUT/synthetic), and how long; None for other data."""
    folder = Path(data) if isinstance(data, str | Path) else Path()
    saved = folder.parent / "synthetic.safetensors"
    if folder.name != "synthetic" or not saved.exists():
        return None
    try:
        about = Synthetic.about(saved)
    except StoreError:  # not ours, or damaged: give no advice
        return None
    net = str(about.get("net"))
    if about.get("method") not in CONDENSERS or net.partition(":")[0] not in NETS or not _PLAIN.fullmatch(net):
        return None  # untrusted text must not become a command that the user may copy
    return (
        f"these rows were condensed by {about['method']} with {net}: few rows mean few steps per epoch, nets "
        f"of another kind may learn little, and recipes other than sgd may diverge in long runs "
        f"({TRAINED.format(net)})"
    )


def before(condenser: Condenser, steps: int, real: Real, *, compiled: bool) -> Iterator[str]:
    """Whether the run has the published length, and how much time compiling would save, if that was measured."""
    if steps == condenser.steps:
        yield (
            f"{steps:,} steps, as published; most of the gain comes early (try --steps {steps // 40}), and "
            f"intermediate results can be evaluated at any time"
        )
    on_cpu, shape = real.rows.device.type == "cpu", real.shape
    if not compiled and on_cpu and len(shape) == 3 and min(shape[1:]) >= 28 and steps >= 100:
        yield (
            "compiled steps (--compile, or compile=1 for mined rows) take about half as long for dm, and two thirds "
            "to nine tenths for the others, after a minute of compiling, which needs a C++ compiler"
        )
