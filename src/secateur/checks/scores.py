"""The promises of a score."""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from secateur.checks.made_up import call, entry_of, example_recording, pick
from secateur.fields import FIELDS


def is_documented(fn: Callable[..., Any], **knobs: Any) -> None:
    """A source, a first line, an example that runs; defaults that cannot be changed."""
    entry = entry_of(fn)
    assert entry.source, "no source"
    assert ">>>" in (inspect.getdoc(fn) or ""), "no example in the docstring"
    for name, parameter in entry.knobs.items():
        fixed = isinstance(parameter.default, (int, float, str, bool, type(None)))
        assert fixed or parameter.default is parameter.empty, f"the default of {name} can be changed"


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


SCORE_PROMISES = (
    score_has_a_value_an_example,
    score_treats_examples_apart,
    score_reads_every_epoch,
    score_leaves_its_input_alone,
    score_repeats,
    score_computes_half_precision_wide,
    is_documented,
)
