"""A shadow: how answers are compared, and that it never gets into anybody's way."""

import asyncio
from typing import Any, cast

import numpy as np
import pytest

from service.contract.timestamp import read_timestamp
from service.engine.batcher import Batcher
from service.forecasting.inquiry import Series
from service.repository.intake import Intake
from service.repository.live import AnyModel, Lineup, Repository
from service.shadow import Incomparable, Shadow, forecasts_apart, tensors_apart
from service.telemetry import version_metrics
from tests.conftest import ARTIFACTS

LIVE = Intake(ARTIFACTS, "cpu").load().get("tiny")
OTHER: AnyModel = type(LIVE)(LIVE.metadata.model_copy(update={"version": 2}), LIVE.runtime)


def series(*target: float) -> Series:
    return Series("a", read_timestamp("2024-01-01"), None, np.array(target))


def test_a_forecast_is_compared_in_units_of_each_series_own_spread() -> None:
    ours = np.array([[[1.0, 2.0]], [[10.0, 20.0]]], np.float32)
    theirs = ours + np.array([1.0, 10.0], np.float32).reshape(2, 1, 1)
    many = [series(0.0, np.nan, 4.0), series(0.0, 40.0)]  # spreads of 2 and 20
    levels = (0.5,), (0.5,)
    assert forecasts_apart(ours, theirs, levels, many, 24) == pytest.approx(0.5)


def test_only_what_the_model_sees_of_a_series_is_its_spread() -> None:
    ours, theirs = np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32)
    many = [series(1000.0, -1000.0, 0.0, 4.0)]
    assert forecasts_apart(ours, theirs, ((0.5,), (0.5,)), many, 2) == pytest.approx(0.5)


@pytest.mark.parametrize(("value", "expected"), [(4.0, 0.25), (-4.0, 0.25), (0.0, 1.0)])
def test_a_constant_is_measured_by_its_magnitude(value: float, expected: float) -> None:
    ours, theirs = np.zeros((1, 1, 1), np.float32), np.ones((1, 1, 1), np.float32)
    many = [series(value, value)]
    found = forecasts_apart(ours, theirs, ((0.5,), (0.5,)), many, 24)
    assert found == pytest.approx(expected)


def test_common_levels_and_steps_are_compared_and_no_others() -> None:
    ours = np.arange(6, dtype=np.float32).reshape(1, 2, 3)  # levels 0.1, 0.5; three steps
    theirs = np.array([[[3.0, 5.0], [99.0, 99.0]]], np.float32)  # levels 0.5, 0.9; two steps
    found = forecasts_apart(ours, theirs, ((0.1, 0.5), (0.5, 0.9)), [series(0.0, 2.0)], 24)
    assert found == pytest.approx(0.5)
    with pytest.raises(Incomparable, match="quantile levels"):
        forecasts_apart(ours, theirs, ((0.1, 0.5), (0.2, 0.9)), [series(0.0, 2.0)], 24)


def test_tensors_are_compared_by_the_magnitude_of_each_row() -> None:
    ours = np.array([[2.0, -2.0], [0.0, 0.0]], np.float32)
    theirs = np.array([[3.0, -3.0], [0.5, 0.5]], np.float32)
    assert tensors_apart(ours, theirs) == pytest.approx(0.5)
    with pytest.raises(Incomparable, match="shapes"):
        tensors_apart(ours, theirs[:, :1])


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What is counted."""
    found: list[tuple[Any, ...]] = []
    count = lambda *of: found.append(of[2:])  # noqa: E731
    monkeypatch.setattr(version_metrics, "observe_shadow", count)
    return found


def shadowing(waiting_rows: int = 0, share: float = 100.0) -> Shadow:
    lineup = Lineup(LIVE, aliases={"shadow": OTHER}, shadow_share=share)

    class Engine:
        pass

    engine = Engine()
    engine.__dict__["waiting_rows"] = waiting_rows
    return Shadow(Repository({"tiny": lineup}), cast(Batcher, engine))


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_one_comparison_runs_at_a_time_and_others_are_dropped(counts: list[Any]) -> None:
    async def run() -> None:
        shadow, gate = shadowing(), asyncio.Event()

        async def slow(_: AnyModel) -> float:
            await gate.wait()
            return 0.25

        for _ in range(3):
            shadow.offer(LIVE, slow)
        assert counts == [("dropped",), ("dropped",)]
        gate.set()
        await _turns()
        assert counts[2:] == [("compared", 0.25)]
        shadow.offer(LIVE, slow)
        await _turns()
        assert counts[3:] == [("compared", 0.25)]

    asyncio.run(run())


def test_nothing_is_compared_while_somebody_waits(counts: list[Any]) -> None:
    async def never(_: AnyModel) -> float:
        raise AssertionError

    async def run() -> None:
        shadowing(waiting_rows=1).offer(LIVE, never)
        await _turns()

    asyncio.run(run())
    assert counts == [("dropped",)]


def test_a_shadow_that_fails_is_counted_and_nobody_hears_of_it(counts: list[Any]) -> None:
    async def broken(_: AnyModel) -> float:
        raise RuntimeError("no")

    async def run() -> None:
        shadow = shadowing()
        for _ in range(2):
            shadow.offer(LIVE, broken)
            await _turns()

    asyncio.run(run())
    assert counts == [("failed",), ("failed",)]


def test_the_canary_and_a_version_asked_by_name_are_not_compared(counts: list[Any]) -> None:
    async def never(_: AnyModel) -> float:
        raise AssertionError

    async def run() -> None:
        shadowing().offer(OTHER, never)
        shadowing(share=0.0).offer(LIVE, never)
        await _turns()

    asyncio.run(run())
    assert counts == []
