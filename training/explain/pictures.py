"""The pictures of an explanation, in the style of a training's report.

Gates are shown in ten shades, so that a value can be read from them. Of many units some are shown,
at even distances from the shortest memory to the longest.
"""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.drawing import BLUE, INK, MUTED, ORANGE, save
from training.explain.forcing import Outcome
from training.explain.memory import OPENED, Gains, Memory, time_constants
from training.explain.question import Floats, Question
from training.explain.trace import Trace

MOST_UNITS = 64  # rows of a picture of gates
MOST_LABELS = 80  # tokens below one; of more, only their numbers
LONGEST = 1e4  # steps of memory; what is implied beyond is drawn there
LOST = 1e-10  # of a gradient; what is less is not drawn
WIDE = 50  # times the smallest, from which on the measures need a logarithmic axis
_SHADES = LinearSegmentedColormap.from_list("gate", ["#f4f6f8", BLUE, "#0b2545"], N=10)
_COLORS = (INK, "#2a9d8f", "#8ab17d", ORANGE, "#b5446e", "#7b61a8")  # of the cases


def gates(path: Path, trace: Trace, question: Question, shown: Floats) -> None:
    """The input, and below it r and z of every unit over time."""
    draw = _over_time if len(trace.x) > 1 else _of_one_step
    save(path, lambda figure: draw(figure, trace, question, shown))


def memory(path: Path, found: Memory) -> None:
    """Time constants of the units, and how a disturbance decays."""
    save(path, lambda figure: _memory(figure, found))


def gradients(path: Path, found: Gains) -> None:
    """What is left of a gradient on its way back."""
    save(path, lambda figure: _gradients(figure, found))


def forced(path: Path, found: list[Outcome], question: Question) -> None:
    """What changes when a gate is held: the measure, and the forecasts if there are any."""
    save(path, lambda figure: _forced(figure, found, question))


def _over_time(figure: Figure, trace: Trace, question: Question, shown: Floats) -> None:
    top, middle, bottom = figure.subplots(3, height_ratios=(1.1, 2, 2), sharex=True)
    count = len(trace.x) * question.patch
    places = np.arange(len(shown)) + (0 if question.labels else 1 - len(shown))
    if question.labels:
        top.bar(places, shown, color=BLUE, width=0.8)
    else:
        top.plot(places, shown, ".-", color=INK, lw=1)
    top.set_ylabel(question.shown_as)
    top.yaxis.set_major_locator(MaxNLocator(3))
    top.set_title(f"{question.title}, and the gates of {_units(trace)}", parse_math=False)
    right = places[-1] + 0.5
    order = _order(trace)
    for axes, gate, name in (
        (middle, trace.gates.r, "reset gate r"),
        (bottom, trace.gates.z, "update gate z"),
    ):
        extent = (right - count, right, 0, len(order))
        drawn = axes.imshow(
            gate[:, order].T,
            _SHADES,
            vmin=0,
            vmax=1,
            aspect="auto",
            extent=extent,
            interpolation="nearest",
            origin="lower",
        )
        axes.set_ylabel(name)
        axes.grid(visible=False)
        axes.set_yticks([])
    figure.colorbar(drawn, ax=(middle, bottom), ticks=np.linspace(0, 1, 6), aspect=30, pad=0.01)
    _label_steps(bottom, question)
    top.set_xlim(right - count, right)


def _label_steps(axes: Axes, question: Question) -> None:
    if not question.labels:
        axes.set_xlabel("steps before the forecast; units from short memory below to long above")
    elif len(question.labels) > MOST_LABELS:
        axes.set_xlabel("tokens; units from short memory below to long above")
    else:
        marks = [label.replace(" ", "␣") for label in question.labels]
        rotation = 0 if max(map(len, marks)) == 1 else 90
        axes.set_xticks(range(len(marks)), marks, rotation=rotation, parse_math=False)
        axes.tick_params(axis="x", labelsize=8, length=0)
        axes.set_xlabel("after each token; units from short memory below to long above")


def _of_one_step(figure: Figure, trace: Trace, question: Question, shown: Floats) -> None:
    """A single step has no time axis: the gates over the units."""
    top, bottom = figure.subplots(2)
    seen = trace.x[0]
    scaled = len(seen) == len(shown)  # else the columns are mixed before the GRU
    top.bar(np.arange(len(shown)), seen if scaled else shown, color=BLUE)
    top.set_xticks(range(len(shown)), question.labels, rotation=90, parse_math=False)
    top.set_ylabel("as the GRU sees it" if scaled else question.shown_as)
    top.set_title(f"{question.title}, and the gates of {_units(trace)}", parse_math=False)
    order = _order(trace)
    bottom.plot(trace.gates.r[0, order], "o", color=ORANGE, label="reset gate r")
    bottom.plot(trace.gates.z[0, order], "o", color=BLUE, label="update gate z")
    bottom.set(ylim=(0, 1), xlabel="units, sorted by the update gate", ylabel="gate")
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*bottom.get_legend_handles_labels(), loc="outside lower right", ncols=2)


def _order(trace: Trace) -> list[int]:
    """Units from the shortest memory to the longest, some of many."""
    ranked = np.argsort(time_constants(trace.gates.log_z), kind="stable")
    count = min(MOST_UNITS, len(ranked))
    places = np.linspace(0, len(ranked) - 1, count).round().astype(int)
    return [int(unit) for unit in ranked[places]]


def _units(trace: Trace) -> str:
    units = trace.layer.hidden
    return f"{MOST_UNITS} of {units} units" if units > MOST_UNITS else f"{units} units"


def _memory(figure: Figure, found: Memory) -> None:
    left, right = figure.subplots(1, 2)
    constants = np.minimum(found.constants, LONGEST)
    low, high = constants.min() * 0.95, constants.max() * 1.05
    bins = np.geomspace(low, high, 21)
    left.hist(constants, bins, color=BLUE)
    middle = float(np.median(constants))
    left.axvline(middle, color=ORANGE, lw=1.6, label=f"median {middle:.2f} steps")
    left.set_xscale("log")
    left.xaxis.set_major_formatter("{x:g}")
    if high / low < 100:
        left.xaxis.set_minor_formatter("{x:g}")
        left.tick_params(axis="x", which="minor", labelsize=7, labelrotation=90)
    left.set(xlabel="-1 / mean(ln z), steps", ylabel="units")
    left.yaxis.set_major_locator(MaxNLocator(integer=True))
    left.set_title("Memory implied by the update gate")
    left.legend(loc="upper right")
    _decay(right, found.measured, BLUE, "measured: of a disturbed state")
    _decay(right, found.carried, ORANGE, "implied: product of z")
    right.axhline(np.exp(-1), color=MUTED, lw=0.8, ls=(0, (4, 3)), label="1 / e")
    right.set(xlabel="steps later", ylabel="share left, root mean square", ylim=(0, None))
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    right.set_title("What is left of a state")
    right.legend(loc="upper right")


def _gradients(figure: Figure, found: Gains) -> None:
    axes = figure.subplots()
    _decay(axes, found.opened, "#2a9d8f", f"GRU, {OPENED:g} more at the update gate")
    _decay(axes, found.gru, BLUE, "GRU as trained")
    _decay(axes, found.kept, ORANGE, "through z alone")
    _decay(axes, found.plain, MUTED, "plain tanh network, the candidate's weights")
    axes.set_yscale("log")
    axes.set_ylim(bottom=max(LOST, axes.get_ylim()[0]))
    axes.set(xlabel="steps back from the last state", ylabel="length of a gradient, begun at 1")
    axes.set_title("What is left of a gradient on its way back")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.02)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)


def _decay(axes: Axes, curve: Floats, color: str, label: str) -> None:
    smallest = np.finfo(float).tiny  # what has vanished altogether has no logarithm
    axes.plot(np.maximum(curve, smallest), color=color, lw=1.8, label=label)


def _forced(figure: Figure, found: list[Outcome], question: Question) -> None:
    lines = found[0].ahead is not None
    left, *right = np.atleast_1d(figure.subplots(1, 1 + lines, width_ratios=(1, 2)[: 1 + lines]))
    figures = [outcome.figure for outcome in found]
    places = np.arange(len(found))[::-1]
    left.barh(places, figures, color=_COLORS, height=0.6)
    left.set_yticks(places, [outcome.case.replace(": ", "\n", 1) for outcome in found], fontsize=8)
    for place, value in zip(places, figures, strict=True):
        left.annotate(f" {value:.4g}", (max(value, 0.0), place), va="center", fontsize=8)
    if min(figures) > 0 and max(figures) > WIDE * min(figures):
        left.set_xscale("log")
    left.set_xlabel(question.measure)
    left.margins(x=0.25)
    left.grid(visible=False, axis="y")
    if lines:
        _ahead(right[0], found, question)
        right[0].set_title("Forecasts, in the colours of the bars")
    else:
        left.set_title("Gates held open or shut")


def _ahead(axes: Axes, found: list[Outcome], question: Question) -> None:
    """The forecasts of all cases over what was seen and what came."""
    horizon = len(found[0].ahead if found[0].ahead is not None else ())
    seen = question.shown(())[-horizon:]
    axes.plot(np.arange(1 - len(seen), 1), seen, ".-", color=MUTED, lw=1, label="what was seen")
    steps = np.arange(1, horizon + 1)
    if question.actual is not None:
        axes.plot(steps, question.actual, "o", color=INK, ms=4, label="what came")
    for outcome, color in zip(found, _COLORS, strict=True):
        if outcome.ahead is not None:
            axes.plot(steps, outcome.ahead, color=color, lw=1.4)
    axes.set_xlabel("steps after the cutoff")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower right", ncols=2)
