"""Products of last-layer gradients, and least squares on a support of them, against written-out gradients."""

import numpy as np
import pytest

from secateur.select import last_layer
from secateur.select.last_layer import Gradients
from secateur.select.pursuit import Support
from tests.select.scenes import scene, written_out


class TestProducts:
    @pytest.fixture(autouse=True)
    def _small_blocks(self, monkeypatch):
        monkeypatch.setattr(last_layer, "BLOCK", 4)

    def test_factored_products_equal_those_of_written_out_gradients(self):
        h, e, _ = scene(11)
        g, weights = written_out(h, e), np.random.default_rng(1).normal(size=11)
        of = Gradients(h, e)
        total = last_layer.weighted_sum(of, weights)
        np.testing.assert_allclose(last_layer.squared_norms(of), (g**2).sum(axis=1))
        np.testing.assert_allclose(last_layer.gram(of, of.rows(np.array([2, 5]))), g @ g[[2, 5]].T)
        np.testing.assert_allclose(total.ravel(), weights @ g)
        np.testing.assert_allclose(last_layer.products(of, total), g @ (weights @ g))

    def test_distances_equal_those_of_written_out_gradients(self):
        h, e, _ = scene(11)
        g = written_out(h, e)
        plain = np.linalg.norm(g[:, None] - g[None], axis=2)
        np.testing.assert_allclose(last_layer.distances(Gradients(h, e)), plain, atol=1e-6)

    def test_a_gradient_is_at_no_distance_from_itself(self):
        h, e, _ = scene(11)
        assert not np.diag(last_layer.distances(Gradients(1e4 * h, e))).any()

    def test_float32_rows_are_computed_in_float64(self):
        h, e = (a.astype(np.float32) for a in scene(11)[:2])
        g = written_out(h.astype(float), e.astype(float))
        of = Gradients(h, e)
        np.testing.assert_allclose(last_layer.gram(of, of), g @ g.T, rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(last_layer.weighted_sum(of, np.ones(11)).ravel(), g.sum(axis=0), atol=1e-13)


def walk(g, target, weights, support):
    """Lawson and Hanson's inner loop on written-out atoms: to the free solution, stopping where a weight reaches 0."""
    while support:
        best = np.linalg.lstsq(g[support].T, target, rcond=None)[0]
        if best.min() > 0:
            weights[support] = best
            return
        now = weights[support]
        share, out = min((now[k] / (now[k] - best[k]), k) for k in range(len(support)) if best[k] <= 0)
        weights[support] = now + share * (best - now)
        weights[support.pop(out)] = 0


class TestSupport:
    @pytest.mark.parametrize("seed", [0, 1, 2, 3, 2223])  # the last: a walk of another length drops another atom
    def test_weights_walk_to_the_free_solution_and_the_first_to_reach_zero_leaves(self, seed):
        rng = np.random.default_rng(seed)
        base = rng.random((3, 9))
        g = rng.random((10, 3)) @ base + 0.15 * rng.random((10, 9))
        target = rng.random(9)
        weights, support, ours = np.zeros(10), [], Support(10, 0.0)
        for atom in range(10):
            if g[atom] @ (target - weights @ g) > 1e-9:
                support.append(atom)
                walk(g, target, weights, support)
                ours.add(atom, g[ours.ids] @ g[atom], float(g[atom] @ g[atom]), float(g[atom] @ target))
                np.testing.assert_array_equal(np.sort(ours.ids), sorted(support))
                np.testing.assert_allclose(ours.weights, weights[ours.ids], rtol=1e-7)

    def test_the_factor_survives_any_order_of_coming_and_going(self):
        rng = np.random.default_rng(0)
        g = rng.normal(size=(40, 60))
        targets = g @ g.sum(axis=0)
        support = Support(40, 0.5)
        for step, atom in enumerate(rng.permutation(40)):
            support.add(int(atom), g[support.ids] @ g[atom], float(g[atom] @ g[atom]), float(targets[atom]))
            if step % 3 == 2:
                support._drop(int(rng.integers(support.size)))
        lower = np.tril(support._factor[: support.size, : support.size])
        kept = g[support.ids]
        np.testing.assert_allclose(lower @ lower.T, kept @ kept.T + 0.5 * np.eye(len(kept)), atol=1e-11)

    def test_an_atom_that_the_support_spans_is_refused(self):
        support = Support(3, 0.0)
        assert support.add(0, np.zeros(0), 4.0, 2.0)
        assert not support.add(1, np.array([2.0]), 1.0, 1.0)
        np.testing.assert_array_equal(support.ids, [0])
        np.testing.assert_array_equal(support.weights, [0.5])
