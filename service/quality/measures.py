"""How good a forecast was, point by point; the definitions are those of the backtest.

Shape letters: B forecasts, T steps of a history, N points, Q quantile levels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Judged:
    """What every point [N] adds to the sums of its version."""

    scaled: Floats  # |actual - median| by the seasonal error; NaN where that is zero or undefined
    pinball: Floats  # mean over the levels
    depth: NDArray[np.int64]  # how many of the central intervals hold the actual


def judge(actual: Floats, quantiles: Floats, scale: Floats, levels: Sequence[float]) -> Judged:
    """Judge quantiles by what happened.

    Args:
        actual: [N].
        quantiles: [N, Q], sorted along the levels.
        scale: [N] the seasonal error of each series; NaN = undefined.
        levels: [Q], ascending, 0.5 among them.
    """
    error = np.abs(actual - quantiles[:, levels.index(0.5)])
    above = actual[:, np.newaxis] - quantiles  # [N, Q]
    share = np.asarray(levels)
    pinball = np.maximum(share * above, (share - 1) * above).mean(axis=1)
    depth = np.zeros(len(actual), np.int64)
    for low, high in central(levels):
        depth += (quantiles[:, low] <= actual) & (actual <= quantiles[:, high])
    return Judged(error / np.where(scale > 0, scale, math.nan), pinball, depth)


def central(levels: Sequence[float]) -> list[tuple[int, int]]:
    """Where the bounds of the central intervals are, the widest first.

    Quantiles are sorted, so an actual in one of them is in all that are wider: to know how many
    hold it is to know which.
    """
    found = []
    for low, level in enumerate(levels):
        if level >= 0.5:
            break
        for high, other in enumerate(levels):
            if math.isclose(level + other, 1.0, abs_tol=1e-9):
                found.append((low, high))
    return found


def widths(levels: Sequence[float]) -> list[float]:
    """The share of actuals that each central interval is meant to hold, the widest first."""
    return [round(levels[high] - levels[low], 9) for low, high in central(levels)]


def seasonal_errors(histories: Floats, seasonality: int) -> Floats:
    """Mean |y[t] - y[t - seasonality]| where both are observed; NaN where no two are. [B, T] -> [B]

    Hyndman and Koehler, Another look at measures of forecast accuracy (2006).
    """
    if histories.shape[1] <= seasonality:
        return np.full(len(histories), math.nan)
    difference = np.abs(histories[:, seasonality:] - histories[:, :-seasonality])
    observed = ~np.isnan(difference)
    count = observed.sum(axis=1)
    total = np.where(observed, difference, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), math.nan)
