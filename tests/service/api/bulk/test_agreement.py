"""Many series judged together: what is refused, and in which words, is what single requests get."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.bulk.agreement import agree_packed
from service.api.bulk.panel import Packed
from service.contract.forecast import ForecastSignature
from service.errors import Malformed, Unservable
from service.forecasting.agreement import agree
from tests.artifacts import toy

PLAIN = ForecastSignature(
    freq="D",
    seasonality=7,
    context_length=5,
    minimum_context=2,
    horizon=3,
    quantile_levels=(0.1, 0.5),
)
VALUES = st.sampled_from([1.0, -3.5, np.nan, np.nan, 2e36, np.inf])
FEATURES = st.sampled_from([1.0, np.nan, 3e36])


def packed(targets: list[list[float]], **changes: Any) -> Packed:
    """Series of these values, daily from one day."""
    made = Packed(
        model="m",
        y=np.array([value for target in targets for value in target], np.float64),
        sizes=np.array([len(target) for target in targets], np.int64),
        starts=np.full(len(targets), np.datetime64("2024-01-01", "us")),
        item_ids=[f"s{at}" for at in range(len(targets))],
    )
    return replace(made, **changes)


def refusal(check: Callable[[], object]) -> str | None:
    try:
        check()
    except Unservable as error:
        return error.message
    return None


def first_refusal(many: Packed, signature: ForecastSignature) -> tuple[str | None, int]:
    """What is said of the first series that cannot be answered alone."""
    for at in range(len(many)):
        single = many.inquiry(at, at + 1, signature.horizon)
        said = refusal(lambda single=single: agree(single, signature))  # type: ignore[misc]
        if said is not None:
            return said, at
    return None, -1


@given(st.lists(st.lists(VALUES, min_size=1, max_size=9), min_size=1, max_size=6))
@settings(deadline=None)
def test_a_target_is_refused_where_it_is_alone(targets: list[list[float]]) -> None:
    many = packed(targets)
    expected, at = first_refusal(many, PLAIN)
    if expected is None:
        agreed = asyncio.run(agree_packed(many, PLAIN))
        assert (agreed.horizon, agreed.quantile_levels) == (3, (0.1, 0.5))
        return
    with pytest.raises(Unservable) as caught:
        asyncio.run(agree_packed(many, PLAIN))
    assert caught.value.message == expected
    assert (caught.value.field or "").startswith(f"series[{at}].target")


@given(st.data())
@settings(deadline=None)
def test_covariates_are_refused_where_they_are_alone(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 24), min_size=1, max_size=4))
    total, ahead = sum(sizes), toy.SIGNATURE.horizon

    def some(count: int) -> Any:
        values = np.ones(count)
        at = data.draw(st.integers(0, count - 1))
        values[at] = data.draw(FEATURES)
        return values

    texts: Any = data.draw(st.sampled_from([["north", None], [None, "nowhere"]]))
    many = packed(
        [[1.0] * size for size in sizes],
        past_covariates={"price": some(total), "stock": some(total)},
        known_covariates={"promo": some(total + ahead * len(sizes))},
        static_features={"size": some(len(sizes)), "region": (texts * len(sizes))[: len(sizes)]},
    )
    expected, at = first_refusal(many, toy.SIGNATURE)
    if expected is None:
        asyncio.run(agree_packed(many, toy.SIGNATURE))
        return
    with pytest.raises(Unservable) as caught:
        asyncio.run(agree_packed(many, toy.SIGNATURE))
    assert caught.value.message == expected
    assert (caught.value.field or "").startswith(f"series[{at}].")


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"horizon": 4}, "horizon", "4.*1 to 3"),
        ({"quantile_levels": (0.2,)}, "quantile_levels[0]", "0.2"),
        ({"freq": "h"}, "series[0].freq", "'h'.*'D'"),
        ({"item_ids": ["a", "b", "a"]}, "series[2].item_id", "'a' is used by series 0 and 2"),
        ({"past_covariates": {"price": np.ones(9)}}, "series[0].past_covariates.price", "none"),
        (
            {"starts": np.array(["2024-01-01", "2261-12-30", "2024-01-01"], "datetime64[us]")},
            "series[1].start",
            "'s1'.*leave the years",
        ),
    ],
)
def test_what_is_wrong_with_a_panel_is_named(
    changes: dict[str, Any], field: str, message: str
) -> None:
    many = packed([[1.0, 2.0, 3.0]] * 3, **changes)
    with pytest.raises(Unservable, match=message) as caught:
        asyncio.run(agree_packed(many, PLAIN))
    assert caught.value.field == field


def test_a_start_off_the_grid_names_its_series() -> None:
    starts = np.array(["2024-01-01", "2024-01-02"], "datetime64[us]")
    monthly = PLAIN.model_copy(update={"freq": "MS"})
    with pytest.raises(Unservable, match="'s1'.*2024-01-02") as caught:
        asyncio.run(agree_packed(packed([[1.0, 2.0]] * 2, starts=starts), monthly))
    assert caught.value.field == "series[1].start"


def test_a_panel_without_series_is_refused() -> None:
    with pytest.raises(Unservable, match="no series"):
        asyncio.run(agree_packed(packed([]), PLAIN))


@pytest.mark.parametrize(
    ("kind", "name", "count"), [("past", "price", 7), ("past", "stock", 9), ("known", "promo", 8)]
)
def test_covariates_of_another_length_than_y_are_refused(kind: str, name: str, count: int) -> None:
    many = packed([[1.0] * 4] * 2, **{f"{kind}_covariates": {name: np.ones(count)}})
    with pytest.raises(Unservable, match=f"{name} has {count} values, expected (8|14)"):
        asyncio.run(agree_packed(many, toy.SIGNATURE))


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"sizes": np.array([2, 0])}, "sizes[1]", "is 0, expected 1 to 4"),
        ({"sizes": np.array([-2, 6])}, "sizes[0]", "is -2"),
        ({"sizes": np.array([2**62, 2**62])}, "sizes[0]", "expected 1 to 4"),
        ({"sizes": np.array([2, 1])}, "sizes", "add up to 3, but y has 4"),
        ({"starts": np.zeros(3, "datetime64[us]")}, "start", "3 elements, expected 2"),
        ({"item_ids": ["a"]}, "item_ids", "1 elements, expected 2"),
        ({"static_features": {"a": np.zeros(1)}}, "static_features.a", "expected 2"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(
    changes: dict[str, Any], field: str, message: str
) -> None:
    many = packed([[1.0, 2.0], [3.0, 4.0]])
    many.check()
    with pytest.raises(Malformed, match=message) as caught:
        replace(many, **changes).check()
    assert caught.value.field == field
