"""What the pictures show, against loops, scipy and known cases."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest  # type: ignore[import-untyped]

from training.diagnosis import error_by_step, reliability, worst
from training.evaluate import MODEL, Backtest, Scores, score

LEVELS = (0.025, 0.1, 0.5, 0.9, 0.975)
NAN = float("nan")


def judged(count: int = 6, horizon: int = 4, seed: int = 0) -> Backtest:
    """A backtest of noise with a gap, a constant series, and one without a seasonal error."""
    rng = np.random.default_rng(seed)
    actual = rng.normal(size=(count, horizon))
    actual[1, 2] = NAN
    errors = rng.uniform(0.5, 2, count)
    errors[2], errors[3] = 0.0, NAN
    fans = {name: np.sort(rng.normal(size=(count, horizon, 5))) for name in (MODEL, "AutoETS")}
    return Backtest(
        horizon=horizon,
        seasonality=1,
        levels=LEVELS,
        item_ids=tuple(f"item {k}" for k in range(count)),
        cutoffs=(9,) * count,
        histories=(np.zeros(9),) * count,
        seasonal_errors=errors,
        actual=actual,
        forecasts=fans,
        scores={name: score(actual, fan, LEVELS, errors) for name, fan in fans.items()},
    )


def test_reliability_counts_observed_actuals_and_has_the_interval_of_scipy() -> None:
    found = judged(20, 7)
    shares = reliability(found, "AutoETS")
    assert [share.level for share in shares] == list(LEVELS)
    for at, share in enumerate(shares):
        pairs = zip(found.actual.ravel(), found.forecasts["AutoETS"][..., at].ravel(), strict=True)
        below = [actual <= quantile for actual, quantile in pairs if not np.isnan(actual)]
        assert share.observed == pytest.approx(np.mean(below))
        expected = binomtest(sum(below), len(below)).proportion_ci(method="wilson")
        assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-4)


@pytest.mark.parametrize("offset", [-100.0, 100.0])
def test_a_share_of_none_or_all_still_has_an_interval_of_some_width(offset: float) -> None:
    found = judged()
    far = replace(found, forecasts={MODEL: found.forecasts[MODEL] + offset})
    for share in reliability(far, MODEL):
        assert share.observed == (0 if offset < 0 else 1)
        assert share.low - 1e-12 <= share.observed <= share.high + 1e-12
        assert 0.05 < share.high - share.low < 0.3


def test_more_points_make_the_interval_narrower() -> None:
    def width(count: int) -> float:
        share = reliability(judged(count), MODEL)[2]
        return share.high - share.low

    assert width(1000) < width(100) / 2.5 < width(10)


def test_nothing_observed_has_no_share() -> None:
    found = judged()
    empty = replace(found, actual=np.full_like(found.actual, NAN))
    for share in reliability(empty, MODEL):
        assert np.isnan([share.observed, share.low, share.high]).all()


def scaled(found: Backtest, name: str) -> NDArray[np.float64]:
    """Scaled errors by loops."""
    errors = np.full_like(found.actual, NAN)
    for row, scale in enumerate(found.seasonal_errors):
        for step, actual in enumerate(found.actual[row]):
            if scale > 0:
                errors[row, step] = abs(actual - found.forecasts[name][row, step, 2]) / scale
    return errors


def test_the_error_by_step_is_the_mean_over_what_has_one() -> None:
    found = judged()
    for name in found.forecasts:
        expected = np.nanmean(scaled(found, name), 0)
        np.testing.assert_allclose(error_by_step(found, name), expected, rtol=1e-12)


def test_mase_is_the_mean_of_the_errors_by_step_where_nothing_is_missing() -> None:
    found = judged()
    errors = np.ones(6)
    actual = np.nan_to_num(found.actual)
    whole = replace(found, actual=actual, seasonal_errors=errors)
    expected: Scores = score(actual, found.forecasts[MODEL], LEVELS, errors)
    assert error_by_step(whole, MODEL).mean() == pytest.approx(expected.mase, rel=1e-12)


def test_a_step_that_was_never_observed_has_no_error() -> None:
    found = judged()
    found.actual[:, 1] = NAN
    assert np.isnan(error_by_step(found, MODEL)).tolist() == [False, True, False, False]


def test_the_worst_are_the_largest_mean_errors_in_order() -> None:
    found = judged()
    errors = [
        (at, np.nanmean(row)) for at, row in enumerate(scaled(found, MODEL)) if at not in (2, 3)
    ]
    expected = sorted(errors, key=lambda pair: -pair[1])[:3]
    made = worst(found, 3)
    assert [at for at, _ in made] == [at for at, _ in expected]
    assert [error for _, error in made] == pytest.approx([error for _, error in expected])


def test_constant_and_unobserved_series_are_never_the_worst() -> None:
    found = judged()
    found.actual[4] = NAN
    assert sorted(at for at, _ in worst(found, 10)) == [0, 1, 5]


def test_an_item_of_many_windows_is_shown_once_at_its_worst() -> None:
    found = judged()
    everything = [at for at, _ in worst(found, 10)]
    same = replace(found, item_ids=("a",) * 6)
    assert [at for at, _ in worst(same, 10)] == everything[:1]
