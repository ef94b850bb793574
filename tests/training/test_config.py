"""The shape of a network follows from the data alone."""

import numpy as np
import pytest

from service.contract.frequency import Frequency
from training.config import NetworkConfig
from training.data import Panel, Series
from training.layers.calendar import Cycle
from training.origins import Origins


def shape(freq: str, steps: int, horizon: int, count: int = 1) -> NetworkConfig:
    series = tuple(
        Series(str(n), np.datetime64("2001-01-01", "us"), np.arange(float(steps)))
        for n in range(count)
    )
    return NetworkConfig.for_panel(Panel(series, Frequency.parse(freq)), Origins(horizon))


@pytest.mark.parametrize(
    ("freq", "steps", "horizon", "context", "seasons"),
    [
        ("MS", 200, 6, 48, (12, 0)),
        ("W", 400, 13, 104, (52, 0)),
        ("D", 400, 14, 28, (7, 0)),
        ("h", 2000, 24, 336, (24, 168)),
        ("15min", 9000, 48, 672, (96, 672)),
        ("YE", 60, 6, 12, (1, 0)),
    ],
)
def test_the_context_holds_the_seasons_of_the_frequency(
    freq: str, steps: int, horizon: int, context: int, seasons: tuple[int, int]
) -> None:
    config = shape(freq, steps, horizon)
    assert config.context_length == context
    assert (config.seasonality, config.long_season) == seasons


def test_a_week_that_the_history_does_not_hold_is_no_season() -> None:
    config = shape("h", 150, 24)
    assert (config.seasonality, config.long_season) == (24, 0)
    assert config.context_length == 96


def test_a_season_seen_less_than_twice_is_none() -> None:
    assert shape("MS", 30, 6).seasonality == 1


def test_long_contexts_are_read_in_patches() -> None:
    assert shape("MS", 200, 6).patch == 1
    assert shape("h", 2000, 24).patch == 4


def test_no_lag_reaches_behind_the_context() -> None:
    for freq, steps in (("MS", 200), ("W", 400), ("h", 2000), ("15min", 9000), ("D", 40)):
        config = shape(freq, steps, 4)
        assert max(season * back for season, back in config.lags) <= config.context_length


@pytest.mark.parametrize(
    ("freq", "steps", "cycles"),
    [
        ("D", 20, ()),
        ("D", 60, (Cycle.DAY_OF_WEEK,)),
        ("D", 400, (Cycle.DAY_OF_WEEK, Cycle.DAY_OF_MONTH)),
        ("D", 1200, (Cycle.DAY_OF_WEEK, Cycle.DAY_OF_MONTH, Cycle.MONTH)),
        ("B", 800, (Cycle.DAY_OF_WEEK, Cycle.DAY_OF_MONTH, Cycle.MONTH)),
        ("h", 2000, ()),
        ("h", 27_000, (Cycle.DAY_OF_WEEK, Cycle.DAY_OF_MONTH, Cycle.MONTH)),
        ("MS", 400, ()),
        ("W", 1000, ()),
    ],
)
def test_the_calendar_has_the_cycles_that_were_seen_three_times(
    freq: str, steps: int, cycles: tuple[Cycle, ...]
) -> None:
    assert shape(freq, steps, 4).calendar == cycles


def test_further_quantile_levels_take_their_places_among_the_usual_ones() -> None:
    levels = shape("MS", 200, 6).with_levels((0.975, 0.5, 0.025)).quantile_levels
    assert levels == (0.025, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.975)
