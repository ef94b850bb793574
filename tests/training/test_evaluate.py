"""Every measure against an independent one, and proof that the test horizon stays unseen."""

import math
from collections.abc import Sequence
from dataclasses import astuple, replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from utilsforecast import losses

from service.contract.frequency import Frequency
from training.data import Panel, Series
from training.evaluate import Backtest, Scores, backtest, interval, score, seasonal_error
from training.origins import Origins
from training.recipes import airline

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


def panel(*targets: Sequence[float] | Array) -> Panel:
    start = np.datetime64("2020-01-01", "us")
    series = (Series(f"item {k}", start, np.array(y, float)) for k, y in enumerate(targets))
    return Panel(tuple(series), Frequency.parse("D"))


def last_value(histories: Sequence[Array]) -> Array:
    return np.stack([np.full((3, len(LEVELS)), history[-1]) for history in histories])


def run(target: Panel) -> Backtest:
    return backtest(target, Origins(3), 2, LEVELS, last_value)


RISING = [[1.0, 2, 3, 4, 5, 6, 7, 8, 9], [5.0, 1, 5, 2, 5, 3, 5, 4, 5, 5, 5]]


def test_the_forecast_never_sees_the_last_horizon() -> None:
    seen: list[list[float]] = []

    def spy(histories: Sequence[Array]) -> Array:
        seen.extend(history.tolist() for history in histories)
        return last_value(histories)

    found = backtest(panel(*RISING), Origins(3), 2, LEVELS, spy)
    assert seen == [row[:-3] for row in RISING]
    assert found.actual.tolist() == [row[-3:] for row in RISING]


def test_no_forecast_depends_on_the_last_horizon() -> None:
    other = [[*row[:-3], 1e6, -1e6, 0.0] for row in RISING]
    found, changed = run(panel(*RISING)), run(panel(*other))
    for name, quantiles in found.forecasts.items():
        np.testing.assert_array_equal(quantiles, changed.forecasts[name])
    assert found.scores["GRU"] != changed.scores["GRU"]


def test_the_gru_comes_first_and_then_the_baselines() -> None:
    found = run(panel(*RISING))
    names = ["GRU", "SeasonalNaive", "AutoETS", "AutoTheta"]
    assert list(found.forecasts) == list(found.scores) == names
    assert found.item_ids == ("item 0", "item 1")


def test_the_airline_scores_are_those_of_the_known_errors() -> None:
    def naive(histories: Sequence[Array]) -> Array:
        return np.repeat(histories[0][None, -12:, None], len(LEVELS), axis=-1)

    found = backtest(airline.load(), Origins(12), 12, LEVELS, naive)
    history = found.histories[0]
    scale = np.abs(history[12:] - history[:-12]).mean()
    assert found.scores["SeasonalNaive"].mase * scale == pytest.approx(47.83, abs=0.005)
    assert found.scores["AutoTheta"].mase * scale == pytest.approx(19.36, abs=0.005)
    assert found.scores["GRU"].mase == found.scores["SeasonalNaive"].mase
    assert found.best_baseline == "AutoTheta"
    assert not found.beats_baselines


def test_a_series_of_one_horizon_is_refused() -> None:
    with pytest.raises(ValueError, match=r"item 'item 1' has 3 steps; .* horizon of 3"):
        run(panel([1, 2, 3, 4], [1, 2, 3]))


def test_a_forecast_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 9\).*got \(1, 3, 9\)"):
        backtest(panel(*RISING), Origins(3), 2, LEVELS, lambda histories: last_value(histories[:1]))


def judged(gru: float, naive: float, ets: float, theta: float) -> Backtest:
    names = ("GRU", "SeasonalNaive", "AutoETS", "AutoTheta")
    scores = [Scores(mase, 12.345, 0.0567, 0.83) for mase in (gru, naive, ets, theta)]
    return replace(run(panel(*RISING)), scores=dict(zip(names, scores, strict=True)))


@pytest.mark.parametrize(
    ("gru", "theta", "words"),
    [
        (0.42, 0.64, "beats the best baseline, AutoTheta: MASE 0.42 against 0.64 (34 % lower)."),
        (0.96, 0.64, "does NOT beat the best baseline, AutoTheta: MASE 0.96 against 0.64 (50 % hi"),
        (0.64, 0.64, "does NOT beat the best baseline, AutoTheta: MASE 0.64 against 0.64 (equal)."),
        (0.6397, 0.64, "beats the best baseline, AutoTheta: MASE 0.64 against 0.64 (0.05 % lower"),
        (0.64, 0.0, "does NOT beat the best baseline, AutoTheta: MASE 0.64 against 0.00."),
    ],
)
def test_the_verdict_says_plainly_who_is_better(gru: float, theta: float, words: str) -> None:
    found = judged(gru, 1.5, 1.2, theta)
    assert found.best_baseline == "AutoTheta"
    assert found.beats_baselines == (gru < theta)
    assert found.verdict().startswith(f"The GRU {words}")


def test_what_has_no_mase_is_not_judged() -> None:
    found = run(panel([4.0] * 9))
    assert not found.beats_baselines
    assert found.best_baseline == "SeasonalNaive"
    assert judged(1, NAN, 1.2, 1.4).best_baseline == "AutoETS"
    assert "not compared" in found.verdict()
    assert " - " in found.table()


def test_the_table_is_aligned() -> None:
    head, *rows = judged(0.42, 1.5, 1.2, 0.64).table().splitlines()
    assert head.split("  ")[0] == "model"
    assert "coverage 80 %" in head
    assert rows[0].split() == ["GRU", "0.420", "12.35", "0.0567", "83", "%", "0.280"]
    assert [row.split()[0] for row in rows] == ["GRU", "SeasonalNaive", "AutoETS", "AutoTheta"]
    assert len({len(line) for line in [head, *rows]}) == 1


def test_the_table_names_the_interval_that_was_scored() -> None:
    def outer(histories: Sequence[Array]) -> Array:
        return last_value(histories)[..., :3]

    found = backtest(panel(*RISING), Origins(3), 2, (0.05, 0.5, 0.95), outer)
    assert "coverage 90 %" in found.table()
