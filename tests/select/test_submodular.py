"""Facility location, graph cut and saturated coverage, and the lazy greedy under them."""

import tracemalloc

import numpy as np
import pytest
from scipy import sparse

from secateur import select
from secateur.errors import SecateurError
from secateur.select.greedy import Facility, Rows, lazy, lazy_facility
from secateur.select.similarity import cosine_similarity, near_similarity
from secateur.select.submodular import Coverage, _cover, _cut, coverage_value, facility_value, graph_cut_value

SELECTORS = [select.facility_location, select.graph_cut, select.saturated_coverage]
selectors = pytest.mark.parametrize("fn", SELECTORS, ids=lambda f: f.__name__)
forms = pytest.mark.parametrize("form", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
FOUR = np.array([[1, 0.5, 0, 0], [0.5, 1, 0.25, 0], [0, 0.25, 1, 0.75], [0, 0, 0.75, 1]], dtype=np.float32)


def similarities(seed, n=200, *, share=1.0):
    """Random symmetric similarities with 1 on the diagonal; a share of the pairs is there."""
    rng = np.random.default_rng(seed)
    half = np.triu(rng.random((n, n)) * (rng.random((n, n)) < share), 1)
    return (half + half.T + np.eye(n)).astype(np.float32)


def naive(value, n, keep):
    """Greedy that tries everyone each time, from the set function alone: the first of the best."""
    picks = []
    for _ in range(keep):
        rest = [i for i in range(n) if i not in picks]
        picks.append(max(rest, key=lambda i: (value([*picks, i]), -i)))
    return picks


def facility(s):
    s = s.astype(float)
    return lambda picks: s[:, picks].max(axis=1).sum()


def cut(s, weight=2.0):
    s = s.astype(float)
    return lambda picks: weight * s[:, picks].sum() - s[np.ix_(picks, picks)].sum()


def coverage(s, saturation=0.1):
    s = s.astype(float)
    return lambda picks: np.minimum(s[:, picks].sum(axis=1), saturation * s.sum(axis=1)).sum()


def blobs(seed, n=200, dims=8, groups=5):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(groups, dims))[rng.integers(groups, size=n)] + rng.normal(size=(n, dims))


def plain_similarity(features, neighbours):
    """0.5 + 0.5 cosine of each pair; 0 where neither is among the nearest of the other."""
    rows = features / np.sqrt((features**2).sum(axis=1))[:, None]
    alike = 0.5 + 0.5 * rows @ rows.T
    near = np.ones(alike.shape, dtype=bool)
    if neighbours:
        others = alike - 9 * np.eye(len(alike))
        near = others >= np.sort(others, axis=1)[:, [-neighbours]]
    return np.where(near | near.T | np.eye(len(alike), dtype=bool), alike, 0)


class TestLazyFacility:
    @pytest.mark.parametrize("seed", range(3))
    @pytest.mark.parametrize("share", [1.0, 0.1], ids=["full", "thin"])
    @forms
    def test_picks_are_those_of_naive_greedy_in_order(self, seed, share, form):
        s = np.round(similarities(seed, share=share) * 2**20) / np.float32(2**20)  # so that sums are exact
        np.testing.assert_array_equal(lazy_facility(form(s), 30), naive(facility(s), 200, 30))

    @forms
    def test_ties_go_to_the_lower_id(self, form):
        s = np.kron(np.eye(3), np.ones((2, 2))).astype(np.float32)  # three pairs of twins
        np.testing.assert_array_equal(lazy_facility(form(s), 6), [0, 2, 4, 1, 3, 5])

    @forms
    def test_many_ties_are_broken_as_naive_greedy_breaks_them(self, form):
        s = np.round(similarities(5, share=0.2) * 4) / np.float32(4)
        np.testing.assert_array_equal(lazy_facility(form(s), 40), naive(facility(s), 200, 40))

    @forms
    def test_row_says_what_a_candidate_stands_for_where_sides_differ(self, form):
        # row sums 3 1 1.5 2: 0 first; it covers 0 1 2, so 3 adds 2 - 1 for itself and the others nothing
        s = np.array([[1, 1, 1, 0], [0, 1, 0, 0], [0, 0.5, 1, 0], [1, 0, 0, 1]], dtype=np.float32)
        np.testing.assert_array_equal(lazy_facility(form(s), 4), [0, 3, 1, 2])

    def test_the_gain_of_a_candidate_does_not_depend_on_who_is_asked_about_beside_it(self):
        s = similarities(2, n=500)
        function = Facility(Rows(s))
        function.add(3)
        together = function.gains(np.arange(500))
        np.testing.assert_array_equal(together, [function.gains(np.array([i]))[0] for i in range(500)])

    def test_rows_without_any_neighbour_are_candidates_too(self):
        s = sparse.csr_array(np.diag([0.0, 2.0, 0.0]).astype(np.float32))
        np.testing.assert_array_equal(lazy_facility(s, 3), [1, 0, 2])


@pytest.mark.parametrize("neighbours", [0, 6], ids=["all pairs", "neighbours"])
class TestSelectors:
    @pytest.mark.parametrize("seed", range(2))
    @pytest.mark.parametrize(
        ("fn", "value", "knobs"),
        [
            (select.facility_location, facility, {"all_pairs": 0}),
            (select.graph_cut, cut, {}),
            (select.graph_cut, lambda s: cut(s, 1.0), {"weight": 1.0}),
            (select.saturated_coverage, coverage, {}),
            (select.saturated_coverage, lambda s: coverage(s, 0.4), {"saturation": 0.4}),
        ],
        ids=["facility", "cut", "cut at 1", "coverage", "coverage to 0.4"],
    )
    def test_keep_what_naive_greedy_keeps(self, fn, value, knobs, seed, neighbours):
        features = blobs(seed, n=120)
        expected = naive(value(plain_similarity(features, neighbours)), 120, 10)
        ids = fn(features, keep=10, neighbours=neighbours, **knobs)
        np.testing.assert_array_equal(ids, np.sort(expected))

    def test_read_similarities_as_defined(self, neighbours):
        features = blobs(3)
        found = cosine_similarity(features, neighbours=neighbours)
        full = found if neighbours == 0 else found.toarray()
        np.testing.assert_allclose(full, plain_similarity(features, neighbours), atol=2e-6)
        np.testing.assert_array_equal(full, full.T)
        np.testing.assert_array_equal(full * 2**20 % 1, 0)

    @selectors
    def test_lengths_of_features_do_not_matter(self, fn, neighbours):
        features = blobs(4)
        scaled = features * np.linspace(0.1, 10, 200)[:, None]
        np.testing.assert_array_equal(
            fn(features, keep=15, neighbours=neighbours), fn(scaled, keep=15, neighbours=neighbours)
        )

    def test_one_of_each_pair_of_twins_is_kept_before_any_second(self, neighbours):
        features = np.repeat(blobs(5, n=50), 2, axis=0)
        ids = select.facility_location(features, keep=50, neighbours=neighbours, all_pairs=0)
        np.testing.assert_array_equal(ids // 2, np.arange(50))

    @selectors
    def test_a_single_example_is_kept(self, fn, neighbours):
        np.testing.assert_array_equal(fn(np.ones((1, 3)), keep=1, neighbours=neighbours), [0])


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array], ids=["dense", "sparse"])
class TestByHand:
    def test_facility_location(self, form):
        # alone: 1.5 1.75 2 1.75, so 2; then 0 adds 1 + .25, 1 adds .5 + .75, 3 adds .25; then 1 adds .5, 3 adds .25
        np.testing.assert_array_equal(lazy_facility(form(FOUR), 4), [2, 0, 1, 3])
        assert facility_value(form(FOUR), np.array([2])) == 2.0
        assert facility_value(form(FOUR), np.array([0, 2])) == 1 + 0.5 + 1 + 0.75

    def test_graph_cut(self, form):
        # twice the row sums less 1: 2 2.5 3 2.5, so 2; then less twice the similarity to it: 2 2 - 1, so 0; then 1 1
        steps = _cut(Rows(form(FOUR)), 2.0, 4)
        assert steps == [(2, 3.0), (0, 2.0), (1, 1.0), (3, 1.0)]
        assert graph_cut_value(form(FOUR), np.array([2])) == 3.0
        assert graph_cut_value(form(FOUR), np.arange(4)) == 7.0
        assert graph_cut_value(form(FOUR), np.array([0, 1]), weight=1.0) == 3.25 - 3

    def test_saturated_coverage(self, form):
        # caps at half the row sums: .75 .875 1 .875; alone 1.25 1.625 2 1.625, so 2; room .75 .625 0 .125 is left,
        # of which 0 fills .75 + .5, 1 fills .5 + .625, 3 fills .125
        steps = _cover(Coverage(Rows(form(FOUR)), 0.5), 2)
        assert steps == [(2, 2.0), (0, 1.25)]
        assert coverage_value(form(FOUR), np.array([0, 2]), saturation=0.5) == 0.75 + 0.75 + 1 + 0.75

    def test_full_caps_rise_by_their_first_heights(self, form):
        # caps .375 .4375 .5 .4375: 2 gives 0 .25 .5 .4375, then 0 fills .375 + .1875 and 1 as much: all full; once
        # risen, room is .75 - 1, .875 - .75, 1 - 1, .875 - .75 after [2, 0]: 1 fills .125, 3 fills .125
        steps = _cover(Coverage(Rows(form(FOUR)), 0.25), 4)
        assert steps == [(2, 1.1875), (0, 0.5625), (1, 0.125), (3, 0.125)]


@forms
@pytest.mark.parametrize(
    ("steps", "value"),
    [
        (lambda s: list(lazy(Facility(Rows(s)), np.arange(200))), facility_value),
        (lambda s: _cut(Rows(s), 2.0, 200), graph_cut_value),
        (lambda s: _cover(Coverage(Rows(s), 1.0), 200), lambda s, ids: coverage_value(s, ids, saturation=1.0)),
    ],
    ids=["facility", "cut", "coverage"],
)
def test_gains_never_increase_nor_are_negative_and_sum_to_the_value(steps, value, form):
    s = form(similarities(1, share=0.3))
    picks, gains = zip(*steps(s), strict=True)
    assert (np.diff(gains) <= 1e-9).all()
    assert min(gains) >= -1e-9
    assert sorted(picks) == list(range(200))
    assert sum(gains) == pytest.approx(value(s, np.arange(200)))
    assert sum(gains[:50]) == pytest.approx(value(s, np.array(picks[:50])))


def test_a_graph_cut_of_weight_1_loses_by_late_picks_and_keeps_as_many_all_the_same():
    gains = [gain for _, gain in _cut(Rows(similarities(1)), 1.0, 200)]
    assert min(gains) < 0
    assert len(select.graph_cut(blobs(0), keep=150, weight=1.0)) == 150


def test_full_caps_do_not_keep_the_first_rows():
    features = np.repeat(np.eye(2), 20, axis=0) + 0.01 * np.random.default_rng(0).random((40, 2))
    ids = select.saturated_coverage(features, keep=20, neighbours=5, saturation=0.1)
    assert 9 <= (ids < 20).sum() <= 11


def test_as_many_neighbours_as_there_are_others_are_all_pairs():
    features = blobs(6, n=60)
    near, full = near_similarity(features, 59).toarray(), cosine_similarity(features, neighbours=0)
    np.testing.assert_allclose(near + np.eye(60), full, atol=2e-6)
    for fn in SELECTORS:
        near = {"all_pairs": 0} if fn is select.facility_location else {}
        for neighbours in (59, 60, 500):
            ids = fn(features, keep=9, neighbours=neighbours, **near)
            np.testing.assert_array_equal(ids, fn(features, keep=9, neighbours=0))


def test_few_examples_are_compared_in_all_pairs():
    features = blobs(7)
    exact = select.facility_location(features, keep=20, neighbours=0)
    np.testing.assert_array_equal(select.facility_location(features, keep=20, neighbours=3), exact)
    assert not np.array_equal(select.facility_location(features, keep=20, neighbours=3, all_pairs=199), exact)


def test_neighbours_lose_less_than_a_tenth_of_what_greedy_gains_over_random():
    features = blobs(8, n=1000, dims=32)
    full, rng = cosine_similarity(features, neighbours=0), np.random.default_rng(0)
    exact = facility_value(full, select.facility_location(features, keep=100, neighbours=0))
    near = facility_value(full, select.facility_location(features, keep=100, neighbours=64, all_pairs=0))
    random = np.mean([facility_value(full, select.random(1000, keep=100, rng=rng)) for _ in range(5)])
    assert near > 0.99 * exact
    assert exact - near < 0.1 * (exact - random)


@selectors
def test_neighbours_never_need_all_pairs_in_memory(fn):
    features = np.random.default_rng(0).normal(size=(4_000, 8)).astype(np.float32)
    tracemalloc.start()
    fn(features, keep=40, neighbours=8, **({"all_pairs": 0} if fn is select.facility_location else {}))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16e6  # all pairs: 64e6


@pytest.mark.usefixtures("our_own_errors")
class TestBadInput:
    @selectors
    @pytest.mark.parametrize("neighbours", [0, 5])
    def test_a_row_of_zeros_has_no_cosine(self, fn, neighbours):
        features = blobs(0)
        features[17] = 0
        with pytest.raises(SecateurError, match="features: example 17 is all zeros"):
            fn(features, keep=3, neighbours=neighbours)

    @selectors
    def test_features_that_are_no_numbers_are_named(self, fn):
        features = blobs(0)
        features[17, 2] = np.nan
        with pytest.raises(SecateurError, match="features: values must be finite, got nan at examples 17, dims 2"):
            fn(features, keep=3)

    @selectors
    def test_more_than_there_are_cannot_be_kept(self, fn):
        with pytest.raises(SecateurError, match="keep: expected a count from 1 to 200"):
            fn(blobs(0), keep=201)

    @selectors
    def test_neighbours_below_0_are_refused(self, fn):
        with pytest.raises(SecateurError, match="neighbours: expected a whole number from 0 .*, got -1"):
            fn(blobs(0), keep=3, neighbours=-1)

    @pytest.mark.parametrize("weight", [0.0, -1.0, np.nan])
    def test_a_weight_must_be_positive(self, weight):
        with pytest.raises(SecateurError, match="weight: expected a number in"):
            select.graph_cut(blobs(0), keep=3, weight=weight)

    @pytest.mark.parametrize("saturation", [0.0, 1.5, np.nan])
    def test_a_saturation_is_a_fraction(self, saturation):
        with pytest.raises(SecateurError, match="saturation: expected a number in \\(0, 1\\]"):
            select.saturated_coverage(blobs(0), keep=3, saturation=saturation)


@pytest.mark.usefixtures("our_own_errors")
class TestBadSimilarities:
    @forms
    @pytest.mark.parametrize("wrong", [-0.5, np.nan, np.inf])
    def test_values_that_are_no_similarity_name_the_pair(self, form, wrong):
        s = similarities(0, n=5)
        s[3, 1] = wrong
        with pytest.raises(SecateurError, match=r"similarity: .* for the pair \(3, 1\)"):
            lazy_facility(form(s), 2)

    def test_a_similarity_must_be_square(self):
        with pytest.raises(SecateurError, match="one row and one column an example, got shape \\(2, 3\\)"):
            lazy_facility(np.ones((2, 3), dtype=np.float32), 1)

    @pytest.mark.parametrize("keep", [0, 6])
    def test_impossible_keeps_are_named(self, keep):
        with pytest.raises(SecateurError, match=f"keep: expected 1 to 5, the examples there are, got {keep}"):
            lazy_facility(similarities(0, n=5), keep)
