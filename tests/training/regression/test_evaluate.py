"""Scores against scikit-learn's own, baselines that are what they say, and a verdict in words."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import r2_score, root_mean_squared_error

from service.contract.regression import RegressionScores
from tests.training.regression.tables import made_up
from training.regression.evaluate import BOOSTING, MODEL, RIDGE, HeldOut, evaluate, score

Floats = NDArray[np.float64]
numbers = st.floats(-1e6, 1e6)


@given(st.lists(st.tuples(numbers, numbers), min_size=2, max_size=20))
def test_scores_are_those_of_scikit_learn(rows: list[tuple[float, float]]) -> None:
    actual, predicted = np.array(rows).T
    if np.ptp(actual) < 1e-3:
        actual = actual + np.arange(len(actual))
    found = score(actual, predicted)
    assert found.r2 == pytest.approx(r2_score(actual, predicted), rel=1e-9, abs=1e-9)
    assert found.rmse == pytest.approx(root_mean_squared_error(actual, predicted), rel=1e-9)


def judged(shift: float) -> HeldOut:
    """A model that is wrong by so much everywhere, beside the baselines."""
    table = made_up(240)
    training, held_out = table.take(np.arange(200)), table.take(np.arange(200, 240))
    known = dict(zip(map(bytes, held_out.features), held_out.targets, strict=True))

    def predict(features: Floats) -> Floats:
        return np.array([known[bytes(row)] for row in features]) + shift

    return evaluate(training, held_out, predict)


def test_the_model_is_listed_first_and_all_are_scored() -> None:
    found = judged(3.0)
    assert list(found.scores) == [MODEL, RIDGE, BOOSTING]
    assert found.scores[MODEL].rmse == pytest.approx(3.0)
    for name, predicted in found.predictions.items():
        assert found.scores[name].r2 == pytest.approx(r2_score(found.actual, predicted))


def test_the_baselines_learn_from_the_training_rows() -> None:
    found = judged(0.0)
    assert 0.3 < found.scores[BOOSTING].r2 < 1  # the target bends
    assert found.scores[RIDGE].r2 < 0.1  # a line cannot


def test_ridge_regression_finds_a_straight_line() -> None:
    table = made_up(240)
    slopes = np.array([3.0, -0.5, 0.01])
    line = replace(table, targets=table.features @ slopes + 7)
    training, held_out = line.take(np.arange(200)), line.take(np.arange(200, 240))
    found = evaluate(training, held_out, lambda features: np.zeros(len(features)))
    assert found.scores[RIDGE].r2 == pytest.approx(1.0, abs=1e-6)
    assert found.best_baseline == RIDGE


def test_a_large_table_has_its_baselines_too() -> None:
    table = made_up(10_100)
    training, held_out = table.take(np.arange(10_000)), table.take(np.arange(10_000, 10_100))
    found = evaluate(training, held_out, lambda features: np.zeros(len(features)))
    assert found.scores[BOOSTING].r2 > 0.95


def said(**errors: float) -> HeldOut:
    """Made-up errors."""
    names = {"gru": MODEL, "ridge": RIDGE, "boosting": BOOSTING}
    scores = {names[key]: RegressionScores(r2=0.5, rmse=rmse) for key, rmse in errors.items()}
    return HeldOut("y", np.zeros(7), {}, scores)


def test_the_verdict_says_what_wins_and_by_how_much() -> None:
    assert said(gru=9, ridge=12, boosting=10).verdict() == (
        "On 7 held-out rows, the GRU beats the best baseline, gradient boosting: RMSE 9 against 10 "
        "(10 % lower)."
    )
    assert said(gru=12.5, ridge=10, boosting=11).verdict() == (
        "On 7 held-out rows, the GRU does NOT beat the best baseline, ridge regression: RMSE 12.5 "
        "against 10 (25 % higher)."
    )
    assert said(gru=10, ridge=10, boosting=11).verdict().endswith("RMSE 10 against 10 (equal).")
    assert said(gru=1, ridge=0, boosting=1).verdict().endswith("RMSE 1 against 0.")


def test_a_tie_is_no_win() -> None:
    assert not said(gru=10, ridge=10, boosting=11).beats_baselines
    assert said(gru=9.999, ridge=10, boosting=11).beats_baselines


def test_the_table_lines_up() -> None:
    assert said(gru=9.125, ridge=12345.678, boosting=0.00012).table().splitlines() == [
        "model                 R2       RMSE",
        "GRU                0.500      9.125",
        "ridge regression   0.500  1.235e+04",
        "gradient boosting  0.500    0.00012",
    ]
