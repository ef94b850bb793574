"""The pictures of a training: how the loss fell, what was forecast, how honest the quantiles are,
how the error grows along the horizon, and where the forecasts are worst.

However many series there are, a picture shows a few of them or a mean over all.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from training.diagnosis import error_by_step, reliability, worst
from training.drawing import BLUE, INK, MUTED, ORANGE, save
from training.evaluate import MODEL, Backtest, interval, middle
from training.fit import LossCurve

MOST = 6  # series in the picture of forecasts; more would be too small to read
TAIL = 3  # horizons of history before a forecast, so that it fills a quarter of the picture


def write(folder: Path, curve: LossCurve, backtest: Backtest) -> None:
    """Draw loss, forecast, calibration, horizon and worst.png, 960 x 540; makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / "loss.png", lambda figure: _loss(figure, curve))
    save(folder / "forecast.png", lambda figure: _forecast(figure, backtest))
    save(folder / "calibration.png", lambda figure: _calibration(figure, backtest))
    save(folder / "horizon.png", lambda figure: _horizon(figure, backtest))
    save(folder / "worst.png", lambda figure: _worst(figure, backtest))


def _loss(figure: Figure, curve: LossCurve) -> None:
    axes = figure.subplots()
    axes.plot(curve.steps, curve.training, color=MUTED, lw=1.6, label="training")
    if curve.validation:
        axes.plot(curve.steps, curve.validation, color=BLUE, lw=2, label="validation")
    judge = curve.validation or curve.training
    best = curve.steps.index(curve.best_step)
    axes.plot(
        curve.best_step,
        judge[best],
        color=BLUE if curve.validation else INK,
        marker="o",
        ms=7,
        ls="",
        label=f"weights kept: step {curve.best_step}, loss {judge[best]:.3f}",
    )
    axes.set(xlabel="optimiser step", ylabel="pinball loss on scaled values")
    axes.set_title("Loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.02)
    axes.legend(loc="upper right")


def _forecast(figure: Figure, backtest: Backtest) -> None:
    """Series at even distances through the panel: no one has picked the pretty ones."""
    count = min(MOST, len(backtest.item_ids))
    shown = np.linspace(0, len(backtest.item_ids) - 1, count).round().astype(int).tolist()
    width = 26 if count > 1 else 80
    _fans(figure, backtest, [(at, _short(backtest.item_ids[at], width)) for at in shown])


def _worst(figure: Figure, backtest: Backtest) -> None:
    """The items with the largest error in units of their own seasonal error."""
    shown = [
        (at, f"{_short(backtest.item_ids[at], 16)}: MASE {error:.2f}")
        for at, error in worst(backtest, MOST)
    ]
    if shown:
        _fans(figure, backtest, shown)
    else:
        figure.text(0.5, 0.5, "No series has a scaled error.", ha="center", color=MUTED)


def _fans(figure: Figure, backtest: Backtest, shown: list[tuple[int, str]]) -> None:
    """Forecasts by number, each with its title."""
    rows = 1 if len(shown) <= 3 else 2
    grid = figure.subplots(rows, -(-len(shown) // rows), squeeze=False)
    for axes, (series, title) in zip(grid.flat, shown, strict=False):
        _series(axes, backtest, series)
        axes.set_title(title, parse_math=False, **({"fontsize": 9} if len(shown) > 1 else {}))
    for axes in grid.flat[len(shown) :]:
        axes.axis("off")
    figure.supxlabel("steps after the cutoff", fontsize=9)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), fontsize=8.5)


def _series(axes: Axes, backtest: Backtest, series: int) -> None:
    """One series."""
    history = backtest.histories[series][-TAIL * backtest.horizon :]
    seen = np.concatenate([history, backtest.actual[series]])
    steps = np.arange(len(seen)) - len(history) + 1  # the cutoff is after step 0
    ahead, fan = _opened(history, backtest.forecasts[MODEL][series])
    _, theirs = _opened(history, backtest.forecasts[backtest.best_baseline][series])
    for (low, high), alpha in zip(_bands(backtest.levels), (0.12, 0.16, 0.28), strict=False):
        width = 100 * (backtest.levels[high] - backtest.levels[low])
        label = f"{MODEL}, {width:.0f} %"
        axes.fill_between(ahead, fan[:, low], fan[:, high], fc=BLUE, alpha=alpha, lw=0, label=label)
    centre = middle(backtest.levels)
    axes.axvline(0.5, color=MUTED, lw=0.8, ls=(0, (4, 3)), zorder=1)
    axes.plot(steps, seen, ".-", color=INK, lw=1, label="observed")  # between gaps: a dot
    label = f"{backtest.best_baseline}, median"
    axes.plot(ahead, theirs[:, centre], ".-", color=ORANGE, lw=1, label=label)
    axes.plot(ahead, fan[:, centre], ".-", color=BLUE, lw=1.6, label=f"{MODEL}, median")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize=8)
    axes.margins(x=0.02)


def _opened(
    history: NDArray[np.float64], quantiles: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps and quantiles [H, Q], after the value at the cutoff: a fan that opens from there."""
    start = np.full((1, quantiles.shape[1]), history[-1])  # NaN, and not drawn, where missing
    return np.arange(len(quantiles) + 1), np.concatenate([start, quantiles])


def _bands(levels: tuple[float, ...]) -> list[tuple[int, int]]:
    """The widest interval, the one that is scored, and the one inside that is nearest to a half."""
    scored = low, high = interval(levels)
    bands = [scored] if scored == (0, len(levels) - 1) else [(0, len(levels) - 1), scored]
    inner = [
        (i, j) for i, j in zip(range(low + 1, high), range(high - 1, low, -1), strict=True) if i < j
    ]
    nearest = sorted(inner, key=lambda at: abs(levels[at[1]] - levels[at[0]] - 0.5))
    return bands + nearest[:1]


def _short(item_id: str, width: int = 26) -> str:
    line = " ".join(item_id.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _calibration(figure: Figure, backtest: Backtest) -> None:
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=MUTED, lw=1, ls=(0, (4, 3)), label="perfectly calibrated")
    for name, color, width in ((backtest.best_baseline, ORANGE, 1.2), (MODEL, BLUE, 2)):
        shares = reliability(backtest, name)
        observed = np.array([share.observed for share in shares])
        bounds = np.array([[share.low, share.high] for share in shares]).T  # [2, Q]
        axes.errorbar(
            backtest.levels,
            observed,
            np.abs(bounds - observed),
            color=color,
            lw=width,
            elinewidth=1,
            capsize=2.5,
            marker="o",
            ms=4,
            label=name,
        )
    count = int((~np.isnan(backtest.actual)).sum())
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    axes.set(xlabel="quantile level", ylabel="share of actuals at or below the quantile")
    axes.set_title(f"Calibration over {count} observed values")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, symbol=" %"))
        axis.set_ticks(np.linspace(0, 1, 6))
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1],
        labels[::-1],
        loc="upper left",
        bbox_to_anchor=(1.04, 1),
        title="bars: 95 %, by count alone",
        alignment="left",
    )


def _horizon(figure: Figure, backtest: Backtest) -> None:
    axes = figure.subplots()
    best = backtest.best_baseline
    others = [name for name in backtest.forecasts if name not in (MODEL, best)]
    styles = [(name, MUTED, 1.0, dash) for name, dash in zip(others, ("--", ":"), strict=False)]
    steps = np.arange(backtest.horizon) + 1
    for name, color, width, line in (*styles, (best, ORANGE, 1.2, "-"), (MODEL, BLUE, 2.0, "-")):
        errors = error_by_step(backtest, name)
        axes.plot(steps, errors, line, color=color, lw=width, marker=".", label=name)
    axes.set(xlabel="steps after the cutoff", ylabel="mean of |actual - median| / seasonal error")
    axes.set_title(f"Error by horizon step over {len(backtest.item_ids)} forecasts")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.02)
    axes.set_ylim(bottom=0)
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.01, 1))
