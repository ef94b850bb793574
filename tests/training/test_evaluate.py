"""Every measure against an independent one."""

import math
import tracemalloc
from dataclasses import astuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from utilsforecast import losses

from training.evaluate import Scores, interval, score, seasonal_error

Array = NDArray[np.float64]
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
NAN = float("nan")
N, H = 4, 6

values = st.floats(-1e6, 1e6).map(lambda x: round(x, 3))
actuals = arrays(np.float64, (N, H), elements=values)
gappy = arrays(np.float64, (N, H), elements=values | st.just(NAN))
fans = arrays(np.float64, (N, H, len(LEVELS)), elements=values).map(lambda fan: np.sort(fan))
scales = arrays(np.float64, N, elements=st.floats(0.5, 1e3) | st.just(0.0) | st.just(NAN))


def sample(seed: int = 0) -> tuple[Array, Array, Array]:
    """Histories [N, 30], actuals [N, H] and sorted quantiles [N, H, Q] of different sizes."""
    rng = np.random.default_rng(seed)
    size = np.array([1.0, 10.0, 100.0, 1000.0])[:, None]
    history = size * (5 + rng.normal(size=(N, 30)))
    actual = size * (5 + rng.normal(size=(N, H)))
    fan = size[..., None] * np.sort(5 + rng.normal(size=(N, H, len(LEVELS))))
    return history, actual, fan


def frame(actual: Array, fan: Array) -> pl.DataFrame:
    """Observed points as utilsforecast wants them: one row each, one column per quantile."""
    rows, steps = np.nonzero(~np.isnan(actual))
    made = {f"q{k}": fan[rows, steps, k] for k in range(len(LEVELS))}
    interval = {"q-lo-80": made["q0"], "q-hi-80": made["q8"]}
    points = {"unique_id": rows, "ds": steps, "y": actual[rows, steps]}
    return pl.DataFrame(points | made | interval)


def train_frame(histories: Array) -> pl.DataFrame:
    rows, steps = np.indices(histories.shape).reshape(2, -1)
    return pl.DataFrame({"unique_id": rows, "ds": steps, "y": histories.ravel()})


def flat(scores: Scores) -> list[float]:
    return [float(value) for value in astuple(scores)]


def test_mase_is_that_of_utilsforecast() -> None:
    history, actual, fan = sample()
    errors = np.array([seasonal_error(row, 7) for row in history])
    expected = losses.mase(frame(actual, fan), ["q4"], 7, train_frame(history))["q4"].mean()
    assert score(actual, fan, LEVELS, errors).mase == pytest.approx(expected, rel=1e-12)


def test_smape_is_twice_that_of_utilsforecast_in_percent() -> None:
    _, actual, fan = sample()
    actual[0, :3] = 0
    fan[0, 0] = 0  # both are zero
    expected = 200 * losses.smape(frame(actual, fan), ["q4"])["q4"].mean()
    assert score(actual, fan, LEVELS, np.ones(N)).smape == pytest.approx(expected, rel=1e-12)


def test_wql_is_the_scaled_crps_of_utilsforecast_over_all_points_at_once() -> None:
    _, actual, fan = sample()
    actual[1, 2:4], actual[2, 0] = NAN, 0
    table = frame(actual, fan).with_columns(unique_id=pl.lit(0), ds=pl.int_range(pl.len()))
    models = {"q": [f"q{k}" for k in range(len(LEVELS))]}
    expected = losses.scaled_crps(table, models, np.array(LEVELS))["q"].item()
    assert score(actual, fan, LEVELS, np.ones(N)).wql == pytest.approx(expected, rel=1e-12)


def test_coverage_is_that_of_utilsforecast() -> None:
    _, actual, fan = sample()
    expected = losses.coverage(frame(actual, fan), ["q"], 80)["q"].mean()
    assert 0 < expected < 1
    assert score(actual, fan, LEVELS, np.ones(N)).coverage == pytest.approx(expected, rel=1e-12)


def test_all_measures_agree_with_plain_loops_on_gaps_zeros_and_constants() -> None:
    _, actual, fan = sample(1)
    actual[0, 1], actual[3, :] = NAN, NAN
    actual[1, 2] = fan[1, 2] = 0
    scale = np.array([2.0, 0.0, NAN, 5.0])
    ase, ape, pinball, inside = [], [], [], []
    for i in range(N):
        for t in range(H):
            y, q = actual[i, t], fan[i, t]
            if math.isnan(y):
                continue
            if scale[i] > 0:
                ase.append(abs(y - q[4]) / scale[i])
            ape.append(200 * abs(y - q[4]) / (abs(y) + abs(q[4])) if abs(y) + abs(q[4]) else 0.0)
            pinball += [max(p * (y - f), (p - 1) * (y - f)) for p, f in zip(LEVELS, q, strict=True)]
            inside.append(q[0] <= y <= q[-1])
    wql = 2 * sum(pinball) / len(LEVELS) / np.nansum(np.abs(actual))
    expected = [np.mean(ase), np.mean(ape), wql, np.mean(inside)]
    np.testing.assert_allclose(flat(score(actual, fan, LEVELS, scale)), expected, rtol=1e-12)


@given(gappy, fans, scales)
def test_points_without_an_actual_do_not_count(actual: Array, fan: Array, scale: Array) -> None:
    found = flat(score(actual, fan, LEVELS, scale))
    wild = np.where(np.isnan(actual)[..., None], 1e9, fan)
    assert np.array_equal(found, flat(score(actual, wild, LEVELS, scale)), equal_nan=True)


@given(gappy, fans, scales, st.sampled_from([2.0**-10, 0.25, 8.0, 2.0**20]))
def test_units_do_not_matter(actual: Array, fan: Array, scale: Array, unit: float) -> None:
    found = flat(score(actual, fan, LEVELS, scale))
    scaled = flat(score(actual * unit, fan * unit, LEVELS, scale * unit))
    np.testing.assert_allclose(scaled, found, rtol=1e-9)


@given(gappy, fans, scales)
def test_smape_and_coverage_stay_in_their_ranges(actual: Array, fan: Array, scale: Array) -> None:
    scores = score(actual, fan, LEVELS, scale)
    if np.isnan(actual).all():
        assert all(map(math.isnan, flat(scores)))
    else:
        assert 0 <= scores.smape <= 200 * (1 + 1e-12)
        assert 0 <= scores.coverage <= 1


@given(actuals.filter(lambda actual: bool(actual.any())))
def test_a_perfect_forecast_scores_zero_and_covers_everything(actual: Array) -> None:
    fan = np.repeat(actual[..., None], len(LEVELS), axis=-1)
    assert score(actual, fan, LEVELS, np.ones(N)) == Scores(0, 0, 0, 1)


@given(
    arrays(np.float64, (N, 20), elements=values | st.just(NAN)).filter(
        lambda history: not np.isnan(history).all()
    ),
    st.integers(1, 19),
)
def test_seasonal_naive_has_mase_one_on_its_own_history(history: Array, seasonality: int) -> None:
    seen = history[:1]  # per series, so that every one is one by itself
    error = seasonal_error(seen[0], seasonality)
    actual, naive = seen[:, seasonality:], seen[:, :-seasonality]
    actual = np.where(np.isnan(naive), NAN, actual)
    mase = score(actual, naive[..., None], [0.5], np.array([error])).mase
    assert math.isnan(mase) if not error > 0 else mase == pytest.approx(1, rel=1e-9)


def test_a_forecast_that_is_not_a_number_is_not_passed_over() -> None:
    _, actual, fan = sample()
    fan[2, 3] = NAN
    mase, smape, wql, _ = flat(score(actual, fan, LEVELS, np.ones(N)))
    assert all(map(math.isnan, (mase, smape, wql)))


def test_wql_of_nothing_but_zeros_is_undefined() -> None:
    assert math.isnan(score(np.zeros((N, H)), np.ones((N, H, 1)), [0.5], np.ones(N)).wql)


def test_the_seasonal_error_uses_the_pairs_that_are_observed() -> None:
    history = np.array([1.0, NAN, 4.0, 10.0, 9.0, NAN, 2.0])
    assert seasonal_error(history, 2) == pytest.approx((3 + 5 + 7) / 3)


@pytest.mark.parametrize("length", [0, 1, 4])
def test_a_history_of_a_season_or_less_has_no_seasonal_error(length: int) -> None:
    assert math.isnan(seasonal_error(np.arange(float(length)), 4))


def test_without_levels_for_80_percent_the_outermost_two_are_the_interval() -> None:
    assert interval([0.01, 0.1, 0.5, 0.9, 0.99]) == (1, 3)
    assert interval([0.05, 0.5, 0.95]) == (0, 2)
    assert interval([0.1, 0.5, 0.95]) == (0, 2)


WIDE = (0.025, *LEVELS, 0.975)


def test_extra_levels_leave_the_point_and_the_80_percent_interval_as_they_are() -> None:
    _, actual, fan = sample()
    outer = np.concatenate([fan[..., :1] - 50, fan, fan[..., -1:] + 50], axis=-1)
    errors = np.ones(N)
    few, many = score(actual, fan, LEVELS, errors), score(actual, outer, WIDE, errors)
    assert (many.mase, many.smape, many.coverage) == (few.mase, few.smape, few.coverage)
    expected = losses.coverage(frame(actual, fan), ["q"], 80)["q"].mean()
    assert many.coverage == pytest.approx(expected, rel=1e-12)


def test_wql_is_the_mean_over_all_levels_also_the_extra_ones() -> None:
    _, actual, fan = sample()
    outer = np.concatenate([fan[..., :1] - 50, fan, fan[..., -1:] + 50], axis=-1)
    table = frame(actual, fan).with_columns(unique_id=pl.lit(0), ds=pl.int_range(pl.len()))
    table = table.with_columns(low=pl.col("q0") - 50, high=pl.col("q8") + 50)
    models = {"q": ["low", *(f"q{k}" for k in range(len(LEVELS))), "high"]}
    expected = losses.scaled_crps(table, models, np.array(WIDE))["q"].item()
    assert score(actual, outer, WIDE, np.ones(N)).wql == pytest.approx(expected, rel=1e-12)


def test_scoring_copies_no_more_than_a_level_at_a_time() -> None:
    rng = np.random.default_rng(0)
    actual, quantiles = rng.normal(size=(2_000, 50)), np.zeros((2_000, 50, 40))
    tracemalloc.start()
    score(actual, quantiles, [*np.linspace(0.01, 0.99, 40)], np.ones(2_000))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < quantiles.nbytes / 2
