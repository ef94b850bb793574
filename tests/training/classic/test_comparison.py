"""The protocol stands beside our recipe and the baselines, and has no score for what it has not."""

import math

import numpy as np
import pandas as pd
import pytest
from utilsforecast.losses import mase, smape

from service.contract.frequency import Frequency
from training.classic.comparison import Comparison
from training.data import Panel, Series
from training.evaluate import MODEL, backtest
from training.origins import Origins

HORIZON, SEASON, LEVELS = 4, 4, (0.1, 0.5, 0.9)
RANDOM = np.random.default_rng(0)
SERIES = Series(
    "wave",
    np.datetime64("2020-01-01", "us"),
    10 + 3 * np.sin(np.arange(40) * np.pi / 2) + RANDOM.normal(size=40),
)
ACTUAL = SERIES.target[-HORIZON:]


def compare(point: float, ours: float) -> Comparison:
    """Both forecasts that far above what happened."""
    fan = (ACTUAL + ours)[None, :, None] + np.array([-1.0, 0.0, 1.0])
    panel = Panel((SERIES,), Frequency.parse("D"))
    judged = backtest(panel, Origins(HORIZON), SEASON, LEVELS, lambda _: fan)
    return Comparison((ACTUAL + point)[None], judged)


@pytest.mark.parametrize("measure", ["mase", "smape"])
def test_the_point_forecast_is_scored_as_others_score_it(measure: str) -> None:
    made = pd.DataFrame({"unique_id": "wave", "y": ACTUAL, "classic": ACTUAL + 2.0})
    made["ds"] = np.arange(HORIZON)
    past = pd.DataFrame({"unique_id": "wave", "y": SERIES.target[:-HORIZON]})
    if measure == "mase":
        expected = mase(made, ["classic"], SEASON, past)["classic"][0]
    else:
        expected = 200 * smape(made, ["classic"])["classic"][0]
    found = getattr(compare(2.0, 0.5).scores[MODEL], measure)
    assert found == pytest.approx(expected)


def test_a_point_forecast_has_neither_quantile_loss_nor_coverage() -> None:
    comparison = compare(2.0, 0.5)
    classic, ours = comparison.scores[MODEL], comparison.scores["airline"]
    assert math.isnan(classic.wql)
    assert math.isnan(classic.coverage)
    assert ours.coverage == 1.0
    assert ours.wql > 0


def test_the_table_holds_the_protocol_our_recipe_and_the_baselines() -> None:
    lines = compare(2.0, 0.5).table().splitlines()
    rows = [line.split()[0] for line in lines]
    assert rows == ["model", "airline-classic", "airline", "SeasonalNaive", "AutoETS", "AutoTheta"]
    assert lines[1].split()[3:5] == ["-", "-"]


@pytest.mark.parametrize(("point", "said"), [(0.01, "beats"), (50.0, "does NOT beat")])
def test_the_verdict_is_about_the_protocol_and_names_our_recipe_beside_it(
    point: float, said: str
) -> None:
    comparison = compare(point, 0.0)
    assert comparison.judged.beats_baselines == (said == "beats")
    assert comparison.judged.best_baseline != "airline"
    assert f"The GRU {said} the best baseline" in comparison.verdict()
    assert comparison.verdict().endswith("The recipe airline on the same 4 steps: MASE 0.00.")
