"""A call about many series, chunk by chunk: its order, its errors, its time."""

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

from service.api.bulk import packed as module
from service.api.bulk.packed import Packed, PackedForecast, forecast_packed
from service.contract.aliases import Which
from service.engine.job import Timing
from service.errors import DeadlineExceeded, InferenceFailed, Overloaded, ServiceError, TooLarge
from service.forecasting.forecaster import Forecast
from service.forecasting.inquiry import Inquiry
from tests.service.api.bulk.test_agreement import PLAIN, packed


@dataclass
class Asked:
    """In place of a forecaster: answers each series with its last value, after a turn or two."""

    errors: dict[int, list[ServiceError]] = field(default_factory=dict)  # by chunk
    inquiries: list[Inquiry] = field(default_factory=list)
    limit: int = 1000
    seconds: float = 0.0

    @property
    def inference(self) -> Any:
        return self

    @property
    def repository(self) -> Any:
        return self

    @property
    def batcher(self) -> Any:
        return self

    lanes, max_batch_rows = 2, 4
    name, version, signature = "m", 1, PLAIN

    def get_for(self, kind: type, name: str, version: Which, key: str | None) -> Any:
        return self

    @property
    def metadata(self) -> Any:
        return self

    def check_rows(self, rows: int) -> None:
        if rows > self.limit:
            raise TooLarge(f"{rows} series")

    def check_steps(self, longest: int) -> None:
        pass

    async def forecast(self, inquiry: Inquiry, _: object) -> Forecast:
        self.inquiries.append(inquiry)
        chunk = int(inquiry.series[0].item_id[1:]) // module.CHUNK
        await asyncio.sleep(self.seconds)
        if chunk % 2:
            await asyncio.sleep(0)  # so that chunks end in another order than they began
        if self.errors.get(chunk):
            raise self.errors[chunk].pop(0)
        last = np.array([series.target[-1] for series in inquiry.series], np.float32)
        quantiles = np.stack([last, last + 1], axis=1)[..., np.newaxis].repeat(3, axis=2)
        many = inquiry.series
        return Forecast(
            model="m",
            version=1,
            item_ids=tuple(series.item_id for series in many),
            moments=(np.empty(0, "datetime64[us]"),) * len(many),
            zones=tuple(series.start.zone for series in many),
            quantile_levels=PLAIN.quantile_levels,
            quantiles=quantiles,
            median=quantiles[:, 1],
            shortened=tuple(len(series.target) > 5 for series in many),
            timing=Timing(float(chunk), 0.5),
        )


MANY = packed([[1.0, float(at)] + [float(at)] * (at % 7) for at in range(50)])


def ask(asked: Asked, many: Packed = MANY) -> PackedForecast:
    return asyncio.run(forecast_packed(asked, many))  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 8)


def test_answers_stand_in_the_order_of_the_series() -> None:
    answer = ask(Asked())
    last = np.arange(50, dtype=np.float32)
    np.testing.assert_array_equal(answer.quantiles[0], last[:, np.newaxis].repeat(3, axis=1))
    np.testing.assert_array_equal(answer.median, answer.quantiles[1])
    assert answer.quantiles.shape == (2, 50, 3)
    assert answer.shortened.tolist() == [2 + at % 7 > 5 for at in range(50)]
    assert answer.timing == Timing(6.0, 0.5)  # the longest wait of any chunk


def test_steps_follow_the_last_value_of_each_series() -> None:
    answer = ask(Asked())
    first = np.datetime64("2024-01-01") + np.array([2 + at % 7 for at in range(50)])
    np.testing.assert_array_equal(answer.timestamps[:, 0], first)
    np.testing.assert_array_equal(answer.timestamps[:, 2], first + 2)


def test_an_error_of_one_chunk_is_the_answer_to_all() -> None:
    asked = Asked({2: [InferenceFailed("the third chunk")]})
    with pytest.raises(InferenceFailed, match="the third chunk"):
        ask(asked)
    assert len(asked.inquiries) < 7


def test_nothing_runs_where_a_late_series_is_wrong() -> None:
    asked = Asked()
    y = MANY.y.copy()
    y[-2:] = np.nan
    with pytest.raises(ServiceError, match="'s49'.*no observed value"):
        ask(asked, replace(MANY, y=y))
    with pytest.raises(TooLarge):
        ask(replace(asked, limit=49))
    assert not asked.inquiries


def test_a_full_queue_refuses_a_call_that_has_not_begun() -> None:
    asked = Asked({chunk: [Overloaded("full", 0)] for chunk in range(7)})
    with pytest.raises(Overloaded):
        ask(asked)


def test_a_call_that_has_begun_waits_its_turn() -> None:
    asked = Asked({5: [Overloaded("full", 0)] * 2})
    assert ask(asked).quantiles[0, 49, 0] == 49
    assert len(asked.inquiries) == 7 + 2


def test_a_call_does_not_wait_for_ever() -> None:
    with pytest.raises(Overloaded):
        ask(Asked({5: [Overloaded("full", 0)] * 99}))


def test_a_call_that_cannot_end_in_time_says_so() -> None:
    with pytest.raises(DeadlineExceeded, match="series 40 of 50 would come too late"):
        ask(Asked({5: [Overloaded("full", 60)]}), replace(MANY, timeout_s=30.0))


def test_each_chunk_gets_the_time_that_is_left() -> None:
    asked = Asked(seconds=0.001)
    began = time.monotonic()
    ask(asked, replace(MANY, timeout_s=100.0))
    elapsed = time.monotonic() - began
    given = [inquiry.timeout_s or 0.0 for inquiry in asked.inquiries]
    assert given == sorted(given, reverse=True)
    assert 100 - elapsed <= given[-1] < given[0] <= 100
    asked = Asked()
    ask(asked)
    assert {inquiry.timeout_s for inquiry in asked.inquiries} == {None}


def test_whoever_leaves_leaves_no_chunk_behind() -> None:
    asked = Asked(seconds=60.0)

    async def leave() -> None:
        call = asyncio.ensure_future(forecast_packed(asked, MANY))  # type: ignore[arg-type]
        while not asked.inquiries:
            await asyncio.sleep(0.001)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(leave())
