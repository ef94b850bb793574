"""The measures of a forecast, against another library and against the backtest's own."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from utilsforecast import losses

from service.quality.measures import central, judge, seasonal_errors, widths
from training import evaluate

LEVELS = [0.05, 0.1, 0.5, 0.8, 0.9]  # 0.05 and 0.8 have no counterpart


def some(count: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    actual = random.normal(size=count) * 10
    quantiles = np.sort(actual[:, np.newaxis] + random.normal(size=(count, len(LEVELS))), axis=1)
    return actual, quantiles, random.uniform(0.5, 2.0, size=count)


def test_pinball_and_coverage_are_those_of_utilsforecast() -> None:
    actual, quantiles, scale = some()
    judged = judge(actual, quantiles, scale, LEVELS)
    columns = {str(level): quantiles[:, k] for k, level in enumerate(LEVELS)}
    frame = pd.DataFrame({"unique_id": "a", "cutoff": 0, "y": actual, **columns})
    pinball = [
        losses.quantile_loss(frame, {"m": str(level)}, q=level)["m"].item() for level in LEVELS
    ]
    assert judged.pinball.mean() == pytest.approx(np.mean(pinball), rel=1e-12)
    bands = frame.rename(columns={"0.1": "m-lo-80", "0.9": "m-hi-80"})
    inside = losses.coverage(bands, ["m"], level=80)["m"].item()
    assert (judged.depth > 0).mean() == pytest.approx(inside)


def test_all_together_they_are_the_scores_of_the_backtest() -> None:
    actual, quantiles, scale = some()
    scale[3], scale[4] = math.nan, 0.0
    judged = judge(actual, quantiles, scale, LEVELS)
    expected = evaluate.score(actual[:, None], quantiles[:, None], LEVELS, scale)
    assert np.nanmean(judged.scaled) == pytest.approx(expected.mase, rel=1e-12)
    wql = 2 * judged.pinball.sum() / np.abs(actual).sum()
    assert wql == pytest.approx(expected.wql, rel=1e-12)
    assert (judged.depth > 0).mean() == pytest.approx(expected.coverage)


def test_only_levels_with_a_counterpart_make_an_interval_the_widest_first() -> None:
    assert central(LEVELS) == [(1, 4)]
    assert widths([0.1, 0.25, 0.5, 0.75, 0.9]) == [0.8, 0.5]
    assert central([0.5]) == []


def test_the_bounds_of_an_interval_are_inside() -> None:
    quantiles = np.array([[1.0, 2.0, 3.0]] * 4)
    judged = judge(np.array([0.9, 1.0, 3.0, 3.1]), quantiles, np.ones(4), [0.1, 0.5, 0.9])
    assert judged.depth.tolist() == [0, 1, 1, 0]


@given(
    st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6)), min_size=1, max_size=20), st.integers(1, 6)
)
def test_the_seasonal_error_is_the_backtests(values: list[float | None], seasonality: int) -> None:
    history = np.array([math.nan if v is None else v for v in values])
    (found,) = seasonal_errors(history[np.newaxis], seasonality)
    expected = evaluate.seasonal_error(history, seasonality)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
