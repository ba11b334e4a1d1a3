"""The vocabulary: every array a run or a probe may record, its axes, its range and what fills it.

A score asks for a recorded array by naming a parameter after a field. Axes always come in the order
(runs, epochs, examples, classes or dims).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from secateur.errors import SecateurError

SLACK = 1e-5  # float32 arithmetic may overstep a closed range by a rounding error


@dataclass(frozen=True)
class Field:
    """One recordable array.

    low, high: the closed range its values lie in. dtype: how it is stored. probe: what fills it. needs_previous:
    row 0 compares with an epoch that was not recorded, so it is nan by definition and scores skip it. per_class:
    recording it takes a buffer of (examples, classes).
    """

    axes: tuple[str, ...]
    meaning: str
    low: float = -np.inf
    high: float = np.inf
    dtype: str = "float32"
    probe: str = "recorder"
    hint: str = ""
    needs_previous: bool = False
    per_class: bool = False


def _each_epoch(
    meaning: str,
    low: float = -np.inf,
    high: float = np.inf,
    dtype: str = "float32",
    hint: str = "",
    needs_previous: bool = False,
) -> Field:
    return Field(
        ("epochs", "examples"),
        meaning,
        low,
        high,
        dtype,
        hint=hint,
        needs_previous=needs_previous,
        per_class=needs_previous,
    )


_LOGITS = "these look like logits: apply softmax first"
_RUNS = ("runs", "examples")
_CLASSES = ("examples", "classes")

FIELDS: dict[str, Field] = {
    "p_target": _each_epoch("softmax probability of the label", 0, 1, hint=_LOGITS),
    "p_other": _each_epoch("best softmax probability of another class", 0, 1, hint=_LOGITS),
    "z_target": _each_epoch("logit of the label"),
    "z_other": _each_epoch("best logit of another class"),
    "correct": _each_epoch("was the top class the label?", 0, 1, dtype="bool"),
    "loss": _each_epoch("loss of the example"),
    "error_norm": _each_epoch("length of (probabilities - one-hot label)", 0, 2**0.5),
    "entropy": _each_epoch("entropy of the probabilities, in nats", 0),
    "p_top": _each_epoch("highest softmax probability", 0, 1, hint=_LOGITS),
    "p_gap": _each_epoch("highest softmax probability less the second", 0, 1, hint=_LOGITS),
    "kl_step": _each_epoch("sum over classes of |p log(p / previous epoch's p)|, in nats", 0, needs_previous=True),
    "cos_step": _each_epoch("cosine of p and the previous epoch's p", 0, 1, needs_previous=True),
    "seen": _each_epoch("did the epoch visit the example? Where not, its row keeps its last value", 0, 1, "bool"),
    "logits_mean": Field(_CLASSES, "mean logits over the epochs that saw the example", per_class=True),
    "labels": Field(("examples",), "class index", 0, dtype="int64"),
    "features": Field(("examples", "dims"), "activations before the last layer", probe="features"),
    "p_final": Field(_CLASSES, "softmax probabilities of the trained net", 0, 1, probe="outputs", hint=_LOGITS),
    "errors": Field(_CLASSES, "p_final - one-hot label", -1, 1, probe="outputs"),
    "grad_norm": Field(_RUNS, "length of the loss gradient", 0, probe="gradients"),
    "margin_l2": Field(("examples",), "distance to the decision boundary, in spreads (DeepFool)", 0, probe="margins"),
    "margin_raw": Field(
        ("examples",), "the same way in units of the data, images in fractions of the pixel range", 0, probe="margins"
    ),
    "curvature": Field(("examples",), "curvature of the loss in the input", 0, probe="curvature"),
    "complexity": Field(("examples",), "mean loss under growing distortion of a pre-trained net", 0, probe="masking"),
    "reconstruction": Field(("examples",), "squared error of a small super-resolution net", 0, probe="restoration"),
    "included": Field(_RUNS, "did the run train on the example?", 0, 1, "bool", probe="subset_runs"),
    "correct_runs": Field(_RUNS, "did the run classify the example?", 0, 1, "bool", probe="subset_runs"),
}

RECORDED: tuple[str, ...] = tuple(name for name, f in FIELDS.items() if f.probe == "recorder")
"""What a Recorder can write."""


def check(arrays: Mapping[str, np.ndarray], *, ids: np.ndarray | None = None) -> dict[str, int]:
    """Check every array against its field; returns the size of each axis.

    ids: the ids of the examples, where they are not the first ones, for the errors to name.

    >>> check({"p_target": np.zeros((3, 5)), "labels": np.zeros(5, dtype=int)})
    {'epochs': 3, 'examples': 5}
    >>> check({"p_target": np.full((3, 5), 1.5)})
    Traceback (most recent call last):
        ...
    secateur.errors.SecateurError: p_target: values must lie in [0, 1], got 1.5 at epochs 0, examples 0 - these look \
like logits: apply softmax first
    """
    sizes: dict[str, int] = {}
    owner: dict[str, str] = {}
    for name, array in arrays.items():
        field = FIELDS[name]
        _check_axes(name, field, array)
        for axis, size in zip(field.axes, array.shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                raise SecateurError(f"{name} has {size} {axis}, but {owner[axis]} has {sizes[axis]}")
            owner.setdefault(axis, name)
        if array.dtype != bool:
            _check_range(name, field, array, ids)
    return sizes


def _check_axes(name: str, field: Field, array: np.ndarray) -> None:
    if array.ndim != len(field.axes):
        axes = "(" + ", ".join(field.axes) + ")"
        raise SecateurError(f"{name}: expected axes {axes}, got an array of shape {array.shape}")
    if array.dtype.kind not in "biuf":
        raise SecateurError(f"{name}: expected numbers, got an array of {array.dtype}")


def _check_range(name: str, field: Field, array: np.ndarray, ids: np.ndarray | None) -> None:
    """Finite, and inside the field's range. Two reductions when all is well; the search runs on failure only."""
    body = array[1:] if field.needs_previous else array
    if not body.size:
        return
    low, high = body.min(), body.max()  # nan if any value is nan
    if field.low - SLACK <= low and high <= field.high + SLACK and np.isfinite(low) and np.isfinite(high):
        return
    with np.errstate(invalid="ignore"):
        wrong = ~np.isfinite(body) | (body < field.low - SLACK) | (body > field.high + SLACK)
    index = np.unravel_index(int(np.argmax(wrong)), body.shape)
    value = body[index]
    at = dict(zip(field.axes, map(int, index), strict=True))
    if field.needs_previous:
        at["epochs"] += 1
    if ids is not None:
        at["examples"] = int(ids[at["examples"]])
    where = ", ".join(f"{axis} {i}" for axis, i in at.items())
    expected = f"values must lie in [{field.low:g}, {field.high:g}]" if np.isfinite(value) else "values must be finite"
    hint = f" - {field.hint}" if field.hint and np.isfinite(value) else ""
    raise SecateurError(f"{name}: {expected}, got {value:.4g} at {where}{hint}")
