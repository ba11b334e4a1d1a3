"""The promises of a selector."""

from collections.abc import Callable
from typing import Any

import numpy as np

from secateur.checks.made_up import entry_of, example_recording, global_stream
from secateur.checks.scores import is_documented
from secateur.registry import PER_EXAMPLE, Weighted


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
    before = global_stream()
    np.testing.assert_array_equal(selection(fn, 20, seed=3, **knobs), selection(fn, 20, seed=3, **knobs))
    assert before == global_stream(), "the global random stream was used"


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
