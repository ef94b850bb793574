"""The bar that every model has to clear: seasonal naive, ETS and Theta, as statsforecast fits them.

They cannot take missing values and cannot always fit, the network can take both. So that no series
is left out of the comparison, gaps are filled and a failed fit falls back to something simpler.
"""

import math
import time
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from statsforecast.models import AutoETS, AutoTheta, SeasonalNaive

NAMES = ("SeasonalNaive", "AutoETS", "AutoTheta")
# Steps of a history that are fitted, unless three seasons need more. ETS and Theta forget
# exponentially, while the time of a fit grows faster than the history: 20 000 steps take a minute.
LONGEST = 2_000


def forecast(
    histories: Sequence[NDArray[np.float64]],
    seasonality: int,
    horizon: int,
    levels: Sequence[float],
    limit_s: float = math.inf,
) -> dict[str, NDArray[np.float64]]:
    """Quantiles of SeasonalNaive, AutoETS and AutoTheta, in this order.

    Gaps are filled by straight lines between their neighbours, trailing ones by the last observed
    value; leading ones are dropped. A history without any observed value counts as one zero.

    A model that cannot fit a series is replaced by SeasonalNaive for that series. Steps that
    SeasonalNaive cannot reach, in a history of less than one season, repeat the last value. Bounds
    that are not finite become the point forecast.

    Args:
        histories: one array of any length per series, NaN = missing.
        seasonality: steps of a season.
        levels: quantile levels, ascending. 0.5 is the point forecast; q and 1 - q are the bounds
            of the central interval of 100 * (1 - 2 * q) %.
        limit_s: seconds for each model over all series; one that takes longer is left out.
            SeasonalNaive never is.

    Returns:
        [N, H, Q] for each model, finite and never decreasing along Q.
    """
    longest = max(LONGEST, 3 * seasonality)
    filled = [_fill(history)[-longest:] for history in histories]
    models = [SeasonalNaive(seasonality), AutoETS(seasonality), AutoTheta(seasonality)]
    # Silenced is what short and extreme histories lead to; `_finite` replaces what is no number.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.filterwarnings("ignore", "Historical data .* is shorter than", UserWarning)
        warnings.filterwarnings("ignore", "Too few residuals", UserWarning)
        made: dict[str, NDArray[np.float64]] = {}
        for model in models:
            end = math.inf if model.alias == NAMES[0] else time.monotonic() + limit_s
            rows = []
            for history in filled:
                if time.monotonic() > end:
                    break
                rows.append(_one(model, history, seasonality, horizon, levels))
            else:
                made[model.alias] = np.stack(rows)
        return made


def _fill(history: NDArray[np.float64]) -> NDArray[np.float64]:
    observed = np.flatnonzero(~np.isnan(history))
    if not observed.size:
        return np.zeros(1)
    return np.interp(np.arange(observed[0], len(history)), observed, history[observed])


def _one(
    model: SeasonalNaive | AutoETS | AutoTheta,
    history: NDArray[np.float64],
    seasonality: int,
    horizon: int,
    levels: Sequence[float],
) -> NDArray[np.float64]:
    """Quantiles [H, Q] of one series.

    StatsForecast, which does this for a whole panel, puts the bounds of its fallback model into the
    wrong columns: it goes by their place among those of the failed model, and the orders differ.
    """
    widths = sorted({_width(q) for q in levels} - {0.0}) or None
    try:
        made = model.forecast(history, horizon, level=widths)
    except Exception:  # of many kinds: too few values, no solution, a singular matrix
        made = SeasonalNaive(seasonality).forecast(history, horizon, level=widths)
    quantiles = np.stack([made[_key(q)] for q in levels], axis=-1)
    return _finite(made["mean"], quantiles, history[-1])


def _width(level: float) -> float:
    """Percent of the central interval that has this bound; the same for q and 1 - q."""
    return round(100 * abs(1 - 2 * level), 6)


def _key(level: float) -> str:
    """What statsforecast calls this quantile."""
    width = _width(level)
    if not width:
        return "mean"
    return f"{'lo' if level < 0.5 else 'hi'}-{width}"


def _finite(
    point: NDArray[np.float64], quantiles: NDArray[np.float64], last: float
) -> NDArray[np.float64]:
    """Put the last value for a missing point [H], and the point for a missing quantile [H, Q]."""
    point = np.where(np.isfinite(point), point, last)[:, np.newaxis]
    return np.sort(np.where(np.isfinite(quantiles), quantiles, point), axis=-1)
