"""The rolling-origin backtest as a command: fit once on the past, forecast every window after it.

The network is fitted on what lies before the first cutoff of every series; each later window is
forecast with the history up to its own cutoff and the same weights. Nothing is published.
"""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from training.config import FitConfig, NetworkConfig
from training.data import Panel
from training.evaluate import MODEL, Backtest, backtest
from training.fit import LossCurve
from training.origins import Origins
from training.train import fit_panel, forecast


def rolling(
    panel: Panel,
    origins: Origins,
    seasonality: int,
    network_config: NetworkConfig,
    fit_config: FitConfig,
    progress: Callable[[float, float], None] = lambda _share, _loss: None,
    baseline_limit_s: float = float("inf"),
) -> tuple[Backtest, LossCurve]:
    """Fit before the first cutoff, forecast and score every window.

    Args:
        seasonality: steps of a season for the denominator of MASE and the baselines; the network
            has its own.
        baseline_limit_s: a baseline that takes longer is left out.

    Raises:
        InvalidTable: series too short for the windows.
        Diverged: from the fit.
    """
    with tempfile.TemporaryDirectory(prefix="gatecast-") as folder:
        checkpoint = Path(folder) / "fit.pt"
        network, curve = fit_panel(
            panel, origins, network_config, fit_config, checkpoint, progress=progress
        )
    judged = backtest(
        panel,
        origins,
        seasonality,
        network_config.quantile_levels,
        partial(forecast, network, panel),
        baseline_limit_s,
    )
    return judged, curve


def frame(panel: Panel, judged: Backtest) -> pl.DataFrame:
    """The model's forecasts as a long table.

    Columns: item_id, cutoff (timestamp of the newest step seen), timestamp, and one per quantile
    level named "0.1", ...
    """
    starts = {series.item_id: series.start for series in panel.series}
    steps = [
        panel.frequency.timestamps(starts[item], cutoff - 1, judged.horizon + 1)
        for item, cutoff in zip(judged.item_ids, judged.cutoffs, strict=True)
    ]
    columns: dict[str, object] = {
        "item_id": np.repeat(judged.item_ids, judged.horizon),
        "cutoff": np.repeat([times[0] for times in steps], judged.horizon),
        "timestamp": np.concatenate([times[1:] for times in steps]),
    }
    for at, level in enumerate(judged.levels):
        columns[str(level)] = judged.forecasts[MODEL][..., at].ravel()
    return pl.DataFrame(columns)
