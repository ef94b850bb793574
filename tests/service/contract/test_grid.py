"""Many starts at once: each gets what it gets alone, and the first wrong one is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.frequency import Frequency, OffCalendar, OffGrid

MONTHS = np.arange("1900-01", "2000-01", dtype="datetime64[M]").astype("datetime64[us]")


@given(
    st.sampled_from(["s", "15min", "4h", "D", "2W", "MS", "QS", "3YS"]),
    st.lists(st.tuples(st.integers(0, len(MONTHS) - 1), st.integers(-30, 30)), min_size=1),
    st.integers(0, 9),
)
def test_many_starts_at_once_are_each_of_them_alone(
    alias: str, asked: list[tuple[int, int]], count: int
) -> None:
    frequency = Frequency.parse(alias)
    starts, first = MONTHS[[at for at, _ in asked]], np.array([step for _, step in asked])
    alone = [
        frequency.timestamps(start, int(step), count)
        for start, step in zip(starts, first, strict=True)
    ]
    np.testing.assert_array_equal(frequency.timestamps(starts, first, count), np.stack(alone))


def test_the_first_start_off_the_grid_is_named() -> None:
    starts = np.array(["2024-01-01", "2024-02-15", "2024-03-02"], "datetime64[us]")
    with pytest.raises(OffGrid, match="2024-02-15") as caught:
        Frequency.parse("MS").timestamps(starts, np.array([1, 1, 1]), 3)
    assert caught.value.index == 1


@pytest.mark.parametrize("first", [2_000, 16_000_000, 2**62, -(2**62)])
def test_the_first_start_that_leaves_the_calendar_is_named(first: int) -> None:
    starts = np.array(["2024-01-01", "2260-01-01", "2260-01-01"], "datetime64[us]")
    with pytest.raises(OffCalendar, match=f"steps {first} to {first + 2} of 2W after") as caught:
        Frequency.parse("2W").timestamps(starts, np.array([1, first, first]), 3)
    assert caught.value.index == 1
