"""Every score keeps every promise; the rows are in cases.py."""

import itertools

import numpy as np
import pytest

from secateur import checks, scores
from secateur.errors import SecateurError
from secateur.registry import ENTRIES
from tests.scores.cases import RECORD, ROWS

NAMES = ["easy", "torn", "lost"]
rows = pytest.mark.parametrize("row", ROWS, ids=lambda r: r.fn.__name__)
promises = pytest.mark.parametrize("promise", checks.SCORE_PROMISES, ids=lambda p: p.__name__)


def test_every_score_has_a_row():
    registered = {name.replace("-", "_") for kind, name in ENTRIES if kind == "score"}
    assert registered == {row.fn.__name__ for row in ROWS}


def test_every_score_is_public():
    registered = {name.replace("-", "_") for kind, name in ENTRIES if kind in ("score", "summary")}
    assert registered | {"influence"} == set(scores.__all__)  # of pairs, so no score


@rows
def test_orders_the_archetypes(row):
    value = dict(zip(NAMES, checks.call(row.fn, RECORD | row.fields, **row.knobs), strict=True))
    groups = [g.split("=") for g in row.order.split()]
    for group in groups:
        assert np.allclose([value[x] for x in group], value[group[0]])
    levels = [value[g[0]] for g in groups]
    assert all(a > b + 1e-6 for a, b in itertools.pairwise(levels)), value


@rows
def test_gives_the_value_worked_by_hand(row):
    assert checks.call(row.fn, RECORD | row.fields, **row.knobs)[1] == pytest.approx(row.torn, abs=2e-5)


@rows
@promises
def test_keeps_its_promises(row, promise):
    promise(row.fn, **row.knobs)


def plain_windows(p, window, value):
    out = np.zeros(p.shape[1])
    for i in range(p.shape[1]):
        values = []
        for k in range(len(p) - window + 1):
            inside = p[k : k + window, i]
            mean = sum(inside) / window
            deviation = (sum((x - mean) ** 2 for x in inside) / (window - 1)) ** 0.5
            values.append(value(mean, deviation))
        out[i] = sum(values) / len(values)
    return out


@pytest.mark.parametrize("examples", [1, 7, 8, 9, 30])
def test_windowed_scores_equal_the_plain_loop_across_tile_borders(examples, monkeypatch):
    monkeypatch.setattr("secateur.scores.trajectory.TILE", 8)
    p = np.random.default_rng(0).random((17, examples), dtype=np.float32)
    np.testing.assert_allclose(scores.dual(p, window=4), plain_windows(p, 4, lambda m, s: (1 - m) * s), rtol=1e-6)
    np.testing.assert_allclose(scores.dyn_unc(p, window=4), plain_windows(p, 4, lambda m, s: s), rtol=1e-6)


def test_tdds_equals_its_formula_by_plain_loop():
    d = np.random.default_rng(0).random((12, 30))
    d[0] = np.nan
    expected = np.zeros(30)
    last = 12 - 5
    for k in range(last + 1):
        inside = d[1 + k : 1 + k + 4]
        expected += 0.9 * 0.1 ** (last - k) * np.sqrt(((inside - inside.mean(0)) ** 2).sum(0))
    np.testing.assert_allclose(scores.tdds(d, window=5), expected)


def test_a_window_that_slides_into_certainty_forgets_what_was_before():
    """The running sums cancel down to rounding error, far below any difference that matters."""
    p = np.concatenate([np.random.default_rng(0).random((60, 50)), np.ones((30, 50))]).astype(np.float32)
    from secateur.scores.trajectory import _sliding

    *_, (mean, squares) = _sliding(p, 10)
    np.testing.assert_allclose(mean, 1, atol=1e-12)
    assert np.sqrt(squares).max() < 1e-7


def test_a_constant_trajectory_has_no_uncertainty_at_all():
    p = np.full((30, 3), 0.7, dtype=np.float32)
    np.testing.assert_array_equal(scores.dual(p), np.zeros(3))


def test_never_learned_examples_count_as_asked():
    correct = np.array([[1, 0], [0, 0], [1, 0]])
    np.testing.assert_array_equal(scores.forgetting(correct, never_learned="inf"), [1, np.inf])
    np.testing.assert_array_equal(scores.forgetting(correct, never_learned="zero"), [1, 0])


def test_corrected_label_keeps_the_label_on_a_tie():
    logits, labels = np.array([[1.0, 1.0], [1.0, 1.0]]), np.array([0, 1])
    np.testing.assert_array_equal(scores.corrected_label(logits, labels), [0, 1])


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    def test_logits_for_probabilities_are_named_with_place_and_way_out(self):
        logits = np.full((12, 5), 0.5)
        logits[3, 2] = -1.25
        message = r"p_target: values must lie in \[0, 1\], got -1.25 at epochs 3, examples 2 - .*apply softmax"
        with pytest.raises(SecateurError, match=message):
            scores.dual(logits)

    def test_nan_names_field_epoch_and_example(self):
        p = np.full((12, 5), 0.5)
        p[7, 4] = np.nan
        with pytest.raises(SecateurError, match="p_target: values must be finite, got nan at epochs 7, examples 4"):
            scores.dual(p)

    def test_nan_in_the_first_row_of_a_step_is_no_error_and_later_is(self):
        d = np.full((12, 5), 0.5)
        d[0] = np.nan
        scores.tdds(d)
        d[1, 3] = np.nan
        with pytest.raises(SecateurError, match="kl_step: .* got nan at epochs 1, examples 3"):
            scores.tdds(d)

    def test_wrong_axes_are_named(self):
        with pytest.raises(SecateurError, match=r"p_target: expected axes \(epochs, examples\), got .* \(5,\)"):
            scores.dual(np.zeros(5))

    def test_sizes_that_differ_are_named(self):
        with pytest.raises(SecateurError, match="z_other has 6 examples, but z_target has 5"):
            scores.aum(np.zeros((3, 5)), np.zeros((3, 6)))

    @pytest.mark.parametrize("window", [1, 6])
    def test_a_window_that_does_not_fit_says_what_does(self, window):
        with pytest.raises(
            SecateurError,
            match=f"window: expected (2 to 5, the epochs recorded|a whole number from 1 .*), got {window}",
        ):
            scores.dual(np.full((5, 3), 0.5), window=window)

    def test_unknown_option_says_which_exist(self):
        with pytest.raises(SecateurError, match="never_learned: expected epochs, inf or zero, got 'never'"):
            scores.forgetting(np.ones((3, 2)), never_learned="never")

    def test_text_is_no_recording(self):
        with pytest.raises(SecateurError, match="p_target: expected numbers"):
            scores.dual(np.array([["a", "b"], ["c", "d"]]))

    @pytest.mark.parametrize(("value", "what"), [(0, "no run"), (1, "every run")])
    def test_memorization_needs_runs_with_and_without_each_example(self, value, what):
        included = np.tile(np.array([[1], [0], [1]], dtype=bool), 4)
        included[:, 2] = value
        with pytest.raises(SecateurError, match=f"included: .*{what} trained on example 2 \\(3 runs\\); add runs"):
            scores.memorization(included, included)
