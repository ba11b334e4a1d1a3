"""A recording of a run that never was, to try scores and selectors on."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from secateur.fields import FIELDS
from secateur.registry import ENTRIES, Entry

Fields = dict[str, np.ndarray]


def entry_of(fn: Callable[..., Any]) -> Entry:
    """The registry's entry of a registered function."""
    for entry in ENTRIES.values():
        if entry.fn is fn:
            return entry
    raise AssertionError(f"{fn.__name__} is not registered: decorate it with secateur.registry.score or selector")


def example_recording(examples: int = 50, *, epochs: int = 12, classes: int = 4, seed: int = 0) -> Fields:
    """Recorded fields of a made-up run, consistent with each other.

    >>> example_recording(7, epochs=3)["p_target"].shape
    (3, 7)
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=examples)
    logits = rng.normal(size=(epochs, examples, classes)) * 2
    logits[:, np.arange(examples), labels] += np.linspace(0, 2, epochs)[:, None] * rng.random(examples)
    p = np.exp(logits)
    p /= p.sum(axis=2, keepdims=True)
    at = labels[None, :, None]
    p_target, z_target = (np.take_along_axis(x, at, axis=2)[..., 0] for x in (p, logits))
    others, z_others = p.copy(), logits.copy()
    np.put_along_axis(others, at, -1.0, axis=2)
    np.put_along_axis(z_others, at, -np.inf, axis=2)
    errors = p - (np.arange(classes) == labels[:, None])
    ranked = np.sort(p, axis=2)
    out = {
        "p_target": p_target,
        "p_other": others.max(axis=2),
        "z_target": z_target,
        "z_other": z_others.max(axis=2),
        "correct": logits.argmax(axis=2) == labels,
        "loss": -np.log(p_target),
        "error_norm": np.linalg.norm(errors, axis=2),
        "entropy": -(p * np.log(p)).sum(axis=2),
        "p_top": ranked[..., -1],
        "p_gap": ranked[..., -1] - ranked[..., -2],
        "seen": np.ones((epochs, examples), dtype=bool),
        "logits_mean": logits.mean(axis=0),
        "labels": labels,
    }
    return out | _steps(p) | _probed(p[-1], errors[-1], rng)


def _probed(p: np.ndarray, errors: np.ndarray, rng: np.random.Generator) -> Fields:
    """What probes fill in; p, errors (examples, classes) of the last epoch."""
    examples = len(p)
    included = rng.random((6, examples)) < 0.7
    included[0], included[1] = True, False  # every example is seen by some runs and not by others
    return {
        "features": rng.normal(size=(examples, 6)) + 3 * np.pad(p, ((0, 0), (0, max(0, 6 - p.shape[1]))))[:, :6],
        "p_final": p,
        "errors": errors,
        "grad_norm": np.linalg.norm(errors, axis=1) * (1 + rng.random((3, examples))),
        "margin_l2": rng.random(examples),
        "margin_raw": rng.random(examples),
        "curvature": rng.random(examples),
        "complexity": rng.random(examples) * 3,
        "reconstruction": rng.random(examples),
        "included": included,
        "correct_runs": rng.random((6, examples)) < np.where(included, 0.9, 0.5),
    }


def _steps(p: np.ndarray) -> Fields:
    """The fields that compare an epoch with the one before; p (epochs, examples, classes)."""
    ratio = np.log(p[1:]) - np.log(p[:-1])
    norms = np.linalg.norm(p, axis=2)
    first = np.full((1, p.shape[1]), np.nan)
    cosine = (p[1:] * p[:-1]).sum(axis=2) / (norms[1:] * norms[:-1])
    return {
        "kl_step": np.concatenate((first, np.abs(p[1:] * ratio).sum(axis=2))),
        "cos_step": np.concatenate((first, cosine)),
    }


def pick(fields: Fields, ids: np.ndarray) -> Fields:
    """The fields of some examples only."""
    return {name: np.take(a, ids, axis=FIELDS[name].axes.index("examples")) for name, a in fields.items()}


def call(fn: Callable[..., Any], fields: Fields, **knobs: Any) -> np.ndarray:
    """A score on recorded fields, by the names of its parameters."""
    return np.asarray(fn(*(fields[name] for name in entry_of(fn).needs), **knobs))


def global_stream() -> bytes:
    """The state of numpy's global stream, to see that nobody draws from it."""
    return pickle.dumps(np.random.get_state())  # noqa: NPY002
