"""The contracts that every score and selector meets, as functions you can call on your own.

    import secateur as sc

    sc.checks.check_score(my_score)         # raises AssertionError, saying which promise is broken

A score is registered with `secateur.registry.score`, a selector with `secateur.registry.selector`.
"""

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from secateur.fields import FIELDS
from secateur.registry import ENTRIES, PER_EXAMPLE, Entry, Weighted

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


def check_score(fn: Callable[..., Any], **knobs: Any) -> None:
    """Every promise of a score; raises AssertionError for the first that does not hold."""
    for promise in SCORE_PROMISES:
        promise(fn, **knobs)


def score_has_a_value_an_example(fn: Callable[..., Any], **knobs: Any) -> None:
    """(examples,) floating point numbers come out, none of them nan."""
    out = call(fn, example_recording(50), **knobs)
    assert out.shape == (50,), f"expected shape (50,), got {out.shape}"
    assert out.dtype.kind == "f", f"expected floating point numbers, got {out.dtype}"
    assert not np.isnan(out).any(), "some scores are nan"


def score_treats_examples_apart(fn: Callable[..., Any], **knobs: Any) -> None:
    """Scoring a shuffled part gives the part of the scores, so that shards can be scored on their own."""
    if entry_of(fn).whole_set:
        return
    fields = example_recording(50)
    ids = np.random.default_rng(1).permutation(50)[:17]
    part, whole = call(fn, pick(fields, ids), **knobs), call(fn, fields, **knobs)
    np.testing.assert_allclose(part, whole[ids], err_msg="a score depends on other examples; say whole_set=True")


def score_reads_every_epoch(fn: Callable[..., Any], **knobs: Any) -> None:
    """Changing any one epoch changes some score; row 0 of fields that compare epochs is nan by definition."""
    fields, other = example_recording(200), example_recording(200, seed=9)
    before = call(fn, fields, **knobs)
    trajectories = [n for n in entry_of(fn).needs if "epochs" in FIELDS[n].axes]
    if not trajectories:
        return
    first = 1 if all(FIELDS[n].needs_previous for n in trajectories) else 0
    for epoch in range(first, len(fields["loss"])):
        changed = dict(fields)
        for name in trajectories:
            changed[name] = fields[name].copy()
            changed[name][epoch] = other[name][epoch]
        assert not np.array_equal(before, call(fn, changed, **knobs)), f"epoch {epoch} is ignored"


def score_leaves_its_input_alone(fn: Callable[..., Any], **knobs: Any) -> None:
    """The recording is the same afterwards, and may be read-only."""
    fields = example_recording(20)
    before = {name: a.copy() for name, a in fields.items()}
    for a in fields.values():
        a.flags.writeable = False
    call(fn, fields, **knobs)
    for name, a in fields.items():
        np.testing.assert_array_equal(a, before[name], err_msg=f"{name} was changed")


def score_repeats(fn: Callable[..., Any], **knobs: Any) -> None:
    """The same call twice gives the same bytes."""
    fields = example_recording(30)
    assert call(fn, fields, **knobs).tobytes() == call(fn, fields, **knobs).tobytes(), "two calls differ"


def score_computes_half_precision_wide(fn: Callable[..., Any], **knobs: Any) -> None:
    """float16 input is computed as float32: only the input is rounded, not the arithmetic."""
    fields = example_recording(40)
    half = {n: a.astype(np.float16) if a.dtype.kind == "f" else a for n, a in fields.items()}
    wide = {n: a.astype(np.float32) if a.dtype == np.float16 else a for n, a in half.items()}
    np.testing.assert_array_equal(call(fn, half, **knobs), call(fn, wide, **knobs), err_msg="computed in float16")


def is_documented(fn: Callable[..., Any], **knobs: Any) -> None:
    """A source, a first line, an example that runs; defaults that cannot be changed."""
    entry = entry_of(fn)
    assert entry.source, "no source"
    assert ">>>" in (inspect.getdoc(fn) or ""), "no example in the docstring"
    for name, parameter in entry.knobs.items():
        fixed = isinstance(parameter.default, (int, float, str, bool, type(None)))
        assert fixed or parameter.default is parameter.empty, f"the default of {name} can be changed"


SCORE_PROMISES = (
    score_has_a_value_an_example,
    score_treats_examples_apart,
    score_reads_every_epoch,
    score_leaves_its_input_alone,
    score_repeats,
    score_computes_half_precision_wide,
    is_documented,
)


def check_selector(fn: Callable[..., Any], *, rank_based: bool = False, **knobs: Any) -> None:
    """Every promise of a selector; rank_based: only the order of the scores matters."""
    for promise in SELECTOR_PROMISES:
        promise(fn, **knobs)
    if rank_based:
        selector_reads_ranks_only(fn, **knobs)


def selection(fn: Callable[..., Any], keep: int | float, *, examples: int = 60, seed: int = 0, **knobs: Any) -> Any:
    """A selector on made-up scores and companions."""
    return _select(fn, _inputs(examples), keep, seed, **knobs)


def _inputs(examples: int) -> dict[str, Any]:
    fields = example_recording(examples)
    return {
        "scores": fields["p_target"].std(axis=0),
        "p_mean": fields["p_target"].mean(axis=0),
        "recall": np.array([0.9, 0.8, 0.6, 0.3]),
        "n": examples,
        "validation": np.arange(examples) % 5 == 0,
    } | {name: fields[name] for name in PER_EXAMPLE if name != "logits_mean"}


def _select(fn: Callable[..., Any], inputs: dict[str, Any], keep: int | float, seed: int, **knobs: Any) -> np.ndarray:
    entry = entry_of(fn)
    if "rng" in entry.knobs:
        knobs["rng"] = np.random.default_rng(seed)
    out = fn(*(inputs[name] for name in entry.needs), keep=keep, **knobs)
    return out.ids if isinstance(out, Weighted) else np.asarray(out)


def selector_keeps_exactly(fn: Callable[..., Any], **knobs: Any) -> None:
    """As many as asked for: unique, in range, sorted; a fraction is rounded half up."""
    for keep, count in ((1, 1), (7, 7), (0.5, 30), (0.125, 8), (59, 59)):
        ids = selection(fn, keep, **knobs)
        assert ids.shape == (count,), f"keep {keep}: expected {count} ids, got shape {ids.shape}"
        assert (np.diff(ids) > 0).all(), f"keep {keep}: ids are not sorted and unique"
        assert ids[0] >= 0, f"keep {keep}: a negative id"
        assert ids[-1] < 60, f"keep {keep}: an id beyond the examples"


def selector_keeps_all_of_all(fn: Callable[..., Any], **knobs: Any) -> None:
    """keep = everything gives everything."""
    np.testing.assert_array_equal(selection(fn, 1.0, **knobs), np.arange(60))


def selector_repeats(fn: Callable[..., Any], **knobs: Any) -> None:
    """The same generator state gives the same ids; numpy's global stream is not touched."""
    before = _global_stream()
    np.testing.assert_array_equal(selection(fn, 20, seed=3, **knobs), selection(fn, 20, seed=3, **knobs))
    assert before == _global_stream(), "the global random stream was used"


def _global_stream() -> bytes:
    """The state of numpy's global stream, to see that nobody draws from it."""
    return pickle.dumps(np.random.get_state())  # noqa: NPY002


def selector_has_a_rule_for_ties(fn: Callable[..., Any], **knobs: Any) -> None:
    """Equal scores are no obstacle."""
    inputs = _inputs(60) | {"scores": np.ones(60)}
    assert _select(fn, inputs, 20, 0, **knobs).shape == (20,)


def selector_leaves_its_input_alone(fn: Callable[..., Any], **knobs: Any) -> None:
    """Scores and their companions may be read-only."""
    inputs = _inputs(60)
    for value in inputs.values():
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    _select(fn, inputs, 20, 0, **knobs)


def selector_reads_ranks_only(fn: Callable[..., Any], **knobs: Any) -> None:
    """A rising transformation of the scores changes nothing."""
    inputs = _inputs(60)
    bent = inputs | {"scores": np.exp(5 * inputs["scores"])}
    np.testing.assert_array_equal(_select(fn, inputs, 20, 0, **knobs), _select(fn, bent, 20, 0, **knobs))


SELECTOR_PROMISES = (
    selector_keeps_exactly,
    selector_keeps_all_of_all,
    selector_repeats,
    selector_has_a_rule_for_ties,
    selector_leaves_its_input_alone,
    is_documented,
)
