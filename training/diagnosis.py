"""Where a model is right and where it is not: by quantile level, by horizon step, by series.

What `evaluate` says in one number, taken apart; nothing here grows with the number of levels, so a
backtest of 100 000 series costs a few arrays of its own size.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluate import MODEL, Backtest, middle

Z = 1.96  # standard deviations on each side that hold 95 %


@dataclass(frozen=True)
class Share:
    """How many actuals fell at or below a quantile; NaN where there are none."""

    level: float  # how many should have
    observed: float  # how many did, 0..1
    low: float  # bounds of the 95 % interval of a share that is counted so
    high: float


def reliability(backtest: Backtest, name: str) -> list[Share]:
    """The share at each quantile level, with the score interval of Wilson (1927).

    The interval knows only the number of points and takes them as independent. Those of one series
    are not, so it is too narrow, most of all for few series.
    """
    observed = ~np.isnan(backtest.actual)
    shares = []
    for at, level in enumerate(backtest.levels):
        below = (backtest.actual <= backtest.forecasts[name][..., at])[observed]
        share = float(below.mean()) if below.size else math.nan
        shares.append(Share(level, share, *_wilson(share, below.size)))
    return shares


def error_by_step(backtest: Backtest, name: str) -> NDArray[np.float64]:
    """Mean scaled error of each horizon step [H]; MASE is their mean where nothing is missing.

    NaN for a step without any.
    """
    return _mean_known(_scaled_errors(backtest, name), axis=0)


def worst(backtest: Backtest, count: int) -> list[tuple[int, float]]:
    """The forecasts of the GRU with the largest mean scaled error, at most one of each item.

    Forecasts without a scaled error, of constant or unobserved series, are left out.

    Returns:
        (number of the forecast, its error), largest error first.
    """
    errors = _mean_known(_scaled_errors(backtest, MODEL), axis=1)
    found: dict[str, tuple[int, float]] = {}
    for at in np.argsort(-errors, kind="stable"):  # NaN last
        if len(found) == count or math.isnan(errors[at]):
            break
        found.setdefault(backtest.item_ids[at], (int(at), float(errors[at])))
    return list(found.values())


def _scaled_errors(backtest: Backtest, name: str) -> NDArray[np.float64]:
    """|actual - point| / seasonal error [N, H], what MASE is the mean of; NaN where undefined."""
    scale = np.where(backtest.seasonal_errors > 0, backtest.seasonal_errors, np.nan)
    point = backtest.forecasts[name][..., middle(backtest.levels)]
    return np.abs(backtest.actual - point) / scale[:, np.newaxis]


def _mean_known(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Mean along an axis of what is not NaN, NaN where nothing is."""
    count = (~np.isnan(values)).sum(axis)
    return np.where(count > 0, np.nansum(values, axis) / np.maximum(count, 1), np.nan)


def _wilson(share: float, count: int) -> tuple[float, float]:
    """The shares under which the one that was counted is within 95 %."""
    if not count:
        return math.nan, math.nan
    centre = share + Z**2 / (2 * count)
    spread = Z * math.sqrt(share * (1 - share) / count + Z**2 / (4 * count**2))
    return (centre - spread) / (1 + Z**2 / count), (centre + spread) / (1 + Z**2 / count)
