"""The backtest: where it cuts, what it compares, and what it says in words."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from service.contract.frequency import Frequency
from training.data import Panel, Series
from training.evaluate import Backtest, Scores, backtest, seasonal_error
from training.histories import Cutoff
from training.origins import Origins
from training.recipes import airline

Array = NDArray[np.float64]
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
WIDE = (0.025, *LEVELS, 0.975)
NAN = float("nan")


def panel(*targets: Sequence[float] | Array) -> Panel:
    start = np.datetime64("2020-01-01", "us")
    series = (Series(f"item {k}", start, np.array(y, float)) for k, y in enumerate(targets))
    return Panel(tuple(series), Frequency.parse("D"))


def last_value(cutoffs: Sequence[Cutoff]) -> Array:
    return np.stack([np.full((3, len(LEVELS)), series.target[at - 1]) for series, at in cutoffs])


def run(target: Panel) -> Backtest:
    return backtest(target, Origins(3), 2, LEVELS, last_value)


RISING = [[1.0, 2, 3, 4, 5, 6, 7, 8, 9], [5.0, 1, 5, 2, 5, 3, 5, 4, 5, 5, 5]]


def test_every_forecast_is_cut_a_horizon_before_the_end() -> None:
    seen: list[list[float]] = []

    def spy(cutoffs: Sequence[Cutoff]) -> Array:
        seen.extend(series.target[:at].tolist() for series, at in cutoffs)
        return last_value(cutoffs)

    found = backtest(panel(*RISING), Origins(3), 2, LEVELS, spy)
    assert seen == [row[:-3] for row in RISING]
    assert [history.tolist() for history in found.histories] == seen
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
    def naive(cutoffs: Sequence[Cutoff]) -> Array:
        series, at = cutoffs[0]
        return np.repeat(series.target[None, at - 12 : at, None], len(LEVELS), axis=-1)

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
        backtest(panel(*RISING), Origins(3), 2, LEVELS, lambda cutoffs: last_value(cutoffs[:1]))


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
    def outer(cutoffs: Sequence[Cutoff]) -> Array:
        return last_value(cutoffs)[..., :3]

    found = backtest(panel(*RISING), Origins(3), 2, (0.05, 0.5, 0.95), outer)
    assert "coverage 90 %" in found.table()


def test_a_backtest_with_extra_levels_scores_baselines_and_model_on_the_same_interval() -> None:
    def wide(cutoffs: Sequence[Cutoff]) -> Array:
        middle = last_value(cutoffs)[..., :1]
        return middle + 10 * (np.array(WIDE) - 0.5)

    found = backtest(panel(*RISING), Origins(3), 2, WIDE, wide)
    assert "coverage 80 %" in found.table()
    assert list(found.scores) == ["GRU", "SeasonalNaive", "AutoETS", "AutoTheta"]
    for name, quantiles in found.forecasts.items():
        assert quantiles.shape == (2, 3, 11)
        inside = (quantiles[..., 1] <= found.actual) & (found.actual <= quantiles[..., 9])
        assert found.scores[name].coverage == inside.mean()


def test_the_backtest_keeps_the_seasonal_error_of_every_history() -> None:
    found = run(panel(*RISING))
    expected = [seasonal_error(history, 2) for history in found.histories]
    assert found.seasonal_errors.tolist() == expected
