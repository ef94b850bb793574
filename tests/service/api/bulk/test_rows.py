"""Rows of a long table on the grid of their model, compared with pandas."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.bulk.rows import Rows, end_to_end
from service.contract.forecast import ForecastSignature
from service.errors import Malformed, ServiceError, TooLarge, Unservable
from tests.artifacts import toy

HOURLY = ForecastSignature(
    freq="h",
    seasonality=24,
    context_length=48,
    minimum_context=1,
    horizon=2,
    quantile_levels=(0.5,),
)


def rows(item: list[int], hours: list[int], target: list[float], **more: Any) -> Rows:
    """Rows of items a, b, c at hours of one day."""
    moments = np.datetime64("2024-01-01", "us") + np.array(hours, "timedelta64[h]")
    return Rows(np.array(item, np.int64), "abc", moments, np.array(target, np.float64), **more)


@given(st.data())
@settings(deadline=None)
def test_gaps_become_missing_values_as_in_pandas(data: st.DataObject) -> None:
    wanted = data.draw(
        st.lists(st.sets(st.integers(0, 40), min_size=1, max_size=8), min_size=1, max_size=3)
    )
    pairs = [(item, hour) for item, hours in enumerate(wanted) for hour in sorted(hours)]
    waiting = {item: sorted(hours) for item, hours in enumerate(wanted)}
    order = [item for item, _ in data.draw(st.permutations(pairs))]  # items mixed, hours in order
    table = rows(order, [waiting[item].pop(0) for item in order], [*range(len(order))])
    found = end_to_end(table, HOURLY, 1000)
    frame = pd.DataFrame({"item": order, "t": table.timestamps, "y": table.target})
    assert found.item_ids == ["abc"[item] for item in dict.fromkeys(order)]
    ends = np.cumsum(found.sizes)
    for at, item in enumerate(dict.fromkeys(order)):
        series = frame[frame["item"] == item].set_index("t")["y"].asfreq("h")
        assert found.starts[at] == series.index[0].to_datetime64()
        np.testing.assert_array_equal(found.target[ends[at] - found.sizes[at] : ends[at]], series)


def refusal(table: Rows, signature: ForecastSignature = HOURLY, most: int = 1000) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        end_to_end(table, signature, most)
    return caught.value


def test_a_repeated_timestamp_names_item_and_both_rows() -> None:
    error = refusal(rows([0, 1, 0, 1], [0, 0, 1, 0], [1, 2, 3, 4]))
    assert isinstance(error, Unservable)
    assert "item 'b', row 4" in error.message
    assert "2024-01-01T00:00:00 does not come after 2024-01-01T00:00:00 of row 2" in error.message


def test_unsorted_rows_are_refused() -> None:
    assert "item 'a', row 2" in refusal(rows([0, 0], [5, 4], [1, 2])).message


def test_a_timestamp_between_two_steps_is_refused() -> None:
    table = rows([0, 0], [0, 1], [1, 2])
    table.timestamps[1] += np.timedelta64(1, "s")
    error = refusal(table)
    assert "item 'a', row 2" in error.message
    assert "whole number of steps of h" in error.message


def test_a_timestamp_outside_the_calendar_is_refused() -> None:
    table = rows([0, 0], [0, 1], [1, 2])
    table.timestamps[1] = np.datetime64("2500-01-01", "us")
    assert "item 'a', row 2: timestamp 2500" in refusal(table).message


def test_a_gap_that_would_fill_the_memory_is_refused() -> None:
    error = refusal(rows([0, 1, 1], [0, 0, 900_000], [1, 2, 3]))
    assert isinstance(error, TooLarge)
    assert "item 'b', row 3" in error.message


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
def test_infinity_names_item_and_row(infinite: float) -> None:
    error = refusal(rows([0, 1], [0, 0], [1, infinite]))
    assert isinstance(error, Malformed)
    assert "item 'b', row 2: target is not a finite number" in error.message


def whole(steps: int, **changes: Any) -> Rows:
    """One item with everything the toy wants."""
    numbers = {name: np.arange(steps, dtype=float) for name in ("price", "stock", "promo")}
    numbers["size"] = np.full(steps, 7.5)
    numbers |= changes.pop("numbers", {})
    codes = {"region": np.ones(steps, np.int64)} | changes.pop("codes", {})
    target = np.append(np.ones(steps - 3), [np.nan] * 3)
    days = [24 * day for day in range(steps)]
    return rows([0] * steps, days, changes.pop("target", target), numbers=numbers, codes=codes)


def test_the_last_steps_are_the_horizon_where_covariates_are_known_ahead() -> None:
    found = end_to_end(whole(8), toy.SIGNATURE, 1000)
    assert found.sizes.tolist() == [5]
    assert found.target.tolist() == [1.0] * 5
    assert found.past["price"].tolist() == [0, 1, 2, 3, 4]
    assert found.known["promo"].tolist() == [*range(8)]
    assert found.static["size"].tolist() == [7.5]
    assert found.codes["region"].tolist() == [1]


def test_a_value_of_the_item_may_be_missing_in_some_of_its_rows() -> None:
    size = np.array([np.nan, 4.0, np.nan, 4.0, np.nan])
    region = np.array([-1, -1, 1, -1, 1])
    found = end_to_end(
        whole(5, numbers={"size": size}, codes={"region": region}), toy.SIGNATURE, 99
    )
    assert (found.static["size"].tolist(), found.codes["region"].tolist()) == ([4.0], [1])
    nowhere = np.full(5, -1)
    found = end_to_end(whole(5, codes={"region": nowhere}), toy.SIGNATURE, 99)
    assert found.codes["region"].tolist() == [-1]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (whole(5, numbers={"size": np.arange(5.0)}), "item 'a', row 1: size differs"),
        (whole(5, codes={"region": np.arange(5) % 2}), "item 'a', row 1: region differs"),
        (whole(5, target=[1, 1, np.nan, 5, np.nan]), "item 'a', row 4: target is 5.*last 3 steps"),
        (whole(3, target=[np.nan] * 3), "item 'a', row 3: the item has 3 steps.*last 3 steps"),
    ],
)
def test_what_is_wrong_beside_the_target_is_named(table: Rows, message: str) -> None:
    with pytest.raises(Unservable, match=message):
        end_to_end(table, toy.SIGNATURE, 1000)
