"""The pictures of a regression: how the loss fell, and what was predicted for the held-out rows."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.drawing import BLUE, MUTED, ORANGE, save
from training.fit import LossCurve
from training.regression.evaluate import MODEL, HeldOut

MOST_DOTS = 2000  # held-out rows in the picture; more would be one blot


def write(folder: Path, curve: LossCurve, held_out: HeldOut) -> None:
    """Draw loss and prediction.png, 960 x 540; makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / "loss.png", lambda figure: _loss(figure, curve))
    save(folder / "prediction.png", lambda figure: _prediction(figure, held_out))


def _loss(figure: Figure, curve: LossCurve) -> None:
    axes = figure.subplots()
    axes.plot(curve.steps, curve.training, color=MUTED, lw=1.6, label="rows that train")
    axes.plot(curve.steps, curve.validation, color=BLUE, lw=2, label="rows left out")
    kept = curve.validation[curve.steps.index(curve.best_step)]
    label = f"weights kept: step {curve.best_step}, {kept:.3g}"
    axes.plot(curve.best_step, kept, color=BLUE, marker="o", ms=7, ls="", label=label)
    axes.set(xlabel="optimiser step", ylabel="mean squared error / variance of the target")
    axes.set_title("Loss of a member")
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.02)
    axes.legend(loc="upper right")


def _prediction(figure: Figure, held_out: HeldOut) -> None:
    """The GRU and the best baseline, side by side on the same axes."""
    names = (MODEL, held_out.best_baseline)
    shown = slice(None, None, -(-len(held_out.actual) // MOST_DOTS))
    all_values = np.concatenate([held_out.actual, *(held_out.predictions[n] for n in names)])
    span = float(all_values.min()), float(all_values.max())
    panes = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, name, color in zip(panes, names, (BLUE, ORANGE), strict=True):
        scores = held_out.scores[name]
        axes.plot(span, span, color=MUTED, lw=1, ls=(0, (4, 3)))
        actual, predicted = held_out.actual[shown], held_out.predictions[name][shown]
        axes.plot(actual, predicted, "o", color=color, ms=4, alpha=0.6, mew=0)
        axes.set_title(f"{name}: R2 {scores.r2:.3f}, RMSE {scores.rmse:.4g}")
        axes.set_xlabel(f"{held_out.target}, actual")
        axes.set_aspect("equal")
    panes[0].set_ylabel("predicted")
