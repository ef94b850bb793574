"""The plot of the protocol: what happened in the months held out, and who forecast what of them."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.classic.comparison import CLASSIC, OURS, Comparison
from training.data import Panel
from training.drawing import BLUE, INK, MUTED, ORANGE, save
from training.evaluate import MODEL, middle

GREEN = "#2a8a57"  # the protocol
TAIL = 3  # horizons of history before the forecasts


def write(folder: Path, panel: Panel, comparison: Comparison, losses: tuple[float, ...]) -> None:
    """Draw forecast.png, 960 x 720, and write its scores as scores.txt; makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    said = f"{comparison.table()}\n\n{comparison.verdict()}\n"
    (folder / "scores.txt").write_text(said, encoding="utf-8")

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(2, height_ratios=(3, 1))
        _forecasts(above, panel, comparison)
        _loss(below, losses)

    save(folder / "forecast.png", draw, (8, 6))


def _forecasts(axes: Axes, panel: Panel, comparison: Comparison) -> None:
    """Observed values, then the medians of the protocol, of our recipe and of the best baseline."""
    ours, (series,) = comparison.ours, panel.series
    best, centre = comparison.judged.best_baseline, middle(ours.levels)
    months = panel.frequency.timestamps(series.start, 0, len(series.target))
    shown, ahead = months[-(TAIL + 1) * ours.horizon :], months[-ours.horizon :]
    axes.axvline(ahead[0], color=MUTED, lw=0.8, ls=(0, (4, 3)), zorder=1)
    axes.plot(shown, series.target[-len(shown) :], ".-", color=INK, lw=1, label="observed")
    for label, name, color, forecast in (
        (best, best, ORANGE, ours.forecasts[best][0, :, centre]),
        (OURS, OURS, BLUE, ours.forecasts[MODEL][0, :, centre]),
        (CLASSIC, MODEL, GREEN, comparison.point[0]),
    ):
        scores = comparison.scores[name]
        said = f"{label}: MASE {scores.mase:.2f}, sMAPE {scores.smape:.1f}"
        axes.plot(ahead, forecast, ".-", color=color, lw=1.6, label=said)
    axes.set_title(f"{series.item_id}: the last {ours.horizon} steps, not seen by any training")
    axes.set_ylim(bottom=min(0.0, *axes.get_ylim()))
    axes.margins(x=0.02)
    axes.legend(loc="lower left")


def _loss(axes: Axes, losses: tuple[float, ...]) -> None:
    axes.plot(np.arange(len(losses)) + 1, losses, color=GREEN, lw=1.4)
    axes.set(xlabel=f"epoch of {CLASSIC}", ylabel="squared error", yscale="log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.02)
