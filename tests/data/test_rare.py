"""Classes with a single example: stopped for, used as they are, or left out, in train and in test."""

import numpy as np
import pytest

from secateur.data.source import open_data
from secateur.errors import DataError

ROWS, LABELS = np.eye(6), ["cat", "cat", "dog", "dog", "ibis", "owl"]


def test_rare_classes_are_kept_where_that_is_asked_for():
    source = open_data((ROWS, LABELS), on_rare="keep")
    assert source.train.usable.tolist() == [0, 1, 2, 3, 4, 5]
    assert not source.train.bad


def test_the_rows_of_rare_classes_are_dropped_and_listed_where_that_is_asked_for():
    source = open_data((ROWS, LABELS), on_rare="drop")
    assert source.train.usable.tolist() == [0, 1, 2, 3]
    assert {i: told.split(" has")[0] for i, told in source.train.bad.items()} == {4: "class 'ibis'", 5: "class 'owl'"}
    assert source.classes == ("cat", "dog", "ibis", "owl")  # class numbers do not move


def test_test_rows_of_a_dropped_class_are_dropped_too():
    test = (np.eye(6)[:4], ["cat", "owl", "owl", "dog"])
    assert open_data((ROWS, LABELS), test=test, on_rare="drop").test.usable.tolist() == [0, 3]
    assert open_data((ROWS, LABELS), test=test, on_rare="keep").test.usable.tolist() == [0, 1, 2, 3]


def test_data_with_a_class_dropped_are_not_the_data_with_it():
    kept, dropped = (open_data((ROWS, LABELS), on_rare=how).fingerprint for how in ("keep", "drop"))
    assert kept != dropped


def test_a_class_whose_other_rows_cannot_be_read_is_rare():
    rows = np.eye(5)
    rows[4] = np.nan
    labels = ["cat", "cat", "dog", "dog", "dog"]
    assert open_data((rows, labels), on_bad="skip").train.usable.tolist() == [0, 1, 2, 3]
    rows[3] = np.nan
    with pytest.raises(DataError, match="1 class has a single example, .*: 'dog'"):
        open_data((rows, labels), on_bad="skip")


def test_another_word_is_an_error(our_own_errors):
    with pytest.raises(DataError, match="on_rare: expected stop, keep or drop, got 'skip'"):
        open_data((ROWS, LABELS), on_rare="skip")
