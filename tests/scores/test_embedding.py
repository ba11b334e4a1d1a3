"""Scores from features against plain loops and textbook formulas, and what they do at the edges."""

import itertools

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage

from secateur import checks, scores
from secateur.errors import SecateurError


@pytest.fixture
def blobs():
    """60 rows in 5 dims around the centres of 3 classes, numbered 0, 2, 7."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat([0, 2, 7], 20))
    return rng.normal(size=(60, 5)) + 1 + labels[:, None] * np.array([1.0, 0.5, 0, 0, -1]), labels


def rotation(dims):
    return np.linalg.qr(np.random.default_rng(1).normal(size=(dims, dims)))[0]


WITH_LABELS = {
    "prototype": lambda f, y: scores.prototype(f, y),
    "prototype-euclidean": lambda f, y: scores.prototype(f, y, metric="euclidean"),
    "moderate": lambda f, y: scores.moderate(f, y),
    "moderate-median": lambda f, y: scores.moderate(f, y, centre="median"),
    "rmd": lambda f, y: scores.rmd(f, y),
    "rmd-textbook": lambda f, y: scores.rmd(f, y, shrinkage=0.0),
    "rmd-weights": lambda f, y: scores.rmd_weights(f, y, temperature=5.0),
}
ALL = WITH_LABELS | {
    "ssp": lambda f, y: scores.ssp(f, clusters=3),
    "density": lambda f, y: scores.density(f, neighbours=4),
    "density-cosine": lambda f, y: scores.density(f, neighbours=4, metric="cosine"),
}
ROTATE = [n for n in ALL if n not in ("moderate-median", "ssp")]  # k-means starts from other float32 rows
SHIFT = ["prototype-euclidean", "moderate", "moderate-median", "rmd", "rmd-textbook", "rmd-weights", "density"]
SCALE_BY_ROW = ["prototype", "ssp", "density-cosine"]


def named(names):
    return pytest.mark.parametrize("name", sorted(names))


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True)) / (sum(x * x for x in a) * sum(x * x for x in b)) ** 0.5


class TestPlainLoops:
    def test_prototype_is_the_distance_to_the_class_mean(self, blobs):
        f, y = blobs
        for i in range(60):
            rows = [f[j] for j in range(60) if y[j] == y[i]]
            mean = sum(rows) / len(rows)
            direction = sum(r / np.sqrt((r * r).sum()) for r in rows)
            assert scores.prototype(f, y, metric="euclidean")[i] == pytest.approx(np.sqrt(((f[i] - mean) ** 2).sum()))
            assert scores.prototype(f, y)[i] == pytest.approx(1 - cosine(f[i], direction))

    def test_moderate_by_the_median_takes_it_in_each_dimension(self, blobs):
        f, y = blobs
        got = scores.moderate(f, y, centre="median")
        for i in range(60):
            rows = f[y == y[i]]
            centre = [(sorted(column)[9] + sorted(column)[10]) / 2 for column in rows.T]
            assert got[i] == pytest.approx(sum((a - b) ** 2 for a, b in zip(f[i], centre, strict=True)) ** 0.5)

    def test_density_is_the_mean_distance_to_the_nearest_others(self, blobs):
        f, _ = blobs
        got = scores.density(f, neighbours=4), scores.density(f, neighbours=4, metric="cosine")
        for i in range(60):
            others = [j for j in range(60) if j != i]
            assert got[0][i] == pytest.approx(sum(sorted(np.sqrt(((f[i] - f[j]) ** 2).sum()) for j in others)[:4]) / 4)
            assert got[1][i] == pytest.approx(sum(sorted(1 - cosine(f[i], f[j]) for j in others)[:4]) / 4, abs=1e-6)

    def test_ssp_finds_directions_and_measures_the_angle_to_the_nearest(self):
        rng = np.random.default_rng(0)
        group = np.repeat([0, 1, 2], 30)
        rows = np.eye(3)[group] + rng.normal(size=(90, 3)) * 0.05
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        centres = np.stack([unit[group == g].mean(0) for g in range(3)])
        expected = [1 - max(cosine(r, c) for c in centres) for r in rows]
        lengths = rng.uniform(0.5, 9, size=(90, 1))
        found = [scores.ssp(rows * lengths, clusters=3, seed=seed) for seed in range(5)]
        assert any(np.allclose(f, expected, atol=1e-6) for f in found)  # a start may put two centroids in one group

    def test_rmd_without_shrinkage_is_the_formula_of_the_paper(self, blobs):
        f, y = blobs
        means = {c: f[y == c].mean(0) for c in (0, 2, 7)}
        within = sum(np.outer(x - means[c], x - means[c]) for x, c in zip(f, y, strict=True)) / 60
        overall = sum(np.outer(x - f.mean(0), x - f.mean(0)) for x in f) / 60
        for i, got in enumerate(scores.rmd(f, y, shrinkage=0.0)):
            own, all_ = f[i] - means[y[i]], f[i] - f.mean(0)
            rmd = -own @ np.linalg.inv(within) @ own + all_ @ np.linalg.inv(overall) @ all_
            assert got == pytest.approx(-rmd)

    @pytest.mark.parametrize(("examples", "dims"), [(60, 5), (30, 80)])
    def test_rmd_shrinks_by_the_estimate_of_ledoit_and_wolf(self, examples, dims):
        rng = np.random.default_rng(0)
        y = np.arange(examples) % 3
        f = rng.normal(size=(examples, dims)) * np.linspace(0.2, 3, dims) + y[:, None]
        expected = np.zeros(examples)
        for sign, gaps in ((1, f - np.stack([f[y == c].mean(0) for c in range(3)])[y]), (-1, f - f.mean(0))):
            amount = ledoit_wolf_shrinkage(gaps, assume_centered=True)
            assert 0 < amount < 1
            s = gaps.T @ gaps / examples
            s = (1 - amount) * s + amount * np.trace(s) / dims * np.eye(dims)
            expected += sign * np.einsum("id,de,ie->i", gaps, np.linalg.inv(s), gaps)
        np.testing.assert_allclose(scores.rmd(f, y), expected, rtol=1e-6, atol=1e-8)

    def test_rmd_weights_are_the_softened_difficulty_with_the_hardest_at_1(self, blobs):
        rmd = -scores.rmd(*blobs)
        raw = np.exp(-rmd / 2.0)
        np.testing.assert_allclose(scores.rmd_weights(*blobs, temperature=2.0), raw / raw.max())

    @named(ALL)
    def test_blocks_change_nothing(self, name, blobs, monkeypatch):
        whole = ALL[name](*blobs)
        monkeypatch.setattr("secateur.geometry.BLOCK", 35)  # 7 rows of 5
        np.testing.assert_allclose(ALL[name](*blobs), whole, rtol=1e-9, atol=1e-12)


class TestInvariances:
    @named(set(ALL) - {"ssp"})  # k-means starts from rows drawn by their number
    def test_the_order_of_examples_does_not_matter(self, name, blobs):
        f, y = blobs
        order = np.random.default_rng(2).permutation(60)
        np.testing.assert_allclose(ALL[name](f[order], y[order]), ALL[name](f, y)[order], atol=1e-9)

    @named(WITH_LABELS)
    def test_the_numbers_of_the_classes_do_not_matter(self, name, blobs):
        f, y = blobs
        other = np.array([10**12, 0, 3, 0, 0, 0, 0, 1])[y]  # an array of so many classes would not fit
        np.testing.assert_allclose(ALL[name](f, other), ALL[name](f, y))

    @named(ROTATE)
    def test_a_rotation_changes_nothing(self, name, blobs):
        f, y = blobs
        np.testing.assert_allclose(ALL[name](f @ rotation(5), y), ALL[name](f, y), rtol=1e-5, atol=1e-6)

    @named(SHIFT)
    def test_a_shift_far_out_changes_nothing(self, name, blobs):
        f, y = blobs
        np.testing.assert_allclose(ALL[name](f + 1e5, y), ALL[name](f, y), rtol=1e-6, atol=1e-6)

    @named(SCALE_BY_ROW)
    def test_the_length_of_a_row_has_no_part_in_a_cosine(self, name, blobs):
        f, y = blobs
        lengths = np.linspace(1e-3, 1e3, 60)[:, None]
        np.testing.assert_allclose(ALL[name](f * lengths, y), ALL[name](f, y), rtol=1e-4, atol=1e-6)

    def test_rmd_without_shrinkage_reads_no_units(self, blobs):
        """Any linear map of the features leaves a Mahalanobis distance as it is."""
        f, y = blobs
        bent = f @ (rotation(5) * np.array([1e-3, 1, 10, 1e3, 5]))
        np.testing.assert_allclose(scores.rmd(bent, y, shrinkage=0.0), scores.rmd(f, y, shrinkage=0.0), rtol=1e-6)

    def test_density_holds_in_many_dims_far_from_the_origin_and_among_duplicates(self):
        """A search in float32 alone is off by 13 here, and gives duplicates a distance."""
        f = (np.random.default_rng(0).normal(size=(100, 512)) + 1000).astype(np.float32)
        f[1] = f[0]
        gaps = np.linalg.norm(f[:, None].astype(float) - f[None].astype(float), axis=2)
        np.testing.assert_allclose(scores.density(f, neighbours=3), np.sort(gaps, axis=1)[:, 1:4].mean(1), rtol=1e-5)
        assert scores.density(f, neighbours=1)[0] == 0

    def test_ssp_draws_its_start_by_the_seed(self, blobs):
        a, b, c = (scores.ssp(blobs[0], clusters=10, seed=seed) for seed in (0, 0, 1))
        np.testing.assert_array_equal(a, b)
        assert not np.allclose(a, c)


class TestEdges:
    @pytest.mark.parametrize("name", ["prototype", "prototype-euclidean", "moderate", "moderate-median"])
    def test_an_example_alone_in_its_class_is_the_easiest(self, name, blobs):
        f, y = blobs
        y = y.copy()
        y[4] = 9
        out = ALL[name](f, y)
        assert out[4] == pytest.approx(0, abs=1e-12)
        assert (np.delete(out, 4) > 1e-6).all()

    def test_rmd_of_an_example_alone_in_its_class_is_minus_its_distance_from_all(self, blobs):
        f, y = blobs
        y = y.copy()
        y[4] = 9
        gap = f - f.mean(0)
        expected = -gap[4] @ np.linalg.inv(gap.T @ gap / 60) @ gap[4]
        assert scores.rmd(f, y, shrinkage=0.0)[4] == pytest.approx(expected)

    @named(n for n in ALL if not n.startswith("rmd"))
    def test_equal_rows_have_no_distance(self, name):
        out = ALL[name](np.full((12, 3), 0.7), np.arange(12) % 2)
        np.testing.assert_allclose(out, 0, atol=1e-5)

    def test_more_dims_than_examples_work_through_shrinkage(self):
        rng = np.random.default_rng(0)
        f, y = rng.normal(size=(20, 50)), np.arange(20) % 2
        f[3] += 3  # an outlier
        out = scores.rmd(f, y)
        assert np.isfinite(out).all()
        with pytest.raises(SecateurError, match="shrinkage: at 0 the covariance of 50 dims over 20 examples cannot be"):
            scores.rmd(f, y, shrinkage=0.0)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_dims_that_depend_on_each_other_work_through_shrinkage(self, dtype):
        rng = np.random.default_rng(0)
        p = rng.dirichlet(np.ones(4), size=200).astype(dtype)  # rows sum to 1, to rounding
        assert np.isfinite(scores.rmd(p, np.arange(200) % 3)).all()
        with pytest.raises(SecateurError, match=r"shrinkage: at 0 .* leave it at None, or raise it"):
            scores.rmd(p, np.arange(200) % 3, shrinkage=0.0)

    def test_a_dimension_that_never_moves_is_no_obstacle(self, blobs):
        f, y = blobs
        dead = np.pad(f, ((0, 0), (0, 1)))
        np.testing.assert_allclose(scores.rmd(dead, y, shrinkage=1e-9), scores.rmd(f, y, shrinkage=0.0), rtol=1e-4)

    def test_full_shrinkage_measures_in_mean_variances(self, blobs):
        f, y = blobs
        own = f - np.stack([f[y == c].mean(0) for c in range(8) if (y == c).any()])[np.searchsorted([0, 2, 7], y)]
        all_ = f - f.mean(0)
        expected = (own**2).sum(1) / (own**2).mean() - (all_**2).sum(1) / (all_**2).mean()
        np.testing.assert_allclose(scores.rmd(f, y, shrinkage=1.0), expected)

    def test_weights_stay_above_0_however_far_the_hardest_is(self, blobs):
        assert np.exp(-1 / 1e-4) == 0  # a rounding to 0 that every example one behind would meet
        weights = scores.rmd_weights(*blobs, temperature=1e-4)
        assert weights.max() == 1
        assert weights.min() > 0

    def test_short_and_long_rows_in_float32_have_a_cosine(self):
        f = np.array([[1e-30, 0], [0, 1e30], [3, 3]], dtype=np.float32)  # their squares are 0 and inf in float32
        np.testing.assert_allclose(scores.prototype(f, np.zeros(3, dtype=int)), [1 - 0.5**0.5] * 2 + [0], atol=1e-6)


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    @named(ALL)
    def test_nan_is_named_with_its_place(self, name, blobs):
        f, y = blobs
        f[7, 2] = np.nan
        with pytest.raises(SecateurError, match="features: values must be finite, got nan at examples 7, dims 2"):
            ALL[name](f, y)

    @named(WITH_LABELS)
    def test_labels_of_other_length_are_named(self, name, blobs):
        with pytest.raises(SecateurError, match="labels has 59 examples, but features has 60"):
            ALL[name](blobs[0], blobs[1][:-1])

    @named(WITH_LABELS)
    def test_labels_that_are_no_class_numbers_are_named(self, name, blobs):
        with pytest.raises(SecateurError, match="labels: expected whole numbers, got an array of float64"):
            ALL[name](blobs[0], blobs[1] + 0.5)

    @named(SCALE_BY_ROW)
    def test_a_row_of_zeros_has_no_cosine(self, name, blobs):
        f, y = blobs
        f[7] = 0
        with pytest.raises(SecateurError, match="features: example 7 is all zeros, so it has no cosine"):
            ALL[name](f, y)

    def test_rows_that_cancel_out_have_no_prototype(self):
        f = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
        with pytest.raises(SecateurError, match=r"rows of class 5 point in opposite .* cancel .* use metric=euclidean"):
            scores.prototype(f, np.array([5, 5, 2]))
        with pytest.raises(SecateurError, match=r"rows of cluster 0 point in opposite .* ask for more clusters"):
            scores.ssp(f[:2], clusters=1)

    def test_unknown_options_say_which_exist(self, blobs):
        with pytest.raises(SecateurError, match="metric: expected one of cosine, euclidean, got 'cosin'; did you mean"):
            scores.prototype(*blobs, metric="cosin")
        with pytest.raises(SecateurError, match="metric: expected one of"):
            scores.density(blobs[0], metric="l1")
        with pytest.raises(SecateurError, match="centre: expected one of mean, median, got 'middle'"):
            scores.moderate(*blobs, centre="middle")

    @pytest.mark.parametrize("neighbours", [0, -1, 60])
    def test_neighbours_that_do_not_exist_are_refused(self, neighbours, blobs):
        with pytest.raises(
            SecateurError,
            match=f"neighbours: expected (1 to 59, the others there are|a whole number from 1 .*), got {neighbours}",
        ):
            scores.density(blobs[0], neighbours=neighbours)

    @pytest.mark.parametrize("clusters", [0, 61])
    def test_clusters_that_cannot_be_filled_are_refused(self, clusters, blobs):
        with pytest.raises(
            SecateurError,
            match=f"clusters: expected (1 to 60, the examples there are|a whole number from 1 .*), got {clusters}",
        ):
            scores.ssp(blobs[0], clusters=clusters)

    @pytest.mark.parametrize("shrinkage", [-0.1, 1.1, float("nan")])
    def test_shrinkage_outside_its_range_is_refused(self, shrinkage, blobs):
        with pytest.raises(SecateurError, match="shrinkage: expected a number in"):
            scores.rmd(*blobs, shrinkage=shrinkage)

    @pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
    def test_temperature_must_be_positive(self, temperature, blobs):
        with pytest.raises(SecateurError, match="temperature: expected a number in"):
            scores.rmd_weights(*blobs, temperature=temperature)

    def test_one_class_has_no_relative_distance(self, blobs):
        with pytest.raises(
            SecateurError, match="labels: rmd compares a class with all examples, .* at least 2 classes"
        ):
            scores.rmd(blobs[0], np.full(60, 3))

    @pytest.mark.parametrize("per_class", [1, 3])
    def test_classes_without_any_spread_have_no_covariance(self, per_class):
        rows = np.random.default_rng(0).normal(size=(6, 4)).repeat(per_class, axis=0)
        with pytest.raises(SecateurError, match="features: within every class all examples are the same"):
            scores.rmd(rows, np.arange(6).repeat(per_class))


FINAL = (scores.final_entropy, scores.final_least_confidence, scores.final_margin)
final = pytest.mark.parametrize("fn", FINAL, ids=lambda f: f.__name__)


class TestFinal:
    def test_equal_the_recorded_scores_on_the_last_epoch(self):
        """`entropy`, `least_confidence` and `margin` read what the recorder works out of the same probabilities."""
        fields = checks.example_recording(30)
        for fn, (recorded, name) in zip(
            FINAL,
            ((scores.entropy, "entropy"), (scores.least_confidence, "p_top"), (scores.margin, "p_gap")),
            strict=True,
        ):
            np.testing.assert_allclose(fn(fields["p_final"]), recorded(fields[name][-1:]))

    @final
    def test_undecided_ranks_over_certain(self, fn):
        p = np.array([[1 / 3, 1 / 3, 1 / 3], [0.6, 0.3, 0.1], [0.9, 0.08, 0.02], [1.0, 0.0, 0.0]])
        assert all(a > b for a, b in itertools.pairwise(fn(p)))

    @final
    def test_rounding_below_zero_is_no_obstacle(self, fn):
        out = fn(np.array([[1 + 4e-6, -4e-6]], dtype=np.float32))
        assert np.isfinite(out).all()
        assert out[0] == pytest.approx(0, abs=1e-4)

    @final
    @pytest.mark.usefixtures("our_own_errors")
    def test_numbers_that_are_no_distribution_are_named(self, fn):
        with pytest.raises(SecateurError, match="p_final: probabilities must sum to 1, got 1.4 at examples 1; softmax"):
            fn(np.array([[0.5, 0.5], [0.9, 0.5]]))
        with pytest.raises(SecateurError, match=r"p_final: values must lie in \[0, 1\], got 3 at .* apply softmax"):
            fn(np.array([[3.0, -2.0]]))

    def test_half_precision_over_many_classes_sums_to_1_closely_enough(self):
        p = np.random.default_rng(0).dirichlet(np.full(1000, 0.05), size=50).astype(np.float16)
        assert scores.final_entropy(p).min() > 0

    @pytest.mark.usefixtures("our_own_errors")
    def test_a_margin_needs_two_classes(self):
        with pytest.raises(SecateurError, match="p_final: a margin needs at least 2 classes, got 1"):
            scores.final_margin(np.ones((3, 1)))


@pytest.mark.parametrize("fn", [scores.dlc, scores.super_resolution])
def test_measured_scores_are_the_measurement_in_float64(fn):
    measured = np.random.default_rng(0).random(9, dtype=np.float32)
    np.testing.assert_array_equal(fn(measured), measured)
    assert fn(measured).dtype == np.float64


@pytest.mark.usefixtures("our_own_errors")
@pytest.mark.parametrize(("fn", "name"), [(scores.dlc, "complexity"), (scores.super_resolution, "reconstruction")])
def test_measured_scores_refuse_what_cannot_be_measured(fn, name):
    for value, message in ((np.nan, "must be finite"), (-1.0, r"must lie in \[0, inf\]")):
        with pytest.raises(SecateurError, match=f"{name}: values {message}, got .* at examples 1"):
            fn(np.array([1.0, value]))
