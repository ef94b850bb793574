"""Backtest: how good a model is beside the baselines, on the newest steps of every series.

No refitting between cutoffs: what is judged is the very model that is published. A training judges
one cutoff per series; a panel of few series then gives few points, and small differences mean
little there. More windows give more.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training import baselines
from training.data import Panel
from training.histories import Cutoff
from training.origins import Origins

MODEL = "GRU"
NAIVE = "SeasonalNaive"


@dataclass(frozen=True)
class Scores:
    """Measures over all observed points of all series; NaN where one is undefined."""

    mase: float
    smape: float  # 0..200
    wql: float
    coverage: float  # 0..1

    def defined(self) -> dict[str, float | None]:
        """By name; None for an undefined one, because JSON has no NaN."""
        return {name: v if math.isfinite(v) else None for name, v in vars(self).items()}


@dataclass(frozen=True, eq=False)
class Backtest:
    """What was forecast, what happened, and how good each model was."""

    horizon: int
    seasonality: int
    levels: tuple[float, ...]
    item_ids: tuple[str, ...]  # of each forecast
    cutoffs: tuple[int, ...]  # steps seen by each forecast
    histories: tuple[NDArray[np.float64], ...]  # all that the models saw
    seasonal_errors: NDArray[np.float64]  # [N] of the histories; NaN where undefined
    actual: NDArray[np.float64]  # [N, H] NaN = missing
    forecasts: dict[str, NDArray[np.float64]]  # [N, H, Q] the GRU first, then the baselines
    scores: dict[str, Scores]

    @property
    def best_baseline(self) -> str:
        """The baseline of lowest MASE; the first one where MASE is undefined."""
        names = [name for name in self.scores if name != MODEL]
        return min(names, key=lambda name: (math.isnan(self._mase(name)), self._mase(name)))

    @property
    def beats_baselines(self) -> bool:
        """Is the MASE of the GRU below that of every baseline?"""
        return self._mase(MODEL) < self._mase(self.best_baseline)

    def table(self) -> str:
        """All scores as aligned text: the GRU, then the baselines; "-" where one is undefined."""
        low, high = interval(self.levels)
        width = 100 * (self.levels[high] - self.levels[low])
        head = ("model", "MASE", "sMAPE", "WQL", f"coverage {width:.0f} %", f"MASE / {NAIVE}")
        rows = [head, *(self._row(name) for name in self.scores)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in rows
        ]
        left_out = [name for name in baselines.NAMES if name not in self.scores]
        if left_out:
            lines.append(f"left out, not finished in the time allowed: {', '.join(left_out)}")
        return "\n".join(lines)

    def verdict(self) -> str:
        """One plain sentence: is the GRU worth its trouble?"""
        ours, theirs = self._mase(MODEL), self._mase(self.best_baseline)
        if math.isnan(ours) or math.isnan(theirs):
            return (
                f"The {MODEL} is not compared with the baselines: MASE is undefined, because no "
                "series has both an observed actual and a history that differs from season to "
                "season."
            )
        beats = "beats" if self.beats_baselines else "does NOT beat"
        return (
            f"The {MODEL} {beats} the best baseline, {self.best_baseline}: "
            f"MASE {ours:.2f} against {theirs:.2f}{_difference(ours, theirs)}."
        )

    def _mase(self, name: str) -> float:
        return self.scores[name].mase

    def _row(self, name: str) -> tuple[str, ...]:
        scores = self.scores[name]
        naive = self._mase(NAIVE)
        relative = scores.mase / naive if naive else math.nan
        return (
            name,
            _number(scores.mase, 3),
            _number(scores.smape, 2),
            _number(scores.wql, 4),
            _number(100 * scores.coverage, 0, " %"),
            _number(relative, 3),
        )


def backtest(
    panel: Panel,
    origins: Origins,
    seasonality: int,
    levels: Sequence[float],
    forecast: Callable[[Sequence[Cutoff]], NDArray[np.float64]],
    baseline_limit_s: float = math.inf,
) -> Backtest:
    """Forecast from every cutoff with what lies before it, and score all models.

    Args:
        seasonality: steps of a season, for the denominator of MASE and the baselines.
        levels: quantile levels, ascending.
        forecast: the model; from N cutoffs to quantiles [N, H, Q].
        baseline_limit_s: a baseline that takes longer is left out; the table says so.

    Raises:
        ValueError: a series that has nothing before its first cutoff, or a forecast of another
            shape.
    """
    horizon = origins.horizon
    for series in panel.series:
        if len(series.target) <= origins.test_steps:
            raise ValueError(
                f"item {series.item_id!r} has {len(series.target)} steps; a backtest of "
                f"{origins.windows} windows and a horizon of {horizon} needs more than "
                f"{origins.test_steps}: drop the item, or ask for less"
            )
    cut = [(series, at) for series in panel.series for at in origins.cutoffs(len(series.target))]
    histories = tuple(series.target[:at] for series, at in cut)
    actual = np.stack([series.target[at : at + horizon] for series, at in cut])
    forecasts = {MODEL: forecast(cut)}
    expected = (*actual.shape, len(levels))
    if forecasts[MODEL].shape != expected:
        raise ValueError(
            f"forecast must return quantiles of shape {expected} (series, horizon, levels), "
            f"got {forecasts[MODEL].shape}"
        )
    forecasts |= baselines.forecast(histories, seasonality, horizon, levels, baseline_limit_s)
    errors = np.array([seasonal_error(history, seasonality) for history in histories])
    return Backtest(
        horizon=horizon,
        seasonality=seasonality,
        levels=tuple(levels),
        item_ids=tuple(series.item_id for series, _ in cut),
        cutoffs=tuple(at for _, at in cut),
        histories=histories,
        seasonal_errors=errors,
        actual=actual,
        forecasts=forecasts,
        scores={name: score(actual, made, levels, errors) for name, made in forecasts.items()},
    )


def score(
    actual: NDArray[np.float64],
    quantiles: NDArray[np.float64],
    levels: Sequence[float],
    seasonal_error: NDArray[np.float64],
) -> Scores:
    """Judge quantiles by what happened. Points that were not observed are left out everywhere.

    The point forecast is the `middle` quantile.

    - MASE: mean of |actual - point| / seasonal error of the series. Series whose seasonal error is
      zero or undefined are left out. Hyndman and Koehler, Another look at measures of forecast
      accuracy (2006).
    - sMAPE: mean of 200 * |actual - point| / (|actual| + |point|), 0 where both are 0: the
      convention of the M4 competition.
    - WQL: mean over levels of 2 * sum of pinball losses / sum of |actual|.
    - Coverage: share of actuals inside the `interval`, its bounds included.

    Args:
        actual: [N, H], NaN = missing.
        quantiles: [N, H, Q].
        levels: [Q], ascending.
        seasonal_error: [N], in the units of actual.
    """
    observed = ~np.isnan(actual)
    scale = np.broadcast_to(seasonal_error[:, np.newaxis], actual.shape)[observed]
    actual = actual[observed]  # [points]
    # A copy of one level at a time: of all together, it would be the largest thing in memory.
    point, low, high = (
        quantiles[..., level][observed] for level in (middle(levels), *interval(levels))
    )
    error = np.abs(actual - point)
    scaled = scale > 0  # False for NaN
    pinball = [
        _pinball(actual, quantiles[..., k][observed], level) for k, level in enumerate(levels)
    ]
    total = np.abs(actual).sum()
    return Scores(
        mase=_mean(error[scaled] / scale[scaled]),
        smape=_mean(_smape(actual, point)),
        wql=float(2 * np.mean(pinball) / total) if total else math.nan,
        coverage=_mean((low <= actual) & (actual <= high)),
    )


def seasonal_error(history: NDArray[np.float64], seasonality: int) -> float:
    """Mean |y[t] - y[t - seasonality]| where both are observed; NaN where no two are."""
    difference = np.abs(history[seasonality:] - history[:-seasonality])
    return _mean(difference[~np.isnan(difference)])


def middle(levels: Sequence[float]) -> int:
    """Where the median is, or else the level nearest to it."""
    return int(np.abs(np.asarray(levels) - 0.5).argmin())


def interval(levels: Sequence[float]) -> tuple[int, int]:
    """Where the bounds of the central 80 % are: levels 0.1 and 0.9, or else the outermost two."""
    near = [[i for i, q in enumerate(levels) if math.isclose(q, bound)] for bound in (0.1, 0.9)]
    if all(near):
        return near[0][0], near[1][0]
    return 0, len(levels) - 1


def _smape(actual: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    size = np.abs(actual) + np.abs(point)
    return 200 * np.abs(actual - point) / np.where(size == 0, 1, size)


def _pinball(actual: NDArray[np.float64], quantile: NDArray[np.float64], level: float) -> float:
    """Sum over all points."""
    error = actual - quantile
    return float(np.maximum(level * error, (level - 1) * error).sum())


def _mean(values: NDArray[np.float64] | NDArray[np.bool_]) -> float:
    return float(values.mean()) if values.size else math.nan


def _number(value: float, digits: int, unit: str = "") -> str:
    return f"{value:.{digits}f}{unit}" if math.isfinite(value) else "-"


def _difference(ours: float, theirs: float) -> str:
    """How far apart two scores are, in percent of theirs; nothing where theirs is zero."""
    if ours == theirs:
        return " (equal)"
    if theirs == 0:
        return ""
    percent = 100 * abs(ours - theirs) / theirs
    digits = f"{percent:.0f}" if percent >= 1 else f"{percent:.1g}"
    return f" ({digits} % {'lower' if ours < theirs else 'higher'})"
