"""Filters by a column: a range, the top fraction, quantiles."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from secateur.errors import SecateurError
from secateur.scale import Clustering, Filter
from secateur.scale.engines import Local
from secateur.scale.prune import begin
from tests.scale.made import made, table

ROWS = 100
SCORES = np.random.default_rng(0).permutation(ROWS) / 100
MISSING = np.where(np.arange(ROWS) // 10 == 1, np.nan, SCORES)
COLUMNS = {
    "clip": SCORES,
    "single": SCORES.astype(np.float32),
    "large": 2**24 + np.arange(ROWS),
    "levels": np.repeat([0.1, 0.7], 50),
    "missing": MISSING,
    "nulls": pa.array([None if i % 2 else i for i in range(ROWS)]),
    "infinite": np.where(SCORES < 0.5, -np.inf, SCORES),
}


@pytest.fixture(scope="module")
def clustered(tmp_path_factory):
    """A shard with all of these columns, laid out by cluster in units of 40 rows: the run, and what it laid out."""
    folder, how = tmp_path_factory.mktemp("filters"), Clustering(clusters=3, unit_rows=40)
    pq.write_table(table(made(ROWS, planted=0), **COLUMNS), folder / "it.parquet")
    run = begin(str(folder / "it.parquet"), str(folder / "out"), None, how, None, engine=Local(1), quiet=True)
    return run, run.clustered(how)


@pytest.fixture
def passed(clustered):
    """Filter: the scores that pass, sorted."""

    def of(column, **how):
        run, laid = clustered
        _, folders = run.filtered(laid, Filter(column, **how))
        through = np.concatenate([(place / "passed.npy").read_array() for place in folders])
        rows = np.concatenate([(place / "rows.npy").read_array() for place in laid.units])
        values = COLUMNS[column]
        values = np.array(values.to_pylist() if column == "nulls" else values, dtype=float)
        return sorted(values[rows[through]].tolist())

    return of


def test_a_range_lets_both_of_its_ends_through(passed):
    assert passed("clip", min=0.2, max=0.3) == [n / 100 for n in range(20, 31)]


def test_a_range_is_in_the_precision_of_the_column(passed):
    """0.3 as float32 is above 0.3; it passes up to 0.3 all the same."""
    assert passed("single", min=0.28, max=0.3) == np.array([0.28, 0.29, 0.3], dtype=np.float32).tolist()


def test_large_whole_numbers_are_told_apart(passed):
    """2^24 and 2^24 + 1 are one float32."""
    assert passed("large", min=2**24 + 1, max=2**24 + 2) == [2**24 + 1, 2**24 + 2]


def test_the_top_fraction_is_the_highest_scores_and_exactly_as_many(passed):
    assert passed("clip", top=0.25) == sorted(SCORES)[75:]


def test_quantiles_are_the_scores_between_two_places_of_the_sorted_ones(passed):
    """The 90 highest, without the 19 highest; the 20th is level with the bound."""
    assert passed("clip", quantiles=(0.1, 0.8)) == sorted(SCORES)[10:81]


def test_rows_level_with_the_bound_of_the_top_all_pass(passed):
    assert passed("levels", top=0.1) == [0.7] * 50


@pytest.mark.parametrize("how", [{"min": -1e9}, {"top": 1.0}, {"quantiles": (0.0, 1.0)}])
def test_a_row_without_a_score_never_passes(passed, how):
    assert passed("missing", **how) == sorted(MISSING[~np.isnan(MISSING)])


def test_a_null_is_a_row_without_a_score(passed):
    assert passed("nulls", min=0) == list(range(0, ROWS, 2))


def test_scores_of_minus_infinity_are_the_lowest_of_all(passed):
    assert passed("infinite", top=0.6) == sorted(COLUMNS["infinite"])
    assert passed("infinite", top=0.5) == sorted(SCORES)[50:]


def test_several_bounds_must_all_be_met(passed):
    assert passed("clip", min=0.5, max=0.9, top=0.3) == [n / 100 for n in range(70, 91)]


def test_a_filter_that_nothing_passes_is_an_error_that_names_the_column(passed):
    with pytest.raises(SecateurError, match=r"filter: no row passes .*'min': 2.* look at the range of clip"):
        passed("clip", min=2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "filter: expected min, max, top or quantiles for 'clip', got none"),
        ({"min": 1, "max": 0.5}, "filter: expected min up to max, got 1 and 0.5"),
        ({"top": 0.0}, r"filter: expected top in \(0, 1\], got 0.0"),
        ({"top": 1.1}, r"filter: expected top in \(0, 1\], got 1.1"),
        ({"quantiles": (0.5, 0.5)}, r"filter: expected two rising quantiles in \[0, 1\], got \(0.5, 0.5\)"),
        ({"quantiles": (0.5, 1.5)}, r"filter: expected two rising quantiles in \[0, 1\], got \(0.5, 1.5\)"),
    ],
)
def test_a_filter_without_sense_is_an_error(options, said):
    with pytest.raises(SecateurError, match=said):
        Filter("clip", **options)
