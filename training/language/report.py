"""The pictures of a language model: perplexity over the epochs, and beside its baselines."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from training.drawing import BLUE, MUTED, save
from training.language.evaluate import Judged
from training.language.fit import Curve


def write(folder: Path, curve: Curve, judged: Judged) -> None:
    """Draw loss.png and perplexity.png, 960 x 540; makes the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / "loss.png", lambda figure: _loss(figure, curve))
    save(folder / "perplexity.png", lambda figure: _perplexity(figure, judged))


def _loss(figure: Figure, curve: Curve) -> None:
    axes = figure.subplots()
    epochs = range(1, len(curve.training) + 1)
    axes.plot(epochs, curve.training, color=MUTED, lw=1.6, marker=".", label="training")
    if curve.checks:
        axes.plot(curve.checks, curve.held_out, color=BLUE, lw=2, marker=".", label="held out")
    axes.set_yscale("log")
    _tick(axes.yaxis)
    axes.set(xlabel="epoch", ylabel="perplexity")
    axes.set_title("Perplexity while training")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.02)
    _legend(figure, axes)


def _perplexity(figure: Figure, judged: Judged) -> None:
    axes = figure.subplots()
    names = list(judged.perplexity)
    places = np.arange(len(names))
    found = judged.perplexity.values()
    bars = [("training", MUTED, [one.training for one in found])]
    if judged.held_out_tokens:
        bars.append(("held out", BLUE, [one.held_out or 0.0 for one in found]))
    height = 0.8 / len(bars)
    for at, (label, color, values) in enumerate(bars):
        drawn = axes.barh(places + at * height, values, height, color=color, label=label)
        axes.bar_label(drawn, fmt="%.2f", padding=3)
    axes.set_yticks(places + height * (len(bars) - 1) / 2, names)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlim(1, 2 * max(max(values) for _, _, values in bars))  # 1 is a text known by heart
    _tick(axes.xaxis)
    axes.set(xlabel="perplexity")
    axes.set_title("Perplexity; lower is better")
    _legend(figure, axes)


def _tick(axis: Axis) -> None:
    """1, 2, 5, 10, ... as plain numbers, on a logarithmic axis."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def _legend(figure: Figure, axes: Axes) -> None:
    """Above the axes, beside the title: curves may be anywhere within them."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(labels))
