"""The probes by name: what each fills, the nets it looks at, what it costs, and how it starts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from secateur.data.tensors import Tensors
from secateur.training.adversarial import PIXELS
from secateur.training.nets import Normalised
from secateur.training.probes.curvature import curvature
from secateur.training.probes.features import start_features
from secateur.training.probes.gradients import gradient_norms
from secateur.training.probes.margins import deepfool
from secateur.training.probes.masking import start_masking
from secateur.training.probes.restoration import start_restoration

PerBatch = Callable[[Tensor, Tensor], dict[str, Tensor]]
"""Raw rows (batch, ...) and labels (batch,) to the fields of each: (batch, ...)."""


@dataclass(frozen=True)
class Probe:
    """What needs a net after a run.

    nets: `proxy`, the recorded one; `fresh`, trained for the probe, as many as its knob `runs` says; `none`. start:
    called once a net, with its own knobs. passes: what an example costs a net, for people.
    """

    fills: tuple[str, ...]
    start: Callable[..., PerBatch]
    nets: Literal["proxy", "fresh", "none"]
    passes: Callable[[Mapping[str, Any]], str]
    knobs: tuple[str, ...] = ()


def _gradients(net: Normalised, data: Tensors, *, seed: int) -> PerBatch:
    return lambda rows, labels: {"grad_norm": gradient_norms(net, rows, labels)}


def _curvature(net: Normalised, data: Tensors, *, seed: int, h: float) -> PerBatch:
    return lambda rows, labels: {"curvature": curvature(net, rows, labels, h=h)}


def _margins(net: Normalised, data: Tensors, *, seed: int, steps: int) -> PerBatch:
    range_ = PIXELS if len(data.shape) == 3 else 1.0
    spread = net.spread.view((1, -1) + (1,) * (len(data.shape) - 1)) / range_

    def each(rows: Tensor, labels: Tensor) -> dict[str, Tensor]:
        found = deepfool(net, rows, steps=steps)
        return {"margin_l2": found.distance, "margin_raw": (found.way * spread).flatten(1).norm(dim=1)}

    return each


def _answers(net: Normalised, data: Tensors, *, seed: int) -> PerBatch:
    @torch.inference_mode()
    def each(rows: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"correct_runs": net(rows).argmax(dim=1) == labels}

    return each


PROBES: dict[str, Probe] = {
    "features": Probe(("features",), start_features, "proxy", lambda k: "1 forward pass"),
    "outputs": Probe(("p_final", "errors"), start_features, "proxy", lambda k: "1 forward pass"),
    "gradients": Probe(
        ("grad_norm",), _gradients, "fresh", lambda k: f"{k['epochs']} epochs of training and 1 backward pass, a run"
    ),
    "curvature": Probe(
        ("curvature",), _curvature, "proxy", lambda k: "2 forward and 2 backward passes to the input", ("h",)
    ),
    "margins": Probe(
        ("margin_l2", "margin_raw"),
        _margins,
        "proxy",
        lambda k: f"up to {k['steps']} steps of a pass a class",
        ("steps",),
    ),
    "masking": Probe(
        ("complexity",),
        start_masking,
        "proxy",
        lambda k: f"{k['steps']} forward passes",
        ("steps", "share", "schedule"),
    ),
    "restoration": Probe(("reconstruction",), start_restoration, "none", lambda k: "1 pass of a small net it trains"),
    "subset_runs": Probe(
        ("included", "correct_runs"),
        _answers,
        "fresh",
        lambda k: f"{k['epochs']} epochs of training on {k['part']:.0%} of the data and 1 forward pass, a run",
    ),
}
