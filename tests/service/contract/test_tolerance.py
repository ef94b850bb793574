"""The tolerance: numbers worked out by hand, and everything that must never pass."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.tolerance import TOLERANCES, Difference, Tolerance

NAN, INF = float("nan"), float("inf")


def compare(
    expected: object, got: object, scale: object, tolerance: Tolerance = TOLERANCES["cpu"]
) -> Difference:
    arrays = (np.array(values, np.float32) for values in (expected, got, scale))
    return tolerance.compare(*arrays)


def test_equal_answers_differ_by_nothing() -> None:
    found = compare([[1, 2], [3, 4]], [[1, 2], [3, 4]], [1, 5])
    assert found == Difference(0.0, 0.0)
    assert found.acceptable


def test_a_difference_is_measured_in_units_of_its_rows_scale() -> None:
    found = compare([[8], [8]], [[8], [9]], [1, 4], Tolerance(atol=0.125, rtol=0.0625))
    assert found.worst == 0.25  # 1 of a scale of 4
    assert found.share == 0.25 / (0.125 + 0.0625 * 2)
    assert found.acceptable


def test_each_row_is_judged_by_its_own_scale() -> None:
    found = compare([[8], [8]], [[9], [8]], [1, 4], Tolerance(atol=0.125, rtol=0.0625))
    assert found.worst == 1.0
    assert not found.acceptable


def test_the_whole_tolerance_is_still_acceptable_and_no_more() -> None:
    tolerance = Tolerance(atol=0.5, rtol=0.0)
    assert compare([[1]], [[1.5]], [1], tolerance).acceptable
    assert not compare([[1]], [[np.nextafter(np.float32(1.5), 2)]], [1], tolerance).acceptable


def test_the_worst_element_and_the_worst_share_may_be_different_ones() -> None:
    found = compare([[0, 100]], [[0.25, 101]], [1], Tolerance(atol=0.25, rtol=0.25))
    assert found.worst == 1.0  # the second
    assert found.share == 1.0  # the first


def test_a_series_of_zeros_is_measured_in_data_units() -> None:
    assert compare([[0.0]], [[0.0]], [0]).acceptable
    assert compare([[0.0]], [[0.5]], [0]).worst == 0.5


@pytest.mark.parametrize(
    ("expected", "got"), [(1.0, NAN), (NAN, 1.0), (NAN, NAN), (1.0, INF), (1.0, -INF)]
)
def test_what_is_not_a_number_is_never_acceptable(expected: float, got: float) -> None:
    assert not compare([[expected, 1.0]], [[got, 1.0]], [1]).acceptable


def test_no_rows_differ_by_nothing() -> None:
    found = compare(np.empty((0, 6, 9)), np.empty((0, 6, 9)), [])
    assert found == Difference(0.0, 0.0)


# Numbers of which float32 keeps all digits in every unit below.
exact = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-30)


@given(
    exact,
    exact,
    st.floats(1e-3, 1e3),
    st.integers(-20, 20).map(lambda power: 2.0**power),
)
def test_the_unit_of_the_data_changes_nothing(
    expected: float, got: float, scale: float, unit: float
) -> None:
    one = compare([[expected]], [[got]], [scale])
    other = compare(
        [[np.float32(expected) * unit]], [[np.float32(got) * unit]], [np.float32(scale) * unit]
    )
    assert other == one


def test_cuda_is_allowed_more_than_cpu() -> None:
    assert TOLERANCES["cuda"].atol > TOLERANCES["cpu"].atol > np.finfo(np.float32).eps
    assert set(TOLERANCES) == {"cpu", "cuda"}
