"""The vocabulary and its check."""

import numpy as np
import pytest

from secateur.errors import SecateurError
from secateur.fields import FIELDS, RECORDED, check


def test_every_field_says_what_it_is():
    for name, field in FIELDS.items():
        assert field.meaning, name
        assert set(field.axes) <= {"runs", "epochs", "examples", "classes", "dims"}, name
        assert "examples" in field.axes, name


def test_a_recorder_writes_what_the_design_names():
    expected = "p_target p_other z_target z_other correct loss error_norm entropy p_top p_gap kl_step cos_step seen"
    assert set(RECORDED) == {*expected.split(), "logits_mean", "labels"}


@pytest.mark.parametrize("name", [n for n, f in FIELDS.items() if np.isfinite(f.high)])
def test_a_value_above_the_range_is_refused(name):
    field = FIELDS[name]
    array = np.full((3,) * len(field.axes), float(field.high))
    check({name: array})
    array[(-1,) * array.ndim] = field.high + 0.01
    with pytest.raises(SecateurError, match=f"{name}: values must lie in"):
        check({name: array})


def test_rounding_errors_of_float32_are_within_the_range():
    check({"p_target": np.array([[1 + 1e-6, -1e-6]], dtype=np.float32)})


def test_the_place_of_a_bad_value_counts_the_row_that_is_skipped():
    array = np.zeros((4, 3))
    array[0], array[2, 1] = np.nan, -1.0
    with pytest.raises(SecateurError, match="kl_step: .* at epochs 2, examples 1"):
        check({"kl_step": array})


def test_empty_arrays_have_nothing_to_refuse():
    assert check({"p_target": np.zeros((0, 4))}) == {"epochs": 0, "examples": 4}
