"""Rows of named columns: every number arrives in its place, or the row and column are named."""

import re
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.regression import RegressionSignature
from service.errors import Unservable
from service.regressor import Row, feature_tensor

SIGNATURE = RegressionSignature(features=("area", "rooms", "age"), target="price")
NUMBERS = st.floats(-3e38, 3e38) | st.integers(-(10**9), 10**9).map(float)
GOOD = {"area": 1.0, "rooms": 2.0, "age": 3.0}


@given(
    st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=20),
    st.randoms(use_true_random=False),
)
def test_columns_in_any_order_come_in_that_of_the_signature(
    table: list[tuple[float, ...]], random: Random
) -> None:
    rows = []
    for numbers in table:
        cells = list(zip(SIGNATURE.features, numbers, strict=True))
        random.shuffle(cells)
        rows.append(dict(cells))
    expected = np.array([[np.float32(number) for number in numbers] for numbers in table])
    np.testing.assert_array_equal(feature_tensor(rows, SIGNATURE), expected, strict=True)


@pytest.mark.parametrize(
    ("rows", "words", "field"),
    [
        ([], "rows is empty; send at least one row", "rows"),
        (
            [GOOD, {"area": 1.0, "age": 3.0}],
            "rows[1]: missing column 'rooms'; this model takes area, rooms, age",
            "rows[1].rooms",
        ),
        ([GOOD | {"price": 4.0}], "rows[0]: unknown column 'price'; this", "rows[0].price"),
        (
            [{"area": 1.0, "room": 2.0, "age": 3.0}],
            "rows[0]: missing column 'rooms', unknown column 'room'; this model takes",
            "rows[0].rooms",
        ),
        ([{}], "rows[0]: missing column 'area', missing column 'rooms';", "rows[0].area"),
        ([GOOD | {"Area": 1.0}], "unknown column 'Area'", "rows[0].Area"),
        ([GOOD, GOOD | {"age": 1e39}], "rows[1].age is 1e+39, the largest magn", "rows[1].age"),
        ([GOOD | {"area": -1e308}], "rows[0].area is -1e+308, the largest mag", "rows[0].area"),
    ],
)
def test_what_a_model_cannot_take_is_named(rows: list[Row], words: str, field: str) -> None:
    with pytest.raises(Unservable, match=re.escape(words)) as caught:
        feature_tensor(rows, SIGNATURE)
    assert caught.value.field == field


def test_the_largest_and_the_smallest_floats_are_numbers_like_others() -> None:
    largest = float(np.finfo(np.float32).max)
    rows = [{"area": largest, "rooms": -largest, "age": 1e-45}]
    expected = np.array([[largest, -largest, 1e-45]], np.float32)
    np.testing.assert_array_equal(feature_tensor(rows, SIGNATURE), expected, strict=True)


def test_a_table_of_one_column_is_a_table() -> None:
    one = RegressionSignature(features=("area",), target="price")
    found = feature_tensor([{"area": 1.5}, {"area": -2.0}], one)
    np.testing.assert_array_equal(found, np.array([[1.5], [-2.0]], np.float32), strict=True)
