"""The forecaster: who asks gets their own answer in their own order, or the field that is wrong."""

import asyncio
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.contract.forecast import ForecastMetadata
from service.contract.placement import LARGEST_VALUE, History, place
from service.contract.timestamp import read_timestamp
from service.engine.batcher import Batcher
from service.errors import NotFound, ServiceError, TooLarge, Unservable
from service.forecasting.agreement import agree
from service.forecasting.forecaster import Forecast, Forecaster
from service.forecasting.inquiry import Inquiry, Series
from service.inference import Inference
from service.repository.intake import Intake
from service.repository.live import Repository
from tests.conftest import ARTIFACTS

REPOSITORY = Intake(ARTIFACTS, "cpu").load()
TINY = REPOSITORY.get_for(ForecastMetadata, "tiny")
SIGNATURE = TINY.metadata.signature
LEVELS = SIGNATURE.quantile_levels
NAN = float("nan")


def one(item_id: str = "a", **changes: Any) -> Series:
    fields: dict[str, Any] = {
        "start": read_timestamp("2024-01-01"),
        "freq": None,
        "target": np.array([1.0, 2.0]),
    }
    return Series(item_id, **fields | changes)


def inquiry(*series: Series, **changes: Any) -> Inquiry:
    fields: dict[str, Any] = {
        "model": "tiny",
        "version": None,
        "horizon": None,
        "quantile_levels": None,
    }
    return Inquiry(series=series, **fields | changes)


def answer(asked: Inquiry, *, max_batch_rows: int = 4, max_queue_rows: int = 1000) -> Forecast:
    """Ask a real batcher with two lanes over the committed model."""

    async def run() -> Forecast:
        batcher = Batcher(2, max_batch_rows, max_queue_rows)
        batcher.start()
        try:
            return await asyncio.wait_for(
                Forecaster(Inference(REPOSITORY, batcher)).forecast(asked), 30
            )
        finally:
            await batcher.close()

    return asyncio.run(run())


def refused(asked: Inquiry, **limits: int) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        answer(asked, **limits)
    return caught.value


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=30),
    st.integers(1, 7),
    st.integers(0, 2**32),
)
def test_outputs_are_in_the_order_of_the_question_whatever_the_buckets(
    lengths: list[int], max_batch_rows: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    targets = [random.normal(loc=10.0, size=length) for length in lengths]
    many = [one(str(at), target=target) for at, target in enumerate(targets)]
    found = answer(inquiry(*many), max_batch_rows=max_batch_rows)
    assert found.item_ids == tuple(series.item_id for series in many)
    for at, target in enumerate(targets):
        (block,) = place([History(target)], SIGNATURE)
        expected = TINY.runtime.run(*block.inputs)[0]  # [H, Q]
        np.testing.assert_array_equal(found.quantiles[at], expected.T)
        np.testing.assert_array_equal(found.median[at], expected[:, LEVELS.index(0.5)])


def test_without_wishes_the_whole_answer_of_the_model_comes() -> None:
    found = answer(inquiry(one(), one("b")))
    assert (found.model, found.version, found.quantile_levels) == ("tiny", 1, LEVELS)
    assert found.quantiles.shape == (2, 9, 6)
    assert found.median.shape == (2, 6)
    assert [len(stamps) for stamps in found.timestamps] == [6, 6]
    assert found.quantiles.dtype == found.median.dtype == np.float32


def test_levels_come_in_the_order_in_which_they_are_asked() -> None:
    whole = answer(inquiry(one()))
    asked = (0.9, 0.1, 0.4)
    part = answer(inquiry(one(), quantile_levels=asked))
    assert part.quantile_levels == asked
    for at, level in enumerate(asked):
        np.testing.assert_array_equal(
            part.quantiles[0, at], whole.quantiles[0, LEVELS.index(level)]
        )


def test_the_median_comes_also_where_its_level_was_not_asked() -> None:
    found = answer(inquiry(one(), quantile_levels=(0.9,)))
    np.testing.assert_array_equal(found.median, answer(inquiry(one())).median)


@given(st.integers(1, SIGNATURE.horizon))
@settings(max_examples=6, deadline=None)
def test_a_shorter_horizon_is_the_beginning_of_the_whole(horizon: int) -> None:
    whole, part = answer(inquiry(one())), answer(inquiry(one(), horizon=horizon))
    np.testing.assert_array_equal(part.quantiles, whole.quantiles[..., :horizon])
    np.testing.assert_array_equal(part.median, whole.median[:, :horizon])
    assert part.timestamps[0] == whole.timestamps[0][:horizon]


def test_arrays_lie_in_memory_as_they_are_written() -> None:
    found = answer(inquiry(one(), one("b"), horizon=3, quantile_levels=(0.1, 0.9)))
    assert found.quantiles.flags.c_contiguous
    assert found.median.flags.c_contiguous


def test_each_series_has_its_own_future() -> None:
    starts = ["2024-02-28T20:00", "1999-12-31T12:00:00Z"]
    many = [one(text, start=read_timestamp(text), target=np.ones(5)) for text in starts]
    for text, stamps in zip(starts, answer(inquiry(*many)).timestamps, strict=True):
        expected = pd.date_range(text, periods=11, freq="4h")[5:]
        assert [pd.Timestamp(stamp) for stamp in stamps] == list(expected)
        assert stamps[0].endswith("Z") == text.endswith("Z")


def test_only_the_newest_context_counts_but_time_goes_on_from_the_whole() -> None:
    long = np.arange(100.0)
    whole, newest = (
        answer(inquiry(one(target=target))) for target in (long, long[-SIGNATURE.context_length :])
    )
    np.testing.assert_array_equal(whole.quantiles, newest.quantiles)
    assert whole.timestamps != newest.timestamps


def test_what_lies_before_the_newest_context_may_be_anything() -> None:
    plain = np.concatenate([np.zeros(9), np.arange(24.0)])
    for old in (NAN, 1e300, -np.inf):
        odd = np.concatenate([np.full(9, old), np.arange(24.0)])
        np.testing.assert_array_equal(
            answer(inquiry(one(target=odd))).quantiles, answer(inquiry(one(target=plain))).quantiles
        )


def test_the_largest_value_is_served_and_a_larger_one_named_by_its_place() -> None:
    edge = np.array([1.0, LARGEST_VALUE, -LARGEST_VALUE])
    assert np.isfinite(answer(inquiry(one(target=edge))).quantiles).all()
    above = np.concatenate([np.ones(30), [NAN, np.nextafter(LARGEST_VALUE, np.inf), 1.0]])
    error = refused(inquiry(one(), one("b", target=above)))
    assert isinstance(error, Unservable)
    assert error.field == "series[1].target[31]"
    assert "series 'b'" in error.message


@pytest.mark.parametrize("value", [np.inf, -np.inf])
def test_infinity_is_refused_as_too_large(value: float) -> None:
    error = refused(inquiry(one(target=np.array([1.0, value]))))
    assert (error.status, error.field) == (422, "series[0].target[1]")


def test_the_first_of_several_wrong_series_is_named() -> None:
    empty = np.array([])
    error = refused(inquiry(one(), one("b", target=empty), one("c", target=empty)))
    assert error.field == "series[1].target"


def test_one_wrong_series_refuses_the_whole_inquiry_before_any_row_runs() -> None:
    async def run() -> None:
        batcher = Batcher(1, 4, 100)  # never started: a submit would fail
        with pytest.raises(Unservable, match="no observed value"):
            await Forecaster(Inference(REPOSITORY, batcher)).forecast(
                inquiry(one(), one("b", target=np.array([NAN])))
            )
        assert batcher.waiting_rows == 0

    asyncio.run(run())


@pytest.mark.parametrize("freq", ["4h", "240min", "4H", "14400s", None])
def test_freq_is_compared_by_meaning(freq: str | None) -> None:
    assert agree(inquiry(one(freq=freq)), SIGNATURE) == (SIGNATURE.horizon, LEVELS)


@pytest.mark.parametrize("freq", ["8h", "4min", "MS", "h"])
def test_another_freq_is_refused_with_both_named(freq: str) -> None:
    with pytest.raises(Unservable, match=f"freq is '{freq}', this model was trained on '4h'"):
        agree(inquiry(one(freq=freq)), SIGNATURE)


def test_a_start_off_the_grid_of_the_model_is_refused() -> None:
    model = SIGNATURE.model_copy(update={"freq": "MS"})
    monthly = TINY.metadata.model_copy(update={"signature": model})
    repository = Repository({"tiny": type(TINY)(monthly, TINY.runtime)}, {})

    async def run() -> None:
        with pytest.raises(Unservable, match="series 'a'") as caught:
            await Forecaster(Inference(repository, Batcher(1, 4, 100))).forecast(
                inquiry(one(start=read_timestamp("2024-01-15")))
            )
        assert caught.value.field == "series[0].start"

    asyncio.run(run())


def test_a_future_beyond_the_calendar_is_refused() -> None:
    error = refused(inquiry(one(), one("b", start=read_timestamp("2261-12-31T20:00"))))
    assert (error.status, error.field) == (422, "series[1].start")


def test_a_minimum_context_is_asked_of_every_series() -> None:
    model = SIGNATURE.model_copy(update={"minimum_context": 3})
    with pytest.raises(Unservable, match="has 2 values, this model needs at least 3") as caught:
        agree(inquiry(one(target=np.ones(3)), one("b")), model)
    assert caught.value.field == "series[1].target"


def test_a_request_that_could_never_wait_is_too_large() -> None:
    many = [one(str(at)) for at in range(9)]
    error = refused(inquiry(*many), max_queue_rows=8)
    assert isinstance(error, TooLarge)
    assert "9 series in one request, the limit is 8" in error.message
    assert answer(inquiry(*many), max_queue_rows=9).median.shape == (9, 6)


def test_the_model_is_found_before_the_series_are_looked_at() -> None:
    assert isinstance(refused(inquiry(model="pond")), NotFound)
    assert isinstance(refused(inquiry(version=2)), NotFound)
