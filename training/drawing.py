"""How every picture looks, and how it is written.

Figures are drawn without pyplot, so that nothing global is left behind, and hold neither a date nor
a version: the same training gives the same bytes.
"""

import warnings
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image  # matplotlib's own dependency

INK, MUTED, GRID = "#26323d", "#77838f", "#e4e8ec"
BLUE, ORANGE = "#1f66b5", "#d9731a"  # the GRU, the best baseline
STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.constrained_layout.h_pad": 0.06,  # inches
    "figure.constrained_layout.w_pad": 0.1,
    "font.size": 9,
    "grid.color": GRID,
    "legend.edgecolor": "none",
    "legend.framealpha": 1,
    "lines.markersize": 3,
    "lines.solid_capstyle": "round",
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
}


def save(path: Path, draw: Callable[[Figure], None], size: tuple[float, float] = (8, 4.5)) -> None:
    """Write a figure of so many inches at 120 dots each; the usual one has 960 x 540."""
    with mpl.rc_context(), warnings.catch_warnings():
        mpl.rcdefaults()  # no one's own settings
        mpl.rcParams.update(STYLE)
        # Item ids and texts may be in any script; what the font lacks is drawn as a box.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        figure = Figure(figsize=size, dpi=120, layout="constrained")
        canvas = FigureCanvasAgg(figure)
        draw(figure)
        canvas.draw()
        pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
        few = pixels.quantize(256, dither=Image.Dither.NONE)  # a third of the bytes
        few.save(path, optimize=True)
